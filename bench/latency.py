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
from core.bundle.config import MODEL
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

__all__ = ["bytes_to_label", "decoding", "engines"]

_SERVED = ("efficientnet", "scratch", "finetuned", "transfer")
_MUCH_FASTER = 1.5
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
    like = Catalog(settings).bundled("scratch")
    if like is None:
        raise RuntimeError("The model scratch is missing in models/; restore it with git.")
    config = like.config
    model = to_flatbuffer(occlusion_model(network), config.precision)
    bundle = write_bundle(folder / "scratch", config, {MODEL: model})
    ours = Classifier(bundle, threads=settings.threads)
    compiled = tf.function(network, reduce_retracing=True)
    raw, other = _litert(bundle, settings.threads), _openvino(bundle, "f32", settings.threads)

    def as_the_student(data: bytes, answer: Callable[[_Batch], Any]) -> int:
        spec = config.input
        with Image.open(BytesIO(data)) as photo:
            small = photo.convert("RGB").resize((spec.width, spec.height))
        normal = normalise(np.asarray(small)[None], spec)
        return int(np.asarray(answer(normal)).argmax())

    def as_ours(data: bytes, answer: Callable[[_Batch], NDArray[np.float32]]) -> int:
        return int(answer(_views(ours, ours.preprocess(data))).mean(axis=0).argmax())

    def ways(data: bytes) -> dict[str, Callable[[], object]]:
        return {
            "ours": lambda: ours.predict(data),
            "student app": lambda: as_the_student(
                data, lambda batch: network.predict(batch, verbose=0)
            ),
            "student app with tf.function": lambda: as_the_student(data, compiled),
            "OpenVINO, float32": lambda: as_ours(data, other),
            "raw LiteRT call": lambda: as_ours(data, raw),
        }

    for what, file, calls, floor, aim in (
        ("12 megapixels", photos.large, 5, 4, 8),
        ("200 kB", photos.usual, 20, 15, 30),
    ):
        data = file.read_bytes()
        taken = alternate(ways(data), calls=calls)
        for name, seconds in taken.items():
            section.add(f"{what} ({len(data) / 1e6:.1f} MB): {name}", seconds * 1e3, "ms")
        for name, seconds in list(taken.items())[1:]:
            wanted = f"at least {floor}, aim {aim}" if name == "student app" else ""
            speedup = seconds / taken["ours"]
            section.add(f"{what}: speed-up of ours over {name}", speedup, "times", wanted)
    return section


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
        batch, works = _on_engines(bundle, photos, settings.threads)
        taken = alternate(works, calls=100)
        for way, seconds in taken.items():
            section.add(f"{name}, batch of {batch}: {way}", seconds * 1e3, "ms")
        over = taken["ours"] - taken["LiteRT"]
        section.add(
            f"{name}: overhead of ours over LiteRT",
            over * 1e3,
            "ms",
            "under 0.3 ms, or under 15%",
        )
        section.add(
            f"{name}: overhead of ours over LiteRT", over / taken["LiteRT"] * 100, "%", "the same"
        )
        for way in ("OpenVINO, float32", "OpenVINO, bfloat16"):
            ratio = taken["LiteRT"] / taken[way]
            section.add(f"{name}: speed-up of {way} over LiteRT", ratio, "times")
            if ratio > _MUCH_FASTER:
                section.note(f"{way} runs `{name}` {ratio:.2f} times as fast as LiteRT.")
    if not section.notes:
        section.note(f"OpenVINO is at most {_MUCH_FASTER} times as fast as LiteRT for every model.")
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
    for kind, photo, wanted in (
        ("baseline", photos.large, "at least 1.5"),
        ("progressive", photos.progressive, ""),
    ):
        data = photo.read_bytes()
        taken = alternate(_decodings(classifier, data), calls=3)
        for name, seconds in taken.items():
            section.add(f"{kind}, {len(data) / 1e6:.1f} MB, {name}", seconds * 1e3, "ms")
        section.add(
            f"{kind}: speed-up of reduced over full scale",
            taken["full scale"] / taken["reduced"],
            "times",
            wanted,
        )
    return section


def _on_engines(
    bundle: Bundle, photos: Photos, threads: int
) -> tuple[int, dict[str, Callable[[], object]]]:
    """Return the batch size of one photo in all views, and the functions to time."""
    classifier = Classifier(bundle, threads=threads)
    seen = classifier.preprocess(photos.usual.read_bytes())
    batch = _views(classifier, seen)
    raw = _litert(bundle, threads)
    exact, fastest = (_openvino(bundle, each, threads) for each in ("f32", "bf16"))
    return len(batch), {
        "LiteRT": lambda: raw(batch),
        "ours": lambda: classifier.infer([seen], saliency=[False]),
        "OpenVINO, float32": lambda: exact(batch),
        "OpenVINO, bfloat16": lambda: fastest(batch),
    }


def _decodings(classifier: Classifier, data: bytes) -> dict[str, Callable[[], object]]:
    return {"reduced": lambda: classifier.decode(data), "full scale": lambda: decode(data)}


def _views(classifier: Classifier, seen: PreprocessedPhoto) -> _Batch:
    """Build the engine's input for a photo: all crops, then their mirror images."""
    normal = normalise(seen.crops, classifier.config.input)
    return np.concatenate([normal, normal[:, :, ::-1]])


def _litert(bundle: Bundle, threads: int) -> Callable[[_Batch], NDArray[np.float32]]:
    interpreter = Interpreter(model_content=bundle.read(MODEL), num_threads=threads)
    runner = interpreter.get_signature_runner(PREDICT)

    def answer(batch: _Batch) -> NDArray[np.float32]:
        logits: NDArray[np.float32] = runner(**{INPUT: batch})["logits"]
        return logits

    return answer


def _openvino(
    bundle: Bundle, precision: str, threads: int
) -> Callable[[_Batch], NDArray[np.float32]]:
    core = openvino.Core()
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / MODEL
        file.write_bytes(_predict_alone(bundle.read(MODEL)))
        model = core.read_model(file)
    spec = bundle.config.input
    model.reshape([-1, spec.height, spec.width, 3])
    how = {
        "INFERENCE_PRECISION_HINT": precision,
        "INFERENCE_NUM_THREADS": threads,
        "PERFORMANCE_HINT": "LATENCY",
    }
    compiled = core.compile_model(model, "CPU", how)
    request = compiled.create_infer_request()
    labels = len(bundle.config.labels)
    # OpenVINO drops the names of the outputs, so the logits are found by their length.
    (place,) = (
        i
        for i, output in enumerate(compiled.outputs)
        if output.partial_shape[-1].is_static and output.partial_shape[-1].get_length() == labels
    )

    def answer(batch: _Batch) -> NDArray[np.float32]:
        request.infer([batch], share_inputs=True)
        logits: NDArray[np.float32] = request.get_output_tensor(place).data
        return logits

    return answer


def _predict_alone(content: bytes) -> bytes:
    """Reduce a flatbuffer to the signature `predict`, since OpenVINO runs its first graph only."""
    model = schema.ModelT.InitFromPackedBuf(content, 0)
    (chosen,) = (each for each in model.signatureDefs if each.signatureKey.decode() == PREDICT)
    model.subgraphs = [model.subgraphs[chosen.subgraphIndex]]
    chosen.subgraphIndex = 0
    model.signatureDefs = [chosen]
    builder = flatbuffers.Builder(len(content))
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())
