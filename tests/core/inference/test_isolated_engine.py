from __future__ import annotations

import gc
import sys
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from core.bundle.folder import Bundle
from core.errors import BundleError, EngineStartError, EngineStoppedError
from core.inference.backbone import load_engine
from core.inference.isolated_engine import IsolatedEngine
from tests.conftest import ROOT
from tests.support.rollouts import fake_engine_worker
from tests.support.servers import wait_for

MODEL = ROOT / "models" / "baseline"
CLASSES = 10


@pytest.fixture(scope="module")
def images() -> NDArray[np.float32]:
    spec = Bundle.open(MODEL).config.input
    pixels = np.random.default_rng(0).random((3, spec.height, spec.width, 3))
    return pixels.astype(np.float32)


def engine(code: str, *, answer_timeout_s: float = 60.0) -> IsolatedEngine:
    command = fake_engine_worker(code)
    return IsolatedEngine(
        MODEL, classes=CLASSES, threads=1, command=command, answer_timeout_s=answer_timeout_s
    )


def python(code: str) -> tuple[str, ...]:
    """Return the command line of a program that can write a message."""
    imports = "import os, sys, time; from core.messages import write_message; "
    return sys.executable, "-c", imports + code


def test_isolated_engine_computes_what_the_engine_computes(images: NDArray[np.float32]) -> None:
    plain = load_engine(Bundle.open(MODEL), threads=1)
    isolated = IsolatedEngine(MODEL, classes=CLASSES, threads=1)
    assert (isolated.features, isolated.has_features) == (plain.features, plain.has_features)
    outputs, expected = isolated.run(images), plain.run(images)
    np.testing.assert_array_equal(outputs.logits, expected.logits)
    np.testing.assert_array_equal(outputs.embedding, expected.embedding)
    np.testing.assert_array_equal(isolated.explain(images[:1]), plain.explain(images[:1]))
    np.testing.assert_array_equal(isolated.features_of(images[:1]), plain.features_of(images[:1]))


def test_images_of_another_shape_are_refused_and_stop_nothing(images: NDArray[np.float32]) -> None:
    isolated = IsolatedEngine(MODEL, classes=CLASSES, threads=1)
    with pytest.raises(BundleError, match="cannot run on images of shape") as refused:
        isolated.run(images[:, :5])
    assert not isinstance(refused.value, EngineStoppedError)
    assert len(isolated.run(images).logits) == len(images)


@pytest.mark.parametrize(
    "code",
    [
        "os._exit(1)",
        "sys.exit('Out of memory')",
        "os.kill(os.getpid(), 9)",
        "answer({'seconds': 0, 'shapes': [[3, 10]]}, bytes(120))",
        "answer({'seconds': 0, 'shapes': [[3, 10], [3, 4]]}, bytes(168))",
        "answer({'seconds': 0, 'shapes': [[3, 10], [3, 3]]}, bytes(155))",
        "answer({'seconds': 0, 'shapes': [[3, -1], [3, 3]]}, bytes(156))",
        "answer({'seconds': 0, 'shapes': 'many'})",
        "answer({'seconds': float('nan'), 'shapes': [[3, 10], [3, 3]]}, bytes(156))",
        "answer({'seconds': -1, 'shapes': [[3, 10], [3, 3]]}, bytes(156))",
        "answer({'shapes': [[3, 10], [3, 3]]}, bytes(156))",
        "answer({})",
        "sys.stdout.buffer.write(b'x' * 99); sys.stdout.buffer.flush()",
        "sys.stdout.buffer.write(b'\\xff' * 99); sys.stdout.buffer.flush()",
    ],
)
def test_model_that_crashes_or_answers_nonsense_is_stopped(
    images: NDArray[np.float32], code: str
) -> None:
    stopped = engine(code)
    with pytest.raises(EngineStoppedError, match="baseline crashed, or did not answer"):
        stopped.run(images)
    with pytest.raises(EngineStoppedError):
        stopped.explain(images)


def test_transfer_time_is_not_counted_as_inference(images: NDArray[np.float32]) -> None:
    slow = engine(
        "time.sleep(0.2)\nanswer({'seconds': 0.1, 'shapes': [[3, 10], [3, 3]]}, bytes(156))"
    )
    assert slow.run(images).logits.shape == (3, 10)
    first = slow.transfer_s
    assert first >= 0.1
    slow.run(images)
    assert slow.transfer_s >= first + 0.1


def test_last_words_of_a_crashed_model_are_part_of_the_error(images: NDArray[np.float32]) -> None:
    with pytest.raises(EngineStoppedError, match="Out of memory"):
        engine("sys.exit('first line\\nOut of memory')").run(images)


def test_model_that_hangs_is_stopped(images: NDArray[np.float32], tmp_path: Path) -> None:
    note = tmp_path / "pid"
    hangs = f"open({str(note)!r}, 'w').write(str(os.getpid())); time.sleep(600)"
    stopped = engine(hangs, answer_timeout_s=1.0)
    with pytest.raises(EngineStoppedError, match="did not answer in 1 s"):
        stopped.run(images)
    assert not Path(f"/proc/{note.read_text()}").exists()


def test_model_that_cannot_be_loaded_says_why(tmp_path: Path) -> None:
    with pytest.raises(
        BundleError, match=r"is not a model folder: config\.json cannot be read"
    ) as reported:
        IsolatedEngine(tmp_path / "gone", classes=CLASSES, threads=1)
    assert not isinstance(reported.value, EngineStartError), "the worker says so itself"


@pytest.mark.parametrize(
    ("command", "reason"),
    [
        (("/no/such/program",), "No such file"),
        (python("os.kill(os.getpid(), 9)"), "it was ended"),
        (python("sys.exit('Out of memory')"), "Out of memory"),
        (python("write_message(sys.stdout.buffer, {'features': 'many'})"), "many"),
        (python("write_message(sys.stdout.buffer, {'features': 1e999})"), "infinity"),
    ],
    ids=["cannot be started", "killed", "ends", "writes nonsense", "writes infinity"],
)
def test_worker_start_failure_does_not_blame_the_model(
    command: tuple[str, ...], reason: str
) -> None:
    with pytest.raises(EngineStartError, match=reason):
        IsolatedEngine(MODEL, classes=CLASSES, threads=1, command=command)


def test_worker_start_timeout_does_not_blame_the_model() -> None:
    command = python("time.sleep(600)")
    with pytest.raises(EngineStartError, match="not ready within 1 s"):
        IsolatedEngine(MODEL, classes=CLASSES, threads=1, command=command, start_timeout_s=1.0)


def test_worker_ends_with_its_engine(images: NDArray[np.float32]) -> None:
    used = engine("answer({'error': str(os.getpid())})")
    with pytest.raises(BundleError) as reported:
        used.run(images)
    process = Path(f"/proc/{reported.value}")
    assert process.exists()
    del used, reported
    gc.collect()
    wait_for(lambda: not process.exists())
