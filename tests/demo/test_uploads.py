"""The folder of uploads: deletion by age, limited size, and folders of killed processes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from demo.uploads import UploadFolder, upload_folder
from tests.conftest import ROOT
from tests.support.servers import wait_for

_HOLD = """
import sys
from demo.uploads import upload_folder
with upload_folder(max_age_s=300, max_bytes=100) as folder:
    (folder.path / "photo.jpg").write_bytes(b"x")
    print(folder.path, flush=True)
    sys.stdin.read()
"""


def aged(path: Path, seconds: float) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"x" * 10)
    moment = time.time() - seconds
    os.utime(path, (moment, moment))
    return path


def test_sweep_deletes_old_files_of_any_origin(tmp_path: Path) -> None:
    folder = UploadFolder(tmp_path, max_age_s=300, max_bytes=1000)
    kept = aged(tmp_path / "built.png", 9000)
    folder.exempt_existing_files()
    old = [aged(tmp_path / name, 301) for name in ("tmp1", "a/photo.jpg", "a/b/c", ".hidden")]
    young = [aged(tmp_path / name, 200) for name in ("tmp2", "d/photo.jpg")]
    future = aged(tmp_path / "later", -3600)
    folder.sweep()
    assert [path.exists() for path in [*old, future]] == [False] * 5
    assert all(path.exists() for path in [kept, *young])
    for path in (tmp_path / "a" / "b", tmp_path / "a"):
        os.utime(path, (0, 0))
        folder.sweep()
        assert not path.exists()


def test_sweep_measures_what_remains(tmp_path: Path) -> None:
    folder = UploadFolder(tmp_path, max_age_s=300, max_bytes=100)
    assert folder.reserve(100)
    assert not folder.reserve(1)
    aged(tmp_path / "young", 1)
    folder.sweep()
    assert not folder.reserve(91)
    assert folder.reserve(90)


def passes(folder: Path, seconds: float) -> None:
    """Make all files older."""
    for path in folder.rglob("*"):
        written = path.stat().st_mtime - seconds
        os.utime(path, (written, written))


def test_renewed_files_outlive_a_slow_upload_of_others(tmp_path: Path) -> None:
    folder = UploadFolder(tmp_path, max_age_s=300, max_bytes=1000)
    first, other = (aged(tmp_path / name, 240) for name in ("first.jpg", "other.jpg"))
    folder.renew([first, tmp_path / "gone.jpg"])
    assert time.time() - first.stat().st_mtime < 60
    aged(other, 301)
    folder.sweep()
    assert (first.exists(), other.exists()) == (True, False)
    passes(tmp_path, 301)
    folder.sweep()
    assert not first.exists()


def test_files_are_renewed_for_an_hour_unless_written_again(tmp_path: Path) -> None:
    folder = UploadFolder(tmp_path, max_age_s=300, max_bytes=1000)
    path = aged(tmp_path / "photo.jpg", 3590)
    folder.renew([path])
    young = path.stat().st_mtime
    kept = aged(tmp_path / "old.jpg", 3700)
    folder.renew([kept])
    assert kept.stat().st_mtime < young - 3600
    aged(kept, 250)  # uploaded again
    folder.renew([kept])
    assert kept.stat().st_mtime >= young


def test_renewed_files_leave_room_for_others(tmp_path: Path) -> None:
    folder = UploadFolder(tmp_path, max_age_s=300, max_bytes=50)
    paths = [aged(tmp_path / f"{i}.jpg", 200) for i in range(3)]
    for _ in range(2):
        folder.renew(paths)
        renewed = [time.time() - path.stat().st_mtime < 100 for path in paths]
        assert renewed == [True, True, False]
    paths[0].unlink()
    folder.sweep()
    folder.renew(paths)
    assert time.time() - paths[2].stat().st_mtime < 100


def test_old_files_are_swept_while_the_page_runs(tmp_path: Path) -> None:
    folder = UploadFolder(tmp_path, max_age_s=0.05, max_bytes=100)
    with folder.swept(0.02):
        path = tmp_path / "tmpabc"
        path.write_bytes(b"broken off")
        wait_for(lambda: not path.exists())


def hold(parent: Path) -> tuple[subprocess.Popen[str], Path]:
    process = subprocess.Popen(
        [sys.executable, "-c", _HOLD],
        env=os.environ | {"TMPDIR": str(parent), "PYTHONPATH": str(ROOT)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    return process, Path(process.stdout.readline().strip())


def test_folder_of_a_killed_process_is_deleted_at_the_next_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    killed, left = hold(tmp_path)
    living, theirs = hold(tmp_path)
    try:
        killed.send_signal(signal.SIGKILL)
        killed.wait(60)
        assert (left / "photo.jpg").exists()
        monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
        with upload_folder(max_age_s=300, max_bytes=100) as own:
            assert not left.parent.exists()
            assert (theirs / "photo.jpg").exists(), "its process lives"
            assert own.path.is_dir()
        assert not own.path.exists()
    finally:
        living.communicate()
        killed.communicate()
    assert list(tmp_path.glob("tensight-uploads-*")) == []


def test_folder_about_to_be_locked_by_another_process_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    new, old, link = (tmp_path / f"tensight-uploads-{name}" for name in ("new", "old", "link"))
    new.mkdir()
    old.mkdir()
    os.utime(old, (0, 0))
    target = aged(tmp_path / "elsewhere" / "file", 9000)
    link.symlink_to(target.parent)
    with upload_folder(max_age_s=300, max_bytes=100):
        assert [new.exists(), old.exists(), target.exists()] == [True, False, True]
