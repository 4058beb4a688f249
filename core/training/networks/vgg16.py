"""The weights of VGG16 that `transfer` and `finetuned` begin with."""

from __future__ import annotations

import hashlib
import tempfile
from pathlib import Path
from zipfile import BadZipFile

import keras
import numpy as np
from ai_edge_litert import schema_py_generated as schema
from numpy.typing import NDArray
from pydantic import ValidationError

from core.bundle.config import CONFIG, MODEL, Pretrained
from core.bundle.folder import Bundle
from core.errors import DataError
from core.inference.engine import PREDICT
from core.output import private_folder
from core.photos.preprocess import InputSpec
from core.settings import Settings

__all__ = [
    "VGG16_INPUT",
    "adopt_vgg16",
    "describe_vgg16",
    "keep_vgg16",
    "load_vgg16",
    "published_vgg16",
]

# What ImageNet's VGG16 expects of its images: 0 to 255 without their mean, blue first.
VGG16_INPUT = InputSpec(
    height=32,
    width=32,
    resize="squash",
    interpolation="bicubic",
    channels="bgr",
    mean=(103.939 / 255, 116.779 / 255, 123.68 / 255),
    std=(1 / 255, 1 / 255, 1 / 255),
)
_WEIGHTS = "vgg16.weights.h5"
_IN_DATA = "vgg16/vgg16_imagenet.weights.h5"
_ABOUT = "vgg16.json"
_NO_DIGEST = "0" * 64
_IMAGENET = "ILSVRC/imagenet-1k"
_IMAGENET_LICENSE = "cc-by-4.0"


def load_vgg16(model: keras.Model, settings: Settings) -> None:
    """Set the convolutions of a network on VGG16 to the weights that `describe_vgg16` describes.

    Args:
        model: The network; its layers are named as in keras.applications.VGG16.
        settings: `home` and `data` are used.

    Raises:
        DataError: There are no weights, or not those that were left there.
    """
    file, _ = _found(settings)
    body = _body()
    _read(body, file)
    for layer in body.layers:
        if layer.weights:
            model.get_layer(layer.name).set_weights(layer.get_weights())


def describe_vgg16(settings: Settings) -> Pretrained:
    """Describe the weights that networks on VGG16 begin with.

    Those in TENSIGHT_HOME, where somebody chose them with `--weights`, come before ImageNet's in
    TENSIGHT_DATA.

    Raises:
        DataError: There are none, or those in TENSIGHT_HOME are not those that were left there.
    """
    return _found(settings)[1]


def keep_vgg16(body: keras.Model, about: Pretrained, settings: Settings) -> Pretrained:
    """Put weights into TENSIGHT_HOME, in place of those there.

    Args:
        body: keras.applications.VGG16 without its top.
        about: How they came to be; its digest is made here.
        settings: `home` is used.
    """
    folder = _folder(settings)
    private_folder(settings.home)
    folder.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".new-", dir=folder) as scratch:
        weights, description = Path(scratch) / _WEIGHTS, Path(scratch) / _ABOUT
        body.save_weights(weights)
        digest = hashlib.sha256(weights.read_bytes()).hexdigest()
        about = about.model_copy(update={"sha256": digest})
        description.write_text(about.model_dump_json(indent=1), "utf-8")
        # Killed between the two, the old description is of other weights, which is told.
        weights.replace(folder / _WEIGHTS)
        description.replace(folder / _ABOUT)
    return about


def adopt_vgg16(weights: str, settings: Settings) -> Pretrained:
    """Take weights of keras.applications.VGG16 that others trained.

    Args:
        weights: As for `published_vgg16`.
        settings: They are kept in TENSIGHT_HOME.

    Raises:
        DataError: As there.
    """
    body, about = published_vgg16(weights)
    return keep_vgg16(body, about, settings)


def published_vgg16(weights: str) -> tuple[keras.Model, Pretrained]:
    """Read weights of keras.applications.VGG16 that others trained.

    Args:
        weights: `imagenet`, to download them; or the path of a file of them, without the top. Where
            the description that `keep_vgg16` writes lies beside it, that is believed. Or the folder
            of a model that holds VGG16 fast: they are read back from what it serves, as exact as
            that has them.

    Raises:
        BundleError: The folder is no model's.
        DataError: They cannot be downloaded, the file is not of these shapes, or the model does not
            hold VGG16 fast.
    """
    if weights == "imagenet":
        shape = (VGG16_INPUT.height, VGG16_INPUT.width, 3)
        try:
            body = keras.applications.VGG16(include_top=False, input_shape=shape)
        except Exception as error:  # Keras raises a bare one where the download fails
            raise DataError(
                f"VGG16's ImageNet weights cannot be downloaded: {error}. Where there is a file "
                "of them, give its path in place of `imagenet`."
            ) from error
        return body, Pretrained(
            network="VGG16",
            source="has the ImageNet weights of keras.applications",
            datasets=(_IMAGENET,),
            license=_IMAGENET_LICENSE,
            sha256=_NO_DIGEST,
        )
    file = Path(weights)
    body = _body()
    if (file / CONFIG).is_file():
        return body, _read_back(body, Bundle.open(file))
    _read(body, file)
    beside = file.with_name(_ABOUT)
    if file.name == _WEIGHTS and beside.is_file():
        return body, _described(file)
    return body, Pretrained(
        network="VGG16",
        source=f"has the weights of the file {file.name}",
        license="other",
        sha256=_NO_DIGEST,
    )


