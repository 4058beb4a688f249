"""The commands that evaluate models."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from core.cli.console import (
    TRAIN,
    JsonOption,
    command_line,
    prepare_training,
    print_json,
    read_settings,
    say,
)
from core.cli.metrics_tables import print_evaluated, print_photo_metrics, print_teaching
from core.errors import ModelNotFoundError

if TYPE_CHECKING:
    from core.bundle.folder import Bundle
    from core.bundle.metrics import CorruptionMetrics
    from core.registry.catalog import Catalog
    from core.settings import Settings
    from core.training.evaluation.evaluation_data import EvaluationData

__all__ = ["app"]

app = typer.Typer()

NameArgument = Annotated[str, typer.Argument(metavar="NAME", help="Name of the model.")]


@app.command(rich_help_panel=TRAIN)
def evaluate(
    name: Annotated[str | None, typer.Argument(metavar="NAME", help="Name of the model.")] = None,
    everything: Annotated[
        bool,
        typer.Option(
            "--all",
            help="Evaluate all models, also under common corruptions, and write all generated "
            "pages. Takes more than an hour.",
        ),
    ] = False,
    photos: Annotated[Path | None, typer.Option(hidden=True)] = None,
    pictures: Annotated[Path | None, typer.Option(hidden=True)] = None,
    as_json: JsonOption = False,
) -> None:
    """Evaluate a saved model on the test set and update its model card."""
    if everything == (name is not None):
        raise typer.BadParameter("give the name of a model, or --all")
    if [everything, photos is not None, pictures is not None].count(True) > 1:
        raise typer.BadParameter("--all, --photos and --pictures exclude each other")
    if pictures is not None and as_json:
        raise typer.BadParameter("--pictures cannot be combined with --json")
    if name is not None and photos is not None:
        evaluate_photos(name, photos, as_json)
        return
    if name is not None and pictures is not None:
        draw_mistakes(name, pictures)
        return
    from core.registry.catalog import Catalog

    settings = read_settings()
    catalog = Catalog(settings)
    if name is None:
        _evaluate_all(catalog, settings, as_json)
        return
    bundle = _bundled(catalog, settings, name)
    rows = _load_rows(settings)
    from core.training.evaluation import measure
    from core.training.pages import write_pages

    bundle = measure.evaluate(bundle, rows, settings, command=command_line())
    print_evaluated(bundle, as_json=as_json)
    write_pages(settings.models)


@app.command(rich_help_panel=TRAIN)
def calibrate(name: NameArgument, as_json: JsonOption = False) -> None:
    """Fit calibration and thresholds of a saved model again, and evaluate it.

    Resize rule, calibration, verdict method and thresholds are selected on validation data; the
    weights stay the same.
    """
    from core.registry.catalog import Catalog

    settings = read_settings()
    bundle = _bundled(Catalog(settings), settings, name)
    rows = _load_rows(settings)
    from core.training.evaluation import measure
    from core.training.pages import write_pages
    from core.training.recipes import RECIPES

    recipe = RECIPES.get(bundle.config.training.recipe)
    bundle = measure.recalibrate(
        bundle, rows, settings, command=command_line(), plan=recipe.plan if recipe else None
    )
    print_evaluated(bundle, as_json=as_json)
    write_pages(settings.models)


@app.command(rich_help_panel=TRAIN)
def evaluate_teaching(as_json: JsonOption = False) -> None:
    """Evaluate how well new classes are taught, beside two baselines, and update RESULTS.md.

    Needs the real photos in TENSIGHT_DATA. Classes are taught from 5 and from 10 photos each, in
    20 episodes of two suites.
    """
    settings = read_settings()
    prepare_training()
    from core.training.evaluation.teaching_results import write_teaching
    from core.training.pages import write_pages
    from core.training.teaching_evaluation import measure_teaching

    say("Reading the real photos ...")
    results = measure_teaching(
        settings,
        command=command_line(),
        report=lambda found: say(
            f"{found.suite}, {found.classes} classes of {found.photos} photos: "
            f"{found.taught.mean:.4f}"
        ),
    )
    write_teaching(settings.models, results)
    if as_json:
        print_json(results.model_dump(mode="json"))
    else:
        print_teaching(results)
    write_pages(settings.models)


@app.command(rich_help_panel=TRAIN)
def evaluate_photos(
    name: NameArgument,
    folder: Annotated[
        Path,
        typer.Argument(
            metavar="DIR",
            help="Folder with photos and labels.csv (columns file,label; the label `none` for "
            "photos of none of the labels).",
        ),
    ],
    as_json: JsonOption = False,
) -> None:
    """Evaluate a model on your own photos. Nothing is written."""
    from core.registry.catalog import Catalog

    classifier = Catalog(read_settings()).load(name)
    prepare_training()
    from core.training.evaluation.photos import evaluate_photos as evaluate_on

    metrics = evaluate_on(classifier, folder)
    if as_json:
        model = {"model": classifier.name, "revision": classifier.revision}
        print_json(model | metrics.model_dump(mode="json"))
    else:
        typer.echo(f"{classifier.name}, {metrics.n} photos")
        print_photo_metrics(metrics)


@app.command(rich_help_panel=TRAIN)
def draw_mistakes(
    name: NameArgument,
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Folder for the pictures.")],
) -> None:
    """Draw the most confident mistakes of a model on the test set, and its confusions.

    The pictures contain images of the data set.
    """
    from core.registry.catalog import Catalog

    settings = read_settings()
    catalog = Catalog(settings)
    bundle, classifier = catalog.bundle(name), catalog.load(name)
    metrics = bundle.metrics().test
    prepare_training()
    from core.training.data.cifar10 import CIFAR10_LABELS, load_cifar10_test
    from core.training.evaluation.measure import check_same_labels
    from core.training.evaluation.mistakes import check_has_mistakes, draw_contact_sheets

    check_same_labels(bundle, "CIFAR-10", CIFAR10_LABELS)
    check_has_mistakes(name, metrics)
    say("Reading the test set of CIFAR-10 ...")
    for file in draw_contact_sheets(classifier, metrics, load_cifar10_test(settings), folder):
        typer.echo(str(file))


def _evaluate_all(catalog: Catalog, settings: Settings, as_json: bool) -> None:
    from core.bundle.folder import find_bundles

    # All bundles are verified before hours are spent on any of them.
    names = [folder.name for folder in find_bundles(settings.models)]
    if not names:
        raise ModelNotFoundError(f"There is no model to evaluate in {settings.models}.")
    bundles = [_bundled(catalog, settings, name) for name in names]
    for bundle in bundles:
        bundle.verify()
    rows = _load_rows(settings)
    from core.training.evaluation import measure
    from core.training.pages import write_pages

    others = [b for b in bundles if b.config.labels != rows.dataset.labels]
    for bundle in others:
        say(f"{bundle.config.name} has other labels than the test set and is skipped.")
    bundles = [bundle for bundle in bundles if bundle not in others]
    evaluated = [measure.evaluate(b, rows, settings, command=command_line()) for b in bundles]
    # The corruptions take another hour.
    write_pages(settings.models)
    _evaluate_corruptions(evaluated, rows, settings, as_json)
    write_pages(settings.models)


def _evaluate_corruptions(
    bundles: list[Bundle], rows: EvaluationData, settings: Settings, as_json: bool
) -> None:
    from core.inference.classifier import Classifier
    from core.training.evaluation import measure
    from core.training.evaluation.corruptions import CORRUPTED_ROWS, measure_corruptions

    classifiers = [Classifier(bundle, threads=settings.threads) for bundle in bundles]
    found: dict[str, dict[str, CorruptionMetrics]] = {each.config.name: {} for each in bundles}
    for corruption, metrics in measure_corruptions(classifiers, rows.dataset.test):
        say(f"Evaluated under {corruption}")
        for name, each in metrics.items():
            found[name][corruption] = each
    n = min(CORRUPTED_ROWS, len(rows.dataset.test))
    for bundle in bundles:
        done = measure.add_corruptions(bundle, found[bundle.config.name], n)
        print_evaluated(done, as_json=as_json)


def _bundled(catalog: Catalog, settings: Settings, name: str) -> Bundle:
    """Return a bundled model, whose metrics may be replaced."""
    bundle = catalog.bundled(name)
    if bundle is None:
        raise ModelNotFoundError(
            f"There is no {name} in {settings.models}. Models from the Hub keep the metrics that "
            "they were published with; `tensight evaluate-photos` evaluates one without writing."
        )
    return bundle


def _load_rows(settings: Settings) -> EvaluationData:
    prepare_training()
    from core.training.data.cifar10 import load_cifar10
    from core.training.evaluation.evaluation_data import EvaluationData

    say("Reading CIFAR-10 ...")
    return EvaluationData.load(load_cifar10(settings), settings)
