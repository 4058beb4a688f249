"""Read, prepare and embed the photos that a classifier is taught with."""

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
    MAX_TOTAL_PHOTOS,
    check_classes,
    check_counts,
    class_name,
    comparison_key,
)
from core.teaching.stored_examples import HASH_BYTES, StoredExamples, views_that_fit
from core.teaching.views import preview_side, views_of
from core.text import printable

__all__ = ["Collected", "Embed", "LabelledPhoto", "SkippedPhoto", "collect", "sender_hash"]

Embed = Callable[[Sequence[NDArray[np.uint8]]], NDArray[np.float32]]
"""Computes embeddings, shape (n, d), of images of the base's input size, (height, width, 3)."""

# Number of photos that are in memory at a time.
_CHUNK_PHOTOS = 16
_NO_SENDER = bytes(HASH_BYTES)


@dataclass(frozen=True)
class LabelledPhoto:
    """A photo to learn from.

    Attributes:
        label: Name of its class.
        photo: Content or path of its file, or a function that returns the content when it is
            needed, so that not all photos are in memory; it is called in a thread, and raises
            PhotoReadError where there is no content.
        name: Name shown to people, such as the file name.
        sender: Key of the person who sent it; None where nobody needs to be named.
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
    """Photos that can be learned from, and which others were left out.

    Attributes:
        examples: The different, readable photos, with the classes in alphabetical order.
        names: Their names shown to people, in the order of the examples.
        skipped: Photos that cannot be read.
        duplicates: Number of photos whose pixels equal those of another photo of their class.
    """

    examples: StoredExamples
    names: tuple[str, ...]
    skipped: tuple[SkippedPhoto, ...]
    duplicates: int


@dataclass(frozen=True)
class _EmbeddedPhoto:
    """A photo that can be learned from, with the embeddings of all its views."""

    label: str
    name: str
    embeddings: NDArray[np.float16]
    sender: bytes
    photo: bytes


def sender_hash(key: bytes, sender: str | None) -> bytes:
    """Return the keyed hash of a sender, 16 bytes; zeros without a sender."""
    return _NO_SENDER if sender is None else _keyed_hash(key, b"sender", sender.encode())


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
        embed: Computes the base's embeddings.
        pool: Decodes the photos.
        key: Key of the hashes of senders and photos.
        complete: Whether these are all photos of a new classifier, so that too few classes or
            photos are refused; otherwise they are added to those of an existing one.
        progress: Called with the number of photos that are done, and their total number.

    Raises:
        TeachingError: Names or numbers of photos are not accepted, or a photo is in two classes.
    """
    names = {photo.label: class_name(photo.label) for photo in photos}
    classes = sorted(dict.fromkeys(names.values()), key=lambda name: (comparison_key(name), name))
    if complete:
        check_classes(classes)
    if not photos:
        raise TeachingError("no_photos", "There is no photo to learn from. Add photos.")
    rows: dict[bytes, _EmbeddedPhoto] = {}
    skipped: list[SkippedPhoto] = []
    counts = dict.fromkeys(classes, 0)
    duplicates = 0
    for done, (photo, found) in enumerate(_embed_photos(photos, base, embed, pool, key), 1):
        if isinstance(found, SkippedPhoto):
            skipped.append(found)
        elif found.photo in rows:
            duplicates += 1
            _refuse_two_classes(rows[found.photo], found, photo)
        else:
            rows[found.photo] = found
            counts[found.label] += 1
            if counts[found.label] > MAX_PHOTOS or len(rows) > MAX_TOTAL_PHOTOS:
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
        _to_stored_examples(ordered, classes, base),
        tuple(row.name for row in ordered),
        tuple(skipped),
        duplicates,
    )


def _embed_photos(
    photos: Sequence[LabelledPhoto],
    base: TeachingBase,
    embed: Embed,
    pool: PhotoPool,
    key: bytes,
) -> Iterator[tuple[LabelledPhoto, _EmbeddedPhoto | SkippedPhoto]]:
    """Yield each photo with its embeddings, or with the reason why it is skipped."""
    preparation = Preparation(base.input, preview=preview_side(base.input))

    def prepare(photo: LabelledPhoto) -> tuple[bytes, list[NDArray[np.uint8]]] | SkippedPhoto:
        try:
            content = photo.photo() if callable(photo.photo) else photo.photo
            views = views_of(pool.prepare(content, preparation), base.input)
        except (ImageError, PhotoReadError) as error:
            return SkippedPhoto(printable(photo.name), str(error))
        return _keyed_hash(key, b"photo", views[0].tobytes()), views

    with ThreadPoolExecutor(pool.workers) as threads:
        for start in range(0, len(photos), _CHUNK_PHOTOS):
            chunk = photos[start : start + _CHUNK_PHOTOS]
            for photo, prepared in zip(chunk, threads.map(prepare, chunk), strict=True):
                if isinstance(prepared, SkippedPhoto):
                    yield photo, prepared
                    continue
                content, views = prepared
                # One call for each photo: in larger batches, the rounding of its embeddings would
                # depend on the other photos, and so on their order.
                embeddings = embed(views).astype(np.float16)
                yield (
                    photo,
                    _EmbeddedPhoto(
                        class_name(photo.label),
                        printable(photo.name),
                        embeddings,
                        sender_hash(key, photo.sender),
                        content,
                    ),
                )


def _refuse_two_classes(
    first: _EmbeddedPhoto, second: _EmbeddedPhoto, photo: LabelledPhoto
) -> None:
    if first.label != second.label:
        raise TeachingError(
            "two_classes",
            f"The photo {second.name} of the class {second.label!r} shows exactly what "
            f"{first.name} of {first.label!r} shows. Remove it from one of the classes.",
            first.label,
            second.label,
            printable(photo.name),
        )


def _to_stored_examples(
    rows: Sequence[_EmbeddedPhoto], classes: Sequence[str], base: TeachingBase
) -> StoredExamples:
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


def _keyed_hash(key: bytes, kind: bytes, content: bytes) -> bytes:
    # BLAKE2b accepts keys of up to 64 bytes only.
    hash_key = hashlib.sha256(key).digest()
    return hashlib.blake2b(content, key=hash_key, digest_size=HASH_BYTES, person=kind).digest()
