"""Pretrained weights of VGG16, which `transfer` and `finetuned` start from."""

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
    "describe_vgg16",
    "import_vgg16",
    "load_vgg16",
    "read_vgg16",
    "save_vgg16",
]

VGG16_INPUT = InputSpec(
    height=32,
    width=32,
    resize="squash",
    interpolation="bicubic",
    channels="bgr",
    mean=(103.939 / 255, 116.779 / 255, 123.68 / 255),
    std=(1 / 255, 1 / 255, 1 / 255),
)
"""Input of VGG16 with ImageNet weights: BGR, 0 to 255, minus the mean."""
_WEIGHTS = "vgg16.weights.h5"
_IN_DATA = "vgg16/vgg16_imagenet.weights.h5"
_ABOUT = "vgg16.json"
_NO_DIGEST = "0" * 64
_IMAGENET = "ILSVRC/imagenet-1k"
_IMAGENET_LICENSE = "cc-by-4.0"
# The license asks for the authors' names, and a card is all that its repository on the Hub shows.
_IMAGENET_SOURCE = (
    "with the ImageNet weights of Karen Simonyan and Andrew Zisserman (2014, arXiv 1409.1556; "
    "Visual Geometry Group, University of Oxford, https://www.robots.ox.ac.uk/~vgg/), licensed "
    "under CC BY 4.0, in the format of keras.applications"
)


def load_vgg16(model: keras.Model, settings: Settings) -> None:
    """Set the convolutions of a network based on VGG16 to the weights of `describe_vgg16`.

    Args:
        model: The network, with the layer names of keras.applications.VGG16.
        settings: `home` and `data` are used.

    Raises:
        DataError: There are no weights, or they do not match their description.
    """
    file, _ = _find_weights(settings)
    body = _build_body()
    _load_from_file(body, file)
    for layer in body.layers:
        if layer.weights:
            model.get_layer(layer.name).set_weights(layer.get_weights())


def describe_vgg16(settings: Settings) -> Pretrained:
    """Describe the weights that networks based on VGG16 start from.

    Weights in TENSIGHT_HOME, which `tensight pretrain --weights` imports, take precedence over
    the ImageNet weights in TENSIGHT_DATA.

    Raises:
        DataError: There are no weights, or those in TENSIGHT_HOME do not match their description.
    """
    return _find_weights(settings)[1]


def save_vgg16(body: keras.Model, about: Pretrained, settings: Settings) -> Pretrained:
    """Store weights in TENSIGHT_HOME, replacing any others.

    Args:
        body: keras.applications.VGG16 without its top layers.
        about: Description of the weights; the digest is computed here.
        settings: `home` is used.

    Returns:
        The description with the digest.
    """
    folder = _weights_folder(settings)
    private_folder(settings.home)
    folder.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".new-", dir=folder) as scratch:
        weights, description = Path(scratch) / _WEIGHTS, Path(scratch) / _ABOUT
        body.save_weights(weights)
        digest = hashlib.sha256(weights.read_bytes()).hexdigest()
        about = about.model_copy(update={"sha256": digest})
        description.write_text(about.model_dump_json(indent=1), "utf-8")
        # After a crash between the two, the digest of the old description does not match.
        weights.replace(folder / _WEIGHTS)
        description.replace(folder / _ABOUT)
    return about


def import_vgg16(weights: str, settings: Settings) -> Pretrained:
    """Read weights of VGG16 and store them in TENSIGHT_HOME.

    Args:
        weights: `imagenet` or a path, as for `read_vgg16`.
        settings: `home` is used.

    Raises:
        BundleError: As in `read_vgg16`.
        DataError: As in `read_vgg16`.
    """
    body, about = read_vgg16(weights)
    return save_vgg16(body, about, settings)


def read_vgg16(weights: str) -> tuple[keras.Model, Pretrained]:
    """Read weights of keras.applications.VGG16.

    Args:
        weights: `imagenet`, to download ImageNet weights; the path of an HDF5 file of weights
            without the top layers, whose description by `save_vgg16` is used if it is beside it; or
            the folder of a model with a frozen VGG16, whose weights are read from its flatbuffer in
            their stored precision.

    Returns:
        keras.applications.VGG16 without its top layers, and the description of the weights.

    Raises:
        BundleError: The folder is not a valid model folder.
        DataError: The weights cannot be downloaded, the file has other shapes, or the model does
            not have a frozen VGG16.
    """
    if weights == "imagenet":
        shape = (VGG16_INPUT.height, VGG16_INPUT.width, 3)
        try:
            body = keras.applications.VGG16(include_top=False, input_shape=shape)
        except Exception as error:  # Keras raises a bare Exception if the download fails
            raise DataError(
                f"Cannot download the ImageNet weights of VGG16: {error}. Give the path of a file "
                "of weights in place of `imagenet`."
            ) from error
        return body, Pretrained(
            network="VGG16",
            source=_IMAGENET_SOURCE,
            datasets=(_IMAGENET,),
            license=_IMAGENET_LICENSE,
            sha256=_NO_DIGEST,
        )
    file = Path(weights)
    body = _build_body()
    if (file / CONFIG).is_file():
        return body, _load_from_flatbuffer(body, Bundle.open(file))
    _load_from_file(body, file)
    beside = file.with_name(_ABOUT)
    if file.name == _WEIGHTS and beside.is_file():
        return body, _read_description(file)
    return body, Pretrained(
        network="VGG16",
        source=f"with the weights of the file {file.name}",
        license="other",
        sha256=_NO_DIGEST,
    )


