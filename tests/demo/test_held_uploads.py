"""Requests that keep the uploads of a visitor; tests/demo/test_guard.py sends them to the page."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
from starlette.applications import Starlette
from starlette.testclient import TestClient

from core.teaching.limits import MAX_TOTAL_PHOTOS
from demo.context import ClientRateLimiter
from demo.guard import HELD_PATH
from demo.held_uploads import HeldUploads
from demo.uploads import UploadFolder

OLD_S = 200.0


@pytest.fixture
def folder(tmp_path: Path) -> UploadFolder:
    path = tmp_path / "uploads"
    path.mkdir()
    return UploadFolder(path, max_age_s=300, max_bytes=1000)


def client(folder: UploadFolder, address: str = "192.0.2.1", per_minute: int = 10) -> TestClient:
    held = HeldUploads(folder, ClientRateLimiter(per_minute, clock=lambda: 0.0))
    return TestClient(Starlette(routes=[held.route]), client=(address, 1))


def old(path: Path) -> Path:
    path.write_bytes(b"x")
    os.utime(path, (time.time() - OLD_S,) * 2)
    return path


def is_renewed(path: Path) -> bool:
    return time.time() - path.lstat().st_mtime < OLD_S - 1


def test_link_out_of_the_folder_is_not_followed(folder: UploadFolder, tmp_path: Path) -> None:
    outside = old(tmp_path / "outside.jpg")
    link, photo = folder.path / "link.jpg", old(folder.path / "photo.jpg")
    link.symlink_to(outside)
    os.utime(link, (time.time() - OLD_S,) * 2, follow_symlinks=False)
    sent = [str(link), str(folder.path / "gone.jpg"), str(photo)]
    assert client(folder).post(HELD_PATH, json=sent).json() == {}
    assert [is_renewed(each) for each in (photo, link, outside)] == [True, False, False]


def test_as_many_paths_as_photos_to_teach_are_accepted(folder: UploadFolder) -> None:
    photo = old(folder.path / "photo.jpg")
    sent = [str(photo)] * MAX_TOTAL_PHOTOS
    assert client(folder).post(HELD_PATH, json=sent).status_code == 200
    assert is_renewed(photo)


def test_request_beyond_the_rate_renews_nothing(folder: UploadFolder) -> None:
    limited = client(folder, per_minute=2)
    for _ in range(2):
        assert limited.post(HELD_PATH, json=[]).status_code == 200
    photo = old(folder.path / "photo.jpg")
    refused = limited.post(HELD_PATH, json=[str(photo)])
    assert refused.status_code == 429
    assert refused.headers["Retry-After"] == "60"
    assert not is_renewed(photo)


def test_refusal_of_malformed_paths_says_what_to_send(folder: UploadFolder) -> None:
    answer = client(folder).post(HELD_PATH, content=b"photo.jpg")
    assert answer.status_code == 400
    assert answer.json()["error"]["message"] == "Send the paths of uploads as a JSON list."


def test_only_post_is_accepted(folder: UploadFolder) -> None:
    assert client(folder).get(HELD_PATH).status_code == 405
