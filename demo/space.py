"""Build the page as a Space for the Hugging Face Hub, and publish it."""

from __future__ import annotations

import re
import shutil
import tempfile
from collections.abc import Iterable
from importlib import metadata
from pathlib import Path

import core
import demo
from core.bundle.folder import Bundle, find_bundles
from core.errors import ModelNotFoundError, SettingsError
from core.output import new_folder
from core.registry import hub
from core.settings import Settings

__all__ = ["build", "push", "space_requirements"]

# Python version of the Space; Spaces offer it, and the project supports it.
_PYTHON = "3.12"
_EXTRAS = ("charts", "heif", "postgres", "teach")
_LEFT_OUT = ("__pycache__", "*.pyc", "training")

_README = """---
title: TenSight
emoji: 📷
colorFrom: indigo
colorTo: blue
sdk: gradio
sdk_version: {gradio}
python_version: "{python}"
app_file: app.py
pinned: false
license: mit
short_description: What is in a photo, how sure that is, and when not
{models}---

# TenSight

Tells which of a few kinds of things a photo shows, how sure it is, and when it shows none of them.
Made by `tensight space build`; it answers with {answers}.
"""

_APP = '''"""Starts the page; made by `tensight space build`."""

import os
from pathlib import Path

HERE = Path(__file__).parent
SETTINGS = {{
    "TENSIGHT_HOST": "0.0.0.0",
    "TENSIGHT_PORT": "7860",
    "TENSIGHT_MODELS": str(HERE / "models"),
    # Visitors come through a server of the Hub's, which adds who they are.
    "TENSIGHT_PROXIES": "1",
{hub}}}
for name, value in SETTINGS.items():
    os.environ.setdefault(name, value)

from core.environment import drop_invalid_variables  # after the settings

for dropped in drop_invalid_variables():
    print(dropped)

try:
    import spaces
except ImportError:  # no ZeroGPU here
    pass
else:

    @spaces.GPU
    def unused():
        """ZeroGPU stops a Space without such a function; the models run on the processor."""


if __name__ == "__main__":
    from core.logs import configure_logging
    from core.settings import Settings
    from demo.app import serve

    settings = Settings.read()
    configure_logging(settings)
    serve(settings, host=settings.host, port=settings.port, open_browser=False, report=print)
'''


def build(settings: Settings, folder: Path) -> None:
    """Write the folder of a Space.

    It contains the models of the settings. If TENSIGHT_HUB_REPO is set, the Space also pulls the
    models of that repository when it starts, pinned to the current commit of TENSIGHT_HUB_REVISION.

    Args:
        settings: `models`, `hub_repo`, `hub_revision` and `hub_token` are used.
        folder: Folder to create; it may exist if it is empty.

    Raises:
        ModelNotFoundError: There is no model.
        BundleError: A model is damaged.
        HubError: The commit of the repository cannot be resolved.
        OutputError: The folder is not empty, or cannot be written.
    """
    bundles = [Bundle.open(each) for each in find_bundles(settings.models)]
    if not bundles:
        raise ModelNotFoundError(f"There is no model in {settings.models} for the Space.")
    for bundle in bundles:
        bundle.verify()
    source = models = ""
    answers = "the models in `models/`"
    if settings.hub_repo is not None:
        revision, token = settings.hub_revision, settings.hub_token
        commit = hub.resolve_commit(settings.hub_repo, revision, token=token).sha
        source = (
            f'    "TENSIGHT_HUB_REPO": "{settings.hub_repo}",\n'
            f'    "TENSIGHT_HUB_REVISION": "{commit}",\n'
        )
        models = f"models:\n  - {settings.hub_repo}\n"
        answers = f"the models of {settings.hub_repo}, commit {commit}"
    needed = space_requirements(metadata.requires("tensight") or [])
    texts = {
        "README.md": _README.format(
            gradio=metadata.version("gradio"), python=_PYTHON, models=models, answers=answers
        ),
        "app.py": _APP.format(hub=source),
        "requirements.txt": "".join(f"{each}\n" for each in needed),
    }
    with new_folder(folder) as new:
        for package in (core, demo):
            code = Path(package.__file__ or "").parent
            shutil.copytree(code, new / code.name, ignore=shutil.ignore_patterns(*_LEFT_OUT))
        for bundle in bundles:
            shutil.copytree(bundle.folder, new / "models" / bundle.folder.name)
        for file in settings.models.glob("*.json"):
            shutil.copyfile(file, new / "models" / file.name)
        for name, text in texts.items():
            (new / name).write_text(text, "utf-8")


def push(settings: Settings, repo: str, *, message: str, private: bool, bars: bool = False) -> str:
    """Build a Space and publish it; the Space is created if it does not exist.

    Args:
        settings: As for `build`; `hub_token` needs write access.
        repo: Space as `owner/name`.
        message: Commit message.
        private: Whether to create the Space as private.
        bars: Whether to show progress bars on stderr.

    Returns:
        The commit, 40 hex digits.

    Raises:
        SettingsError: `repo` is malformed.
        ModelNotFoundError, BundleError, HubError, OutputError: As in `build`.
    """
    if not re.fullmatch(r"[A-Za-z0-9][\w.-]*/[\w.-]+", repo):
        raise SettingsError(f"{repo!r} is not the name of a Space. Give it as OWNER/NAME.")
    with tempfile.TemporaryDirectory(prefix="tensight-space-") as scratch:
        folder = Path(scratch) / "space"
        build(settings, folder)
        files = [
            path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()
        ]
        return hub.publish(
            folder,
            sorted(files),
            repo,
            token=settings.hub_token,
            message=message,
            tag=None,
            private=private,
            space=True,
            bars=bars,
        )


def space_requirements(declared: Iterable[str]) -> list[str]:
    """Return the requirements of a Space, pinned to the installed versions.

    Args:
        declared: Requirements of the project, in the form of its metadata.
    """
    needed = set()
    for each in declared:
        what, _, marker = each.partition(";")
        name = re.match(r"[\w.-]+(\[[\w,-]+\])?", what.strip())
        extra = re.search(r"extra == .(\w+)", marker)
        if name is None or (extra is not None and extra[1] not in _EXTRAS):
            continue
        bare = name[0].partition("[")[0]
        try:
            needed.add(f"{name[0]}=={metadata.version(bare)}")
        except metadata.PackageNotFoundError:
            # An extra that is not installed: use its newest version.
            needed.add(name[0])
    return sorted(needed, key=str.lower)
