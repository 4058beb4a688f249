"""Photos of a batch: uploads and files of zip archives."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest

from core.errors import ImageError
from core.photos.decode import MAX_BYTES
from demo.classify_many import ZipError, list_photos


def archive(folder: Path, files: dict[str, bytes]) -> Path:
    path = folder / "photos.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as written:
        for name, content in files.items():
            written.writestr(name, content)
    return path


def test_archive_is_listed_without_folders_and_hidden_files(tmp_path: Path) -> None:
    path = archive(
        tmp_path,
        {"a.jpg": b"1", "in/b.jpg": b"2", ".DS_Store": b"3", "__MACOSX/._a.jpg": b"4", "in/": b""},
    )
    photos = list_photos([str(tmp_path / "single.jpg"), str(path)])
    assert [each.name for each in photos] == ["single.jpg", "a.jpg", "b.jpg"]
    assert [photos[1].content(), photos[2].content()] == [b"1", b"2"]
    assert photos[0].content() == str(tmp_path / "single.jpg")


def test_file_of_an_archive_is_bounded_in_size(tmp_path: Path) -> None:
    (bomb,) = list_photos([str(archive(tmp_path, {"bomb.jpg": bytes(MAX_BYTES + 1)}))])
    with pytest.raises(ImageError) as told:
        bomb.content()
    assert told.value.code == "too_large"


def test_damaged_file_of_an_archive_is_an_image_error(tmp_path: Path) -> None:
    path = archive(tmp_path, {"a.jpg": b"x" * 1000})
    (photo,) = list_photos([str(path)])
    content = bytearray(path.read_bytes())
    content[40:44] = b"\xff\xff\xff\xff"
    path.write_bytes(content)
    with pytest.raises(ImageError):
        photo.content()


def test_non_archive_is_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / "broken.zip"
    path.write_bytes(b"no archive at all")
    with pytest.raises(ZipError, match=r"broken\.zip cannot be opened"):
        list_photos([str(path)])
