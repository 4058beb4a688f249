"""Problems of the environment are reported in one line: .env files, home folder, full disks."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from core.errors import SettingsError
from core.settings import Settings
from tests.conftest import ROOT

needs_full = pytest.mark.skipif(not Path("/dev/full").exists(), reason="only Linux has /dev/full")

# A command that only reads imports everything before the rights are given up: the project and its
# environment may lie where only root may read.
NOBODY = """
import contextlib, io, os, sys
import core.cli.main, core.cli.predict, core.locale, core.serving.connect
command, sys.argv[1:] = sys.argv[1:], ["config"]
with contextlib.redirect_stdout(io.StringIO()), contextlib.suppress(SystemExit):
    core.cli.main.main()
sys.argv[1:] = command
os.environ.pop("HOME", None), os.environ.pop("XDG_DATA_HOME", None)
if os.geteuid() == 0:
    os.setgroups([]), os.setgid(54321), os.setuid(54321)
sys.argv[0] = "tensight"
core.cli.main.main()
"""


def tensight(
    *arguments: str, program: Sequence[str] = ("-m", "core.cli"), **options: Any
) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if name != "TENSIGHT_HOME"}
    streams: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.run(
        [sys.executable, *program, *arguments],
        env=environment | {"PYTHONPATH": str(ROOT)},
        text=True,
        check=False,
        **(streams | options),
    )


def is_one_line(run: subprocess.CompletedProcess[str], status: int, *, message: str) -> None:
    (line,) = run.stderr.splitlines()
    assert message in line
    assert run.returncode == status


@pytest.mark.parametrize(
    "content",
    [
        "TENSIGHT_MODEL=classic\n".encode("utf-16"),
        "TENSIGHT_MODEL=classic\n".encode("utf-16-le"),
        "TENSIGHT_MODEL=café\n".encode("latin-1"),
    ],
    ids=["utf-16", "utf-16 without its mark", "latin-1"],
)
def test_non_utf8_env_file_is_reported(tmp_path: Path, content: bytes) -> None:
    (tmp_path / ".env").write_bytes(content)
    run = tensight("config", cwd=tmp_path)
    is_one_line(run, 2, message=f"{tmp_path / '.env'} is not UTF-8 text")


def test_env_file_with_byte_order_mark_is_read(tmp_path: Path) -> None:
    (tmp_path / ".env").write_bytes(b"\xef\xbb\xbfTENSIGHT_PORT=1234\n")
    assert Settings.read().port == 1234


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
@pytest.mark.parametrize("kind", ["pipe", "link to a pipe", "device"])
def test_env_file_that_is_not_regular_is_reported(tmp_path: Path, kind: str) -> None:
    os.mkfifo(tmp_path / "pipe")
    file = tmp_path / ".env"
    if kind == "pipe":
        (tmp_path / "pipe").rename(file)
    else:
        file.symlink_to(tmp_path / "pipe" if "pipe" in kind else "/dev/zero")
    with pytest.raises(SettingsError, match=r"\.env is a pipe or a device"):
        Settings.read()


@pytest.mark.skipif(os.devnull != "/dev/null", reason="this system has no /dev/null")
def test_env_file_that_is_the_null_device_is_ignored(tmp_path: Path) -> None:
    (tmp_path / ".env").symlink_to(os.devnull)
    assert Settings.read().port == 7860


def test_env_folder_is_ignored(tmp_path: Path) -> None:
    (tmp_path / ".env").mkdir()
    assert Settings.read().port == 7860


@pytest.mark.parametrize("command", [["config"], ["predict", "photo.jpg"]])
def test_user_without_home_folder_is_reported(tmp_path: Path, command: list[str]) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can become a user without a line in passwd")
    run = tensight(*command, program=("-c", NOBODY), cwd="/")
    is_one_line(run, 2, message="TENSIGHT_HOME is not set, and this user has no home folder")


def test_unreadable_env_file_is_reported(tmp_path: Path) -> None:
    file = tmp_path / ".env"
    file.write_text("TENSIGHT_PORT=1\n")
    file.chmod(0)
    if os.geteuid() != 0:
        with pytest.raises(SettingsError, match=r"cannot be read: Permission denied"):
            Settings.read()
        return
    code = NOBODY.replace('sys.argv[0] = "tensight"', "")
    code = code.replace("if os", f"os.chdir({str(tmp_path)!r})\nif os")
    run = tensight("config", program=("-c", code))
    is_one_line(run, 2, message="cannot be read: Permission denied")


@pytest.mark.parametrize("token", ["hf_sekretsekret", "123456:sekretsekretsekretsekret"])
@pytest.mark.parametrize("command", [["predict", "photo.jpg"], ["models", "list"], ["config"]])
def test_token_in_the_wrong_variable_is_masked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: list[str], token: str
) -> None:
    monkeypatch.setenv("TENSIGHT_MODEL", token)
    run = tensight(*command, cwd=tmp_path)
    assert "sekret" not in run.stdout + run.stderr
    if command[0] == "predict":
        is_one_line(run, 2, message="There is no model '**********'")


@needs_full
@pytest.mark.parametrize(
    "command",
    [["config"], ["--version"], ["--help"], ["models", "list"], ["models", "list", "--json"]],
)
def test_full_disk_under_stdout_is_reported(tmp_path: Path, command: list[str]) -> None:
    with Path("/dev/full").open("w") as full:
        run = tensight(*command, stdout=full, cwd=tmp_path)
    is_one_line(run, 1, message="The output cannot be written: No space left on device")


@pytest.mark.parametrize("closed", [1, 2])
def test_closed_output_stream_is_not_an_error(tmp_path: Path, closed: int) -> None:
    code = f"import os, sys; os.close({closed}); os.execv(sys.executable, sys.argv[1:])"
    again = (sys.executable, "-m", "core.cli", "config")
    run = tensight(*again, program=("-c", code), cwd=tmp_path)
    assert (run.returncode, run.stderr) == (0, "")


@needs_full
def test_full_disk_under_stderr_keeps_the_exit_status(tmp_path: Path) -> None:
    with Path("/dev/full").open("w") as full:
        assert tensight("predict", "missing.jpg", stderr=full, cwd=tmp_path).returncode == 1
        both = tensight("config", stdout=full, stderr=full, cwd=tmp_path)
    assert both.returncode == 1
