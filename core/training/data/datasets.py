"""CIFAR-10 and Tiny ImageNet as arrays, from a folder or from the Hub."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from io import BytesIO
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from PIL import Image
from sklearn.model_selection import train_test_split

from core.errors import DataError
from core.registry import hub
from core.settings import Settings

__all__ = [
    "CIFAR10_HUB_REPO",
    "CIFAR10_LABELS",
    "TINY_HUB_REPO",
    "Dataset",
    "Split",
    "TinyHeldOut",
    "TinyImageNet",
    "find_tiny_train",
    "hold_out",
    "joined",
    "load_cifar10",
    "load_cifar10_test",
    "load_tiny_held_out",
    "load_tiny_imagenet",
]

CIFAR10_LABELS = (
    "airplane",
    "automobile",
    "bird",
    "cat",
    "deer",
    "dog",
    "frog",
    "horse",
    "ship",
    "truck",
)
_ROWS = {"train": 50_000, "test": 10_000}
CIFAR10_HUB_REPO = "uoft-cs/cifar10"
_HUB_FOLDER = "plain_text"
_BINARY_FOLDER = "cifar-10-batches-bin"
_BINARY_FILES = {
    "train": [f"data_batch_{i}.bin" for i in range(1, 6)],
    "test": ["test_batch.bin"],
}
_VALIDATION_SEED = 0

TINY_HUB_REPO = "zh-plus/tiny-imagenet"
_TINY_CLASSES = 200
_TINY_SIDE = 64
# WordNet numbers of Tiny ImageNet's classes that show one of CIFAR-10's. Airplane, deer and horse
# have none.
_SAME = {
    "automobile": ("n02814533", "n03100240", "n03670208", "n04285008"),
    "bird": ("n01855672", "n02002724", "n02056570", "n02058221"),
    "cat": ("n02123045", "n02123394", "n02124075"),
    "dog": ("n02085620", "n02094433", "n02099601", "n02099712", "n02106662", "n02113799"),
    "frog": ("n01641577", "n01644900"),
    # A gondola and a lifeboat.
    "ship": ("n03447447", "n03662601"),
    "truck": ("n03796401",),
}
# Too near to one of the ten to be of none, too far to be of it: police van, school bus,
# trolleybus; gazelle.
_NEAR = ("n03977966", "n04146614", "n04487081", "n02423022")
_OUTLIER_SEED = 0
_OUTLIERS_LEARNED = 120
_OUTLIERS_CHOSEN_BY = 30
# Train images of each class that choosing and reporting take, beside all valid ones.
_TRAIN_OUTLIERS = 50

_Reader = Callable[[Path, str], tuple[NDArray[np.uint8], NDArray[np.int64]]]


@dataclass(frozen=True)
class Split:
    """Images with their labels.

    Attributes:
        images: RGB, shape (n, h, w, 3), uint8: 32 × 32 pixels of CIFAR-10, 64 × 64 of Tiny
            ImageNet.
        labels: Class indices, shape (n,), int64.
        rows: Row numbers in the official order of the file that they came from, shape (n,), int64.
    """

    images: NDArray[np.uint8]
    labels: NDArray[np.int64]
    rows: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, index: NDArray[np.int64]) -> Split:
        """The rows at these positions."""
        return Split(self.images[index], self.labels[index], self.rows[index])


@dataclass(frozen=True)
class Dataset:
    """A data set with its official train and test parts.

    Attributes:
        name: As in the cards.
        labels: Name of each class index.
        hub: Its name on the Hub, where it is there.
        train, test: The official parts; validation is cut from train by `hold_out`.
    """

    name: str
    labels: tuple[str, ...]
    hub: str | None
    train: Split
    test: Split


def load_cifar10(settings: Settings) -> Dataset:
    """Read CIFAR-10.

    Looked for in the folder of TENSIGHT_DATA: `cifar10/plain_text/*.parquet` (layout of the Hub's
    `uoft-cs/cifar10`), else `cifar-10-batches-bin/` (the official binary version, unpacked). With
    TENSIGHT_DATA unset the parquet files are downloaded from the Hub, once.

    Raises:
        DataError: The files are missing, cannot be downloaded, or do not hold CIFAR-10.
    """
    return _read_folder(*_find_cifar10(settings))


def load_cifar10_test(settings: Settings) -> Split:
    """Read the test part of CIFAR-10 alone, looked for as in `load_cifar10`.

    Raises:
        DataError: As in `load_cifar10`.
    """
    folder, read = _find_cifar10(settings)
    return _checked(read(folder, "test"), folder, "test")


@dataclass(frozen=True)
class TinyImageNet:
    """Tiny ImageNet's train images, 64 × 64, sorted by what they are to CIFAR-10.

    Attributes:
        same: Of classes that show one of CIFAR-10's, with CIFAR-10's labels. Airplane, deer and
            horse have no such class.
        outliers: Of 120 classes that show none of the ten; with Tiny ImageNet's labels.
    """

    same: Split
    outliers: Split


@dataclass(frozen=True)
class TinyHeldOut:
    """Images of Tiny ImageNet, 64 × 64, that nothing is learned from.

    Attributes:
        same: Every other valid image of classes that show one of CIFAR-10's, with CIFAR-10's
            labels: to choose rules, methods and thresholds by.
        same_reported: The rest of those, for figures alone.
        chosen_by: Train and valid images of 30 classes that show none of the ten, to choose
            methods and thresholds by; with Tiny ImageNet's labels.
        reported: The same of the other 24, for figures alone.
    """

    same: Split
    same_reported: Split
    chosen_by: Split
    reported: Split


def load_tiny_imagenet(settings: Settings) -> TinyImageNet:
    """Read what Tiny ImageNet has to learn from.

    Looked for as `tiny-imagenet/data/*.parquet` (layout of the Hub's `zh-plus/tiny-imagenet`) in
    the folder of TENSIGHT_DATA. With TENSIGHT_DATA unset the files are downloaded from the Hub,
    once. There may be any number of images of each class.

    Raises:
        DataError: The files are missing, cannot be downloaded, or do not hold Tiny ImageNet.
    """
    parts = _Parts.of(settings)
    train = parts.read("train", [*parts.same, *parts.learned])
    return TinyImageNet(
        _relabelled(_of(train, list(parts.same)), parts.same), _of(train, parts.learned)
    )


def load_tiny_held_out(settings: Settings) -> TinyHeldOut:
    """Read what Tiny ImageNet has to choose by and to report on.

    Raises:
        DataError: As in `load_tiny_imagenet`.
    """
    parts = _Parts.of(settings)
    others = parts.chosen_by + parts.reported
    train = parts.read("train", others, _TRAIN_OUTLIERS)
    valid = parts.read("valid", [*parts.same, *others])
    same = _relabelled(_of(valid, list(parts.same)), parts.same)
    return TinyHeldOut(
        same.take(np.arange(0, len(same), 2)),
        same.take(np.arange(1, len(same), 2)),
        joined(_of(train, parts.chosen_by), _of(valid, parts.chosen_by)),
        joined(_of(train, parts.reported), _of(valid, parts.reported)),
    )


def find_tiny_train(settings: Settings) -> None:
    """See that the train part of Tiny ImageNet is there, or fetch it, without reading it.

    Raises:
        DataError: Its files are missing, or cannot be downloaded.
    """
    _tiny_files(_tiny_folder(settings, "train"), "train")


def hold_out(train: Split) -> tuple[Split, Split]:
    """Cut a tenth of train for validation, the same share of every class, always the same rows.

    Args:
        train: The official train part; 5,000 of CIFAR-10's 50,000 rows are held out.

    Returns:
        What is left to learn from, and the validation part; both in the official order.
    """
    learn, validation = train_test_split(
        np.arange(len(train)), test_size=0.1, stratify=train.labels, random_state=_VALIDATION_SEED
    )
    return train.take(np.sort(learn)), train.take(np.sort(validation))


def _find_cifar10(settings: Settings) -> tuple[Path, _Reader]:
    """Folder of CIFAR-10's files, and what reads them."""
    if settings.data is None:
        folder = hub.fetch_dataset(
            CIFAR10_HUB_REPO,
            f"{_HUB_FOLDER}/*.parquet",
            cache=settings.home / "hub",
            token=settings.hub_token,
        )
        return folder / _HUB_FOLDER, _read_parquet
    parquet = settings.data / "cifar10" / _HUB_FOLDER
    binary = settings.data / _BINARY_FOLDER
    if parquet.is_dir():
        return parquet, _read_parquet
    if binary.is_dir():
        return binary, _read_binary
    raise DataError(
        f"TENSIGHT_DATA is {settings.data}, and neither cifar10/{_HUB_FOLDER}/ nor "
        f"{_BINARY_FOLDER}/ is in it. Put one there, or unset TENSIGHT_DATA to download the data."
    )


def _read_folder(folder: Path, read: _Reader) -> Dataset:
    return Dataset(
        "CIFAR-10",
        CIFAR10_LABELS,
        CIFAR10_HUB_REPO,
        _checked(read(folder, "train"), folder, "train"),
        _checked(read(folder, "test"), folder, "test"),
    )


def _read_parquet(folder: Path, part: str) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    files = sorted(folder.glob(f"{part}-*.parquet"))
    if not files:
        raise DataError(f"{folder} holds no {part}-*.parquet; CIFAR-10 is not complete there.")
    images, labels = [], []
    for file in files:
        try:
            table = pq.read_table(file, columns=["img", "label"])
            images += _decoded(table["img"])
        except (OSError, ValueError, LookupError) as error:
            raise DataError(f"{file} is no CIFAR-10 parquet file: {error}") from error
        labels += table["label"].to_pylist()
    if len({image.shape for image in images}) > 1:
        raise DataError(f"{folder} holds images of several sizes; CIFAR-10 has only 32 × 32.")
    return np.stack(images), np.asarray(labels, np.int64)


def _decoded(column: pa.ChunkedArray) -> list[NDArray[np.uint8]]:
    """RGB pixels of the Hub's image cells, {bytes, path}."""
    return [
        np.asarray(Image.open(BytesIO(cell["bytes"])).convert("RGB")) for cell in column.to_pylist()
    ]


def _tiny_folder(settings: Settings, part: str) -> Path:
    if settings.data is not None:
        return settings.data / "tiny-imagenet" / "data"
    return (
        hub.fetch_dataset(
            TINY_HUB_REPO,
            f"data/{part}-*.parquet",
            cache=settings.home / "hub",
            token=settings.hub_token,
        )
        / "data"
    )


def _tiny_files(folder: Path, part: str) -> list[Path]:
    files = sorted(folder.glob(f"{part}-*.parquet"))
    if not files:
        raise DataError(f"{folder} holds no {part}-*.parquet; Tiny ImageNet is not complete there.")
    return files


@dataclass(frozen=True)
class _Parts:
    """Tiny ImageNet's labels by what they are for; `same` maps them to CIFAR-10's."""

    settings: Settings
    same: dict[int, int]
    learned: list[int]
    chosen_by: list[int]
    reported: list[int]

    @classmethod
    def of(cls, settings: Settings) -> _Parts:
        names = _tiny_names(_tiny_files(_tiny_folder(settings, "valid"), "valid")[0])
        same = _same(names)
        others = [i for i, name in enumerate(names) if i not in same and name not in _NEAR]
        others = [others[i] for i in np.random.default_rng(_OUTLIER_SEED).permutation(len(others))]
        chosen_by = _OUTLIERS_LEARNED + _OUTLIERS_CHOSEN_BY
        return cls(
            settings,
            same,
            others[:_OUTLIERS_LEARNED],
            others[_OUTLIERS_LEARNED:chosen_by],
            others[chosen_by:],
        )

    def read(self, part: str, labels: list[int], at_most: int | None = None) -> Split:
        return _read_tiny(_tiny_folder(self.settings, part), part, labels, at_most)


def _tiny_names(file: Path) -> list[str]:
    """The WordNet number of each label."""
    try:
        described = json.loads(pq.read_schema(file).metadata[b"huggingface"])
        names: list[str] = described["info"]["features"]["label"]["names"]
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise DataError(f"{file} is no Tiny ImageNet parquet file: {error}") from error
    if len(names) != _TINY_CLASSES:
        raise DataError(f"{file} names {len(names)} classes; Tiny ImageNet has {_TINY_CLASSES}.")
    return names


def _same(names: list[str]) -> dict[int, int]:
    """CIFAR-10's label of each of Tiny ImageNet's that shows the same."""
    try:
        return {
            names.index(number): CIFAR10_LABELS.index(label)
            for label, numbers in _SAME.items()
            for number in numbers
        }
    except ValueError as error:
        raise DataError(f"Among Tiny ImageNet's 200 classes one is missing: {error}.") from error


def _read_tiny(folder: Path, part: str, wanted: list[int], at_most: int | None) -> Split:
    """Images of some labels, the first so many of each; only these are decoded."""
    images, labels, rows = [], [], []
    before = 0
    room = np.full(_TINY_CLASSES, at_most if at_most is not None else np.iinfo(np.int64).max)
    for file in _tiny_files(folder, part):
        try:
            table = pq.read_table(file, columns=["image", "label"])
            found = table["label"].to_numpy().astype(np.int64)
            chosen = np.asarray(
                [i for i in np.flatnonzero(np.isin(found, wanted)) if _taken(room, found[i])],
                np.int64,
            )
            images += _decoded(table["image"].take(pa.array(chosen)))
        except (OSError, ValueError, LookupError, TypeError) as error:
            raise DataError(f"{file} is no Tiny ImageNet parquet file: {error}") from error
        labels.append(found[chosen])
        rows.append(before + chosen)
        before += len(found)
    shapes = {image.shape for image in images}
    if shapes != {(_TINY_SIDE, _TINY_SIDE, 3)}:
        raise DataError(
            f"{folder}: expected images of 64 × 64; {part} has the shapes {sorted(shapes)}."
        )
    return Split(np.stack(images), np.concatenate(labels), np.concatenate(rows))


def _taken(room: NDArray[np.int64], label: int) -> bool:
    """Take a place among those of a label, where there is one."""
    room[label] -= 1
    return bool(room[label] >= 0)


def _of(split: Split, labels: list[int]) -> Split:
    return split.take(np.flatnonzero(np.isin(split.labels, labels)))


def _relabelled(split: Split, labels: dict[int, int]) -> Split:
    return replace(split, labels=np.asarray([labels[label] for label in split.labels], np.int64))


def joined(first: Split, second: Split) -> Split:
    """The rows of both, whose images are of one size."""
    return Split(
        np.concatenate([first.images, second.images]),
        np.concatenate([first.labels, second.labels]),
        np.concatenate([first.rows, second.rows]),
    )


def _read_binary(folder: Path, part: str) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """One byte of label, then 1,024 of red, green and blue each, row by row."""
    records = []
    for name in _BINARY_FILES[part]:
        file = folder / name
        if not file.is_file():
            raise DataError(f"{folder} holds no {name}; unpack cifar-10-binary.tar.gz again.")
        values = np.fromfile(file, np.uint8)
        if values.size % 3073:
            raise DataError(
                f"{file} holds {values.size} bytes, no multiple of 3,073; fetch it again."
            )
        records.append(values.reshape(-1, 3073))
    table = np.concatenate(records)
    pixels = table[:, 1:].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
    return np.ascontiguousarray(pixels), table[:, 0].astype(np.int64)


def _checked(read: tuple[NDArray[np.uint8], NDArray[np.int64]], folder: Path, part: str) -> Split:
    images, labels = read
    expected = (_ROWS[part], 32, 32, 3)
    if images.shape != expected:
        raise DataError(f"{folder}: {part} has the shape {images.shape}, expected {expected}.")
    counts = np.bincount(labels, minlength=10)
    if len(counts) != 10 or set(counts) != {_ROWS[part] // 10}:
        raise DataError(
            f"{folder}: {part} counts {counts.tolist()} images a class, expected "
            f"{_ROWS[part] // 10} of each of ten."
        )
    return Split(images, labels, np.arange(len(labels)))
