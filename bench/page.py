"""The page in a phone's browser, beside a plain Gradio interface of the same model.

`python -m bench.page PORT` serves the plain interface.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Any

import gradio as gr
from playwright.sync_api import Browser, CDPSession, Page

import core
from bench.browser import chromium
from bench.figures import ROUNDS, Section
from bench.photos import Photos
from tests.support.servers import free_port, wait_until_it_answers

__all__ = ["page"]

_MODEL = "classic"
# Slow 4G and a mid-range phone, as Lighthouse simulates them.
_NETWORK = {
    "offline": False,
    "latency": 150,
    "downloadThroughput": 1_600_000 / 8,
    "uploadThroughput": 750_000 / 8,
}
_CPU_SLOWDOWN = 4
_PHONE: dict[str, Any] = {
    "viewport": {"width": 360, "height": 740},
    "device_scale_factor": 2,
    "is_mobile": True,
    "has_touch": True,
}
_TIMEOUT_MS = 300_000
_QUIET_MS = 3_000


@dataclass(frozen=True)
class _Front:
    """A server, and the selectors of its photo input and of its answer."""

    name: str
    command: tuple[str, ...]
    photo: str
    answer: str


_OURS = _Front(
    "ours",
    (sys.executable, "-m", "core.cli", "web", "--port"),
    "#photo input[type=file]",
    "#verdict h2",
)
_PLAIN = _Front(
    "plain Interface",
    (sys.executable, "-m", "bench.page"),
    "input[type=file]",
    "[data-testid=label-output-value]",
)


@dataclass(frozen=True)
class _Visit:
    """Figures of one visit with an empty cache.

    Attributes:
        usable_s: Seconds from navigation until a photo can be given.
        answer_s: Seconds from giving a photo to its answer.
        requests: Number of requests until the page is quiet.
        kilobytes: Bytes received meanwhile, compressed, in kB.
    """

    usable_s: float
    answer_s: float
    requests: float
    kilobytes: float


def page(photos: Photos, folder: Path) -> Section:
    """Compare weight and loading time of the page with a plain Gradio interface.

    Args:
        photos: Photos to classify.
        folder: Folder for log files.
    """
    section = Section(
        "The page on a phone",
        f"First visits with an empty cache in Chromium, throttled by its developer tools to a "
        f"network of 1.6 Mbit/s with a latency of 150 ms and to a {_CPU_SLOWDOWN} times slower "
        f"processor; medians of {ROUNDS} visits in turn. The plain interface is `gradio.Interface` "
        f"of the same model (`{_MODEL}`) with an image and a label, answering at once. The page is "
        "usable once a photo can be given; the answer includes the upload of a photo of 200 kB.",
    )
    visits: dict[str, list[_Visit]] = {_OURS.name: [], _PLAIN.name: []}
    with chromium(section) as browser:
        if browser is None:
            return section
        with _serving(_OURS, folder) as ours, _serving(_PLAIN, folder) as plain:
            # The first round warms the servers up.
            for round_number in range(ROUNDS + 1):
                for front, address in ((_OURS, ours), (_PLAIN, plain)):
                    figures = _visit(browser, front, address, photos.typical)
                    if round_number:
                        visits[front.name].append(figures)
    _report(section, _median(visits[_OURS.name]), _median(visits[_PLAIN.name]))
    return section


def _report(section: Section, ours: _Visit, plain: _Visit) -> None:
    """Add the figures of both, and their ratios."""
    for front, figures in ((_OURS, ours), (_PLAIN, plain)):
        target = "at most 70" if front is _OURS else ""
        section.add(f"requests: {front.name}", figures.requests, "requests", target)
        section.add(f"received: {front.name}", figures.kilobytes, "kB")
        section.add(f"until usable: {front.name}", figures.usable_s, "s")
        section.add(f"from photo to answer: {front.name}", figures.answer_s, "s")
    usable, answer = ours.usable_s / plain.usable_s, ours.answer_s / plain.answer_s
    section.add("until usable: ours relative to the plain one", usable, "times", "at most 1.2")
    section.add("from photo to answer: ours relative to it", answer, "times", "at most 1")


def _median(visits: list[_Visit]) -> _Visit:
    return _Visit(*map(statistics.median, zip(*map(astuple, visits), strict=True)))


@contextmanager
def _serving(front: _Front, folder: Path) -> Iterator[str]:
    """Run a front, and yield its address."""
    port = free_port()
    address = f"http://127.0.0.1:{port}"
    log = folder / f"{front.name}.log"
    with log.open("wb") as output:
        server = subprocess.Popen(
            [*front.command, str(port)],
            stdout=output,
            stderr=subprocess.STDOUT,
            env=os.environ | {"GRADIO_ANALYTICS_ENABLED": "False", "TENSIGHT_MODEL": _MODEL},
        )
    try:
        wait_until_it_answers(address, server, log)
        yield address
    finally:
        server.terminate()
        server.wait(60)


class _Traffic:
    """Counts requests and received bytes of a browser tab."""

    def __init__(self, session: CDPSession) -> None:
        self.requests = 0
        self.received = 0
        session.on("Network.requestWillBeSent", self._on_request)
        session.on("Network.loadingFinished", self._on_end)

    def wait_until_quiet(self, tab: Page) -> None:
        """Return once no request was sent or finished for a while; streams stay open."""
        before = None
        while before != (now := (self.requests, self.received)):
            before = now
            tab.wait_for_timeout(_QUIET_MS)

    def _on_request(self, event: dict[str, Any]) -> None:
        # Data URLs are no requests of the network.
        self.requests += event["request"]["url"].startswith("http")

    def _on_end(self, event: dict[str, Any]) -> None:
        self.received += int(event["encodedDataLength"])


def _visit(browser: Browser, front: _Front, address: str, photo: Path) -> _Visit:
    """Visit a front as a new visitor, and give it a photo."""
    context = browser.new_context(**_PHONE)
    context.set_default_timeout(_TIMEOUT_MS)
    tab = context.new_page()
    session = context.new_cdp_session(tab)
    traffic = _Traffic(session)
    session.send("Network.enable")
    session.send("Network.emulateNetworkConditions", _NETWORK)
    session.send("Emulation.setCPUThrottlingRate", {"rate": _CPU_SLOWDOWN})
    started = time.perf_counter()
    tab.goto(address, wait_until="commit", timeout=_TIMEOUT_MS)
    tab.wait_for_selector(front.photo, state="attached")
    usable_s = time.perf_counter() - started
    traffic.wait_until_quiet(tab)
    requests, received = traffic.requests, traffic.received
    started = time.perf_counter()
    tab.set_input_files(front.photo, photo)
    tab.wait_for_selector(front.answer)
    answer_s = time.perf_counter() - started
    context.close()
    return _Visit(usable_s, answer_s, requests, received / 1000)


def _serve_plain(port: int) -> None:
    """Serve the plain interface until the process is stopped."""
    classifier = core.load(_MODEL)

    def classify(photo: Any) -> dict[str, float]:
        return {} if photo is None else classifier.predict(photo).scores

    interface = gr.Interface(
        classify,
        gr.Image(type="pil"),
        gr.Label(num_top_classes=3),
        live=True,
        flagging_mode="never",
    )
    interface.launch(server_name="127.0.0.1", server_port=port)


if __name__ == "__main__":
    _serve_plain(int(sys.argv[1]))
