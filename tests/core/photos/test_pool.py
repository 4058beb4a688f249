"""Worker processes and their limits."""

from __future__ import annotations

import functools
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from core.errors import ImageError, PhotoReadError, UnavailableError
from core.photos.decode import decode
from core.photos.limits import PhotoLimits
from core.photos.pool import PhotoPool
from core.photos.prepare import Preparation, prepare
from core.photos.preprocess import InputSpec
from tests.support import drawings
from tests.support.hostile_photos import encoded
from tests.support.processes import is_running, wait_until

SPEC = InputSpec(
    height=32,
    width=32,
    resize="three_crops",
    interpolation="bilinear",
    mean=(0, 0, 0),
    std=(1, 1, 1),
)
WANTED = Preparation(SPEC, preview=64, archival=True)
PHOTO = encoded(drawings.ship(640, 480), "JPEG")
# Takes about a second to decode, and 190 MB.
LARGE = encoded(Image.new("RGBA", (7_000, 7_000)), "PNG")
LINUX = pytest.mark.skipif(sys.platform != "linux", reason="the limits on memory are Linux's")
MakePool = Callable[..., PhotoPool]


@pytest.fixture
def pool() -> Iterator[MakePool]:
    """Return a function that creates pools of one worker, which are closed at the end."""
    made: list[PhotoPool] = []

    def make(*, workers: int = 1, inline_pixels: int = 0, **limits: float) -> PhotoPool:
        photo_limits = PhotoLimits(**{"processor_s": 60, "wall_s": 60} | limits)  # type: ignore[arg-type]  # of a dict
        made.append(PhotoPool(photo_limits, workers=workers, inline_pixels=inline_pixels))
        return made[-1]

    yield make
    for each in made:
        each.close()


def refusal(pool: PhotoPool, photo: bytes) -> tuple[str, str]:
    with pytest.raises(ImageError) as caught:
        pool.prepare(photo, WANTED)
    return caught.value.code, str(caught.value)


def test_workers_give_the_same_result_as_this_process(pool: MakePool, tmp_path: Path) -> None:
    path = tmp_path / "photo.jpg"
    path.write_bytes(PHOTO)
    workers, expected = pool(), prepare(PHOTO, WANTED)
    assert expected.crops is not None
    assert expected.crops.shape == (3, 32, 32, 3)
    assert expected.preview is not None
    assert expected.preview.shape == (48, 64, 3)
    for photo in (PHOTO, path, str(path)):
        given = workers.prepare(photo, WANTED)
        assert given.crops is not None
        assert given.preview is not None
        assert np.array_equal(given.crops, expected.crops)
        assert np.array_equal(given.preview, expected.preview)
        assert given.archival == expected.archival
    assert workers.prepare(PHOTO, Preparation()).crops is None
    with Image.open(path) as opened:
        here, there = prepare(opened, WANTED), workers.prepare(opened, WANTED)
    assert here.archival == there.archival


def test_workers_raise_the_same_errors_as_this_process(pool: MakePool, tmp_path: Path) -> None:
    workers = pool()
    for photo in (b"no photo", PHOTO[:500], bytes(21 * 2**20), b"%PDF-1.7" + bytes(100)):
        with pytest.raises(ImageError) as here:
            decode(photo)
        with pytest.raises(ImageError) as there:
            workers.prepare(photo, WANTED)
        assert (there.value.code, str(there.value)) == (here.value.code, str(here.value))
    with pytest.raises(PhotoReadError, match="no file"):
        workers.prepare(tmp_path / "missing.jpg", WANTED)


@LINUX
def test_photo_over_processor_time_limit_ends_its_worker(pool: MakePool) -> None:
    workers = pool(processor_s=0.05)
    workers.start(1)
    (before,) = workers.process_ids()
    code, message = refusal(workers, LARGE)
    assert code == "unsupported"
    assert "more than 0.05 s of processor time" in message
    assert not is_running(before)
    workers.start(1)
    assert workers.process_ids() != [before], "the worker was not replaced"


def test_photo_over_elapsed_time_limit_ends_its_worker(pool: MakePool) -> None:
    workers = pool(wall_s=0.01)
    code, message = refusal(workers, LARGE)
    assert code == "unsupported"
    assert "0.01 s in total" in message