def _weights_folder(settings: Settings) -> Path:
    return settings.home / "weights"


def _find_weights(settings: Settings) -> tuple[Path, Pretrained]:
    """Return the file of the pretrained weights and their description."""
    file = _weights_folder(settings) / _WEIGHTS
    if file.is_file():
        return file, _read_description(file)
    if settings.data is not None and (given := settings.data / _IN_DATA).is_file():
        return given, Pretrained(
            network="VGG16",
            source=f"{_IMAGENET_SOURCE}, rounded to float16",
            datasets=(_IMAGENET,),
            license=_IMAGENET_LICENSE,
            sha256=hashlib.sha256(given.read_bytes()).hexdigest(),
        )
    raise DataError(
        f"The pretrained weights of VGG16 are missing: there is neither {file} nor {_IN_DATA} in "
        "TENSIGHT_DATA. Download ImageNet weights with `tensight pretrain --weights imagenet`."
    )


def _read_description(file: Path) -> Pretrained:
    """Read the description beside a file of weights, and compare the digest."""
    beside = file.with_name(_ABOUT)
    try:
        about = Pretrained.model_validate_json(beside.read_bytes())
    except (OSError, ValidationError) as error:
        raise DataError(
            f"{beside}, the description of {file.name}, cannot be read: {error}"
        ) from error
    if hashlib.sha256(file.read_bytes()).hexdigest() != about.sha256:
        raise DataError(
            f"{file} is not the file that {_ABOUT} beside it describes: its SHA-256 differs. "
            "Import the weights again with `tensight pretrain --weights`."
        )
    return about


def _build_body() -> keras.Model:
    shape = (VGG16_INPUT.height, VGG16_INPUT.width, 3)
    return keras.applications.VGG16(include_top=False, weights=None, input_shape=shape)


def _load_from_file(body: keras.Model, file: Path) -> None:
    """Load the weights of keras.applications.VGG16 without its top layers from a file."""
    if not file.is_file():
        raise DataError(f"There is no file {file} to read the weights of VGG16 from.")
    try:
        body.load_weights(file)
    except (OSError, ValueError, KeyError, BadZipFile) as error:
        raise DataError(
            f"{file} cannot be read as weights of keras.applications.VGG16 without its top layers, "
            f"in HDF5: {error}"
        ) from error


def _load_from_flatbuffer(body: keras.Model, bundle: Bundle) -> Pretrained:
    """Load the weights of VGG16 without its top layers from the flatbuffer of a model."""
    about = bundle.config.training.pretrained
    if about is None or about.network != "VGG16" or bundle.config.family != "transfer":
        raise DataError(
            f"{bundle.config.name} does not have a frozen VGG16, so its weights are not those that "
            "it started from. Give the folder of a model of the family `transfer`, such as "
            "models/transfer."
        )
    convolutions = [layer for layer in body.layers if layer.weights]
    weights = _read_convolutions(bundle.read(MODEL))
    expected = [tuple(layer.kernel.shape) for layer in convolutions]
    found = [kernel.shape for kernel, _ in weights]
    if found != expected:
        raise DataError(
            f"{bundle.config.name} is not based on VGG16, although its config.json says so: its "
            f"convolutions have the shapes {found}, those of VGG16 {expected}."
        )
    for layer, (kernel, bias) in zip(convolutions, weights, strict=True):
        layer.set_weights([kernel, bias])
    served = f"read back from the {bundle.config.precision} weights of `{bundle.config.name}`"
    return about.model_copy(update={"source": f"{about.source}; {served}"})


def _read_convolutions(content: bytes) -> list[tuple[NDArray[np.float32], NDArray[np.float32]]]:
    """Read the convolutions of a flatbuffer in the order of execution.

    Returns:
        For each a kernel, shape (height, width, in, out), and a bias, shape (out,), float32.
    """
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

    def values_of(index: int) -> NDArray[np.float32]:
        tensor = graph.tensors[dequantised.get(index, index)]
        data = model.buffers[tensor.buffer].data
        values = np.asarray(data, np.uint8).view(formats[tensor.type]).reshape(tensor.shape)
        # An int8 kernel has a scale for each output channel, its first axis, and no zero point.
        scales = tensor.quantization.scale if tensor.type == schema.TensorType.INT8 else [1.0]
        factor = np.asarray(scales, np.float32).reshape(-1, *[1] * (values.ndim - 1))
        return values.astype(np.float32) * factor

    return [
        (values_of(operator.inputs[1]).transpose(1, 2, 3, 0), values_of(operator.inputs[2]))
        for operator in graph.operators
        if model.operatorCodes[operator.opcodeIndex].builtinCode == schema.BuiltinOperator.CONV_2D
    ]
