"""Storage of the examples that a model was taught with."""

from __future__ import annotations

import numpy as np
import pytest

from core.errors import TeachingError
from core.inference.npz import write_arrays
from core.teaching.limits import MAX_TOTAL_PHOTOS
from core.teaching.stored_examples import StoredExamples, views_that_fit
from core.teaching.views import MAX_VIEWS


def stored(n: int, *, features: int = 8, views: int = 4, first: int = 0) -> StoredExamples:
    rng = np.random.default_rng(first)
    photos = np.zeros((n, 16), np.uint8)
    photos[:, :4] = np.arange(first, first + n, dtype=np.uint32).view(np.uint8).reshape(n, 4)
    return StoredExamples(
        ("a", "b"),
        rng.normal(size=(n, views, features)).astype(np.float16),
        np.arange(n) % 2,
        np.zeros((n, 16), np.uint8),
        photos,
        "ab" * 32,
    )


def test_examples_survive_a_round_trip() -> None:
    given = stored(6)
    again = StoredExamples.from_bytes(given.to_bytes())
    assert (again.classes, again.base, len(again)) == (given.classes, given.base, 6)
    np.testing.assert_array_equal(again.embeddings, given.embeddings)
    np.testing.assert_array_equal(again.labels, given.labels)
    np.testing.assert_array_equal(again.photos, given.photos)


@pytest.mark.parametrize("content", [b"", b"nothing", stored(4).to_bytes()[:200]])
def test_damaged_examples_are_reported(content: bytes) -> None:
    with pytest.raises(TeachingError, match="cannot be read"):
        StoredExamples.from_bytes(content)


def test_examples_that_do_not_fit_each_other_are_refused() -> None:
    given = stored(4)
    arrays: dict[str, np.ndarray] = {
        "classes": np.frombuffer(b'["a"]', np.uint8),
        "embeddings": given.embeddings,
        "labels": given.labels,
        "senders": given.senders,
        "photos": given.photos,
        "base": np.zeros(32, np.uint8),
    }
    with pytest.raises(TeachingError, match="do not fit"):
        StoredExamples.from_bytes(write_arrays(arrays))


def test_largest_number_of_photos_fits_into_the_file() -> None:
    views = views_that_fit(MAX_TOTAL_PHOTOS, 1280)
    assert views == 1
    largest = stored(MAX_TOTAL_PHOTOS, features=1280, views=views)
    assert len(largest.to_bytes()) <= 8_000_000
    assert views_that_fit(100, 1280) == MAX_VIEWS


def test_merging_keeps_the_newest_class_of_a_photo() -> None:
    old, new = stored(4), stored(2, first=3)
    merged = old.merged(new)
    assert len(merged) == 5, "photo 3 is in both"
    place = [photo[0] for photo in merged.photos].index(3)
    assert merged.labels[place] == 0
    assert merged.embeddings.shape == (5, 4, 8)


def test_merging_drops_views_for_which_there_is_no_room() -> None:
    old, new = stored(1200, features=1280), stored(1200, features=1280, first=1200)
    assert old.merged(new).embeddings.shape[:2] == (2400, 1)
