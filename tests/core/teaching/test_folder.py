"""Folders of labelled photos."""

from __future__ import annotations

from pathlib import Path

import pytest

from core.errors import TeachingError
from core.teaching.folder import read_folder


@pytest.mark.parametrize("content", ["", "nothing,here\nx,y\n", "file,label\n"])
def test_invalid_table_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "labels.csv").write_text(content)
    with pytest.raises(TeachingError, match=r"labels\.csv"):
        read_folder(tmp_path)


def test_folder_without_classes_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TeachingError, match="has no folders with photos"):
        read_folder(tmp_path)
    with pytest.raises(TeachingError, match="cannot be read"):
        read_folder(tmp_path / "missing")


def test_folders_are_classes_and_hidden_files_are_left_out(tmp_path: Path) -> None:
    for name in ("cat/b.jpg", "cat/a.jpg", "dog/c.jpg", "cat/.hidden", ".git/d.jpg", "cat/sub/e"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "readme.txt").touch()
    photos = [(each.label, each.name) for each in read_folder(tmp_path)]
    assert photos == [("cat", "cat/a.jpg"), ("cat", "cat/b.jpg"), ("dog", "dog/c.jpg")]


def test_table_names_each_photo_once(tmp_path: Path) -> None:
    (tmp_path / "ignored").mkdir()
    (tmp_path / "labels.csv").write_text("\ufefffile,label\nb.jpg,dog\na.jpg,cat\nb.jpg,dog\n")
    photos = [(each.label, each.name) for each in read_folder(tmp_path)]
    assert photos == [("cat", "a.jpg"), ("dog", "b.jpg")]
