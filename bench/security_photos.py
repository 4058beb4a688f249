"""Cost of hostile photos: time, memory, and the response time of another client."""

from __future__ import annotations

import json
import statistics
import sys
import threading
import time
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import ProxyHandler, Request, build_opener

import numpy as np
import pillow_heif
from PIL import Image

from bench.attacks import Server, other_client, run_server
from bench.figures import Section, resident_mb
from bench.photos import Photos
from core.settings import processors
from tests.support import hostile_photos as hostile

__all__ = ["attack_photos"]

_KEY = "bench-0123456789"
_MODEL = "scratch"
_TIMEOUT_S = 120.0
_SAMPLE_S = 0.02
# Side of the largest square photo within the limit on pixels.
_SIDE = 7_000


@dataclass(frozen=True)
class _Cost:
    """Cost of a kind of photo.

    Attributes:
        kind: Description.
        megabytes: Size of the file.
        answer: HTTP status, and error code.
        seconds: Time until the first photo was answered.
        memory: Peak resident memory of the service's processes in MiB, above that before.
        wait: Longest response time of the other client in seconds.
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


def attack_photos(section: Section, photos: Photos, folder: Path) -> list[str]:
    """Send the largest photo of each hostile kind over several connections of one client.

    Args:
        section: Section that the highest costs are added to.
        photos: Photos that the other client sends meanwhile.
        folder: Folder for log files.

    Returns:
        Method, and a table with a row for each kind.
    """
    connections = 4 * processors()
    typical = photos.typical.read_bytes()
    costs = []
    settings = {"TENSIGHT_TRUSTED_KEYS": _KEY, "TENSIGHT_DEADLINE_S": "60"}
    with run_server("serve", folder, **settings) as server:
        for _ in range(5):
            _send_photo(server.url, typical, "b")  # the first photos take longer
        baseline = statistics.median(_send_photo(server.url, typical, "b")[1] for _ in range(20))
        section.add("photo of another client, without an attack", 1000 * baseline, "ms")
        for kind, make in _KINDS.items():
            costs.append(_cost(kind, make(), server, typical, connections))
            sys.stdout.write(f"{costs[-1].row()}\n")
    longest = max(cost.wait for cost in costs)
    section.add("hostile photos: longest wait of another client", longest, "s", "under 1")
    section.add("hostile photos: highest memory", max(cost.memory for cost in costs), "MB")
    method = (
        f"One client sends a photo of each kind over {connections} connections, while another "
        f"client repeatedly sends a photo of 200 kB to the model `{_MODEL}`."
    )
    table = [
        "| kind | file, MB | answer | seconds | memory, MB | another client waits, s |",
        "| --- | ---: | --- | ---: | ---: | ---: |",
        *(cost.row() for cost in costs),
    ]
    return [method, "\n".join(table)]


def _cost(kind: str, photo: bytes, server: Server, typical: bytes, connections: int) -> _Cost:
    answers: list[tuple[str, float]] = []
    senders = [
        threading.Thread(target=lambda: answers.append(_send_photo(server.url, photo, "a")))
        for _ in range(connections)
    ]
    before, peak = resident_mb(server.process.pid), 0.0
    ended = threading.Event()

    def sample_memory() -> None:
        nonlocal peak
        while not ended.wait(_SAMPLE_S):
            peak = max(peak, resident_mb(server.process.pid))

    sampler = threading.Thread(target=sample_memory)
    with other_client(lambda: _send_photo(server.url, typical, "b"), 0.0) as waits:
        for thread in [sampler, *senders]:
            thread.start()
        for thread in senders:
            thread.join()
    ended.set()
    sampler.join()
    # Photos beyond the client's share are rejected at once; the others show the cost.
    decoded = [each for each in answers if "busy" not in each[0]] or answers
    answer, seconds = min(decoded, key=lambda each: each[1])
    return _Cost(
        kind, len(photo) / 1e6, answer, seconds, max(0.0, peak - before), max(waits, default=0.0)
    )


def _send_photo(url: str, photo: bytes, client: str) -> tuple[str, float]:
    """Send a photo, and return status and error code of the response, and its time in seconds."""
    headers = {
        "Authorization": f"Bearer {_KEY}",
        "X-TenSight-Client": f"{ord(client):064x}",
        "Content-Type": "application/octet-stream",
    }
    request = Request(f"{url}/v1/predict?model={_MODEL}", photo, headers)  # noqa: S310  # loopback
    started = time.perf_counter()
    try:
        with build_opener(ProxyHandler({})).open(request, timeout=_TIMEOUT_S) as response:
            response.read()
            answer = str(response.status)
    except HTTPError as error:
        answer = f"{error.code} {json.load(error)['error']['code']}"
    return answer, time.perf_counter() - started


def _exif(kind: str) -> bytes:
    block = hostile.exif_block(60_000, 200_000)
    return hostile.with_exif(Image.new("RGB", (64, 64)), kind, block)


def _heic_exif() -> bytes:
    buffer = BytesIO()
    block = b"Exif\0\0" + hostile.exif_block(60_000, 200_000)
    pillow_heif.from_pillow(Image.new("RGB", (64, 64))).save(buffer, exif=block)
    return buffer.getvalue()


def _png_text() -> bytes:
    compressed = zlib.compress(bytes(900_000), 9)
    return hostile.png(*[hostile.png_chunk(b"zTXt", b"a\0\0" + compressed)] * 8_000)


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
