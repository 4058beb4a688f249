"""Data sets and recipes for tests: coloured shapes that are learned in a few steps."""

from __future__ import annotations

import json
from dataclasses import replace
from io import BytesIO
from pathlib import Path

import keras
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from PIL import Image

from core.training.data.cifar10 import CIFAR10_LABELS
from core.training.data.datasets import Dataset, Split
from core.training.fit import Epoch
from core.training.networks import cnn
from core.training.recipe import Recipe
from core.training.recipes import get_recipe

LABELS = ("red square", "green bar", "blue sky")
# Classes that show one of the ten, or are too similar to one, and from index 26 those that show a
# kind that is held out; the rest are invented.
TINY_NAMES = (
    *("n02123045", "n02123394", "n02124075", "n02106662", "n02099712", "n02099601", "n02094433"),
    *("n02085620", "n02113799", "n02058221", "n02056570", "n01855672", "n02002724", "n01641577"),
    *("n01644900", "n02814533", "n03100240", "n03670208", "n04285008", "n03796401", "n03662601"),
    *("n03447447", "n04146614", "n03977966", "n04487081", "n02423022"),
    *("n01742172", "n02504458", "n02509815", "n02917067", "n03393912"),
    *(f"x{i:08}" for i in range(169)),
)


def dataset(train: int = 600, test: int = 150) -> Dataset:
    """Return images of a red square, a green bar or a blue sky, each on noise."""
    return Dataset("Shapes", LABELS, None, _split(train, 1), _split(test, 2))


def ten(train: int = 400, test: int = 100) -> Dataset:
    """Return images with CIFAR-10's labels, each a shade of red."""
    return Dataset("Ten shades", CIFAR10_LABELS, None, _shades(train, 1), _shades(test, 2))


def cifar10(folder: Path, colours: NDArray[np.uint8]) -> Path:
    """Write images of one colour as the official binary batches of CIFAR-10.

    Args:
        folder: Folder that gets the folder of the batches.
        colours: Colour of each class, shape (10, 3), uint8.
    """
    batches = folder / "cifar-10-batches-bin"
    batches.mkdir()
    planes = np.repeat(colours, 1024, axis=1)
    records = np.concatenate([np.arange(10, dtype=np.uint8)[:, None], planes], axis=1)
    for name in [f"data_batch_{i}.bin" for i in range(1, 6)] + ["test_batch.bin"]:
        (batches / name).write_bytes(np.tile(records, (1000, 1)).tobytes())
    return folder


def tiny_imagenet(folder: Path, names: tuple[str, ...] = TINY_NAMES) -> Path:
    """Write Tiny ImageNet in the Hub's layout: two train images and one valid image per class."""
    (folder / "tiny-imagenet" / "data").mkdir(parents=True)
    buffer = BytesIO()
    Image.new("L", (64, 64), 90).save(buffer, "JPEG")  # some of the real ones are grey too
    features = {"image": {"_type": "Image"}, "label": {"names": names, "_type": "ClassLabel"}}
    described = json.dumps({"info": {"features": features}})
    for part, each in (("train-00000-of-00001", 2), ("valid-00000-of-00001", 1)):
        labels = list(range(len(names))) * each
        table = {"image": [{"bytes": buffer.getvalue(), "path": None}] * len(labels)}
        made = pa.table(table | {"label": labels})
        made = made.replace_schema_metadata({"huggingface": described})
        pq.write_table(made, folder / "tiny-imagenet" / "data" / f"{part}.parquet")
    return folder


