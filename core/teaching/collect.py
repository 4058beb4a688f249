"""From photos to embeddings: read, prepare and embed what a classifier is to be taught with."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from core.errors import ImageError, PhotoReadError, TeachingError
from core.photos.pool import PhotoPool
from core.photos.prepare import Preparation
from core.teaching.base import TeachingBase
from core.teaching.limits import (
    MAX_PHOTOS,
    MAX_PHOTOS_IN_ALL,
    check_classes,
    check_counts,
    class_name,
    comparable,
)
from core.teaching.stored_examples import HASH_BYTES, StoredExamples, views_that_fit
from core.teaching.views import preview_side, views_of
from core.text import printable

__all__ = ["Collected", "Embed", "LabelledPhoto", "SkippedPhoto", "collect", "sender_hash"]

Embed = Callable[[Sequence[NDArray[np.uint8]]], NDArray[np.float32]]
"""Computes embeddings, shape (n, d), of images of the base's input size, (height, width, 3)."""

_AT_ONCE = 16
_NOBODY = bytes(HASH_BYTES)


@dataclass(frozen=True)
class LabelledPhoto:
    """A photo to learn from.

    Attributes:
        label: Name of its class.
        photo: Content or path of its file, or a function that returns the content when it is
            needed, so that not all photos are in memory; it is called in a thread, and raises
            PhotoReadError where there is no content.
        name: What people know it by, such as its file name.
        sender: Key of the person who sent it; None for nobody in particular.
    """

    label: str
    photo: bytes | Path | Callable[[], bytes]
    name: str
    sender: str | None = None


@dataclass(frozen=True)
class SkippedPhoto:
    """A photo that cannot be used, and why."""

    name: str
    reason: str


@dataclass(frozen=True)
class Collected:
    """Photos that can be learned from, and what became of the others.

    Attributes:
        examples: The different, readable photos, with the classes in alphabetical order.
        names: What people know them by, in the order of the examples.
        skipped: Photos that cannot be read.
        duplicates: Number of photos that show exactly what another one of their class shows.
    """

    examples: StoredExamples
    names: tuple[str, ...]
    skipped: tuple[SkippedPhoto, ...]
    duplicates: int


@dataclass(frozen=True)
class _Row:
    label: str
    name: str
    embeddings: NDArray[np.float16]
    sender: bytes
    photo: bytes


def sender_hash(key: bytes, sender: str | None) -> bytes:
    """Return the keyed hash that stands for a sender, 16 bytes; zeros for nobody."""
    return _NOBODY if sender is None else _keyed(key, b"sender", sender.encode())


def collect(
    photos: Sequence[LabelledPhoto],
    base: TeachingBase,
    embed: Embed,
    pool: PhotoPool,
    key: bytes,
    *,
    complete: bool = True,
    progress: Callable[[int, int], None] | None = None,
) -> Collected:
    """Prepare and embed photos.

    Args:
        photos: The photos.
        base: The model to teach on.
        embed: Computes its embeddings.
        pool: Decodes the photos.
        key: Key of the hashes of senders and photos.
        complete: Whether these are all photos of a new classifier, so that too few classes or
            photos are refused; otherwise they are added to others.
        progress: Called with the number of photos that are done, and of all.

    Raises:
        TeachingError: Names or numbers of photos are not accepted, or a photo is in two classes.
    """
    names = {photo.label: class_name(photo.label) for photo in photos}
    classes = sorted(dict.fromkeys(names.values()), key=lambda name: (comparable(name), name))
    if complete:
        check_classes(classes)
    if not photos:
        raise TeachingError("no_photos", "There is no photo to learn from. Add photos.")
    rows: dict[bytes, _Row] = {}
    skipped: list[SkippedPhoto] = []
    counts = dict.fromkeys(classes, 0)
    duplicates = 0
    for done, (photo, found) in enumerate(_embedded(photos, base, embed, pool, key), 1):
        if isinstance(found, SkippedPhoto):
            skipped.append(found)
        elif found.photo in rows:
            duplicates += 1
            _refuse_two_classes(rows[found.photo], found, photo)
        else:
            rows[found.photo] = found
            counts[found.label] += 1
            if counts[found.label] > MAX_PHOTOS or len(rows) > MAX_PHOTOS_IN_ALL:
                check_counts({found.label: counts[found.label]})
                check_counts(counts)
        if progress is not None:
            progress(done, len(photos))
    if complete:
        check_counts(counts)
    if not rows:
        raise TeachingError(
            "no_photos",
            f"None of the photos can be read: {skipped[0].name}: {skipped[0].reason}",
            *(each.name for each in skipped),
        )
    ordered = sorted(rows.values(), key=lambda row: (classes.index(row.label), row.photo))
    return Collected(
        _stored(ordered, classes, base),
        tuple(row.name for row in ordered),
        tuple(skipped),
        duplicates,
    )


