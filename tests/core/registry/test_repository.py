"""Models in the tree of a commit on the Hub."""

from __future__ import annotations

import pytest

from core.errors import HubError
from core.registry.hub import Commit, RemoteFile
from core.registry.repository import models_in

MODEL = ("shapes/config.json", "shapes/model.tflite")


def commit(*paths: str, size: int = 10) -> Commit:
    files = tuple(RemoteFile(path, size, "0" * 40, None) for path in paths)
    return Commit("owner/models", "0" * 40, files)


def test_files_are_grouped_by_model_and_others_ignored() -> None:
    others = ("README.md", ".cache/config.json", "docs/page.md", "shapes/old/config.json")
    models = models_in(commit(*MODEL, *others, "b/config.json", "b/head.npz"))
    found = {name: [file.path for file in files] for name, files in models.items()}
    assert found == {"shapes": list(MODEL), "b": ["b/config.json", "b/head.npz"]}


@pytest.mark.parametrize(
    ("paths", "message"),
    [
        (("README.md",), "contains no model"),
        (("shapes/config.json",), "shapes in owner/models has no model.tflite"),
        ((*MODEL, "shapes/../../x"), "outside its folder"),
        ((*MODEL, "/etc/passwd"), "outside its folder"),
        ((*MODEL, "shapes\\x"), "outside its folder"),
        ((*MODEL, "shapes/a\u202eb"), "invisible characters"),
        ((*MODEL, "shapes/" + "a" * 200), "too long"),
        ((*MODEL, *(f"shapes/{i}" for i in range(1000))), "the limits are 1,000 files"),
    ],
    ids=[
        *("no model", "no weights", "parent folder", "absolute path", "backslash"),
        *("hidden character", "long path", "many files"),
    ],
)
def test_unusable_tree_is_refused_with_a_reason(paths: tuple[str, ...], message: str) -> None:
    with pytest.raises(HubError, match=message):
        models_in(commit(*paths))


@pytest.mark.parametrize(("size", "message"), [(5 * 2**20, "config.json"), (2**31, "bytes; the")])
def test_oversized_files_are_refused_before_download(size: int, message: str) -> None:
    with pytest.raises(HubError, match=message):
        models_in(commit(*MODEL, size=size))
