"""Examples of calls that the page shows."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import gradio_client
import pytest

from demo.tabs import about
from tests.demo.running import ask


def test_curl_example_of_the_page_runs(
    client: gradio_client.Client, photo: Path, tmp_path: Path
) -> None:
    if shutil.which("curl") is None:
        pytest.skip("curl is not installed")
    shutil.copy(photo, tmp_path / "photo.jpg")
    command = about.CURL.replace("http://127.0.0.1:7860", client.src.rstrip("/"))
    run = subprocess.run(
        ["sh", "-c", command],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert "event: complete" in run.stdout
    (answer,) = json.loads(run.stdout.split("data: ")[1])
    assert answer["model"] == "efficientnet"
    assert "label" in answer


def test_python_example_of_the_page_runs(
    client: gradio_client.Client, photo: Path, tmp_path: Path
) -> None:
    shutil.copy(photo, tmp_path / "photo.jpg")
    program = about.PYTHON.replace("http://127.0.0.1:7860", client.src)
    run = subprocess.run(
        [sys.executable, "-c", program],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    label, confidence = run.stdout.splitlines()[-1].split()
    answer = ask(client, photo, None)
    assert (label, float(confidence)) == (answer["label"], answer["confidence"])


# What the program asks of the package of this name, which is not here: its names become the fields
# that the page says it takes.
_CLIENT = """
import { readFileSync } from "node:fs";

export const handle_file = path => ({ file: path });

export class Client {
    static async connect(url) {
        const told = await fetch(`${url}/gradio_api/info`);
        return Object.assign(new Client(), { url, info: await told.json() });
    }

    async predict(endpoint, given) {
        const named = this.info.named_endpoints[endpoint].parameters;
        for (const name of Object.keys(given))
            if (!named.some(each => each.parameter_name == name)) throw new Error(name);
        const data = [];
        for (const each of named) {
            let value = given[each.parameter_name] ?? each.parameter_default ?? null;
            if (value?.file) {
                const form = new FormData();
                form.append("files", new Blob([readFileSync(value.file)]), value.file);
                const upload = { method: "POST", body: form };
                const sent = await fetch(`${this.url}/gradio_api/upload`, upload);
                value = { path: (await sent.json())[0], meta: { _type: "gradio.FileData" } };
            }
            data.push(value);
        }
        const call = `${this.url}/gradio_api/call${endpoint}`;
        const headers = { "content-type": "application/json" };
        const asked = { method: "POST", headers, body: JSON.stringify({ data }) };
        const { event_id } = await (await fetch(call, asked)).json();
        const stream = await (await fetch(`${call}/${event_id}`)).text();
        return { data: JSON.parse(stream.split("event: complete\\ndata: ")[1]) };
    }
}
"""


def test_javascript_example_of_the_page_runs(
    client: gradio_client.Client, photo: Path, tmp_path: Path
) -> None:
    node = shutil.which("node")
    if node is None:
        pytest.skip("Node.js is not installed")
    shutil.copy(photo, tmp_path / "photo.jpg")
    package = tmp_path / "node_modules" / "@gradio" / "client"
    package.mkdir(parents=True)
    (package / "package.json").write_text('{"type": "module", "exports": "./client.js"}')
    (package / "client.js").write_text(_CLIENT)
    program = about.JAVASCRIPT.replace("http://127.0.0.1:7860", client.src.rstrip("/"))
    (tmp_path / "program.mjs").write_text(program)
    run = subprocess.run(
        [node, "program.mjs"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    label, confidence = run.stdout.split()
    answer = ask(client, photo, None)
    assert (label, float(confidence)) == (answer["label"], answer["confidence"])
