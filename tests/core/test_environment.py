"""Environment variables that libraries convert without a check."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from core.environment import (
    HUB_NUMBERS,
    PAGE_NUMBERS,
    drop_invalid_variables,
    invalid_hub_variable,
)
from core.errors import DataError, HubError, SettingsError
from core.registry import hub
from tests.conftest import ROOT
from tests.support.command_line import run_tensight
from tests.support.servers import free_port, wait_until_it_answers


@pytest.fixture(autouse=True)
def _no_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (*PAGE_NUMBERS, *HUB_NUMBERS, "GRADIO_TEMP_DIR", "HF_ENDPOINT"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize(
    ("library", "known"), [("gradio", PAGE_NUMBERS), ("huggingface_hub", HUB_NUMBERS)]
)
def test_all_numbers_that_a_library_reads_are_known(library: str, known: tuple[str, ...]) -> None:
    found = find_spec(library)
    assert found is not None
    assert found.origin is not None
    names = set()
    for file in Path(found.origin).parent.glob("*.py"):
        text = file.read_text("utf-8")
        names |= set(re.findall(r"int\(\s*os\.(?:getenv|environ\.get)\(\s*\"(\w+)", text))
        names |= set(re.findall(r"int\(os\.environ\[\"(\w+)", text))
    assert names <= set(known)


@pytest.mark.parametrize("name", [*PAGE_NUMBERS, *HUB_NUMBERS])
def test_invalid_number_is_dropped_and_named(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, "8")
    assert drop_invalid_variables() == []
    assert os.environ[name] == "8"
    monkeypatch.setenv(name, "abc")
    (told,) = drop_invalid_variables()
    assert told == f"The environment variable {name}=abc is ignored: it must be a whole number."
    assert name not in os.environ
    monkeypatch.setenv(name, "")
    assert drop_invalid_variables() == []
    assert name not in os.environ


def test_word_for_no_limit_is_valid(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRADIO_DEFAULT_CONCURRENCY_LIMIT", "None")
    assert drop_invalid_variables() == []
    assert os.environ["GRADIO_DEFAULT_CONCURRENCY_LIMIT"] == "None"


def test_folder_that_cannot_be_created_is_dropped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path / "new"))
    assert drop_invalid_variables() == []
    (tmp_path / "file").touch()
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path / "file" / "new"))
    (told,) = drop_invalid_variables()
    assert "GRADIO_TEMP_DIR=" in told
    assert "GRADIO_TEMP_DIR" not in os.environ


@pytest.mark.parametrize("value", ["http://[::1", "http://user:sekret@host:port"])
def test_hub_address_that_breaks_the_import_of_gradio_is_reported(
    value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_ENDPOINT", value)
    with pytest.raises(SettingsError, match=r"variable HF_ENDPOINT=.* is invalid") as told:
        drop_invalid_variables()
    assert "sekret" not in str(told.value)


@pytest.mark.parametrize("value", ["not-a-url", "", "http://"])
def test_other_invalid_hub_address_is_left_to_the_hub(
    value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_ENDPOINT", value)
    assert drop_invalid_variables() == []
    assert os.environ["HF_ENDPOINT"] == value
    assert invalid_hub_variable() is not None


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *((name, "x") for name in HUB_NUMBERS),
        *(
            ("HF_ENDPOINT", value)
            for value in ("not-a-url", "", "http://", "http://[::1", "ftp://h")
        ),
        ("HF_ENDPOINT", "user:sekret@host"),
        ("HF_ENDPOINT", "http://user:sekret@host:port"),
    ],
)
def test_hub_names_an_invalid_variable(
    name: str, value: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert invalid_hub_variable() is None
    monkeypatch.setenv(name, value)
    with pytest.raises(HubError, match=f"The environment variable {name}=.* is invalid") as told:
        hub.resolve_commit("a/b", "main", token=None)
    assert "sekret" not in str(told.value)
    with pytest.raises(HubError, match=f"The environment variable {name}="):
        hub.publish(tmp_path, [], repo="a/b", token=None, message="x", tag=None, private=False)
    with pytest.raises(DataError, match=f"The environment variable {name}="):
        hub.fetch_dataset("a/b", "*", cache=tmp_path / "cache")


def test_commands_that_need_the_hub_say_one_sentence() -> None:
    for command, status in ((["list"], 0), (["list", "--remote", "--repo", "a/b"], 1)):
        run = run_tensight("models", *command, HF_HUB_DOWNLOAD_TIMEOUT="x")
        assert run.returncode == status, run.stderr
        assert len(run.stderr.splitlines()) == status


def test_invalid_backend_of_plots_does_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("keras")
    monkeypatch.setenv("MPLBACKEND", "x")
    code = "from core.cli.console import prepare_training as p; p(); import matplotlib"
    subprocess.run(
        [sys.executable, "-c", code], env=os.environ | {"PYTHONPATH": str(ROOT)}, check=True
    )


def test_page_and_service_start_with_invalid_variables(tmp_path: Path) -> None:
    variables = dict.fromkeys((*PAGE_NUMBERS, *HUB_NUMBERS, "WEB_CONCURRENCY"), "abc")
    variables |= {"GRADIO_TEMP_DIR": "/dev/null/x", "HF_ENDPOINT": "x", "OMP_NUM_THREADS": "x"}
    variables |= {"GRADIO_SERVER_PORT": "", "MPLBACKEND": "x", "TF_CPP_MIN_LOG_LEVEL": "x"}
    dead = "http://127.0.0.1:9"
    variables |= {"HTTP_PROXY": dead, "HTTPS_PROXY": dead, "ALL_PROXY": "socks://127.0.0.1:9/"}
    variables |= {"NO_PROXY": "[::1]", "SSL_CERT_FILE": "/gone", "SSLKEYLOGFILE": "/dev/null/keys"}
    for front in ("web", "serve"):
        port, log = free_port(), tmp_path / front
        with log.open("wb") as stream:
            server = subprocess.Popen(
                [sys.executable, "-m", "core.cli", front, "--port", str(port)],
                env=os.environ | {"PYTHONPATH": str(ROOT)} | variables,
                stdout=stream,
                stderr=stream,
            )
        try:
            wait_until_it_answers(f"http://127.0.0.1:{port}/healthz", server, log)
        finally:
            server.terminate()
            assert server.wait(300) == 0
        assert "Traceback" not in log.read_text()
    assert "GRADIO_DEBUG=abc is ignored" in (tmp_path / "web").read_text()
