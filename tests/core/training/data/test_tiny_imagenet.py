"""Dividing Tiny ImageNet by class."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from core.errors import DataError
from core.settings import Settings
from core.training.data.cifar10 import CIFAR10_LABELS
from core.training.data.tiny_imagenet import load_tiny_held_out, load_tiny_imagenet
from tests.support import made


def test_classes_are_divided_by_relation_to_cifar10(tmp_path: Path) -> None:
    settings = Settings(data=made.tiny_imagenet(tmp_path))
    tiny, held_out = load_tiny_imagenet(settings), load_tiny_held_out(settings)
    assert tiny.same_classes.images.shape == (44, 64, 64, 3)
    assert tiny.same_classes.rows.tolist() == [*range(22), *range(200, 222)]
    assert not set(held_out.known_selection.rows) & set(held_out.known_evaluation.rows)
    halves = (held_out.known_selection, held_out.known_evaluation)
    assert [len(half) for half in halves] == [11, 11]
    counted = np.bincount(np.concatenate([half.labels for half in halves]), minlength=10)
    assert dict(zip(CIFAR10_LABELS, counted.tolist(), strict=True)) == {
        "airplane": 0,
        "automobile": 4,
        "bird": 4,
        "cat": 3,
        "deer": 0,
        "dog": 6,
        "frog": 2,
        "horse": 0,
        "ship": 2,
        "truck": 1,
    }
    parts = [tiny.outliers, held_out.outlier_selection, held_out.outlier_evaluation]
    classes = [set(part.labels.tolist()) for part in parts]
    assert [len(c) for c in classes] == [115, 30, 24]
    assert [len(part) for part in parts] == [230, 90, 72], "the last two have valid images too"
    unused = set.union(*classes) ^ set(range(26, 200))
    assert unused == set(range(26, 31)), "a boa, an elephant, a lesser panda and two trains"


def test_other_files_are_reported(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="Tiny ImageNet is incomplete there"):
        load_tiny_imagenet(Settings(data=tmp_path))
    made.tiny_imagenet(tmp_path, made.TINY_NAMES[:-1])
    with pytest.raises(DataError, match="names 199 classes; Tiny ImageNet has 200"):
        load_tiny_imagenet(Settings(data=tmp_path))
    shutil.rmtree(tmp_path / "tiny-imagenet")
    made.tiny_imagenet(tmp_path)
    file = tmp_path / "tiny-imagenet" / "data" / "train-00000-of-00001.parquet"
    pq.write_table(pa.table({"image": [1], "label": [2]}), file)
    with pytest.raises(DataError, match="is not a Tiny ImageNet parquet file"):
        load_tiny_imagenet(Settings(data=tmp_path))
