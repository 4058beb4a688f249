() => {
    // Classes and photos stay in the browser until they are taught.
    const byId = id => document.getElementById(id);
    const text = name => byId("teach-cards").dataset[`text${name[0].toUpperCase()}${name.slice(1)}`];
    const limit = name => Number(byId("teach-cards").dataset[name]);
    const fill = (name, values) => text(name).replace(/\{(\w+)\}/g, (_, key) => values[key]);
    const element = (tag, ...given) => Object.assign(document.createElement(tag), ...given);
    // `earlier` is the number of photos that only the server knows: those of a classifier to teach more.
    const newClass = (name = "", earlier = 0) => ({name, earlier, photos: [], rows: new Map()});
    let classes = [newClass(), newClass()];
    let title = null, sent = [], replaces = "", adds = false;
    const notify = (told, share) => {
        byId("teach-notice").textContent = told;
        if (share !== undefined) byId("teach-notice").append(element("progress", {className: "teach-progress", value: share, ariaLabel: told}));
    };

    // ---- The cards of the classes ----
    const cardOf = each => byId("teach-cards").children[classes.indexOf(each)];
    const rowOf = photo => {
        const row = element("li"), button = element("button", {type: "button", className: "teach-remove"});
        const picture = element("img", {src: photo.url, alt: "", loading: "lazy", decoding: "async"});
        // Browsers without HEIC upload it all the same.
        picture.addEventListener("error", () => picture.replaceWith(element("span", {textContent: photo.name})));
        button.setAttribute("aria-label", fill("remove", {name: photo.name}));
        button.append(picture);
        row.append(button);
        return row;
    };
    const drawPhotos = each => {
        const card = cardOf(each), list = card.querySelector(".teach-photos");
        for (const photo of each.photos) {
            if (!each.rows.has(photo)) each.rows.set(photo, rowOf(photo));
            if (each.rows.get(photo).parentElement !== list) list.append(each.rows.get(photo));
        }
        card.querySelector(".teach-hint").hidden = each.photos.length > 0;
        const told = [fill("count", {n: each.photos.length})];
        if (each.earlier) told.unshift(fill("earlier", {n: each.earlier}));
        card.querySelector(".teach-count").textContent = told.join(" · ");
    };
    const draw = () => {
        closeBooth();
        byId("teach-cards").replaceChildren(...classes.map((each, i) => {
            const card = byId("teach-card").content.firstElementChild.cloneNode(true);
            const name = card.querySelector(".teach-name"), told = fill("class", {n: i + 1});
            Object.assign(name, {value: each.name, placeholder: told, readOnly: each.earlier > 0});
            name.setAttribute("aria-label", told);
            card.querySelector(".teach-drop").hidden = classes.length <= 2 || each.earlier > 0;
            return card;
        }));
        classes.forEach(drawPhotos);
        byId("teach-add").disabled = classes.length >= limit("maxClasses");
        if (title !== null) byId("teach-title").value = title;
        byId("teach-title").readOnly = adds;
        byId("teach-new").hidden = !replaces;
    };
    const place = target => {
        const card = target.closest?.("#teach-cards .card");
        return card ? classes[[...byId("teach-cards").children].indexOf(card)] : null;
    };

    // ---- Photos are added as small as teaching needs them, without place and time. ----
    const shortSide = 480;
    let preparing = Promise.resolve();
    const shrink = async given => {
        // A copy, since a file on disk that is changed later can no longer be uploaded.
        const file = new Blob([await given.arrayBuffer()], {type: given.type});
        let picture;
        try {
            picture = await createImageBitmap(file);
        } catch {
            return file;
        }
        const scale = shortSide / Math.min(picture.width, picture.height);
        if (scale >= 1) return file;
        const canvas = element("canvas", {width: Math.max(1, Math.round(picture.width * scale)), height: Math.max(1, Math.round(picture.height * scale))});
        const pen = canvas.getContext("2d");
        pen.fillStyle = "#ffffff";
        pen.fillRect(0, 0, canvas.width, canvas.height);
        pen.imageSmoothingQuality = "high";
        pen.drawImage(picture, 0, 0, canvas.width, canvas.height);
        picture.close();
        return await new Promise(done => canvas.toBlob(done, "image/jpeg", 0.92)) ?? file;
    };
    const keep = (each, blob, name) => {
        // The end of a long name tells it from others; a request that names all photos has a limit.
        each.photos.push({blob, name: name.slice(-40), url: URL.createObjectURL(blob)});
        if (cardOf(each)) drawPhotos(each);
    };
    // Leave out what is too large, and say so together with what else was left out.
    const check = (each, files, told) => {
        const large = files.find(file => file.size > limit("maxBytes"));
        if (large) told.push(fill("tooLarge", {name: large.name}));
        accept(cardOf(each));
        if (told.length) refuse(cardOf(each), told.join(" · "));
        return files.filter(file => file.size <= limit("maxBytes"));
    };
    // One after the other, since a photo of a phone takes 50 MB of memory.
    const prepare = async (each, files, told) => {
        for (const file of files) {
            const small = await shrink(file).catch(() => null);
            if (!classes.includes(each)) return;
            if (small) keep(each, small, file.name);
            else {
                told.push(fill("unreadable", {name: file.name}));
                refuse(cardOf(each), told.join(" · "));
            }
        }
    };
    const add = (each, files) => {
        const told = [], accepted = check(each, files, told);
        preparing = preparing.then(() => prepare(each, accepted, told));
    };
    // Some systems know no type for HEIC files.
    const isPhoto = file => file.type.startsWith("image/") || /\.(avif|bmp|gif|hei[cf]|jpe?g|png|webp)$/i.test(file.name);
    const filesIn = async (entry, unreadable) => {
        const found = [];
        try {
            if (entry.isFile) return [await new Promise((done, fail) => entry.file(done, fail))];
            const reader = entry.createReader();
            // It returns the content of a folder in parts, the last of which is empty.
            for (;;) {
                const part = await new Promise((done, fail) => reader.readEntries(done, fail));
                if (!part.length) break;
                for (const each of part) found.push(...await filesIn(each, unreadable));
            }
        } catch {
            unreadable.push(entry.name);
        }
        return found;
    };
    const few = names => names.slice(0, 3).join(", ") + (names.length > 3 ? " …" : "");
    const addDropped = (each, dropped) => {
        // Entries, which folders have, can be asked for during the event only.
        const entries = [...dropped.items].map(item => item.webkitGetAsEntry?.()).filter(Boolean);
        let files = [...dropped.files];
        // Teaching waits for the folders, too.
        preparing = preparing.then(async () => {
            const unreadable = [], told = [];
            if (entries.some(entry => entry.isDirectory))
                files = (await Promise.all(entries.map(entry => filesIn(entry, unreadable)))).flat();
            if (!classes.includes(each)) return;
            // Photo managers leave hidden files in folders.
            files = files.filter(file => !file.name.startsWith("."));
            const others = files.filter(file => !isPhoto(file)).map(file => file.name);
            if (unreadable.length) told.push(fill("unreadable", {name: few(unreadable)}));
            if (others.length) told.push(fill("ignored", {names: few(others)}));
            await prepare(each, check(each, files.filter(isPhoto), told), told);
        });
    };
    const discard = photos => photos.forEach(photo => { if (!sent.includes(photo)) URL.revokeObjectURL(photo.url); });
    const takeOut = (each, photo) => {
        each.photos.splice(each.photos.indexOf(photo), 1);
        each.rows.get(photo).remove();
        each.rows.delete(photo);
        discard([photo]);
        drawPhotos(each);
        accept(cardOf(each));
    };
    const remove = (each, row) => {
        const i = [...row.parentElement.children].indexOf(row), next = row.nextElementSibling ?? row.previousElementSibling;
        takeOut(each, each.photos[i]);
        (next?.querySelector("button") ?? cardOf(each).querySelector(".teach-files")).focus();
    };

    // ---- The webcam: a burst of ten photos in two seconds ----
    const [burst, burstMs] = [10, 200];
    let booth = null;
    const closeBooth = () => {
        if (!booth) return;
        const ended = booth;
        booth = null;
        clearInterval(ended.watch);
        ended.stream?.getTracks().forEach(track => track.stop());
        ended.card.querySelector(".teach-booth").hidden = true;
        ended.card.querySelector(".teach-camera").setAttribute("aria-pressed", "false");
    };
    const openBooth = async each => {
        const card = cardOf(each);
        if (!navigator.mediaDevices) return refuse(card, text("insecure"));
        accept(card);
        window.tensight.stopLive();
        const mine = booth = {each, card, video: card.querySelector("video")};
        card.querySelector(".teach-booth").hidden = false;
        card.querySelector(".teach-camera").setAttribute("aria-pressed", "true");
        // Another tab of the page, or of the browser, is open.
        mine.watch = setInterval(() => { if (document.hidden || !mine.video.offsetParent) closeBooth(); }, 500);
        try {
            const stream = await navigator.mediaDevices.getUserMedia({video: {facingMode: "environment", width: {ideal: 640}}});
            mine.stream = mine.video.srcObject = stream;
            if (mine !== booth) return stream.getTracks().forEach(track => track.stop());
            await mine.video.play();
            card.querySelector(".teach-shoot").focus();
        } catch {
            if (mine !== booth) return;
            closeBooth();
            refuse(card, text("denied"));
        }
    };
    const shoot = async button => {
        const {each, video} = booth, canvas = element("canvas", {width: video.videoWidth, height: video.videoHeight});
        if (!canvas.width || button.getAttribute("aria-disabled") === "true") return;
        // A disabled button would lose the focus.
        button.setAttribute("aria-disabled", "true");
        for (let i = 0; i < burst && booth?.video === video; i++) {
            canvas.getContext("2d").drawImage(video, 0, 0);
            const blob = await new Promise(done => canvas.toBlob(done, "image/jpeg", 0.92));
            keep(each, blob, `webcam-${each.photos.length + 1}.jpg`);
            await new Promise(done => setTimeout(done, burstMs));
        }
        button.removeAttribute("aria-disabled");
    };

    // ---- Refusals stand beside what they are about. ----
    const refuse = (card, told) => {
        const refusal = card.querySelector(".refusal");
        Object.assign(refusal, {textContent: `⚠ ${told}`, hidden: false});
        card.classList.add("bad");
    };
    const accept = card => {
        card?.classList.remove("bad");
        const refusal = card?.querySelector(".refusal");
        if (refusal) refusal.hidden = true;
    };
    const acceptTitle = () => { byId("teach-title-refusal").hidden = true; };
    const acceptAll = () => { [...byId("teach-cards").children].forEach(accept); acceptTitle(); };
    const same = name => name.normalize("NFC").trim();
    const placeRefusal = told => {
        told.dataset.placed = "";
        const names = JSON.parse(told.dataset.names).map(same), sentence = told.textContent.replace("⚠ ", "");
        if (told.dataset.reason.endsWith("_model")) {
            Object.assign(byId("teach-title-refusal"), {textContent: told.textContent, hidden: false});
            byId("teach-title").focus();
            told.classList.add("teach-unseen");
            return;
        }
        const about = classes.filter(each => (each.name || each.photos.length) && names.includes(same(each.name)));
        about.forEach(each => refuse(cardOf(each), sentence));
        // Where it stands at the cards it is read aloud here alone.
        if (about.length) {
            told.classList.add("teach-unseen");
            cardOf(about[0]).querySelector(".teach-name").focus();
        }
    };

    // ---- What a visitor does ----
    const restart = (fresh, model, name, more) => {
        discard(classes.flatMap(each => each.photos));
        [classes, replaces, title, adds] = [fresh, model, name, more];
        while (classes.length < 2) classes.push(newClass());
        draw();
        byId("teach-view").scrollIntoView({block: "start"});
        byId("teach-cards").querySelector(".teach-name").focus({preventScroll: true});
    };
    const actions = {
        "#teach-add": () => {
            classes.push(newClass());
            draw();
            byId("teach-cards").lastElementChild.querySelector(".teach-name").focus();
        },
        "#teach-new": button => restart([newClass(), newClass()], "", byId("teach-title").defaultValue, false),
        "#teach-continue": button => {
            const {model, title, classes} = button.dataset;
            restart(JSON.parse(classes).map(([name, n]) => newClass(name, n)), model, title, true);
        },
        "#teach-copy": async button => {
            const link = `${location.origin}${location.pathname}${button.dataset.link}`;
            const copied = await navigator.clipboard?.writeText(link).then(() => true, () => false);
            byId("teach-copied").textContent = copied ? text("copied") : link;
        },
        ".teach-drop": (_, each) => {
            discard(classes.splice(classes.indexOf(each), 1)[0].photos);
            draw();
            byId("teach-add").focus();
        },
        ".teach-remove": (button, each) => remove(each, button.parentElement),
        ".teach-camera": (_, each) => {
            const open = booth?.each === each;
            closeBooth();
            if (!open) openBooth(each);
        },
        ".teach-shoot": button => shoot(button),
        ".teach-mislabelled": button => {
            const photo = sent[Number(button.closest("[data-photo]").dataset.photo) - 1];
            const each = classes.find(({photos}) => photos.includes(photo));
            if (each) takeOut(each, photo);
            button.remove();
            notify(text("removed"));
        },
    };
    document.addEventListener("click", event => {
        const button = event.target.closest?.("#teach-view button, #teach-about button, #teach-notes button");
        const [, act] = Object.entries(actions).find(([name]) => button?.matches(name)) ?? [];
        act?.(button, place(button));
    });
    document.addEventListener("input", event => {
        if (event.target.id === "teach-title") {
            title = event.target.value;
            acceptTitle();
        }
        if (!event.target.matches?.(".teach-name")) return;
        const each = place(event.target);
        each.name = event.target.value;
        accept(cardOf(each));
    });
    document.addEventListener("change", event => {
        if (!event.target.matches?.(".teach-files")) return;
        add(place(event.target), [...event.target.files]);
        event.target.value = "";
    });
    // Photos are dropped on the whole card.
    for (const kind of ["dragover", "dragleave", "drop"])
        document.addEventListener(kind, event => {
            const each = event.target.closest && place(event.target);
            if (!each) return;
            event.preventDefault();
            cardOf(each).classList.toggle("over", kind === "dragover");
            if (kind === "drop") addDropped(each, event.dataTransfer);
        });

    // ---- What the server is sent ----
    // A browser that blocks storage throws; the key is then valid until the page is closed.
    let key = "";
    const known = () => {
        try {
            return localStorage.getItem("tensight-teach") ?? key;
        } catch {
            return key;
        }
    };
    const visitor = () => {
        key = known();
        if (!/^[0-9a-f]{32}$/.test(key))
            key = [...crypto.getRandomValues(new Uint8Array(16))].map(n => n.toString(16).padStart(2, "0")).join("");
        try {
            localStorage.setItem("tensight-teach", key);
        } catch {}
        return key;
    };
    let busy = false;
    const setBusy = now => {
        busy = now;
        byId("teach-start").disabled = now;
    };
    const request = more => JSON.stringify({title: byId("teach-title").value, replaces, ...more});
    // Classes without name and photos are left out.
    const given = () => classes.filter(each => each.name.trim() || each.photos.length);
    const draft = async () => {
        if (busy) return "";
        setBusy(true);
        closeBooth();
        acceptAll();
        notify("");
        await preparing;
        return request({classes: given().map(each => ({name: each.name, photos: each.photos.length + each.earlier}))});
    };
    const [atOnce, attempts, renewMs] = [20, 10, 60_000];
    // A server that has no room for more says when it will have.
    const send = async body => {
        for (let i = 1; ; i++) {
            const response = await fetch("./gradio_api/upload", {method: "POST", body});
            const wait = Number(response.headers.get("Retry-After"));
            if (response.ok || !wait || i === attempts) return response;
            await new Promise(done => setTimeout(done, 1000 * wait));
        }
    };
    const upload = async photos => {
        const paths = [];
        // Uploads are deleted after a few minutes, and many photos take longer on a slow connection.
        const renewal = setInterval(() => {
            if (paths.length) fetch("./held", {method: "POST", body: JSON.stringify(paths)}).catch(() => {});
        }, renewMs);
        try {
            for (let i = 0; i < photos.length; i += atOnce) {
                notify(fill("uploading", {n: i, all: photos.length}), i / photos.length);
                const body = new FormData();
                photos.slice(i, i + atOnce).forEach(({blob, name}) => body.append("files", blob, name));
                const response = await send(body);
                const answer = await response.json();
                if (!response.ok) throw new Error(answer.detail);
                paths.push(...answer);
            }
        } finally {
            clearInterval(renewal);
        }
        return paths;
    };
    const collect = async checked => {
        if (!checked) return "";
        const photos = given().flatMap(each => each.photos.map(photo => ({label: each.name, photo})));
        try {
            const paths = await upload(photos.map(each => each.photo));
            notify("");
            sent = photos.map(each => each.photo);
            const listed = photos.map((each, i) => ({label: each.label, name: each.photo.name, path: paths[i]}));
            return request({photos: listed, adds});
        } catch {
            notify(`⚠ ${text("failed")}`);
            return "";
        }
    };
    // Called at the end of every attempt; without a model where it failed.
    const finish = model => {
        setBusy(false);
        const refused = document.querySelector("#teach-said [data-names]");
        // The same refusal again does not change the page.
        if (refused) placeRefusal(refused);
        if (!model) return;
        replaces = model;
        if (adds) restart(classes.map(each => newClass(each.name, each.earlier + each.photos.length)), model, title, true);
        byId("teach-new").hidden = false;
        byId("teach-said").scrollIntoView({block: "start", behavior: "smooth"});
    };
    // Called after every correction; without text where it failed. Teaching anew must not forget the photo.
    const learned = async (told, photo) => {
        if (!told) return;
        const {model, label} = JSON.parse(told);
        const each = classes.find(({name}) => same(name) === same(label));
        if (!each || model !== replaces) return;
        if (adds) {
            each.earlier++;
            return drawPhotos(each);
        }
        if (!photo?.url) return;
        const blob = await (await fetch(photo.url)).blob();
        add(each, [new File([blob], photo.orig_name ?? "photo.jpg", {type: blob.type})]);
    };
    const confirmed = model => model && confirm(text("confirmDelete")) ? model : "";
    const save = path => {
        if (!path) return;
        element("a", {href: `./gradio_api/file=${path}`, download: path.split("/").at(-1)}).click();
    };

    // ---- Cards and report come some time after their event; the doubtful photos are known here alone. ----
    const look = () => {
        const cards = byId("teach-cards");
        if (cards && byId("teach-card") && !cards.children.length) draw();
        for (const row of document.querySelectorAll("#teach-notes [data-photo]:not(:has(img))")) {
            const photo = sent[Number(row.dataset.photo) - 1];
            if (!photo) continue;
            row.prepend(element("img", {src: photo.url, alt: ""}));
            // Photos of a classifier that was taught more are no longer here.
            if (classes.some(({photos}) => photos.includes(photo)))
                row.append(element("button", {type: "button", className: "teach-mislabelled", textContent: fill("remove", {name: photo.name})}));
        }
        for (const time of document.querySelectorAll("#teach-about time:empty"))
            time.textContent = fill("until", {time: new Date(time.dateTime).toLocaleString(document.documentElement.lang || undefined, {dateStyle: "medium", timeStyle: "short"})});
        const told = document.querySelector("#teach-said [data-names]:not([data-placed])");
        if (told && cards) placeRefusal(told);
        for (const name of ["teach-said", "teach-verdict", "teach-corrected"])
            if (byId(name) && !byId(name).hasAttribute("aria-live")) byId(name).setAttribute("aria-live", "polite");
    };
    new MutationObserver(look).observe(document.body, {childList: true, subtree: true});
    look();

    window.tensight.teach = {known, visitor, draft, collect, finish, learned, confirmed, save, closeBooth};
}
