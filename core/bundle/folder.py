"""Bundles, the model folders: opening, verifying and writing them."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import ValidationError

from core._version import __version__
from core.bundle.config import CONFIG, METRICS, Config, first_problem
from core.errors import BundleError

if TYPE_CHECKING:
    from core.bundle.metrics import Metrics

__all__ = ["BUNDLED", "Bundle", "find_bundles", "write_bundle"]

BUNDLED = "bundled"
"""Placeholder for the revision in TENSIGHT_MODELS, whichever it is, also after an upgrade."""


@dataclass(frozen=True)
class Bundle:
    """An opened model folder. Its config.json is valid; other files are verified when read.

    Attributes:
        folder: Path of the folder.
        config: Content of config.json.
        revision: The first 12 hex digits of the SHA-256 of config.json. Since config.json holds
            the digests of all other files, it identifies the whole content.
    """

    folder: Path
    config: Config
    revision: str

    @classmethod
    def open(cls, folder: Path) -> Bundle:
        """Open a model folder and validate its config.json.

        Args:
            folder: Path of the folder; its name must be the name of the model.

        Raises:
            BundleError: config.json is missing or invalid, or requires a newer TenSight version.
        """
        try:
            text = (folder / CONFIG).read_bytes()
        except OSError as error:
            raise BundleError(
                f"{folder} is not a model folder: {CONFIG} cannot be read ({error.strerror}). "
                "Check the path, or download the model again."
            ) from error
        try:
            config = Config.model_validate_json(text)
        except ValidationError as error:
            raise BundleError(f"{folder / CONFIG} is invalid: {first_problem(error)}") from error
        if config.name != folder.name:
            raise BundleError(
                f"{folder / CONFIG} names the model {config.name!r}. The folder and the model must "
                "have the same name: rename the folder."
            )
        if _parse_version(config.minimum_version) > _parse_version(__version__):
            raise BundleError(
                f"The model in {folder} needs TenSight {config.minimum_version} or newer; this is "
                f"{__version__}. Update TenSight."
            )
        return cls(folder, config, hashlib.sha256(text).hexdigest()[:12])

    def read(self, name: str) -> bytes:
        """Read one file and verify its digest.

        Args:
            name: Name of the file in the folder.

        Raises:
            BundleError: The file is missing, has no digest in config.json, or does not match it.
        """
        digest = self.config.sha256.get(name)
        if digest is None:
            raise BundleError(
                f"{self.folder / CONFIG} has no digest for {name}. Download the model again."
            )
        try:
            content = (self.folder / name).read_bytes()
        except OSError as error:
            raise BundleError(
                f"{self.folder / name} cannot be read ({error.strerror}). Download the model again."
            ) from error
        if hashlib.sha256(content).hexdigest() != digest:
            raise BundleError(
                f"{self.folder / name} is corrupt: its SHA-256 differs from the digest in "
                f"{CONFIG}. Download the model again."
            )
        return content

    def metrics(self) -> Metrics:
        """Read and validate metrics.json.

        Raises:
            BundleError: The file is missing, does not match its digest, or is invalid.
        """
        from core.bundle.metrics import Metrics  # noqa: PLC0415  # models load without it

        try:
            metrics = Metrics.model_validate_json(self.read(METRICS))
        except ValidationError as error:
            raise BundleError(
                f"{self.folder / METRICS} is invalid: {first_problem(error)}"
            ) from error
        taught = metrics.taught
        if (taught is None) != (self.config.base is None) or (
            taught is not None and len(taught.photos) != len(self.config.labels)
        ):
            raise BundleError(
                f"{self.folder / METRICS} does not fit {CONFIG}: a taught model has the number of "
                "photos of each label, and others have none. Download the model again."
            )
        return metrics

    def verify(self) -> None:
        """Verify the digest of every file.

        Raises:
            BundleError: A file is missing, does not match its digest, or has none in config.json.
        """
        for name in self.config.sha256:
            self.read(name)
        names = {file.name for file in self.folder.iterdir()}
        if unknown := sorted(names - set(self.config.sha256) - {CONFIG}):
            raise BundleError(
                f"{self.folder} contains files without a digest in {CONFIG}: "
                f"{', '.join(unknown)}. Remove them, or download the model again."
            )


def find_bundles(folder: Path) -> list[Path]:
    """List the model folders directly below a folder, sorted by name.

    Hidden folders are skipped. The list is empty where the folder does not exist.
    """
    return sorted(config.parent for config in folder.glob(f"[!.]*/{CONFIG}"))


def write_bundle(folder: Path, config: Config, files: dict[str, bytes]) -> Bundle:
    """Write a model folder, atomically replacing an existing one.

    Args:
        folder: Target path; its name must be the name of the model.
        config: Content of config.json; its digests are computed from `files`.
        files: Content of every other file, by name.

    Returns:
        The opened bundle.

    Raises:
        BundleError: The new folder does not verify; an existing folder is left unchanged.
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
        # The backup is kept outside the scratch folder, so that it survives a crash between the
        # two renames.
        old = folder.with_name(f".old-{folder.name}")
        if old.exists() and not folder.exists():
            old.rename(folder)  # an earlier write was killed between the two renames
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


def _parse_version(version: str) -> tuple[int, ...]:
    numbers = re.match(r"(\d+)\.(\d+)\.(\d+)", version)
    if numbers is None:
        raise BundleError(f"{version!r} is not a version; expected three numbers, such as 1.2.3.")
    return tuple(map(int, numbers.groups()))
