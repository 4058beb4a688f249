"""A model folder: open, verify and write it."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from core._version import __version__
from core.bundle.config import CONFIG, METRICS, Config, first_problem
from core.bundle.metrics import Metrics
from core.errors import BundleError

__all__ = ["BUNDLED", "Bundle", "find_bundles", "write_bundle"]

BUNDLED = "bundled"
"""In place of a revision: whichever lies in TENSIGHT_MODELS, also after TenSight was updated."""


@dataclass(frozen=True)
class Bundle:
    """A model folder that was opened; config.json is valid, other files are checked when read.

    Attributes:
        folder: Where it lies.
        config: Its config.json.
        revision: Which one this is: the first 12 hex digits of config.json's SHA-256, which in turn
            covers all other files.
    """

    folder: Path
    config: Config
    revision: str

    @classmethod
    def open(cls, folder: Path) -> Bundle:
        """Read config.json.

        Raises:
            BundleError: It is missing or wrong, or asks for a newer TenSight.
        """
        try:
            text = (folder / CONFIG).read_bytes()
        except OSError as error:
            raise BundleError(
                f"{folder} is no model folder: {CONFIG} cannot be read ({error.strerror})."
            ) from error
        try:
            config = Config.model_validate_json(text)
        except ValidationError as error:
            raise BundleError(f"{folder / CONFIG} is wrong: {first_problem(error)}") from error
        if config.name != folder.name:
            raise BundleError(
                f"The model in {folder} calls itself {config.name!r}; folder and name must agree."
            )
        if _numbers(config.minimum_version) > _numbers(__version__):
            raise BundleError(
                f"The model in {folder} needs TenSight {config.minimum_version} or newer; this is "
                f"{__version__}. Update TenSight."
            )
        return cls(folder, config, hashlib.sha256(text).hexdigest()[:12])

    def read(self, name: str) -> bytes:
        """Bytes of one file, after its digest matched.

        Raises:
            BundleError: The file is missing, has no digest in config.json, or was changed.
        """
        digest = self.config.sha256.get(name)
        if digest is None:
            raise BundleError(f"{self.folder / CONFIG} gives no digest of {name}.")
        try:
            content = (self.folder / name).read_bytes()
        except OSError as error:
            raise BundleError(
                f"{self.folder / name} cannot be read ({error.strerror}). Fetch the model again."
            ) from error
        if hashlib.sha256(content).hexdigest() != digest:
            raise BundleError(
                f"{self.folder / name} is not the file that config.json describes: its SHA-256 "
                "differs. Fetch the model again."
            )
        return content

    def metrics(self) -> Metrics:
        """The figures of metrics.json.

        Raises:
            BundleError: The file is missing, changed or wrong.
        """
        try:
            return Metrics.model_validate_json(self.read(METRICS))
        except ValidationError as error:
            raise BundleError(
                f"{self.folder / METRICS} is wrong: {first_problem(error)}"
            ) from error

    def verify(self) -> None:
        """Check every file.

        Raises:
            BundleError: A file is missing, changed, or not named in config.json.
        """
        for name in self.config.sha256:
            self.read(name)
        found = {file.name for file in self.folder.iterdir()}
        if unknown := sorted(found - set(self.config.sha256) - {CONFIG}):
            raise BundleError(
                f"{self.folder} holds files that config.json does not name: {', '.join(unknown)}."
            )


def find_bundles(folder: Path) -> list[Path]:
    """Model folders below a folder, by name; none where the folder is not there."""
    return sorted(config.parent for config in folder.glob(f"[!.]*/{CONFIG}"))


def write_bundle(folder: Path, config: Config, files: dict[str, bytes]) -> Bundle:
    """Write a model folder, replacing the one of that name as a whole.

    Args:
        folder: Where to; its name must be that of the model.
        config: Its config.json; the digests in it are made anew from `files`.
        files: Content of every other file by name.

    Raises:
        BundleError: What was written does not verify; the old folder is still in place.
    """
    digests = {name: hashlib.sha256(content).hexdigest() for name, content in sorted(files.items())}
    try:
        config = Config.model_validate(config.model_dump() | {"sha256": digests})
    except ValidationError as error:
        raise BundleError(f"{folder} cannot be written: {first_problem(error)}") from error
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".new-", dir=folder.parent) as scratch:
        new = Path(scratch) / folder.name
        new.mkdir()
        for name, content in files.items():
            (new / name).write_bytes(content)
        text = json.dumps(
            config.model_dump(mode="json", exclude_none=True), indent=2, ensure_ascii=False
        )
        (new / CONFIG).write_text(text + "\n", "utf-8")
        Bundle.open(new).verify()
        # Outside the scratch folder: whatever happens between the two renames, it is not wiped.
        old = folder.with_name(f".old-{folder.name}")
        if old.exists() and not folder.exists():
            old.rename(folder)  # an earlier write was killed there
        shutil.rmtree(old, ignore_errors=True)
        if folder.exists():
            folder.rename(old)
        try:
            new.rename(folder)
        except BaseException:
            if old.exists():
                old.rename(folder)
            raise
        shutil.rmtree(old, ignore_errors=True)
    return Bundle.open(folder)


def _numbers(version: str) -> tuple[int, ...]:
    numbers = re.match(r"(\d+)\.(\d+)\.(\d+)", version)
    if numbers is None:
        raise BundleError(f"{version!r} is no version; it begins with three numbers, as 1.2.3.")
    return tuple(map(int, numbers.groups()))