def _embedded(
    photos: Sequence[LabelledPhoto],
    base: TeachingBase,
    embed: Embed,
    pool: PhotoPool,
    key: bytes,
) -> Iterator[tuple[LabelledPhoto, _Row | SkippedPhoto]]:
    """Yield each photo with its embeddings, or with the reason why it is skipped."""
    wanted = Preparation(base.input, preview=preview_side(base.input))

    def prepare(photo: LabelledPhoto) -> tuple[bytes, list[NDArray[np.uint8]]] | SkippedPhoto:
        try:
            content = photo.photo() if callable(photo.photo) else photo.photo
            views = views_of(pool.prepare(content, wanted), base.input)
        except (ImageError, PhotoReadError) as error:
            return SkippedPhoto(printable(photo.name), str(error))
        return _keyed(key, b"photo", views[0].tobytes()), views

    with ThreadPoolExecutor(pool.workers) as threads:
        for start in range(0, len(photos), _AT_ONCE):
            some = photos[start : start + _AT_ONCE]
            for photo, prepared in zip(some, threads.map(prepare, some), strict=True):
                if isinstance(prepared, SkippedPhoto):
                    yield photo, prepared
                    continue
                content, views = prepared
                # All views of one photo and no others, so that neither depends on the order.
                embeddings = embed(views).astype(np.float16)
                yield (
                    photo,
                    _Row(
                        class_name(photo.label),
                        printable(photo.name),
                        embeddings,
                        sender_hash(key, photo.sender),
                        content,
                    ),
                )


def _refuse_two_classes(first: _Row, second: _Row, photo: LabelledPhoto) -> None:
    if first.label != second.label:
        raise TeachingError(
            "two_classes",
            f"The photo {second.name} of the class {second.label!r} shows exactly what "
            f"{first.name} of {first.label!r} shows. Remove it from one of the classes.",
            first.label,
            second.label,
            printable(photo.name),
        )


def _stored(rows: Sequence[_Row], classes: Sequence[str], base: TeachingBase) -> StoredExamples:
    embeddings = np.stack([row.embeddings for row in rows])
    views = min(embeddings.shape[1], views_that_fit(len(rows), embeddings.shape[2]))
    return StoredExamples(
        tuple(classes),
        embeddings[:, :views],
        np.asarray([classes.index(row.label) for row in rows], np.int64),
        np.frombuffer(b"".join(row.sender for row in rows), np.uint8).reshape(-1, HASH_BYTES),
        np.frombuffer(b"".join(row.photo for row in rows), np.uint8).reshape(-1, HASH_BYTES),
        base.reference.sha256,
    )


def _keyed(key: bytes, kind: bytes, content: bytes) -> bytes:
    # A key of BLAKE2b has at most 64 bytes.
    short = hashlib.sha256(key).digest()
    return hashlib.blake2b(content, key=short, digest_size=HASH_BYTES, person=kind).digest()
