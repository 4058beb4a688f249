() => {
    // Words of the page by language; the server fills them in.
    const words = __WORDS__;
    const said = words[navigator.language.split("-")[0]] ?? words.en;
    const byId = id => document.getElementById(id);

    // ---- The number of bars and the opacity of the overlay are up to the browser. ----
    const style = document.head.appendChild(document.createElement("style"));
    const showBars = n => { style.textContent = `#scores li:nth-child(n + ${Number(n) + 1}) { display: none; }`; };
    showBars(3);
    document.addEventListener("input", event => {
        if (event.target.id === "opacity") document.documentElement.style.setProperty("--opacity", event.target.value);
        if (event.target.id !== "top") return;
        showBars(event.target.value);
        event.target.parentElement.querySelector("output").textContent = event.target.value;
    });

    // ---- The row of tabs scrolls on a phone. ----
    document.addEventListener("click", event => {
        event.target.closest?.("[role=tab]")?.scrollIntoView({block: "nearest", inline: "center", behavior: "smooth"});
    });

    // ---- The options fold. ----
    document.addEventListener("click", event => {
        const toggle = event.target.closest?.("#options-toggle");
        if (!toggle) return;
        toggle.setAttribute("aria-expanded", String(toggle.getAttribute("aria-expanded") !== "true"));
    });

    // ---- A prediction that is being replaced is dimmed. ----
    // Gradio applies style.css within the page alone, so the states stand on a part of it.
    const state = () => byId("predict-row")?.dataset ?? {};
    const removeOverlay = () => {
        document.querySelector("#photo .heat")?.remove();
        delete state().explaining;
        byId("action-why")?.setAttribute("aria-pressed", "false");
    };
    const pending = () => { removeOverlay(); state().pending = ""; };
    const settle = () => { delete state().pending; };

    // ---- The explanation is laid over the photo itself. ----
    // The heat map may come into the page after its event has ended.
    const layOver = () => {
        const heat = document.querySelector("#explained .heat");
        const frame = document.querySelector("#photo .image-frame");
        if (!heat || !frame || frame.querySelector(".heat")) return;
        if ("explaining" in state()) frame.append(heat.cloneNode());
    };
    const toggleOverlay = () => {
        if ("explaining" in state()) return removeOverlay();
        state().explaining = "";
        layOver();
        byId("action-why")?.setAttribute("aria-pressed", "true");
    };

    const notify = text => { byId("notice").textContent = text; };

    // ---- A picture of the prediction is made here: the server stores nothing. ----
    const lines = (pen, text, width) => {
        const all = [""];
        for (const word of text.split(" ")) {
            const longer = `${all.at(-1)} ${word}`.trim();
            if (pen.measureText(longer).width <= width) all[all.length - 1] = longer;
            else all.push(word);
        }
        return all;
    };
    const draw = (photo, verdict, bars) => {
        const canvas = document.createElement("canvas");
        const [width, edge, top] = [800, 40, 480];
        const pen = canvas.getContext("2d");
        pen.font = "700 40px system-ui, sans-serif";
        const title = lines(pen, verdict, width - 2 * edge);
        canvas.width = width;
        canvas.height = top + edge + 50 * title.length + 60 * bars.length + 60;
        pen.fillStyle = "#ffffff";
        pen.fillRect(0, 0, canvas.width, canvas.height);
        pen.fillStyle = "#e5e7eb";
        pen.fillRect(0, 0, width, top);
        const scale = Math.min(width / photo.naturalWidth, top / photo.naturalHeight);
        const [w, h] = [photo.naturalWidth * scale, photo.naturalHeight * scale];
        pen.drawImage(photo, (width - w) / 2, (top - h) / 2, w, h);
        pen.font = "700 40px system-ui, sans-serif";
        pen.fillStyle = "#1f2937";
        let y = top + edge + 20;
        for (const line of title) { pen.fillText(line, edge, y); y += 50; }
        pen.font = "28px system-ui, sans-serif";
        for (const [name, percent, share] of bars) {
            pen.fillStyle = "#c7d2fe";
            pen.fillRect(edge, y - 34, (width - 2 * edge) * share, 48);
            pen.fillStyle = "#1f2937";
            pen.fillText(name, edge + 12, y);
            pen.textAlign = "right";
            pen.fillText(percent, width - edge - 12, y);
            pen.textAlign = "left";
            y += 60;
        }
        pen.font = "22px system-ui, sans-serif";
        pen.fillStyle = "#6b7280";
        pen.fillText(`TenSight · ${location.host}`, edge, y);
        return canvas;
    };
    const share = async () => {
        const photo = document.querySelector("#photo .image-frame img:not(.heat)");
        const verdict = document.querySelector("#verdict h2")?.textContent;
        if (!photo || !verdict) return;
        const bars = [...document.querySelectorAll("#scores li")].slice(0, 3).map(row => [
            row.firstElementChild.textContent,
            row.lastElementChild.textContent,
            Number(row.style.getPropertyValue("--share")),
        ]);
        const model = document.querySelector("#scores [data-model]").dataset.model;
        const link = `${location.origin}${location.pathname}?model=${encodeURIComponent(model)}`;
        const canvas = draw(photo, verdict, bars);
        const blob = await new Promise(done => canvas.toBlob(done, "image/png"));
        const file = new File([blob], "tensight.png", {type: "image/png"});
        if (matchMedia("(pointer: coarse)").matches && navigator.canShare?.({files: [file]})) {
            await navigator.share({files: [file], text: verdict, url: link}).catch(() => {});
            return;
        }
        const shared = await navigator.clipboard?.writeText(link).then(() => true, () => false);
        const anchor = document.createElement("a");
        anchor.href = URL.createObjectURL(blob);
        anchor.download = file.name;
        anchor.click();
        setTimeout(() => URL.revokeObjectURL(anchor.href), 60000);
        const told = shared ? said.share_copied : said.share_downloaded;
        notify(told);
        setTimeout(() => { if (byId("notice").textContent === told) notify(""); }, 8000);
    };

    // ---- Live: one frame of the camera at a time, which the server drops where it is busy. ----
    const [frameSide, frameMs, patienceMs] = [384, 100, 2000];
    // Bars move: a number that the browser knows of can change gradually.
    CSS.registerProperty?.({name: "--share", syntax: "<number>", inherits: true, initialValue: "0"});
    // The tabs that show the camera, by the ids of their parts.
    const livePlaces = {
        predict: {row: "predict-row", button: "live", camera: "live-camera", answer: "live-answer", notice: "notice", model: ""},
        teach: {row: "teach-try", button: "teach-live", camera: "teach-live-camera", answer: "teach-live-answer", notice: "teach-live-notice", model: ""},
    };
    let live = null;
    const stopLive = reason => {
        if (!live) return;
        const ended = live;
        live = null;
        ended.request.abort();
        ended.stream?.getTracks().forEach(track => track.stop());
        ended.video.remove();
        ended.answer.remove();
        delete byId(ended.place.row)?.dataset.live;
        byId(ended.place.button)?.setAttribute("aria-pressed", "false");
        // It stays until the next start: the page may be hidden for long.
        if (reason) byId(ended.place.notice).textContent = reason;
    };
    const showLive = (session, {verdict, scores}) => {
        session.answer.querySelector(".says").innerHTML = verdict;
        const fresh = document.createRange().createContextualFragment(scores);
        const names = part => [...part.querySelectorAll("li")].map(row => row.firstElementChild.textContent).join();
        const place = session.answer.querySelector(".scores");
        // A bar that stays is changed in place, so that it moves.
        if (names(fresh) !== names(place)) place.replaceChildren(fresh);
        else place.querySelectorAll("li").forEach((row, i) => {
            const given = fresh.querySelectorAll("li")[i];
            row.style.setProperty("--share", given.style.getPropertyValue("--share"));
            row.lastElementChild.textContent = given.lastElementChild.textContent;
        });
        session.answered = performance.now();
        session.times = [...session.times, session.answered].filter(time => time > session.answered - 2000);
        const seconds = Math.min(2, (session.answered - session.began) / 1000);
        session.answer.querySelector(".rate").textContent = said.live_rate.replace("{n}", Math.round(session.times.length / seconds));
        session.answer.dataset.answers = Number(session.answer.dataset.answers ?? 0) + 1;
    };
    const grab = ({video, canvas}) => {
        const scale = Math.min(1, frameSide / Math.max(video.videoWidth, video.videoHeight));
        canvas.width = Math.max(1, Math.round(video.videoWidth * scale));
        canvas.height = Math.max(1, Math.round(video.videoHeight * scale));
        canvas.getContext("2d").drawImage(video, 0, 0, canvas.width, canvas.height);
        return new Promise(done => canvas.toBlob(done, "image/jpeg", 0.8));
    };
    const runLive = async session => {
        while (session === live) {
            // Another tab of the page is open.
            if (!session.video.offsetParent) return stopLive();
            const started = performance.now();
            const body = await grab(session);
            const response = await fetch(`./live?model=${encodeURIComponent(session.place.model)}`, {
                method: "POST", body, headers: {"Content-Type": "image/jpeg"}, signal: session.request.signal,
            });
            const answer = await response.json();
            if (session !== live) return;
            let pause = 0;
            if (response.ok) showLive(session, answer);
            else if (answer.error.code === "busy" || answer.error.code === "too_many_requests") {
                // Visitors who share what is free do not ask in step.
                pause = frameMs * (1 + Math.random());
                if (started > session.answered + patienceMs) session.answer.querySelector(".rate").textContent = said.live_busy;
            }
            else return stopLive(answer.error.message);
            await new Promise(done => setTimeout(done, Math.max(pause, started + frameMs - performance.now())));
        }
    };
    const startLive = async place => {
        byId(place.notice).textContent = navigator.mediaDevices ? "" : said.live_insecure;
        if (!navigator.mediaDevices) return;
        window.tensight.teach?.closeBooth();
        const session = live = {
            place,
            video: Object.assign(document.createElement("video"), {muted: true, playsInline: true, autoplay: true}),
            canvas: document.createElement("canvas"),
            answer: document.createElement("div"),
            request: new AbortController(),
            times: [],
        };
        byId(place.row).dataset.live = "";
        byId(place.button).setAttribute("aria-pressed", "true");
        session.answer.innerHTML = '<div class="says"></div><div class="scores"></div><p class="rate"></p>';
        byId(place.camera).append(session.video);
        byId(place.answer).append(session.answer);
        try {
            const stream = await navigator.mediaDevices.getUserMedia({video: {facingMode: "environment", width: {ideal: 640}}});
            session.stream = session.video.srcObject = stream;
            // The button was pressed again before the camera was there.
            if (session !== live) return stream.getTracks().forEach(track => track.stop());
            // The camera is unplugged, or its permission withdrawn.
            stream.getTracks()[0].addEventListener("ended", () => { if (session === live) stopLive(said.live_denied); });
            await session.video.play();
        } catch {
            if (session === live) stopLive(said.live_denied);
            return;
        }
        session.began = session.answered = performance.now();
        try {
            await runLive(session);
        } catch {
            if (session === live) stopLive(said.live_lost);
        }
    };
    const setLiveModel = (model, name = "predict") => { livePlaces[name].model = model; };
    const toggleLive = (model, name = "predict") => {
        setLiveModel(model, name);
        if (live) stopLive(); else startLive(livePlaces[name]);
    };
    document.addEventListener("visibilitychange", () => { if (document.hidden) stopLive(said.live_hidden); });
    document.addEventListener("click", event => { if (event.target.closest?.("#examples button")) stopLive(); });

    // ---- A folder that is dropped or chosen goes into the upload of the tab Batch. ----
    const filesOf = async entry => {
        if (entry.name.startsWith(".")) return [];
        if (entry.isFile) return [await new Promise((done, failed) => entry.file(done, failed))];
        const reader = entry.createReader(), found = [];
        for (;;) {
            const part = await new Promise((done, failed) => reader.readEntries(done, failed));
            if (!part.length) break;
            for (const each of part) found.push(...await filesOf(each));
        }
        return found;
    };
    const upload = files => {
        const input = document.querySelector("#batch-photos input[type=file]");
        if (!input || !files.length) return;
        const transfer = new DataTransfer();
        files.forEach(file => transfer.items.add(file));
        input.files = transfer.files;
        input.dispatchEvent(new Event("change", {bubbles: true}));
    };
    document.addEventListener("drop", async event => {
        if (!event.target.closest?.("#batch-photos")) return;
        const entries = [...event.dataTransfer.items].map(each => each.webkitGetAsEntry?.()).filter(Boolean);
        if (!entries.some(each => each.isDirectory)) return;
        event.preventDefault();
        event.stopPropagation();
        upload((await Promise.all(entries.map(filesOf))).flat());
    }, true);
    document.addEventListener("change", event => {
        if (event.target.id !== "batch-folder") return;
        upload([...event.target.files].filter(file => !file.name.startsWith(".")));
        event.target.value = "";
    });
    document.addEventListener("click", event => {
        const filter = event.target.closest?.("#batch-results [data-show]");
        if (!filter) return;
        const results = filter.closest(".results");
        results.dataset.shown = filter.dataset.show;
        for (const each of results.querySelectorAll("[data-show]"))
            each.setAttribute("aria-pressed", String(each === filter));
    });

    // ---- What changes is read aloud, and Gradio's own refusal is translated. ----
    const look = () => {
        layOver();
        for (const name of ["verdict", "thanks", "agreement", "batch-said"]) {
            const part = byId(name);
            if (part && !part.hasAttribute("aria-live")) part.setAttribute("aria-live", "polite");
        }
        const toggle = byId("options-toggle");
        if (toggle && !toggle.hasAttribute("aria-expanded")) toggle.setAttribute("aria-expanded", "false");
        for (const part of document.querySelectorAll("[data-testid=toast-text]"))
            if (part.textContent.startsWith("File(s) exceed")) part.firstChild.data = said.too_large;
    };
    // The parts of a tab come when it is opened.
    new MutationObserver(look).observe(document.body, {childList: true, subtree: true});
    look();

    window.tensight = {pending, settle, toggleOverlay, share, toggleLive, setLiveModel, stopLive};
}
