"""Make model folders of taught models, and install them with their base."""

from __future__ import annotations

import hashlib
import re
import shutil
import tempfile
import unicodedata
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from importlib import metadata
from io import BytesIO
from pathlib import Path

from core._version import __version__
from core.bundle.card import card
from core.bundle.config import (
    CARD,
    CONFIG,
    FORMAT_SINCE,
    HEAD,
    METRICS,
    MODEL,
    Config,
    Training,
    VerdictConfig,
)
from core.bundle.folder import Bundle, write_bundle
from core.bundle.metrics import Metrics, Provenance
from core.inference.npz import read_arrays
from core.registry.revisions import RevisionStore, StoredRevision
from core.registry.taught import is_private
from core.settings import processors
from core.system import processor_name
from core.teaching.base import TeachingBase
from core.teaching.learning import LearnedHead
from core.teaching.report import Findings

__all__ = [
    "folder_name",
    "install_taught",
    "rename_taught",
    "write_taught_bundle",
    "zip_taught",
]

_HEADER = """---
library_name: tensight
pipeline_tag: image-classification
tags:
- tensight
- taught
---

"""


def write_taught_bundle(
    folder: Path,
    base: TeachingBase,
    classes: Sequence[str],
    learned: LearnedHead,
    findings: Findings,
    *,
    title: str,
    command: str,
    seconds: float,
    offered: bool = True,
) -> Bundle:
    """Write the model folder of a taught model. Equal heads and figures give equal folders.

    Args:
        folder: Target path; its name is that of the model.
        base: What it was taught on.
        classes: Names of the classes.
        learned: The head.
        findings: What is known of it.
        title: Name for people.
        command: What it was made by.
        seconds: Duration of learning, in seconds; rounded up to minutes.
        offered: Whether page and bot list it for selection.
    """
    below, counts = base.bundle.config, findings.taught.photos
    date = datetime.now(UTC).date().isoformat()
    data = f"{sum(counts):,} photos of {len(classes)} classes, on the model {below.name}"
    config = Config(
        schema_version=2,
        name=folder.name,
        title=title,
        description=f"Taught with {data}.",
        family="taught",
        labels=tuple(classes),
        input=below.input,
        views=below.views,
        precision="float32",
        temperature=learned.temperature,
        offered=offered,
        verdict=VerdictConfig(
            method="center",
            none_below=learned.none_below,
            unsure_below=findings.unsure_below,
        ),
        base=base.reference,
        sha256={HEAD: hashlib.sha256(learned.head).hexdigest()},
        training=Training(
            recipe="teach",
            data=data,
            license=below.training.license,
            hardware=_hardware(),
            date=date,
            commit=__version__,
        ),
        minimum_version=FORMAT_SINCE,
    )
    figures = Metrics(
        test=findings.split,
        validation=findings.split,
        curves=(),
        parameters=_parameters(learned),
        bytes=len(learned.head),
        milliseconds=base.bundle.metrics().milliseconds,
        # The same photos taught again on the same day make the same revision.
        training_seconds=60.0 * (1 + seconds // 60),
        reported=None,
        taught=findings.taught,
        origin=Provenance(
            command=command,
            hardware=_hardware(),
            commit=__version__,
            date=date,
            versions={"scikit-learn": metadata.version("scikit-learn")},
        ),
    )
    return write_bundle(folder, config, _files(config, figures, learned.head))


def rename_taught(bundle: Bundle, folder: Path, *, offered: bool) -> Bundle:
    """Write a taught model under another name.

    Args:
        bundle: The model.
        folder: Target path; its name is the new one.
        offered: Whether page and bot list it for selection.
    """
    config = bundle.config.model_copy(update={"name": folder.name, "offered": offered})
    return write_bundle(folder, config, _files(config, bundle.metrics(), bundle.read(HEAD)))


def install_taught(
    home: Path,
    base: TeachingBase,
    bundle: Bundle,
    *,
    then: Callable[[], None] | None = None,
) -> Bundle:
    """Install a taught model as a candidate, and its base once.

    Args:
        home: TENSIGHT_HOME.
        base: What it was taught on.
        bundle: The model folder.
        then: Called once both are installed, before other processes may delete revisions.

    Raises:
        OutputError: TENSIGHT_HOME cannot be written.
    """
    store = RevisionStore(home)
    date = datetime.now(UTC).isoformat(timespec="seconds")
    with store.staging() as staging:
        drafts = []
        for each in (base.bundle, bundle):
            if each is base.bundle and _is_installed(store, base):
                continue
            copy = staging / each.config.name
            copy.mkdir()
            for file in (CONFIG, *each.config.sha256):
                shutil.copyfile(each.folder / file, copy / file)
            drafts.append(StoredRevision(Bundle.open(copy), None, None, date))
        with store.changing():
            installed = [replace(draft, bundle=store.add(draft)) for draft in drafts]
            if then is not None:
                then()
    return installed[-1].bundle


def zip_taught(bundle: Bundle, name: str) -> bytes:
    """Return a taught model as a zip file with one folder.

    Args:
        bundle: The model.
        name: Name of the model and the folder in the zip file.
    """
    buffer = BytesIO()
    with (
        tempfile.TemporaryDirectory(prefix="tensight-taught-") as scratch,
        zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive,
    ):
        folder = Path(scratch) / name
        rename_taught(bundle, folder, offered=True)
        for file in sorted(folder.iterdir()):
            archive.write(file, f"{name}/{file.name}")
    return buffer.getvalue()


def folder_name(title: str) -> str:
    """Return a name for a model folder that resembles a title."""
    plain = unicodedata.normalize("NFKD", title).encode("ascii", "ignore").decode().lower()
    name = re.sub("[^a-z0-9]+", "-", plain).strip("-")[:40].rstrip("-")
    return name if name and not is_private(name) else "classifier"


def _is_installed(store: RevisionStore, base: TeachingBase) -> bool:
    return any(each.config.sha256.get(MODEL) == base.reference.sha256 for each in store.bundles())


def _files(config: Config, figures: Metrics, head: bytes) -> dict[str, bytes]:
    return {
        HEAD: head,
        METRICS: (figures.model_dump_json(indent=2) + "\n").encode(),
        CARD: (_HEADER + card(config, figures)).encode(),
    }


def _hardware() -> str:
    return f"{processors()} × {processor_name()}"


def _parameters(learned: LearnedHead) -> int:
    """Return the number of weights and biases of a head."""
    arrays = read_arrays(learned.head, ("weights", "bias"), max_bytes=len(learned.head))
    return int(arrays["weights"].size + arrays["bias"].size)
