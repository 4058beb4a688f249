"""Batches of rows and real photos."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from core.settings import Settings
from core.training.data.photo_batches import (
    BatchSampler,
    LabelledBatches,
    LabelledImages,
    PhotoBatches,
    PhotoTrainingData,
)
from core.training.data.real_photos import NONE_LABEL, load_real_photos
from core.training.photo_plan import Phase, PhotoPlan
from tests.support import made

PLAN = PhotoPlan(
    phases=(Phase(1, 24, 100, peak_rate=1e-3, final_rate=1e-4),),
    known_fraction=0.2,
    none_fraction=0.1,
)


SPEC = made.recipe().input.model_copy(update={"height": 24, "width": 24})


def _batches(folder: Path, plan: PhotoPlan = PLAN, epoch: int = 1, cutout: int = 0) -> PhotoBatches:
    if not (folder / "real_photos").exists():
        made.real_photos(folder)
    photos = load_real_photos(Settings(data=folder)).train
    return PhotoBatches(
        PhotoTrainingData(made.ten().train, photos),
        plan,
        SPEC,
        rows=100,
        batch_size=50,
        crop_padding=4,
        cutout=cutout,
        seed=0,
        epoch=epoch,
    )


def test_every_batch_has_its_fractions(tmp_path: Path) -> None:
    batches = _batches(tmp_path)
    assert len(batches) == 2, "of 100 rows, 35 a batch"
    images, targets = batches[0]
    assert images.shape == (50, 24, 24, 3)
    assert targets.shape == (50, 11)
    labels = targets.argmax(axis=1)
    assert (labels[:35] != NONE_LABEL).all()
    assert np.bincount(labels[35:45], minlength=11).tolist() == [1] * 10 + [0], "each label once"
    assert (labels[45:] == NONE_LABEL).all()


def test_batches_depend_on_seed_and_epoch_alone(tmp_path: Path) -> None:
    first, again, other = _batches(tmp_path), _batches(tmp_path), _batches(tmp_path, epoch=2)
    np.testing.assert_array_equal(first[1][0], again[1][0])
    assert (first[1][0] != other[1][0]).any()


def test_near_kinds_are_sampled_with_their_weight(tmp_path: Path) -> None:
    plan = replace(PLAN, near_kinds=("cow",), near_weight=3.0)
    made.real_photos(tmp_path)
    material = PhotoTrainingData(made.ten().train, load_real_photos(Settings(data=tmp_path)).train)
    chances = BatchSampler(material, plan, 100, 50, (0, 1))._probabilities
    kinds = load_real_photos(Settings(data=tmp_path)).train
    cows = (kinds.kinds[~kinds.known] == "cow").nonzero()[0]
    others = (kinds.kinds[~kinds.known] != "cow").nonzero()[0]
    np.testing.assert_allclose(chances[cows], 3 * chances[others[0]])


def test_labelled_batches_keep_order() -> None:
    split = made.ten().test
    data = LabelledImages(list(split.images), split.labels)
    batches = LabelledBatches(data, SPEC, 11)
    assert len(batches) == 2
    truth = np.concatenate([batches[i][1] for i in range(2)]).argmax(axis=1)
    np.testing.assert_array_equal(truth, split.labels)


def test_cutout_sets_a_square_of_each_image_to_the_mean(tmp_path: Path) -> None:
    for image in _batches(tmp_path, cutout=8)[0][0]:
        rows, columns = np.nonzero((image == 0).all(axis=-1))
        assert len(rows) == 36, "8 of 32 pixels are 6 of 24"
        assert np.ptp(rows) == np.ptp(columns) == 5
