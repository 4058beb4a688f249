"""From a recipe to a model folder: data, fit, export, calibration, evaluation."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import keras
import numpy as np

from core.bundle.config import (
    CARD,
    FORMAT_SINCE,
    MODEL,
    VERDICT,
    Config,
    Pretrained,
    Training,
    Verdict,
    VerdictMethod,
)
from core.bundle.folder import Bundle, write_bundle
from core.bundle.leaderboard import best_method, keep_figures, read_results
from core.bundle.metrics import Curve, RealPhotoFigures, ResizeFigures
from core.errors import DataError, TrainingError
from core.inference.calibration import confidences, probabilities
from core.inference.classifier import Classifier
from core.inference.known_score import Arrays, write_arrays
from core.output import private_folder
from core.photos.preprocess import resize
from core.settings import Settings
from core.training.ablation_results import read_ablation
from core.training.blend import answer_unblended, choose_blend
from core.training.data.batches import Material
from core.training.data.datasets import TINY_HUB_REPO, Dataset, Split, joined, load_tiny_imagenet
from core.training.data.photo_batches import PhotoMaterial
from core.training.data.photos import learn_from_photos
from core.training.evaluation import report
from core.training.evaluation.calibrate import find_beta, find_calibration, find_unsure_below
from core.training.evaluation.evaluate import choose_resizing
from core.training.evaluation.measure import (
    History,
    Rows,
    figures_on_parts,
    measure,
    method_choices,
    resize_choices,
)
from core.training.evaluation.ood import Group, arrays_of, scores_of, share_right, threshold, watch
from core.training.export.flatbuffer import (
    activation_model,
    occlusion_model,
    serving_model,
    to_flatbuffer,
)
from core.training.fit import Reporter, Run, fit
from core.training.networks.vgg16 import describe_vgg16
from core.training.photo_plan import PhotoPlan
from core.training.photo_task import PhotoTask
from core.training.recipes import Recipe
from core.training.task import Labelling

__all__ = ["run_folder", "train", "write_pages"]

# What rounding the weights may cost, on validation.
_MOST_LOST = 0.002
# What the number format of the training may make of the accuracy on validation.
_SAME = 0.01
_SERVED: Mapping[str, Callable[[keras.Model], keras.Model]] = {
    "gradient": serving_model,
    "occlusion": occlusion_model,
    "activation": activation_model,
}


def train(
    recipe: Recipe,
    dataset: Dataset,
    settings: Settings,
    *,
    seed: int,
    resume: bool,
    reporter: Reporter,
    command: str,
    rows: Rows | None = None,
    extra: Path | None = None,
) -> Bundle | None:
    """Train a model and put its folder among the models.

    The run is kept in TENSIGHT_HOME/runs/NAME. The model in TENSIGHT_MODELS is replaced only once
    the new one is trained, exported, calibrated and evaluated.

    Args:
        recipe: What to do.
        dataset: A tenth of its train part is held out to choose the epoch, the calibration and
            the thresholds; the test part is only reported.
        settings: `data`, `home`, `models` and `threads` are used.
        seed: Of weights, order and augmentation.
        resume: Go on with the run that stopped.
        reporter: Hears of every batch and epoch.
        command: That trains this model, for the card.
        rows: What it is chosen and measured by; None: as `Rows.of` cuts and reads them.
        extra: Folder of photos to learn from too, as `learn_from_photos` reads it; those of none of
            the classes only where the recipe learns from `outliers`.

    Returns:
        The model; None where Keras runs on another backend than TensorFlow, which alone can export:
        the run is kept, and the same call with `resume` on TensorFlow makes the model of it.

    Raises:
        DataError: Images or weights that the recipe asks for are missing.
        TrainingError: As in `fit`; or the exported network is not the one that the run trained; or
            the number format loses more than .002 of the accuracy on validation. The run is kept.
    """
    private_folder(settings.home)
    rows = _rows(recipe, dataset, settings) if rows is None else rows
    learned = _learned(recipe, rows, settings, seed, resume, reporter, extra)
    if learned is None:
        return None
    run = learned.run
    model = _SERVED[recipe.maps](learned.model)
    weights = to_flatbuffer(model, recipe.precision)
    with tempfile.TemporaryDirectory() as scratch:
        config = _draft(recipe, dataset, learned, seed)
        draft = write_bundle(Path(scratch) / recipe.name, config, {MODEL: weights})
        exact = write_bundle(
            Path(scratch) / "float32" / recipe.name,
            config,
            {MODEL: to_flatbuffer(model, "float32")},
        )
        _check_network(recipe, learned, exact, settings)
        known = watch(
            Classifier(draft, threads=settings.threads), rows.validation.images, "validation"
        )
        _check_precision(recipe, known, exact, rows.validation, settings)
        config, resizing = _calibrated(draft, known, rows, settings)
        # The draft's own config holds the digests.
        same = config.model_copy(update={"sha256": draft.config.sha256})
        calibrated = Classifier(replace(draft, config=same), threads=settings.threads)
        verdict, files = _verdict(calibrated, known, rows, learned.arrays)
        float32 = Classifier(exact, threads=settings.threads)
        test = watch(float32, dataset.test.images, "test")
    history = History(
        curves=tuple(
            Curve(
                epoch=epoch.epoch,
                loss=epoch.loss,
                accuracy=epoch.accuracy,
                validation_loss=epoch.validation_loss,
                validation_accuracy=epoch.validation_accuracy,
            )
            for epoch in run.history
        ),
        best_epoch=run.best_epoch,
        parameters=learned.model.count_params(),
        training_seconds=sum(epoch.seconds for epoch in run.history),
        reported=recipe.reported,
        float32=share_right(test, dataset.test),
        resize=resizing,
        real_photos_frozen=learned.frozen.get("real_photos"),
        unseen_sources_frozen=learned.frozen.get("unseen_sources"),
    )
    kept = settings.models if recipe.bundled else settings.home / "unbundled"
    bundle = measure(
        kept / recipe.name,
        config.model_copy(update={"verdict": verdict}),
        {MODEL: weights} | files,
        history,
        rows,
        settings,
        command,
    )
    if not recipe.bundled:
        keep_figures(settings.models, bundle)
    return bundle


def write_pages(models: Path) -> None:
    """Write anew what is generated from all models of a folder.

    README.md in it; and, where the folder is a checkout's, docs/RESULTS.md beside it.
    """
    results = read_results(models)
    (models / CARD).write_text(report.index(results), "utf-8")
    docs = models.parent / "docs"
    if docs.is_dir():
        page = report.results_page(results, read_ablation(models))
        (docs / "RESULTS.md").write_text(page, "utf-8")


def _material(
    recipe: Recipe,
    learn: Split,
    settings: Settings,
    extra: Path | None,
    labels: tuple[str, ...],
) -> Material:
    photos = outliers = None
    if recipe.photos or recipe.outliers:
        tiny = load_tiny_imagenet(settings)
        photos = tiny.same if recipe.photos else None
        outliers = tiny.outliers if recipe.outliers else None
    if extra is None:
        return Material(learn, photos, outliers)
    known, none = learn_from_photos(extra, labels)
    if photos is not None:
        photos = joined(photos, known)
    else:
        # A recipe that takes no sharp photos gets them as small as its rows.
        height, width = learn.images.shape[1:3]
        small = recipe.input.model_copy(update={"height": height, "width": width})
        scaled = [resize(image, small) for image in known.images]
        images = np.asarray(scaled, np.uint8).reshape(-1, height, width, 3)
        learn = joined(learn, replace(known, images=images))
    taken = len(known)
    if outliers is not None:
        outliers, taken = joined(outliers, none), taken + len(none)
    digest = hashlib.sha256()
    for split in (known, none):
        digest.update(split.images.tobytes() + split.labels.tobytes())
    told = f"{taken} photos of a folder of one's own (SHA-256 {digest.hexdigest()[:12]})"
    if left := len(known) + len(none) - taken:
        told += f"; {left} of none of the classes left out, which this recipe cannot learn from"
    return Material(learn, photos, outliers, told)


def _described(material: Material, recipe: Recipe, dataset: Dataset) -> str:
    parts = [f"{dataset.name}, {len(material.rows):,} rows of train"]
    if material.photos is not None:
        parts.append(f"Tiny ImageNet, {len(material.photos):,} train images of the same classes")
    if material.outliers is not None:
        parts.append(f"{len(material.outliers):,} of other classes ({recipe.outliers:,} an epoch)")
    if material.extra:
        parts.append(f"among them {material.extra}")
    return "; ".join(parts)


def _datasets(material: Material, dataset: Dataset, body: Pretrained | None) -> tuple[str, ...]:
    tiny = material.photos is not None or material.outliers is not None
    names = [dataset.hub, TINY_HUB_REPO if tiny else None, *(body.datasets if body else ())]
    return tuple(dict.fromkeys(name for name in names if name))


def run_folder(recipe: Recipe, settings: Settings) -> Path:
    """Where the run of a recipe is kept."""
    return settings.home / "runs" / recipe.name


def _rows(recipe: Recipe, dataset: Dataset, settings: Settings) -> Rows:
    """Read what a recipe is chosen and measured by."""
    if recipe.plan is None:
        return Rows.of(dataset, settings)
    return Rows.of_real_photos(dataset, settings, recipe.plan.left_out)


@dataclass(frozen=True, eq=False)
class _Learned:
    """What a run came to.

    Attributes:
        run: The run.
        model: Its network, of the size that is served and in float32.
        checked: Rows whose accuracy is known.
        accuracy: Of the network as trained on these, one view.
        data: What was learned from, for people.
        datasets: Names of it on the Hub.
        body: Weights that it began with, where `tensight train vgg16` left them.
        arrays: Of the verdict method `probe`, where the network has an output for none.
        frozen: Figures of the network before it was fine-tuned, as `figures_on_parts` gives them.
    """

    run: Run
    model: keras.Model
    checked: Split
    accuracy: float
    data: str
    datasets: tuple[str, ...]
    body: Pretrained | None = None
    arrays: Arrays = field(default_factory=dict)
    frozen: Mapping[str, RealPhotoFigures | None] = field(default_factory=dict)


def _learned(
    recipe: Recipe,
    rows: Rows,
    settings: Settings,
    seed: int,
    resume: bool,
    reporter: Reporter,
    extra: Path | None,
) -> _Learned | None:
    """Go through the epochs of a recipe; None where only TensorFlow can go on."""
    if recipe.plan is not None:
        return _learned_with_photos(recipe, recipe.plan, rows, settings, seed, resume, reporter)
    dataset = rows.dataset
    material = _material(recipe, rows.learn, settings, extra, dataset.labels)
    body = describe_vgg16(settings) if recipe.body is not None else None
    run = fit(
        Labelling(recipe, material, rows.validation, len(dataset.labels), seed, settings),
        folder=run_folder(recipe, settings),
        resume=resume,
        reporter=reporter,
    )
    if keras.backend.backend() != "tensorflow":
        return None
    # Anew, of one size and in float32, whatever it was trained in.
    model = recipe.build((recipe.input.height, recipe.input.width, 3), len(dataset.labels))
    model.set_weights(run.model.get_weights())
    return _Learned(
        run=run,
        model=model,
        checked=rows.validation,
        accuracy=run.history[run.best_epoch - 1].validation_accuracy,
        data=_described(material, recipe, dataset),
        datasets=_datasets(material, dataset, body),
        body=body,
    )


def _learned_with_photos(
    recipe: Recipe,
    plan: PhotoPlan,
    rows: Rows,
    settings: Settings,
    seed: int,
    resume: bool,
    reporter: Reporter,
) -> _Learned | None:
    """As `_learned`, for a recipe that has a plan."""
    dataset, real = rows.dataset, rows.real
    if real is None:
        raise DataError(f"{recipe.name} learns from real photos, and there are none.")
    material = PhotoMaterial(rows.learn, real.train)
    classes = len(dataset.labels)
    folder = run_folder(recipe, settings)
    run = fit(
        PhotoTask(recipe, plan, material, rows.validation, real.valid, classes, seed, settings),
        folder=folder,
        resume=resume,
        reporter=reporter,
    )
    if keras.backend.backend() != "tensorflow":
        return None
    spec = recipe.input
    blend = choose_blend(run.model, plan, spec, rows.validation, real.valid, folder)
    model = recipe.build((spec.height, spec.width, 3), classes)
    *body, kernel, bias = run.model.get_weights()
    model.set_weights([*body, kernel[:, :classes], bias[:classes]])
    start = figures_on_parts(
        real,
        answer_unblended(run.model, real.kept_back, spec),
        lambda photos: answer_unblended(run.model, photos, spec),
    )
    photos, known = len(real.train), int(real.train.known.sum())
    return _Learned(
        run=run,
        model=model,
        checked=rows.validation.take(np.arange(min(len(rows.validation), plan.blend_rows))),
        accuracy=blend.rows,
        data=f"{dataset.name}, {len(rows.learn):,} rows of train; {photos:,} real photos of "
        f"{len(np.unique(real.train.sources))} public repositories, {known:,} of the labels and "
        f"{photos - known:,} of other things; of the way from the start to the running average "
        f"of the weights, {blend.share:.2f}",
        datasets=(dataset.hub,) if dataset.hub else (),
        arrays={"kernel": kernel.astype(np.float16), "bias": bias.astype(np.float16)},
        frozen=start,
    )


def _draft(recipe: Recipe, dataset: Dataset, learned: _Learned, seed: int) -> Config:
    """Return config.json before anything is calibrated."""
    run, body = learned.run, learned.body
    return Config(
        name=recipe.name,
        title=recipe.title,
        description=recipe.description,
        family=recipe.family,
        labels=dataset.labels,
        input=recipe.input,
        views=recipe.views,
        precision=recipe.precision,
        temperature=1.0,
        offered=recipe.offered,
        verdict=Verdict(method="max_softmax", none_below=0.0, unsure_below=0.0),
        sha256={MODEL: "0" * 64},
        training=Training(
            recipe=recipe.name,
            data=learned.data,
            datasets=learned.datasets,
            license=recipe.license if body is None else body.license,
            pretrained=body,
            notes=recipe.notes,
            seed=seed,
            epochs=len(run.history),
            hardware=", ".join(dict.fromkeys(session.hardware for session in run.sessions)),
            date=run.sessions[-1].date,
            commit=", ".join(dict.fromkeys(session.commit for session in run.sessions)),
        ),
        minimum_version=FORMAT_SINCE,
    )


def _check_network(recipe: Recipe, learned: _Learned, exact: Bundle, settings: Settings) -> None:
    """See that weights were not put into another network than the one that was trained."""
    one_view = exact.config.model_copy(update={"views": ("identity",)})
    classifier = Classifier(replace(exact, config=one_view), threads=settings.threads)
    checked = learned.checked
    exported = share_right(watch(classifier, checked.images, "validation"), checked)
    if abs(exported - learned.accuracy) > _SAME:
        raise TrainingError(
            f"As exported, {recipe.name} is right on {exported:.4f} of the validation rows; as "
            f"trained, on {learned.accuracy:.4f}. Its network has changed since; train it anew."
        )


def _check_precision(
    recipe: Recipe, known: Group, exact: Bundle, validation: Split, settings: Settings
) -> None:
    """See that rounding the weights costs little."""
    float32 = Classifier(exact, threads=settings.threads)
    before = share_right(watch(float32, validation.images, "validation"), validation)
    lost = before - share_right(known, validation)
    if lost > _MOST_LOST:
        raise TrainingError(
            f"In {recipe.precision}, {recipe.name} is right on {lost:.4f} less of the validation "
            f"rows than in float32; at most {_MOST_LOST} may be lost. Change the precision of its "
            "recipe, and export the run with --resume."
        )


def _calibrated(
    draft: Bundle, known: Group, rows: Rows, settings: Settings
) -> tuple[Config, ResizeFigures | None]:
    """Choose the resize rule and calibrate; rows and real photos count alike.

    Args:
        draft: The model.
        known: What it gives on the validation rows.
        rows: What to choose by.
        settings: `threads` is used.
    """
    resizing = resize_choices(draft, rows, settings)
    changed = draft.config
    if resizing is not None:
        spec = changed.input.model_copy(update={"resize": choose_resizing(resizing)})
        changed = changed.model_copy(update={"input": spec})
    groups, labels = [known.outputs.logits], [rows.validation.labels]
    if rows.real is not None and (sharp := rows.sharp) is not None:
        classifier = Classifier(replace(draft, config=changed), threads=settings.threads)
        groups.append(watch(classifier, sharp.images, sharp.name).outputs.logits)
        labels.append(sharp.labels)
    logits, truth = np.concatenate(groups), np.concatenate(labels)
    weights = np.concatenate([np.full(len(group), 1 / len(group)) for group in groups])
    temperature, exponent = find_calibration(logits, truth, weights)
    beta = find_beta(probabilities(logits, temperature, exponent), truth, weights)
    calibration = {"temperature": temperature, "exponent": exponent, "beta": beta}
    return changed.model_copy(update=calibration), resizing


def _verdict(
    classifier: Classifier, known: Group, rows: Rows, probe: Arrays
) -> tuple[Verdict, dict[str, bytes]]:
    """Method and thresholds, and the file that the method needs.

    Without images of none of the labels there is nothing to choose a method by.

    Args:
        classifier: The model, calibrated.
        known: What it gives on the validation rows.
        rows: What to choose by.
        probe: What the method `probe` needs, where there is such.
    """
    config = classifier.config
    method: VerdictMethod = "max_softmax"
    arrays: Arrays = {}
    groups = [known]
    labels = [rows.validation.labels]
    if (sharp := rows.sharp) is not None:
        each = dict(arrays_of(classifier, rows.learn))
        if probe:
            each["probe"] = probe
            # Of photos it knows only what rows look like.
            del each["knn"]
        method = best_method(method_choices(classifier, rows, sharp, each))
        arrays = each[method]
        # People send photos: the thresholds must suit them as well, and each kind counts the same.
        groups.append(watch(classifier, sharp.images, sharp.name))
        labels.append(sharp.labels)
    answers = [group.outputs.logits for group in groups]
    verdict = Verdict(
        method=method,
        none_below=threshold(
            [scores_of(method, group.outputs, config, arrays) for group in groups]
        ),
        unsure_below=find_unsure_below(
            np.concatenate([confidences(each, config) for each in answers]),
            np.concatenate(
                [each.argmax(axis=1) == truth for each, truth in zip(answers, labels, strict=True)]
            ),
            np.concatenate([np.full(len(each), 1 / len(each)) for each in answers]),
        ),
    )
    return verdict, {VERDICT: write_arrays(arrays)} if arrays else {}
