"""What hostile photos cost: seconds, memory, and how long another client waits meanwhile."""

from __future__ import annotations

import json
import os
import re
import statistics
import subprocess
import sys
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import ProxyHandler, Request, build_opener

import numpy as np
import pillow_heif
from PIL import Image

from bench.figures import Section
from bench.photos import Photos
from core.settings import processors
from tests.ports import free_port, wait_until_it_answers
from tests.support import hostile_photos as hostile

__all__ = ["security"]

_PAGE = Path(__file__).resolve().parent.parent / "docs" / "SECURITY.md"
_BEGIN, _END = "<!-- bench security: begin -->", "<!-- bench security: end -->"
_KEY = "bench-0123456789"
_MODEL = "scratch"
_ANSWER_S = 120.0
_SAMPLE_S = 0.02
# The largest side of a square photo within the limit on pixels.
_SIDE = 7_000


@dataclass(frozen=True)
class _Cost:
    """What one kind of photo cost.

    Attributes:
        kind: In words.
        megabytes: Size of the file.
        answer: HTTP status, and the code of the error.
        seconds: Until the first of the photos was answered.
        memory: Megabytes that the service's processes took more than before.
        wait: Longest time that another client waited for the answer to a usual photo, seconds.
    """

    kind: str
    megabytes: float
    answer: str
    seconds: float
    memory: float
    wait: float

    def row(self) -> str:
        """Format the cost as a row of the table."""
        return (
            f"| {self.kind} | {self.megabytes:.3g} | {self.answer} | {self.seconds:.2f} "
            f"| {self.memory:,.0f} | {self.wait:.2f} |"
        )


def security(photos: Photos, folder: Path) -> Section:
    """Send the largest photo of each hostile kind from several connections of one client."""
    at_once = 4 * processors()
    section = Section(
        "Hostile photos",
        f"One client sends a photo of each kind over {at_once} connections at once, while another "
        f"asks for a photo of 200 kB by the model `{_MODEL}`, again as soon as it has its answer.",
    )
    usual = photos.usual.read_bytes()
    costs = []
    with _service(folder) as (url, pid):
        for _ in range(5):
            _ask(url, usual, "b")  # the first take longer
        alone = statistics.median(_ask(url, usual, "b")[1] for _ in range(20))
        section.add("another client, while nobody else asks", 1000 * alone, "ms")
        for kind, make in _KINDS.items():
            costs.append(_cost(kind, make(), url, pid, usual, at_once))
            sys.stdout.write(f"{costs[-1].row()}\n")
    section.add("another client waits, at most", max(c.wait for c in costs), "s", "under 1")
    section.add("memory, at most", max(c.memory for c in costs), "MB")
    _write_table(costs, section.how)
    return section


def _cost(kind: str, photo: bytes, url: str, pid: int, usual: bytes, at_once: int) -> _Cost:
    answers: list[tuple[str, float]] = []
    senders = [
        threading.Thread(target=lambda: answers.append(_ask(url, photo, "a")))
        for _ in range(at_once)
    ]
    before, peak, waits = _resident_mb(pid), 0.0, [0.0]
    ended = threading.Event()

    def watch() -> None:
        nonlocal peak
        while not ended.wait(_SAMPLE_S):
            peak = max(peak, _resident_mb(pid))

    def other() -> None:
        while not ended.is_set():
            waits.append(_ask(url, usual, "b")[1])

    beside = [threading.Thread(target=work) for work in (watch, other)]
    for thread in [*beside, *senders]:
        thread.start()
    for thread in senders:
        thread.join()
    ended.set()
    for thread in beside:
        thread.join()
    # Places beyond the client's share are refused at once; what was decoded tells the cost.
    decoded = [each for each in answers if "busy" not in each[0]] or answers
    answer, seconds = min(decoded, key=lambda each: each[1])
    return _Cost(kind, len(photo) / 1e6, answer, seconds, max(0.0, peak - before), max(waits))


def _ask(url: str, photo: bytes, client: str) -> tuple[str, float]:
    """Send a photo: status and code of the answer, and seconds."""
    headers = {
        "Authorization": f"Bearer {_KEY}",
        "X-TenSight-Client": f"{ord(client):064x}",
        "Content-Type": "application/octet-stream",
    }
    request = Request(f"{url}/v1/predict?model={_MODEL}", photo, headers)  # noqa: S310  # loopback
    started = time.perf_counter()
    try:
        with build_opener(ProxyHandler({})).open(request, timeout=_ANSWER_S) as response:
            response.read()
            said = str(response.status)
    except HTTPError as error:
        said = f"{error.code} {json.load(error)['error']['code']}"
    return said, time.perf_counter() - started


@contextmanager
def _service(folder: Path) -> Iterator[tuple[str, int]]:
    """A service with a trusted key: its address and process id."""
    port = free_port()
    url, log = f"http://127.0.0.1:{port}", folder / "security.log"
    with log.open("wb") as output:
        server = subprocess.Popen(
            [sys.executable, "-m", "core.cli", "serve", "--port", str(port)],
            stdout=output,
            stderr=subprocess.STDOUT,
            env=os.environ | {"TENSIGHT_TRUSTED_KEYS": _KEY, "TENSIGHT_DEADLINE_S": "60"},
        )
    try:
        wait_until_it_answers(f"{url}/readyz", server, log)
        yield url, server.pid
    finally:
        server.terminate()
        try:
            server.wait(30)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()


