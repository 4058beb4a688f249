from __future__ import annotations

import shutil
from io import BytesIO
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from core.errors import DataError
from core.settings import Settings
from core.training.data.datasets import (
    CIFAR10_LABELS,
    Split,
    hold_out,
    load_cifar10,
    load_tiny_held_out,
    load_tiny_imagenet,
)
from tests import made

COLOURS = np.random.default_rng(0).integers(0, 256, (10, 3), np.uint8)


def labels(n: int) -> np.ndarray:
    return np.arange(n) % 10


@pytest.fixture(scope="module")
def hub_layout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All 60,000 rows in the Hub's layout; every image of a class is of one colour."""
    folder = tmp_path_factory.mktemp("hub")
    (folder / "cifar10" / "plain_text").mkdir(parents=True)
    cells = []
    for colour in COLOURS:
        buffer = BytesIO()
        Image.new("RGB", (32, 32), tuple(map(int, colour))).save(buffer, "PNG")
        cells.append({"bytes": buffer.getvalue(), "path": None})
    for name, n in {
        "train-00000-of-00002": 25_000,
        "train-00001-of-00002": 25_000,
        "test-00000-of-00001": 10_000,
    }.items():
        table = {"img": [cells[label] for label in labels(n)], "label": labels(n)}
        pq.write_table(pa.table(table), folder / "cifar10" / "plain_text" / f"{name}.parquet")
    return folder


@pytest.fixture
def binary_layout(tmp_path: Path) -> Path:
    """The same rows as the official binary batches."""
    folder = tmp_path / "cifar-10-batches-bin"
    folder.mkdir()
    planes = np.repeat(COLOURS, 1024, axis=1)
    records = np.concatenate([np.arange(10, dtype=np.uint8)[:, None], planes], axis=1)
    for name in [f"data_batch_{i}.bin" for i in range(1, 6)] + ["test_batch.bin"]:
        (folder / name).write_bytes(np.tile(records, (1000, 1)).tobytes())
    return tmp_path


def test_both_layouts_give_the_same_rows(hub_layout: Path, binary_layout: Path) -> None:
    for folder in (hub_layout, binary_layout):
        dataset = load_cifar10(Settings(data=folder))
        assert dataset.labels == CIFAR10_LABELS
        for part, n in ((dataset.train, 50_000), (dataset.test, 10_000)):
            assert part.images.shape == (n, 32, 32, 3)
            assert part.images.dtype == np.uint8
            assert np.array_equal(part.labels, labels(n))
            assert np.array_equal(part.images[:, 5, 7], COLOURS[part.labels])


def test_the_data_itself(data_folder: Path) -> None:
    dataset = load_cifar10(Settings(data=data_folder))
    assert dataset.train.images.mean() / 255 == pytest.approx(0.4734, abs=1e-4)
    assert dataset.test.labels[:5].tolist() == [3, 8, 8, 0, 6]


def test_what_is_missing_or_wrong_is_said(tmp_path: Path) -> None:
    settings = Settings(data=tmp_path)
    with pytest.raises(DataError, match="neither cifar10/plain_text/ nor cifar-10-batches-bin/"):
        load_cifar10(settings)
    binary = tmp_path / "cifar-10-batches-bin"
    binary.mkdir()
    with pytest.raises(DataError, match=r"holds no data_batch_1\.bin"):
        load_cifar10(settings)
    for i in range(1, 6):
        (binary / f"data_batch_{i}.bin").write_bytes(bytes(3073))
    with pytest.raises(DataError, match=r"train has the shape \(5, 32, 32, 3\), expected"):
        load_cifar10(settings)
    (binary / "data_batch_1.bin").write_bytes(bytes(3000))
    with pytest.raises(DataError, match=r"3000 bytes, no multiple of 3,073"):
        load_cifar10(settings)
    parquet = tmp_path / "cifar10" / "plain_text"
    parquet.mkdir(parents=True)
    with pytest.raises(DataError, match=r"no train-\*\.parquet"):
        load_cifar10(settings)
    (parquet / "train-0.parquet").write_bytes(b"nonsense")
    with pytest.raises(DataError, match=r"train-0\.parquet is no CIFAR-10 parquet file"):
        load_cifar10(settings)


def test_the_held_out_rows_never_change() -> None:
    images = np.zeros((50_000, 1, 1, 3), np.uint8)
    split = Split(images, labels(50_000), np.arange(50_000))
    learn, validation = hold_out(split)
    assert (len(learn), len(validation)) == (45_000, 5_000)
    assert not set(learn.rows) & set(validation.rows)
    assert np.bincount(validation.labels).tolist() == [500] * 10
    assert validation.rows[:5].tolist() == [0, 43, 46, 107, 111]


def test_tiny_imagenet_is_sorted_by_what_it_is_to_the_ten(tmp_path: Path) -> None:
    settings = Settings(data=made.tiny_imagenet(tmp_path))
    tiny, held_out = load_tiny_imagenet(settings), load_tiny_held_out(settings)
    assert tiny.same.images.shape == (44, 64, 64, 3)
    assert tiny.same.rows.tolist() == [*range(22), *range(200, 222)]
    assert not set(held_out.same.rows) & set(held_out.same_reported.rows)
    halves = (held_out.same, held_out.same_reported)
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
    parts = [tiny.outliers, held_out.chosen_by, held_out.reported]
    classes = [set(part.labels.tolist()) for part in parts]
    assert [len(c) for c in classes] == [120, 30, 24]
    assert [len(part) for part in parts] == [240, 90, 72], "the last two have valid images too"
    assert set.union(*classes) == set(range(26, 200)), "none of the near ones, none twice"


def test_what_is_not_tiny_imagenet_is_told(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="Tiny ImageNet is not complete there"):
        load_tiny_imagenet(Settings(data=tmp_path))
    made.tiny_imagenet(tmp_path, made.TINY_NAMES[:-1])
    with pytest.raises(DataError, match="names 199 classes; Tiny ImageNet has 200"):
        load_tiny_imagenet(Settings(data=tmp_path))
    shutil.rmtree(tmp_path / "tiny-imagenet")
    made.tiny_imagenet(tmp_path)
    file = tmp_path / "tiny-imagenet" / "data" / "train-00000-of-00001.parquet"
    pq.write_table(pa.table({"image": [1], "label": [2]}), file)
    with pytest.raises(DataError, match="is no Tiny ImageNet parquet file"):
        load_tiny_imagenet(Settings(data=tmp_path))
