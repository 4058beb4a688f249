"""Train a recipe into a model folder: run, export, selection of thresholds, evaluation."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import keras

from core.bundle.config import MODEL, SPACE, Config, Training
from core.bundle.folder import Bundle, write_bundle
from core.bundle.leaderboard import save_unbundled
from core.bundle.metrics import EpochMetrics, ResizeMetrics
from core.inference.classifier import Classifier
from core.inference.head import write_space
from core.output import private_folder
from core.settings import Settings
from core.training.data.datasets import Dataset
from core.training.evaluation.evaluation_data import EvaluationData
from core.training.evaluation.measure import History, measure
from core.training.evaluation.model_outputs import bundle_accuracy
from core.training.evaluation.selection import complete_config
from core.training.evaluation.verdict_probe import TinyProbe
from core.training.export.checks import check_network, check_precision
from core.training.export.draft import draft_config
from core.training.export.evidence_maps import activation_model, gradient_model, occlusion_model
from core.training.export.flatbuffer import to_flatbuffer
from core.training.input_gradient import input_gradient
from core.training.recipe import Recipe
from core.training.run import RunOptions, TrainedNetwork, run_recipe
from core.training.teaching_space import fit_teaching_space

__all__ = ["train"]

_ADD_MAPS: Mapping[str, Callable[[keras.Model], keras.Model]] = {
    "gradient": gradient_model,
    "occlusion": occlusion_model,
    "activation": activation_model,
}


def train(
    recipe: Recipe,
    dataset: Dataset,
    settings: Settings,
    options: RunOptions,
    *,
    command: str,
    data: EvaluationData | None = None,
) -> Bundle | None:
    """Train a model and write its folder among the models.

    The run is stored in TENSIGHT_HOME/runs/NAME. The model in TENSIGHT_MODELS is replaced only
    after the new one has been trained, exported, calibrated and evaluated.

    Args:
        recipe: The recipe.
        dataset: Data set; 10% of its train rows are held out for the selection of epoch,
            calibration and thresholds, its test split is for evaluation only.
        settings: `data`, `home`, `models` and `threads` are used.
        options: Seed, progress and additional photos.
        command: The command line, for the card.
        data: Data for selection and evaluation; None to load what the recipe needs.

    Returns:
        The model; None where Keras runs on another backend than TensorFlow, which alone can export:
        the run is stored, and the same call with `resume` on TensorFlow exports it.

    Raises:
        DataError: Images or pretrained weights are missing; if these are images for the probe of
            the verdict, the run is kept.
        TrainingError: The run cannot be started or resumed, see `fit`; the exported network is not
            the one that was trained; or quantisation costs more than 0.002 of the validation
            accuracy. The run is kept.
    """
    private_folder(settings.home)
    data = _load_data(recipe, dataset, settings) if data is None else data
    trained = run_recipe(recipe, data, settings, options)
    if trained is None:
        return None
    exported = _export(recipe, trained, data, settings, options.seed)
    models = settings.models if recipe.bundled else settings.home / "unbundled"
    bundle = measure(
        models / recipe.name,
        exported.config,
        exported.files,
        _history(recipe, trained, exported),
        data,
        settings,
        command,
        input_gradient(trained.model, exported.config.input),
    )
    if not recipe.bundled:
        save_unbundled(settings.models, bundle)
    return bundle


@dataclass(frozen=True, eq=False)
class _Exported:
    """A network in the form that is served.

    Attributes:
        config: Complete config.json.
        files: Weights, and parameters of the verdict method and the embedding space if it has any,
            by file name.
        resize: Accuracy by resize rule, if it was measured.
        float32: Test accuracy before quantisation, 0 to 1.
    """

    config: Config
    files: dict[str, bytes]
    resize: ResizeMetrics | None
    float32: float


def _export(
    recipe: Recipe, trained: TrainedNetwork, data: EvaluationData, settings: Settings, seed: int
) -> _Exported:
    """Export, check and complete a network.

    Raises:
        DataError: Tiny ImageNet, which the probe of the verdict needs, is missing.
        TrainingError: The network is not the one that was trained, or quantisation costs too much.
    """
    model = _ADD_MAPS[recipe.saliency](trained.model)
    draft = draft_config(
        name=recipe.name,
        title=recipe.title,
        description=recipe.description,
        family=recipe.family,
        labels=data.dataset.labels,
        spec=recipe.input,
        views=recipe.views,
        precision=recipe.precision,
        training=_training_record(recipe, trained, seed),
        offered=recipe.offered,
    )
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        weights = to_flatbuffer(model, "float32")
        bundle = float32_bundle = write_bundle(
            folder / "float32" / recipe.name, draft, {MODEL: weights}
        )
        check_network(float32_bundle, trained.validation, trained.accuracy, settings)
        if recipe.precision != "float32":
            weights = to_flatbuffer(model, recipe.precision)
            bundle = write_bundle(folder / recipe.name, draft, {MODEL: weights})
            check_precision(bundle, float32_bundle, data.validation, settings)
        probe = TinyProbe.from_plan(recipe.plan, settings) or trained.ood_params
        config, files, resizing = complete_config(bundle, data, settings, probe)
        if recipe.teachable and data.real is not None:
            classifier = Classifier(bundle, threads=settings.threads)
            files[SPACE] = write_space(fit_teaching_space(classifier, data.real))
        float32 = bundle_accuracy(float32_bundle, data.dataset.test, threads=settings.threads)
    return _Exported(
        config=config,
        files={MODEL: weights} | files,
        resize=resizing,
        float32=float32,
    )


def _training_record(recipe: Recipe, trained: TrainedNetwork, seed: int) -> Training:
    """Return the training record of config.json."""
    run, pretrained = trained.run, trained.pretrained
    return Training(
        recipe=recipe.name,
        data=trained.data,
        datasets=trained.datasets,
        photos=trained.photos,
        license=recipe.license if pretrained is None else pretrained.license,
        pretrained=pretrained,
        notes=recipe.notes,
        seed=seed,
        epochs=len(run.history),
        hardware=", ".join(dict.fromkeys(session.hardware for session in run.sessions)),
        date=run.sessions[-1].date,
        commit=", ".join(dict.fromkeys(session.commit for session in run.sessions)),
    )


def _history(recipe: Recipe, trained: TrainedNetwork, exported: _Exported) -> History:
    """Return the metrics that only the run and the export can provide."""
    run = trained.run
    return History(
        curves=tuple(
            EpochMetrics(
                epoch=epoch.epoch,
                loss=epoch.loss,
                accuracy=epoch.accuracy,
                validation_loss=epoch.validation_loss,
                validation_accuracy=epoch.validation_accuracy,
            )
            for epoch in run.history
        ),
        best_epoch=run.best_epoch,
        parameters=trained.model.count_params(),
        training_seconds=sum(epoch.seconds for epoch in run.history),
        reported=recipe.reported,
        float32=exported.float32,
        resize=exported.resize,
        real_photos_frozen=trained.baseline.get("real_photos"),
        unseen_sources_frozen=trained.baseline.get("unseen_sources"),
    )


def _load_data(recipe: Recipe, dataset: Dataset, settings: Settings) -> EvaluationData:
    """Load the data for selection and evaluation that a recipe needs."""
    if recipe.plan is None:
        return EvaluationData.load(dataset, settings)
    return EvaluationData.load_with_real_photos(dataset, settings, recipe.plan.held_out_sources)
