"""Latency of one photo: end to end against other pipelines, and of each engine alone."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import flatbuffers
import keras
import numpy as np
import openvino
import tensorflow as tf
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter
from numpy.typing import NDArray
from PIL import Image

from bench.figures import Section, alternate
from bench.photos import Photos
from core.bundle.config import MODEL, VERDICT
from core.bundle.folder import Bundle, write_bundle
from core.inference.classifier import Classifier, PreprocessedPhoto
from core.inference.engine import INPUT, PREDICT
from core.photos.decode import decode
from core.photos.preprocess import normalise
from core.registry.catalog import Catalog
from core.settings import Settings
from core.training.export.evidence_maps import occlusion_model
from core.training.export.flatbuffer import to_flatbuffer
from core.training.recipes import get_recipe

__all__ = ["bytes_to_label", "decoding", "engines", "with_weights"]

_SERVED = ("efficientnet", "scratch", "finetuned", "transfer")
_NOTABLE_SPEEDUP = 1.5
_Batch = NDArray[np.float32]


def bytes_to_label(photos: Photos, folder: Path) -> Section:
    """Compare end-to-end latency with the student app, tf.function, OpenVINO and raw LiteRT.

    Args:
        photos: Photos to classify.
        folder: Folder for the exported model.
    """
    section = Section(
        "End-to-end latency, from bytes to label",
        "The network of the recipe `scratch` and the flatbuffer exported from it, with untrained "
        "weights: they do not affect speed, and the trained Keras weights are not stored. The "
        "student app decodes the full photo with Pillow, resizes it and calls "
        "`keras.Model.predict`; the variant with tf.function compiles the network. OpenVINO and "
        "raw LiteRT use our decoder and the same flatbuffer. Ours, OpenVINO and LiteRT evaluate "
        "the image and its mirror image, as `scratch` is served; Keras evaluates one view.",
    )
    settings = Settings.read()
    keras.utils.set_random_seed(0)
    recipe = get_recipe("scratch")
    network = recipe.build((recipe.input.height, recipe.input.width, 3), 10)
    bundled = Catalog(settings).bundled("scratch")
    if bundled is None:
        raise RuntimeError("The model scratch is missing in models/; restore it with git.")
    config = bundled.config
    model = to_flatbuffer(occlusion_model(network), config.precision)
    bundle = with_weights(bundled, model, folder / "scratch")
    ours = Classifier(bundle, threads=settings.threads)
    compiled = tf.function(network, reduce_retracing=True)
    raw, openvino_engine = (
        _litert(bundle, settings.threads),
        _openvino(bundle, "f32", settings.threads),
    )

    def student_app(data: bytes, infer: Callable[[_Batch], Any]) -> int:
        spec = config.input
        with Image.open(BytesIO(data)) as photo:
            small = photo.convert("RGB").resize((spec.width, spec.height))
        normalised = normalise(np.asarray(small)[None], spec)
        return int(np.asarray(infer(normalised)).argmax())

    def our_pipeline(data: bytes, infer: Callable[[_Batch], NDArray[np.float32]]) -> int:
        return int(infer(_views(ours, ours.preprocess(data))).mean(axis=0).argmax())

    def pipelines(data: bytes) -> dict[str, Callable[[], object]]:
        return {
            "ours": lambda: ours.predict(data),
            "student app": lambda: student_app(
                data, lambda batch: network.predict(batch, verbose=0)
            ),
            "student app with tf.function": lambda: student_app(data, compiled),
            "OpenVINO, float32": lambda: our_pipeline(data, openvino_engine),
            "raw LiteRT call": lambda: our_pipeline(data, raw),
        }

    for what, file, calls, minimum, goal in (
        ("12 megapixels", photos.large, 5, 4, 8),
        ("200 kB", photos.typical, 20, 15, 30),
    ):
        data = file.read_bytes()
        durations = alternate(pipelines(data), calls=calls)
        for name, seconds in durations.items():
            section.add(f"{what} ({len(data) / 1e6:.1f} MB): {name}", seconds * 1e3, "ms")
        for name, seconds in list(durations.items())[1:]:
            target = f"at least {minimum}, aim {goal}" if name == "student app" else ""
            speedup = seconds / durations["ours"]
            section.add(f"{what}: speed-up of ours over {name}", speedup, "times", target)
    return section


def with_weights(bundle: Bundle, model: bytes, folder: Path) -> Bundle:
    """Write a copy of a model with other weights, and its verdict parameters if it has any.

    Args:
        bundle: The model.
        model: A flatbuffer of the same network.
        folder: Folder to write.

    Returns:
        The model that was written.
    """
    files = {VERDICT: bundle.read(VERDICT)} if VERDICT in bundle.config.sha256 else {}
    return write_bundle(folder, bundle.config, files | {MODEL: model})


def engines(photos: Photos, folder: Path) -> Section:
    """Compare our inference with the raw LiteRT call, and LiteRT with OpenVINO, by model.

    Args:
        photos: Photos to classify.
        folder: Not used.
    """
    section = Section(
        "Inference engines",
        "One decoded photo in all views that are served: the raw LiteRT call on the normalised "
        "batch; ours, which also normalises, creates the views, calibrates and computes the "
        "verdict; and OpenVINO on the same flatbuffer in float32 and in bfloat16, which not every "
        "processor supports.",
    )
    del folder
    settings = Settings.read()
    catalog = Catalog(settings)
    for name in _SERVED:
        bundle = catalog.bundled(name)
        if bundle is None:
            continue
        batch, works = _engine_calls(bundle, photos, settings.threads)
        durations = alternate(works, calls=100)
        for engine, seconds in durations.items():
            section.add(f"{name}, batch of {batch}: {engine}", seconds * 1e3, "ms")
        overhead = durations["ours"] - durations["LiteRT"]
        section.add(
            f"{name}: overhead of ours over LiteRT",
            overhead * 1e3,
            "ms",
            "under 0.3 ms, or under 15%",
        )
        section.add(
            f"{name}: overhead of ours over LiteRT",
            overhead / durations["LiteRT"] * 100,
            "%",
            "the same",
        )
        for engine in ("OpenVINO, float32", "OpenVINO, bfloat16"):
            ratio = durations["LiteRT"] / durations[engine]
            section.add(f"{name}: speed-up of {engine} over LiteRT", ratio, "times")
            if ratio > _NOTABLE_SPEEDUP:
                section.note(f"{engine} runs `{name}` {ratio:.2f} times as fast as LiteRT.")
    if not section.notes:
        section.note(
            f"OpenVINO is at most {_NOTABLE_SPEEDUP} times as fast as LiteRT for every model."
        )
    return section


def decoding(photos: Photos, folder: Path) -> Section:
    """Compare JPEG decoding at reduced scale with decoding at full scale.

    Args:
        photos: Photos to decode.
        folder: Not used.
    """
    section = Section(
        "JPEG decoding",
        "A JPEG of 12 megapixels, decoded at the reduced scale that suffices for the default "
        "model, and at full scale.",
    )
    del folder
    classifier = Catalog(Settings.read()).load()
    for kind, photo, target in (
        ("baseline", photos.large, "at least 1.5"),
        ("progressive", photos.progressive, ""),
    ):
        data = photo.read_bytes()
        durations = alternate(_decodings(classifier, data), calls=3)
        for name, seconds in durations.items():
            section.add(f"{kind}, {len(data) / 1e6:.1f} MB, {name}", seconds * 1e3, "ms")
        section.add(
            f"{kind}: speed-up of reduced over full scale",
            durations["full scale"] / durations["reduced"],
            "times",
            target,
        )
    return section


def _engine_calls(
    bundle: Bundle, photos: Photos, threads: int
) -> tuple[int, dict[str, Callable[[], object]]]:
    """Return the batch size of one photo in all views, and the functions to time."""
    classifier = Classifier(bundle, threads=threads)
    preprocessed = classifier.preprocess(photos.typical.read_bytes())
    batch = _views(classifier, preprocessed)
    raw = _litert(bundle, threads)
    float32, bfloat16 = (_openvino(bundle, each, threads) for each in ("f32", "bf16"))
    return len(batch), {
        "LiteRT": lambda: raw(batch),
        "ours": lambda: classifier.infer([preprocessed], saliency=[False]),
        "OpenVINO, float32": lambda: float32(batch),
        "OpenVINO, bfloat16": lambda: bfloat16(batch),
    }


def _decodings(classifier: Classifier, data: bytes) -> dict[str, Callable[[], object]]:
    return {"reduced": lambda: classifier.decode(data), "full scale": lambda: decode(data)}


def _views(classifier: Classifier, preprocessed: PreprocessedPhoto) -> _Batch:
    """Build the engine's input for a photo: all crops, then their mirror images if served."""
    normalised = normalise(preprocessed.crops, classifier.config.input)
    if "mirror" not in classifier.config.views:
        return normalised
    return np.concatenate([normalised, normalised[:, :, ::-1]])


