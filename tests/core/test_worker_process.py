from __future__ import annotations

import json
import logging
import sys

import pytest

from core.worker_process import run_worker


def python(program: str) -> tuple[str, ...]:
    return sys.executable, "-c", program


def test_worker_gets_its_input_and_no_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TENSIGHT_TELEGRAM_TOKEN", "s3cret")
    program = "import json, os, sys\nprint(json.dumps([sys.stdin.read(), [*os.environ.values()]]))"
    output = run_worker(python(program), b"a photo", timeout_s=120, task="Copying")
    assert output is not None
    content, environment = json.loads(output)
    assert content == "a photo"
    assert "s3cret" not in environment


@pytest.mark.parametrize(
    ("command", "timeout_s", "logged"),
    [
        (python("raise SystemExit('it is broken')"), 120.0, "Drawing: failed"),
        (("no-such-program",), 120.0, "Drawing: failed"),
        (python("while True: pass"), 0.3, "Drawing: not done within"),
    ],
    ids=["failure", "missing program", "hang"],
)
def test_failure_of_a_worker_is_logged(
    command: tuple[str, ...], timeout_s: float, logged: str, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.ERROR):
        assert run_worker(command, b"", timeout_s=timeout_s, task="Drawing") is None
    assert caplog.messages[0].startswith(logged)
    if "broken" in str(command):
        assert "it is broken" in caplog.messages[0]
