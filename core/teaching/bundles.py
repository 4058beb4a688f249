"""Write the model folders of taught models, and install them together with their base."""

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
    """Write the model folder of a taught model. Equal heads and metrics give equal folders.

    Args:
        folder: Target path; its name is that of the model.
        base: Base that the head was learned on.
        classes: Names of the classes.
        learned: The head.
        findings: Its evaluation.
        title: Name shown to people.
        command: Command that made the model, for its metadata.
        seconds: Duration of learning, in seconds; rounded up to minutes.
        offered: Whether page and bot list it for selection.
    """
    base_config, counts = base.bundle.config, findings.taught.photos
    date = datetime.now(UTC).date().isoformat()
    data = f"{sum(counts):,} photos of {len(classes)} classes, on the model {base_config.name}"
    config = Config(
        schema_version=2,
        name=folder.name,
        title=title,
        description=f"Taught with {data}.",
        family="taught",
        labels=tuple(classes),
        input=base_config.input,
        views=base_config.views,
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
            license=base_config.training.license,
            hardware=_hardware(),
            date=date,
            commit=__version__,
        ),
        minimum_version=FORMAT_SINCE,
    )
    metrics = Metrics(
        test=findings.split,
        validation=findings.split,
        curves=(),
        parameters=_count_parameters(learned),
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
    return write_bundle(folder, config, _bundle_files(config, metrics, learned.head))


def rename_taught(bundle: Bundle, folder: Path, *, offered: bool) -> Bundle:
    """Write a taught model under another name.

    Args:
        bundle: The model.
        folder: Target path; its name is the new one.
        offered: Whether page and bot list it for selection.
    """
    config = bundle.config.model_copy(update={"name": folder.name, "offered": offered})
    return write_bundle(folder, config, _bundle_files(config, bundle.metrics(), bundle.read(HEAD)))


def install_taught(
    home: Path,
    base: TeachingBase,
    bundle: Bundle,
    *,
    on_installed: Callable[[], None] | None = None,
) -> Bundle:
    """Install a taught model as a candidate, and its base once.

    Args:
        home: TENSIGHT_HOME.
        base: Base of the model.
        bundle: The model folder.
        on_installed: Called once both are installed, before other processes may delete revisions.

    Raises:
        OutputError: TENSIGHT_HOME cannot be written.
    """
    store = RevisionStore(home)
    date = datetime.now(UTC).isoformat(timespec="seconds")
    with store.staging() as staging:
        drafts = []
        for source in (base.bundle, bundle):
            if source is base.bundle and _is_installed(store, base):
                continue
            copy = staging / source.config.name
            copy.mkdir()
            for file in (CONFIG, *source.config.sha256):
                shutil.copyfile(source.folder / file, copy / file)
            drafts.append(StoredRevision(Bundle.open(copy), None, None, date))
        with store.changing():
            installed = [replace(draft, bundle=store.add(draft)) for draft in drafts]
            if on_installed is not None:
                on_installed()
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
    ascii_title = unicodedata.normalize("NFKD", title).encode("ascii", "ignore").decode().lower()
    name = re.sub("[^a-z0-9]+", "-", ascii_title).strip("-")[:40].rstrip("-")
    return name if name and not is_private(name) else "classifier"


def _is_installed(store: RevisionStore, base: TeachingBase) -> bool:
    return any(each.config.sha256.get(MODEL) == base.reference.sha256 for each in store.bundles())


def _bundle_files(config: Config, metrics: Metrics, head: bytes) -> dict[str, bytes]:
    return {
        HEAD: head,
        METRICS: (metrics.model_dump_json(indent=2) + "\n").encode(),
        CARD: (_HEADER + card(config, metrics)).encode(),
    }


def _hardware() -> str:
    return f"{processors()} × {processor_name()}"


def _count_parameters(learned: LearnedHead) -> int:
    """Return the number of weights and biases of a head."""
    arrays = read_arrays(learned.head, ("weights", "bias"), max_bytes=len(learned.head))
    return int(arrays["weights"].size + arrays["bias"].size)