def _litert(bundle: Bundle, threads: int) -> Callable[[_Batch], NDArray[np.float32]]:
    interpreter = Interpreter(model_content=bundle.read(MODEL), num_threads=threads)
    runner = interpreter.get_signature_runner(PREDICT)

    def infer(batch: _Batch) -> NDArray[np.float32]:
        logits: NDArray[np.float32] = runner(**{INPUT: batch})["logits"]
        return logits

    return infer


def _openvino(
    bundle: Bundle, precision: str, threads: int
) -> Callable[[_Batch], NDArray[np.float32]]:
    core = openvino.Core()
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / MODEL
        file.write_bytes(_extract_predict_graph(bundle.read(MODEL)))
        model = core.read_model(file)
    spec = bundle.config.input
    model.reshape([-1, spec.height, spec.width, 3])
    options = {
        "INFERENCE_PRECISION_HINT": precision,
        "INFERENCE_NUM_THREADS": threads,
        "PERFORMANCE_HINT": "LATENCY",
    }
    compiled = core.compile_model(model, "CPU", options)
    request = compiled.create_infer_request()
    labels = len(bundle.config.labels)
    # OpenVINO drops the names of the outputs, so the logits are found by their length.
    (index,) = (
        i
        for i, output in enumerate(compiled.outputs)
        if output.partial_shape[-1].is_static and output.partial_shape[-1].get_length() == labels
    )

    def infer(batch: _Batch) -> NDArray[np.float32]:
        request.infer([batch], share_inputs=True)
        logits: NDArray[np.float32] = request.get_output_tensor(index).data
        return logits

    return infer


def _extract_predict_graph(content: bytes) -> bytes:
    """Reduce a flatbuffer to the signature `predict`, since OpenVINO runs its first graph only."""
    model = schema.ModelT.InitFromPackedBuf(content, 0)
    (signature,) = (each for each in model.signatureDefs if each.signatureKey.decode() == PREDICT)
    model.subgraphs = [model.subgraphs[signature.subgraphIndex]]
    signature.subgraphIndex = 0
    model.signatureDefs = [signature]
    builder = flatbuffers.Builder(len(content))
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())