def _folder(settings: Settings) -> Path:
    return settings.home / "weights"


def _found(settings: Settings) -> tuple[Path, Pretrained]:
    """Return the file of the weights to begin with, and what they are."""
    file = _folder(settings) / _WEIGHTS
    if file.is_file():
        return file, _described(file)
    if settings.data is not None and (given := settings.data / _IN_DATA).is_file():
        return given, Pretrained(
            network="VGG16",
            source="has the ImageNet weights of keras.applications, rounded to float16",
            datasets=(_IMAGENET,),
            license=_IMAGENET_LICENSE,
            sha256=hashlib.sha256(given.read_bytes()).hexdigest(),
        )
    raise DataError(
        f"VGG16 has no weights to begin with: there is no {file}, and no {_IN_DATA} in "
        "TENSIGHT_DATA. Take ImageNet's with `tensight train vgg16 --weights imagenet`."
    )


def _described(file: Path) -> Pretrained:
    """What the description beside a file of weights says, where it is of them."""
    beside = file.with_name(_ABOUT)
    try:
        about = Pretrained.model_validate_json(beside.read_bytes())
    except (OSError, ValidationError) as error:
        raise DataError(
            f"{beside} does not tell how {file.name} beside it came to be: {error}"
        ) from error
    if hashlib.sha256(file.read_bytes()).hexdigest() != about.sha256:
        raise DataError(
            f"{file} is not the file that {_ABOUT} beside it describes: its SHA-256 differs. Make "
            "both again with `tensight train vgg16 --weights`."
        )
    return about


def _body() -> keras.Model:
    shape = (VGG16_INPUT.height, VGG16_INPUT.width, 3)
    return keras.applications.VGG16(include_top=False, weights=None, input_shape=shape)


def _read(body: keras.Model, file: Path) -> None:
    """Set all weights of keras.applications.VGG16 without its top from a file."""
    if not file.is_file():
        raise DataError(f"There is no file {file} to read weights of VGG16 from.")
    try:
        body.load_weights(file)
    except (OSError, ValueError, KeyError, BadZipFile) as error:
        raise DataError(
            f"{file} cannot be read as weights of keras.applications.VGG16 without its top, in "
            f"HDF5: {error}"
        ) from error


def _read_back(body: keras.Model, bundle: Bundle) -> Pretrained:
    """Set all weights of keras.applications.VGG16 without its top to those that a model serves."""
    about = bundle.config.training.pretrained
    if about is None or about.network != "VGG16" or bundle.config.family != "transfer":
        raise DataError(
            f"{bundle.config.name} does not hold VGG16 fast, so its weights are not those that it "
            "began with. Name the folder of one of the family `transfer`, as models/transfer is."
        )
    convolutions = [layer for layer in body.layers if layer.weights]
    weights = _convolutions(bundle.read(MODEL))
    expected = [tuple(layer.kernel.shape) for layer in convolutions]
    found = [kernel.shape for kernel, _ in weights]
    if found != expected:
        raise DataError(
            f"{bundle.config.name} is not on VGG16, as its config.json has it: its convolutions "
            f"have the shapes {found}, those of VGG16 {expected}."
        )
    for layer, (kernel, bias) in zip(convolutions, weights, strict=True):
        layer.set_weights([kernel, bias])
    served = f"read back from the {bundle.config.precision} weights of `{bundle.config.name}`"
    return about.model_copy(update={"source": f"{about.source}; {served}"})


def _convolutions(content: bytes) -> list[tuple[NDArray[np.float32], NDArray[np.float32]]]:
    """Kernels (height, width, in, out) and biases (out,) of a flatbuffer, in the order they run."""
    model = schema.ModelT.InitFromPackedBuf(content, 0)
    (graph,) = (
        model.subgraphs[signature.subgraphIndex]
        for signature in model.signatureDefs
        if signature.signatureKey.decode() == PREDICT
    )
    formats = {
        schema.TensorType.FLOAT32: np.float32,
        schema.TensorType.FLOAT16: np.float16,
        schema.TensorType.INT8: np.int8,
    }
    dequantised = {
        operator.outputs[0]: operator.inputs[0]
        for operator in graph.operators
        if model.operatorCodes[operator.opcodeIndex].builtinCode
        == schema.BuiltinOperator.DEQUANTIZE
    }

    def real(index: int) -> NDArray[np.float32]:
        tensor = graph.tensors[dequantised.get(index, index)]
        data = model.buffers[tensor.buffer].data
        values = np.asarray(data, np.uint8).view(formats[tensor.type]).reshape(tensor.shape)
        # Of kernels each output channel, which comes first, has a scale; their zero points are 0.
        scales = tensor.quantization.scale if tensor.type == schema.TensorType.INT8 else [1.0]
        factor = np.asarray(scales, np.float32).reshape(-1, *[1] * (values.ndim - 1))
        return values.astype(np.float32) * factor

    return [
        (real(operator.inputs[1]).transpose(1, 2, 3, 0), real(operator.inputs[2]))
        for operator in graph.operators
        if model.operatorCodes[operator.opcodeIndex].builtinCode == schema.BuiltinOperator.CONV_2D
    ]
