"""ImageNet weights of MobileNetV2."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter
from PIL import Image

from core.errors import DataError
from core.settings import Settings
from core.training.networks import cnn
from core.training.networks.imagenet import load_mobilenet, read_mobilenet
from tests.conftest import ROOT

FILE = "mobilenet_v2/mobilenet_v2_1.0_224_int8.tflite"


def test_mobilenet_predicts_what_the_flatbuffer_predicts(
    data_folder: Path, photos_folder: Path
) -> None:
    """Allow some differences, since the flatbuffer rounds every activation to 8 bits."""
    model = cnn.mobilenet((224, 224, 3), 1001)
    load_mobilenet(model, Settings(data=data_folder))
    kernel, bias = read_mobilenet(data_folder / FILE)[-1]
    model.layers[-1].set_weights([kernel[0, 0], bias])
    interpreter = Interpreter(str(data_folder / FILE))
    interpreter.allocate_tensors()
    (given,), (wanted,) = interpreter.get_input_details(), interpreter.get_output_details()
    photos = sorted(photos_folder.glob("*.jpg"))[:30]
    images = np.stack(
        [np.asarray(Image.open(photo).convert("RGB").resize((224, 224))) for photo in photos]
    )
    theirs = []
    for image in images:
        interpreter.set_tensor(given["index"], image[None])
        interpreter.invoke()
        theirs.append(int(interpreter.get_tensor(wanted["index"])[0].argmax()))
    ours = np.asarray(model(images.astype(np.float32) / 127.5 - 1)).argmax(axis=1)
    assert np.mean(ours == theirs) >= 0.85
    assert len(set(theirs)) > 10


def test_missing_and_other_files_are_reported(tmp_path: Path) -> None:
    model = cnn.mobilenet((64, 64, 3), 10)
    with pytest.raises(DataError, match="Set TENSIGHT_DATA"):
        load_mobilenet(model, Settings())
    with pytest.raises(DataError, match="cannot be read"):
        load_mobilenet(model, Settings(data=tmp_path))
    (tmp_path / "mobilenet_v2").mkdir()
    other = (ROOT / "models" / "classic" / "model.tflite").read_bytes()
    (tmp_path / FILE).write_bytes(other)
    with pytest.raises(DataError, match="is not MobileNetV2"):
        load_mobilenet(model, Settings(data=tmp_path))