def _resident_mb(pid: int) -> float:
    """Resident megabytes of a process and its children; read from /proc, as Linux has it."""
    total = 0.0
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            status = (folder / "status").read_text("ascii", errors="replace")
        except OSError:
            continue
        if int(folder.name) == pid or re.search(rf"^PPid:\s+{pid}$", status, re.MULTILINE):
            found = re.search(r"^VmRSS:\s+(\d+)", status, re.MULTILINE)
            total += int(found[1]) / 1024 if found else 0
    return total


def _write_table(costs: list[_Cost], how: str) -> None:
    lines = [
        _BEGIN,
        f"{how} Written by `python -m bench security`.",
        "",
        "| kind | file, MB | answer | seconds | memory, MB | another client waits, s |",
        "| --- | ---: | --- | ---: | ---: | ---: |",
        *(cost.row() for cost in costs),
        _END,
    ]
    page = _PAGE.read_text("utf-8")
    before, rest = page.split(_BEGIN)
    _, after = rest.split(_END)
    _PAGE.write_text(before + "\n".join(lines) + after, "utf-8")


def _exif(kind: str) -> bytes:
    block = hostile.exif_block(60_000, 200_000)
    return hostile.with_exif(Image.new("RGB", (64, 64)), kind, block)


def _heic_exif() -> bytes:
    buffer = BytesIO()
    block = b"Exif\0\0" + hostile.exif_block(60_000, 200_000)
    pillow_heif.from_pillow(Image.new("RGB", (64, 64))).save(buffer, exif=block)
    return buffer.getvalue()


def _png_text() -> bytes:
    packed = zlib.compress(bytes(900_000), 9)
    return hostile.png(*[hostile.png_chunk(b"zTXt", b"a\0\0" + packed)] * 8_000)


def _large(kind: str, mode: str = "RGB", **options: object) -> bytes:
    return hostile.encoded(Image.new(mode, (_SIDE, _SIDE), (200, 30, 60)), kind, **options)


def _detailed_jpeg() -> bytes:
    rng = np.random.default_rng(0)
    noise = Image.fromarray(rng.integers(0, 256, (_SIDE // 8, _SIDE // 8, 3), np.uint8))
    photo = noise.resize((_SIDE, _SIDE), Image.Resampling.BICUBIC)
    return hostile.encoded(photo, "JPEG", quality=85, progressive=True, subsampling=0)


_KINDS: dict[str, Callable[[], bytes]] = {
    "PNG, 60,000 EXIF tags that share 200 kB": lambda: _exif("PNG"),
    "JPEG, the same in several segments": lambda: _exif("JPEG"),
    "WebP, the same": lambda: _exif("WEBP"),
    "AVIF, the same": lambda: _exif("AVIF"),
    "HEIC, the same": _heic_exif,
    "PNG, 7 GB of packed text": _png_text,
    "PNG, 1.5 million chunks": lambda: hostile.png(hostile.png_chunk(b"prVt") * 1_500_000),
    "PNG, 1.5 million empty pieces of pixels": lambda: hostile.png(
        hostile.png_chunk(b"IDAT") * 1_500_000
    ),
    "JPEG, 2,000 scans of 49 megapixels": lambda: hostile.jpeg_of_many_scans(_SIDE, 2_000),
    "JPEG, the 100 scans that are taken, of 49 megapixels": lambda: hostile.jpeg_of_many_scans(
        _SIDE, 99
    ),
    "GIF, 19 MB of comments": lambda: hostile.gif(before=b"!\xfe\x01a\0" * 3_800_000),
    "BMP, run-length encoded, 49 megapixels": lambda: hostile.run_length_bmp(
        _SIDE, b"\x01\x05\0\0" * _SIDE + b"\0\1"
    ),
    "BMP, run-length encoded, the 2.5 megapixels that are taken": lambda: hostile.run_length_bmp(
        1_580, (b"\x01\x05" * 1_580 + b"\0\0") * 1_580 + b"\0\1"
    ),
    "HEIC, one tile 961 times": lambda: hostile.heif_of_parts(
        b"grid", 31, side=_SIDE, coded=Image.new("RGB", (4_096, 4_096))
    ),
    "HEIC, 500 layers": lambda: hostile.heif_of_parts(
        b"iovl", 500, side=4_096, coded=Image.new("RGB", (4_096, 4_096))
    ),
    "HEIC, the 7 layers of 17 megapixels that are taken": lambda: hostile.heif_of_parts(
        b"iovl", 7, side=4_096, coded=Image.new("RGB", (4_096, 4_096))
    ),
    "PNG, 49 megapixels with transparency": lambda: _large("PNG", "RGBA"),
    "WebP, 49 megapixels": lambda: _large("WEBP", lossless=True, method=0),
    "JPEG, 49 megapixels, progressive": _detailed_jpeg,
}