def real_photos(folder: Path, each: int = 4) -> Path:
    """Write `real_photos/`: photos in shades of red as in `ten`, and grey ones of other things.

    Each part has `each` photos of each class from two sources, and as many of a cow, a bus, a
    chair and of a kangaroo, which is kept back.
    """
    kinds = [*((i, label) for i, label in enumerate(CIFAR10_LABELS))]
    kinds += [(10, "cow"), (10, "bus"), (10, "chair"), (10, "kangaroo")]
    (folder / "real_photos").mkdir(parents=True)
    for part, seed in (("train", 1), ("valid", 2)):
        rng = np.random.default_rng(seed)
        rows: dict[str, list[object]] = {"image": [], "label": [], "kind": [], "source": []}
        for number, (label, kind) in enumerate(kinds * each):
            pixels = rng.integers(0, 20, (100, 120, 3), np.uint8)
            if label < 10:
                pixels[..., 0] += 23 * label
            else:
                pixels += 120
            buffer = BytesIO()
            Image.fromarray(pixels).save(buffer, "PNG")
            rows["image"].append({"bytes": buffer.getvalue(), "path": f"{kind}/{number}.png"})
            rows["label"].append(label)
            rows["kind"].append(kind)
            rows["source"].append("one/photos" if number // len(kinds) % 2 == 0 else "two/photos")
        pq.write_table(pa.table(rows), folder / "real_photos" / f"{part}-00000-of-00001.parquet")
    return folder


def network(shape: cnn.Shape, classes: int) -> keras.Model:
    """Build a network of two layers for images of any size: most tests need no larger one."""
    x = inputs = keras.layers.Input(shape)
    x = keras.layers.Conv2D(8, 3, activation="relu")(x)
    x = keras.layers.GlobalAveragePooling2D(name="embedding")(x)
    return keras.Model(inputs, keras.layers.Dense(classes, name="logits")(x))


def recipe(**changes: object) -> Recipe:
    """Return a short version of `baseline` with the smallest network."""
    short: dict[str, object] = {
        "build": network,
        "epochs": 3,
        "patience": 3,
        "batch_size": 50,
        # Other formats are converted beside this one, to be compared with it.
        "precision": "float32",
    }
    # The type checker cannot match names and types of a dict with those of the fields.
    return replace(get_recipe("baseline"), **(short | changes))  # type: ignore[arg-type]


def shapes() -> Recipe:
    """Return the recipe of the model `shapes`, which learns the shapes as `baseline` would."""
    # One of 60 rows is more than quantisation may cost, so the weights are hardly rounded.
    return recipe(name="shapes", title="Shapes", build=cnn.baseline, precision="float16")


def like(name: str, **changes: object) -> Recipe:
    """Return a recipe of the project with changed fields."""
    return replace(get_recipe(name), **changes)  # type: ignore[arg-type]  # as above


def _split(n: int, seed: int) -> Split:
    rng = np.random.default_rng(seed)
    images = rng.integers(0, 120, (n, 32, 32, 3), np.uint8)
    labels = np.arange(n, dtype=np.int64) % 3
    for image, label in zip(images, labels, strict=True):
        y, x = rng.integers(0, 16, 2)
        match label:
            case 0:
                image[y : y + 14, x : x + 14, 0] = 255
            case 1:
                image[y : y + 6, :, 1] = 255
            case _:
                image[..., 2] = rng.integers(180, 256, (32, 32))
    return Split(images, labels, np.arange(n))


def _shades(n: int, seed: int) -> Split:
    images = np.random.default_rng(seed).integers(0, 20, (n, 32, 32, 3), np.uint8)
    labels = np.arange(n, dtype=np.int64) % 10
    images[..., 0] += (23 * labels)[:, None, None].astype(np.uint8)
    return Split(images, labels, np.arange(n))


class Recorder:
    """Reporter that records progress, and can interrupt a run as Ctrl-C does."""

    def __init__(self, stop_after: int | None = None) -> None:
        self.epochs: list[Epoch] = []
        self.batches: list[tuple[int, int, int]] = []
        self._stop_after = stop_after

    def on_batch(self, epoch: int, done: int, total: int) -> None:
        self.batches.append((epoch, done, total))
        if self._stop_after is not None and epoch > self._stop_after:
            raise KeyboardInterrupt

    def on_epoch(self, epoch: Epoch, total: int, best: bool) -> None:
        self.epochs.append(epoch)
