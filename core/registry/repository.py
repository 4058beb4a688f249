"""Models in the tree of a commit on the Hub."""

from __future__ import annotations

from core.bundle.config import CONFIG, HEAD, METRICS, MODEL
from core.errors import HubError
from core.registry.hub import Commit, RemoteFile
from core.text import has_hidden, printable

__all__ = ["models_in"]

_MAX_FILES = 1000
_MAX_PATH = 200  # characters
_MAX_BYTES = 2 * 2**30
_MAX_JSON_BYTES = 4 * 2**20


def models_in(commit: Commit) -> dict[str, list[RemoteFile]]:
    """Group the files of a commit by model folder, and check names, number and sizes.

    Files outside model folders are ignored.

    Raises:
        HubError: A path leaves its folder, there is no complete model, or a limit is exceeded.
    """
    _check_paths(commit)
    parts = [(file, file.path.split("/")) for file in commit.files]
    names = sorted(
        path[0] for _, path in parts if len(path) == 2 and path[1] == CONFIG and path[0][0] != "."
    )
    models = {
        name: [file for file, path in parts if len(path) == 2 and path[0] == name] for name in names
    }
    if not models:
        raise HubError(
            f"{commit.repo} contains no model: none of its folders has a {CONFIG}. Publish models "
            "with `tensight models push`."
        )
    for name, files in models.items():
        if not any(file.path in (f"{name}/{MODEL}", f"{name}/{HEAD}") for file in files):
            raise HubError(f"{name} in {commit.repo} has no {MODEL}. Publish it again.")
    _check_sizes(commit.repo, [file for each in models.values() for file in each])
    return models


def _check_paths(commit: Commit) -> None:
    for file in commit.files:
        if ".." in file.path.split("/") or "\\" in file.path or file.path.startswith("/"):
            raise HubError(
                f"{commit.repo} contains a file named {file.path!r}, which would be written "
                "outside its folder. Nothing was changed. Do not use this repository."
            )
        if has_hidden(file.path) or len(file.path) > _MAX_PATH:
            raise HubError(
                f"{commit.repo} contains a file named {printable(file.path)!r}: the name is too "
                "long or contains invisible characters. Nothing was changed. Do not use this "
                "repository."
            )


def _check_sizes(repo: str, files: list[RemoteFile]) -> None:
    size = sum(file.size for file in files)
    if len(files) > _MAX_FILES or size > _MAX_BYTES:
        raise HubError(
            f"The models of {repo} have {len(files):,} files and {size:,} bytes; the limits "
            f"are {_MAX_FILES:,} files and {_MAX_BYTES:,} bytes. Nothing was changed."
        )
    for file in files:
        # These files are parsed in this process, before the subprocess probes the model.
        if file.path.endswith((f"/{CONFIG}", f"/{METRICS}")) and file.size > _MAX_JSON_BYTES:
            raise HubError(
                f"{file.path} of {repo} has {file.size:,} bytes; the limit is "
                f"{_MAX_JSON_BYTES:,}. Nothing was changed. Do not use this repository."
            )
