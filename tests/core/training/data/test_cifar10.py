"""Reading CIFAR-10 from both layouts."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from core.errors import DataError
from core.settings import Settings
from core.training.data.cifar10 import CIFAR10_LABELS, load_cifar10
from tests.support import made

COLOURS = np.random.default_rng(0).integers(0, 256, (10, 3), np.uint8)


def labels(n: int) -> np.ndarray:
    return np.arange(n) % 10


@pytest.fixture(scope="module")
def hub_layout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write 60,000 rows in the Hub's layout; all images of a class have one colour."""
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
    """Write the same rows as the official binary batches."""
    return made.cifar10(tmp_path, COLOURS)


def test_parquet_and_binary_layouts_hold_the_same_rows(
    hub_layout: Path, binary_layout: Path
) -> None:
    for folder in (hub_layout, binary_layout):
        dataset = load_cifar10(Settings(data=folder))
        assert dataset.labels == CIFAR10_LABELS
        for part, n in ((dataset.train, 50_000), (dataset.test, 10_000)):
            assert part.images.shape == (n, 32, 32, 3)
            assert part.images.dtype == np.uint8
            assert np.array_equal(part.labels, labels(n))
            assert np.array_equal(part.images[:, 5, 7], COLOURS[part.labels])


@pytest.mark.long
def test_published_cifar10_has_its_known_statistics(data_folder: Path) -> None:
    dataset = load_cifar10(Settings(data=data_folder))
    assert dataset.train.images.mean() / 255 == pytest.approx(0.4734, abs=1e-4)
    assert dataset.test.labels[:5].tolist() == [3, 8, 8, 0, 6]


def test_missing_or_damaged_files_are_reported(tmp_path: Path) -> None:
    settings = Settings(data=tmp_path)
    with pytest.raises(DataError, match="neither cifar10/plain_text/ nor cifar-10-batches-bin/"):
        load_cifar10(settings)
    binary = tmp_path / "cifar-10-batches-bin"
    binary.mkdir()
    with pytest.raises(DataError, match=r"contains no data_batch_1\.bin"):
        load_cifar10(settings)
    for i in range(1, 6):
        (binary / f"data_batch_{i}.bin").write_bytes(bytes(3073))
    with pytest.raises(DataError, match=r"train has the shape \(5, 32, 32, 3\), expected"):
        load_cifar10(settings)
    (binary / "data_batch_1.bin").write_bytes(bytes(3000))
    with pytest.raises(DataError, match=r"3000 bytes, which is not a multiple of 3,073"):
        load_cifar10(settings)
    parquet = tmp_path / "cifar10" / "plain_text"
    parquet.mkdir(parents=True)
    with pytest.raises(DataError, match=r"no train-\*\.parquet"):
        load_cifar10(settings)
    (parquet / "train-0.parquet").write_bytes(b"nonsense")
    with pytest.raises(DataError, match=r"train-0\.parquet is not a CIFAR-10 parquet file"):
        load_cifar10(settings)
