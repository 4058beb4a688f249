from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter
from PIL import Image

from core.errors import DataError
from core.settings import Settings
from core.training import networks
from core.training.pretrained import load_mobilenet, read_mobilenet
from tests import drawings
from tests.conftest import ROOT

FILE = "mobilenet_v2/mobilenet_v2_1.0_224_int8.tflite"


def test_the_network_does_what_the_flatbuffer_does(data_folder: Path) -> None:
    model = networks.mobilenet((224, 224, 3), 1001)
    load_mobilenet(model, Settings(data=data_folder))
    kernel, bias = read_mobilenet(data_folder / FILE)[-1]
    model.layers[-1].set_weights([kernel[0, 0], bias])
    interpreter = Interpreter(str(data_folder / FILE))
    interpreter.allocate_tensors()
    (given,), (wanted,) = interpreter.get_input_details(), interpreter.get_output_details()
    for drawing in (
        drawings.ship(224, 224),
        Image.effect_mandelbrot((224, 224), (-2, -1, 1, 1), 9),
    ):
        image = np.asarray(drawing.convert("RGB"))
        interpreter.set_tensor(given["index"], image[None])
        interpreter.invoke()
        theirs = interpreter.get_tensor(wanted["index"])[0].astype(np.float64) / 256
        logits = np.asarray(model(image[None].astype(np.float32) / 127.5 - 1))[0]
        ours = np.exp(logits - logits.max()) / np.exp(logits - logits.max()).sum()
        # The flatbuffer rounds every activation to 8 bits.
        assert set(np.argsort(-theirs)[:1]) <= set(np.argsort(-ours)[:5])
        assert np.abs(ours - theirs).max() < 0.25


def test_missing_and_wrong_files_are_told(tmp_path: Path) -> None:
    model = networks.mobilenet((64, 64, 3), 10)
    with pytest.raises(DataError, match="Set TENSIGHT_DATA"):
        load_mobilenet(model, Settings())
    with pytest.raises(DataError, match="cannot be read"):
        load_mobilenet(model, Settings(data=tmp_path))
    (tmp_path / "mobilenet_v2").mkdir()
    other = (ROOT / "models" / "classic" / "model.tflite").read_bytes()
    (tmp_path / FILE).write_bytes(other)
    with pytest.raises(DataError, match="is not MobileNetV2"):
        load_mobilenet(model, Settings(data=tmp_path))
