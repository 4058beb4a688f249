"""Content of examples.npz: embeddings and labels of the photos a model was taught with."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from core.errors import TeachingError
from core.inference.npz import CORRUPT, read_arrays, write_arrays
from core.teaching.examples import Examples
from core.teaching.limits import MAX_TOTAL_PHOTOS
from core.teaching.views import MAX_VIEWS

__all__ = ["HASH_BYTES", "StoredExamples", "views_that_fit"]

HASH_BYTES = 16
_MAX_BYTES = 8_000_000
_OTHER_ARRAYS_BYTES = 200_000
_ARRAY_NAMES = ("classes", "embeddings", "labels", "senders", "photos", "base")


@dataclass(frozen=True, eq=False)
class StoredExamples:
    """The stored embeddings and labels of the photos that a model was taught with.

    Attributes:
        classes: Names of the classes.
        embeddings: Shape (n, v, d), float16; the first view is the unchanged photo.
        labels: Indices of classes, shape (n,), int64.
        senders: Keyed hash of who sent each photo, shape (n, 16), uint8; zeros where nobody is
            named.
        photos: Keyed hash of what each photo shows, shape (n, 16), uint8.
        base: SHA-256 of the model.tflite that computed the embeddings.
    """

    classes: tuple[str, ...]
    embeddings: NDArray[np.float16]
    labels: NDArray[np.int64]
    senders: NDArray[np.uint8]
    photos: NDArray[np.uint8]
    base: str

    def __len__(self) -> int:
        return len(self.labels)

    def counts(self) -> dict[str, int]:
        """Return the number of photos of each class."""
        counts = np.bincount(self.labels, minlength=len(self.classes))
        return {name: int(n) for name, n in zip(self.classes, counts, strict=True)}

    def to_examples(self) -> Examples:
        """Return embeddings and labels for the learner."""
        return Examples(self.embeddings.astype(np.float32), self.labels)

    def take(self, rows: NDArray[np.int64]) -> StoredExamples:
        """Select photos.

        Args:
            rows: Indices of the photos, shape (m,).
        """
        return replace(
            self,
            embeddings=self.embeddings[rows],
            labels=self.labels[rows],
            senders=self.senders[rows],
            photos=self.photos[rows],
        )

    def select_classes(self, names: tuple[str, ...]) -> StoredExamples:
        """Return the photos of some of the classes, with labels in the order of the names."""
        new_indices = {self.classes.index(name): i for i, name in enumerate(names)}
        rows = np.flatnonzero(np.isin(self.labels, list(new_indices)))
        kept = self.take(rows)
        labels = np.asarray([new_indices[int(label)] for label in kept.labels], np.int64)
        return replace(kept, classes=names, labels=labels)

    def without_sender(self, sender: bytes) -> StoredExamples:
        """Return the photos of all other senders.

        Args:
            sender: Keyed hash of the sender, 16 bytes.
        """
        is_sender = (self.senders == np.frombuffer(sender, np.uint8)).all(axis=1)
        return self.take(np.flatnonzero(~is_sender))

    def merged(self, new: StoredExamples) -> StoredExamples:
        """Add photos. A photo that is stored already gets its new class.

        Raises:
            TeachingError: The photos were embedded by another model.
        """
        if self.base != new.base:
            raise TeachingError(
                "other_base",
                "The model that this classifier was taught on has changed. To teach more, send all "
                "photos again and teach a new classifier.",
            )
        classes = tuple(dict.fromkeys((*self.classes, *new.classes)))
        known = {each.tobytes() for each in new.photos}
        rows = [i for i, each in enumerate(self.photos) if each.tobytes() not in known]
        old = self.take(np.asarray(rows, np.int64))
        views = min(
            old.embeddings.shape[1] if len(old) else MAX_VIEWS,
            new.embeddings.shape[1],
            views_that_fit(len(old) + len(new), new.embeddings.shape[2]),
        )
        labels = np.asarray([classes.index(new.classes[i]) for i in new.labels], np.int64)
        return StoredExamples(
            classes,
            np.concatenate([old.embeddings[:, :views], new.embeddings[:, :views]]),
            np.concatenate([old.labels, labels]),
            np.concatenate([old.senders, new.senders]),
            np.concatenate([old.photos, new.photos]),
            self.base,
        )

    def to_bytes(self) -> bytes:
        """Serialise to the content of examples.npz."""
        return write_arrays(
            {
                "classes": np.frombuffer(json.dumps(self.classes).encode(), np.uint8),
                "embeddings": self.embeddings,
                "labels": self.labels.astype(np.int16),
                "senders": self.senders,
                "photos": self.photos,
                "base": np.frombuffer(bytes.fromhex(self.base), np.uint8),
            }
        )

    @classmethod
    def from_bytes(cls, content: bytes) -> StoredExamples:
        """Read the content of examples.npz.

        Raises:
            TeachingError: It is damaged.
        """
        try:
            arrays = read_arrays(content, _ARRAY_NAMES, max_bytes=_MAX_BYTES)
            classes = tuple(json.loads(arrays["classes"].tobytes()))
            n = len(arrays["labels"])
            stored = cls(
                classes,
                np.asarray(arrays["embeddings"], np.float16),
                np.asarray(arrays["labels"], np.int64),
                arrays["senders"].astype(np.uint8),
                arrays["photos"].astype(np.uint8),
                arrays["base"].tobytes().hex(),
            )
            fits = (
                stored.embeddings.ndim == 3
                and len(stored.embeddings) == n <= MAX_TOTAL_PHOTOS
                and stored.senders.shape == stored.photos.shape == (n, HASH_BYTES)
                and bool(((stored.labels >= 0) & (stored.labels < len(classes))).all())
            )
            if not fits:
                raise ValueError("its arrays do not fit each other")
        except CORRUPT as error:
            raise TeachingError(
                "failed",
                f"The training data of this classifier cannot be read: {error}. The classifier "
                "keeps answering; to teach more, teach a new one with all photos.",
            ) from error
        return stored


def views_that_fit(photos: int, features: int) -> int:
    """Return how many views of each photo examples.npz has room for, at least 1.

    Args:
        photos: Number of photos.
        features: Length of an embedding.
    """
    embedding_bytes = _MAX_BYTES - _OTHER_ARRAYS_BYTES
    return int(np.clip(embedding_bytes // max(1, photos * features * 2), 1, MAX_VIEWS))