@LINUX
def test_photo_over_memory_limit_is_rejected(pool: MakePool) -> None:
    workers = pool(memory_mb=64)
    code, message = refusal(workers, LARGE)
    assert code == "too_many_pixels"
    assert "needs more memory" in message
    assert workers.prepare(PHOTO, WANTED).crops is not None, "the worker ended"
    (worker,) = workers.process_ids()
    limits = Path(f"/proc/{worker}/limits").read_text("ascii")
    assert "unlimited" not in next(x for x in limits.splitlines() if "address space" in x)


@LINUX
def test_slow_photo_does_not_block_other_workers(pool: MakePool) -> None:
    workers = pool(workers=2)
    workers.start(2)
    with ThreadPoolExecutor(1) as threads:
        slow = threads.submit(workers.prepare, LARGE, WANTED)
        wait_until(lambda: slow.done() or any(map(is_decoding, workers.process_ids())))
        assert workers.prepare(PHOTO, WANTED).crops is not None
        assert slow.result(120).crops is not None


def test_worker_killed_by_the_system_is_replaced(pool: MakePool) -> None:
    workers = pool()
    for _ in range(3):
        workers.start(1)
        (worker,) = workers.process_ids()
        os.kill(worker, signal.SIGKILL)
        wait_until(functools.partial(has_ended, worker))
        assert workers.prepare(PHOTO, WANTED).crops is not None


def test_workers_ignore_signals_to_their_group(pool: MakePool) -> None:
    workers = pool()
    workers.start(1)
    (worker,) = workers.process_ids()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        os.kill(worker, number)
    assert workers.prepare(PHOTO, WANTED).crops is not None
    assert workers.process_ids() == [worker]


def test_workers_see_no_secrets(pool: MakePool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TENSIGHT_TELEGRAM_TOKEN", "1:secret")
    workers = pool()
    workers.start(1)
    (worker,) = workers.process_ids()
    environment = Path(f"/proc/{worker}/environ")
    if not environment.is_file():
        pytest.skip("the environment of a process is read from /proc")
    assert b"secret" not in environment.read_bytes()


def test_close_ends_workers_and_waiting_callers(pool: MakePool) -> None:
    workers = pool()
    workers.start(1)
    ids = workers.process_ids()
    started = threading.Event()

    def ask() -> object:
        started.set()
        return workers.prepare(LARGE, WANTED)

    with ThreadPoolExecutor(2) as threads:
        asked = [threads.submit(ask) for _ in range(2)]
        started.wait(120)
        workers.close()
        errors = [each.exception(120) for each in asked]
    assert all(isinstance(error, UnavailableError | ImageError) for error in errors)
    assert not any(is_running(each) for each in ids)
    with pytest.raises(UnavailableError, match="closed"):
        workers.prepare(PHOTO, WANTED)


def test_workers_end_when_their_parent_is_killed(tmp_path: Path) -> None:
    program = (
        "import sys, time\n"
        "from core.photos.limits import PhotoLimits\n"
        "from core.photos.pool import PhotoPool\n"
        "pool = PhotoPool(PhotoLimits(), workers=2)\n"
        "pool.start(2)\n"
        "print(*pool.process_ids(), flush=True)\n"
        "time.sleep(600)\n"
    )
    parent = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    workers = [int(each) for each in parent.stdout.readline().split()]
    assert len(workers) == 2
    parent.kill()
    parent.wait()
    parent.stdout.close()
    wait_until(lambda: not any(map(is_running, workers)))


def test_worker_that_cannot_start_is_reported(
    pool: MakePool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", "/usr/bin/false")
    workers = pool()
    with pytest.raises(UnavailableError, match="cannot be started"):
        workers.start(1)
    with pytest.raises(UnavailableError, match="cannot be started"):
        workers.prepare(PHOTO, WANTED)
    monkeypatch.undo()
    assert workers.prepare(PHOTO, WANTED).crops is not None


def test_small_photos_are_prepared_inline_on_request(pool: MakePool) -> None:
    workers = pool(inline_pixels=1_000_000)
    assert workers.prepare(PHOTO, WANTED).crops is not None
    assert refusal(workers, b"no photo")[0] == "not_an_image"
    assert workers.process_ids() == []
    assert workers.prepare(encoded(drawings.ship(64, 48), "AVIF"), WANTED).crops is not None
    assert len(workers.process_ids()) == 1


def has_ended(process: int) -> bool:
    return not is_running(process)


def is_decoding(process: int) -> bool:
    """Return whether a process uses much memory, as while it decodes a large photo."""
    pages = int(Path(f"/proc/{process}/statm").read_text("ascii").split()[1])
    return pages * 4096 > 100 * 2**20
