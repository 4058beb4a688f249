() => {
    // Classes and photos stay in the browser until they are taught.
    const newClass = () => ({name: "", photos: []});
    const classes = [newClass(), newClass()];
    let title = null, sent = [], replaces = "";
    const byId = id => document.getElementById(id);
    const text = name => byId("teach-cards").dataset[name];
    const fill = (name, values) => text(name).replace(/\{(\w+)\}/g, (_, key) => values[key]);
    const notify = told => { if (byId("teach-notice")) byId("teach-notice").textContent = told; };

    // ---- The cards of the classes ----
    const drawPhotos = (card, each) => {
        card.querySelector(".small").textContent = fill("count", {n: each.photos.length});
        card.querySelector(".teach-photos").replaceChildren(...each.photos.map(photo => {
            const row = document.createElement("li"), button = document.createElement("button");
            const picture = Object.assign(document.createElement("img"), {src: photo.url, alt: ""});
            button.type = "button";
            button.className = "teach-remove";
            button.setAttribute("aria-label", fill("remove", {name: photo.file.name}));
            button.append(picture);
            row.append(button);
            return row;
        }));
    };
    const draw = () => {
        const cards = byId("teach-cards");
        cards.replaceChildren(...classes.map(each => {
            const card = byId("teach-card").content.firstElementChild.cloneNode(true);
            card.querySelector(".teach-name").value = each.name;
            card.querySelector(".teach-drop").hidden = classes.length <= 2;
            drawPhotos(card, each);
            return card;
        }));
        byId("teach-add").disabled = classes.length >= Number(text("maxClasses"));
        if (title !== null) byId("teach-title").value = title;
    };
    const place = target => {
        const card = target.closest?.("#teach-cards .card");
        const i = card ? [...byId("teach-cards").children].indexOf(card) : -1;
        return i < 0 ? null : {card, each: classes[i], i};
    };
    const add = ({card, each}, files) => {
        const large = files.find(file => file.size > Number(text("maxBytes")));
        notify(large ? fill("tooLarge", {name: large.name}) : "");
        for (const file of files)
            if (file.size <= Number(text("maxBytes"))) each.photos.push({file, url: URL.createObjectURL(file)});
        drawPhotos(card, each);
    };
    const discard = photos => photos.forEach(photo => { if (!sent.includes(photo)) URL.revokeObjectURL(photo.url); });

    // ---- A burst of the webcam: ten photos in two seconds ----
    const [burst, burstMs] = [10, 200];
    const shoot = async where => {
        let stream;
        try {
            stream = await navigator.mediaDevices.getUserMedia({video: {facingMode: "environment", width: {ideal: 640}}});
            const video = Object.assign(document.createElement("video"), {muted: true, playsInline: true, srcObject: stream});
            await video.play();
            const canvas = Object.assign(document.createElement("canvas"), {width: video.videoWidth, height: video.videoHeight});
            for (let i = 0; i < burst; i++) {
                await new Promise(done => setTimeout(done, burstMs));
                canvas.getContext("2d").drawImage(video, 0, 0);
                const blob = await new Promise(done => canvas.toBlob(done, "image/jpeg", 0.9));
                const number = where.each.photos.length + 1;
                where.each.photos.push({file: new File([blob], `webcam-${number}.jpg`, {type: blob.type}), url: URL.createObjectURL(blob)});
            }
            const card = byId("teach-cards").children[classes.indexOf(where.each)];
            if (card) drawPhotos(card, where.each);
        } catch {
            notify(text("denied"));
        } finally {
            stream?.getTracks().forEach(track => track.stop());
        }
    };

    document.addEventListener("input", event => {
        if (event.target.id === "teach-title") title = event.target.value;
        if (event.target.matches?.(".teach-name")) place(event.target).each.name = event.target.value;
    });
    document.addEventListener("change", event => {
        if (!event.target.matches?.(".teach-files")) return;
        add(place(event.target), [...event.target.files]);
        event.target.value = "";
    });
    document.addEventListener("click", event => {
        const button = event.target.closest?.("#teach-view button");
        if (!button) return;
        const where = place(button);
        if (button.id === "teach-add") {
            classes.push(newClass());
            draw();
            byId("teach-cards").lastElementChild.querySelector(".teach-name").focus();
        } else if (button.matches(".teach-drop")) {
            discard(classes.splice(where.i, 1)[0].photos);
            draw();
        } else if (button.matches(".teach-remove")) {
            const row = button.parentElement;
            discard(where.each.photos.splice([...row.parentElement.children].indexOf(row), 1));
            drawPhotos(where.card, where.each);
        } else if (button.matches(".teach-camera")) shoot(where);
    });
    // Photos are dropped on the whole card.
    for (const kind of ["dragover", "drop"])
        document.addEventListener(kind, event => {
            const where = place(event.target);
            if (!where) return;
            event.preventDefault();
            if (kind === "drop") add(where, [...event.dataTransfer.files].filter(file => file.type !== ""));
        });

    // ---- What the server is sent ----
    const visitor = () => {
        let key = localStorage.getItem("tensight-teach") ?? "";
        if (!/^[0-9a-f]{32}$/.test(key)) {
            key = [...crypto.getRandomValues(new Uint8Array(16))].map(n => n.toString(16).padStart(2, "0")).join("");
            localStorage.setItem("tensight-teach", key);
        }
        return key;
    };
    const atOnce = 20;
    const upload = async photos => {
        const paths = [];
        for (let i = 0; i < photos.length; i += atOnce) {
            notify(fill("uploading", {n: i, all: photos.length}));
            const body = new FormData();
            photos.slice(i, i + atOnce).forEach(({file}) => body.append("files", file, file.name));
            const response = await fetch("./gradio_api/upload", {method: "POST", body});
            const answer = await response.json();
            if (!response.ok) throw new Error(answer.detail);
            paths.push(...answer);
        }
        return paths;
    };
    const collect = async () => {
        const photos = classes.flatMap(each => each.photos.map(photo => ({label: each.name, photo})));
        try {
            const paths = await upload(photos.map(each => each.photo));
            notify("");
            sent = photos.map(each => each.photo);
            const listed = photos.map((each, i) => ({label: each.label, name: each.photo.file.name, path: paths[i]}));
            return JSON.stringify({title: byId("teach-title").value, photos: listed, replaces});
        } catch {
            notify(text("failed"));
            return "";
        }
    };
    const taught = model => { replaces = model ?? ""; };
    const save = path => {
        if (!path) return;
        const anchor = document.createElement("a");
        anchor.href = `./gradio_api/file=${path}`;
        anchor.download = path.split("/").at(-1);
        anchor.click();
    };

    // Cards and report come some time after their event; the doubtful photos are known here alone.
    const look = () => {
        if (byId("teach-cards") && byId("teach-card") && !byId("teach-cards").children.length) draw();
        for (const row of document.querySelectorAll("#teach-notes [data-photo]:not(:has(img))")) {
            const photo = sent[Number(row.dataset.photo) - 1];
            if (photo) row.prepend(Object.assign(document.createElement("img"), {src: photo.url, alt: ""}));
        }
        byId("teach-said")?.setAttribute("aria-live", "polite");
    };
    new MutationObserver(look).observe(document.body, {childList: true, subtree: true});
    look();

    window.tensight.teach = {visitor, collect, taught, save};
}
