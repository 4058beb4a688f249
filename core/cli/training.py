"""The commands that train, evaluate and export models."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast, get_args

import typer

from core.bundle.config import Family, Precision, Pretrained
from core.bundle.folder import Bundle, find_bundles
from core.bundle.leaderboard import mean_and_spread
from core.cli.console import (
    EpochProgress,
    JsonOption,
    command_line,
    prepare_training,
    print_json,
    print_table,
    read_settings,
    say,
)
from core.errors import ModelNotFoundError, TenSightError
from core.inference.classifier import Classifier
from core.output import private_folder
from core.registry.catalog import Catalog
from core.settings import Settings

if TYPE_CHECKING:
    from core.bundle.metrics import (
        CorruptionMetrics,
        Metrics,
        PhotoMetrics,
        ProportionEstimate,
        RealPhotoMetrics,
    )
    from core.training.data.datasets import Dataset
    from core.training.evaluation.evaluation_data import EvaluationData
    from core.training.train_all import Outcome

__all__ = ["app"]

app = typer.Typer()

_ELSEWHERE = "Only TensorFlow can export it; there, go on with:"


@app.command()
def explore(
    out: Annotated[
        Path | None,
        typer.Option(help="Folder for the HTML page.", show_default="TENSIGHT_HOME/explore"),
    ] = None,
) -> None:
    """Show what the training data is: shapes, counts, values, pictures."""
    settings = read_settings()
    dataset = _load_data(settings)
    if out is None:
        private_folder(settings.home)
    from core.training.data.real_photos import find_real_photos, has_real_photos, read_real_photos
    from core.training.explore import explore as describe

    photos = None
    if has_real_photos(settings):
        folder = find_real_photos(settings)
        photos = {part: read_real_photos(folder, part) for part in ("train", "valid")}
    summary, page = describe(dataset, out or settings.home / "explore", photos)
    for title, header, rows in summary:
        typer.echo(title)
        print_table(header, rows)
        typer.echo("")
    say(f"Pictures: {page}")


@app.command()
def train(
    name: Annotated[
        str | None, typer.Argument(help="Name of the recipe; or vgg16, that some begin with.")
    ] = None,
    everything: Annotated[
        bool, typer.Option("--all", help="Train every recipe, one after the other.")
    ] = False,
    ablation: Annotated[
        bool,
        typer.Option("--ablation", help="Try changes of `classic` in short runs of several seeds."),
    ] = False,
    weights: Annotated[
        str | None,
        typer.Option(
            metavar="imagenet|PATH",
            help="For vgg16 or --all: take VGG16's weights of keras.applications, downloaded or "
            "from a file without the top, or those that a model's folder (models/transfer) holds, "
            "in place of those in TENSIGHT_DATA.",
        ),
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with a stopped run; begin where there is none.")
    ] = False,
    seed: Annotated[
        int | None,
        typer.Option(min=0, help="Of weights, order and augmentation.", show_default="0"),
    ] = None,
    extra: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Learn from the photos of this folder too; `tensight feedback export` writes one. "
            "Those of none of the classes need a recipe that learns from such, as mobilenet does.",
        ),
    ] = None,
) -> None:
    """Train a model by its recipe and put it, or where so decided its figures, among the models."""
    if [everything, ablation, name is not None].count(True) != 1:
        raise typer.BadParameter("give the name of a recipe, or --all, or --ablation")
    if weights is not None and not everything and name != "vgg16":
        raise typer.BadParameter("--weights goes with vgg16 or --all")
    if extra is not None and (name is None or name == "vgg16"):
        raise typer.BadParameter("--extra goes with the name of a recipe")
    if seed is not None and ablation:
        raise typer.BadParameter("--ablation has seeds of its own; leave out --seed")
    settings = read_settings()
    prepare_training()
    from core.training import recipes, train_all
    from core.training.networks import vgg16

    again = shlex.join(["tensight", *dict.fromkeys([*sys.argv[1:], "--resume"])])
    try:
        if ablation:
            _ablate(settings, resume, again)
            return
        if name == recipes.VGG16 and weights is not None:
            _tell(train_all.Outcome(name, vgg16.import_vgg16(weights, settings)), settings, again)
            return
        if name is not None and name != recipes.VGG16:
            recipes.get_recipe(name)
        outcomes = train_all.train_all(
            train_all.training_order() if name is None else [name],
            _load_data(settings),
            settings,
            seed=seed or 0,
            resume=resume,
            reporter=EpochProgress,
            vgg16_weights=weights,
            extra=extra,
        )
        failed = False
        for outcome in outcomes:
            failed |= isinstance(outcome.result, TenSightError)
            _tell(outcome, settings, again)
    except KeyboardInterrupt:
        say(f"Stopped. Go on from the last whole epoch with: {again}")
        raise typer.Exit(130) from None
    if failed:
        raise typer.Exit(1)


def _ablate(settings: Settings, resume: bool, again: str) -> None:
    dataset = _load_data(settings)
    from core.training.ablation import ablate
    from core.training.pages import write_pages

    done = ablate(dataset, settings, resume=resume, reporter=EpochProgress)
    if done is None:
        say(f"All is trained. {_ELSEWHERE} KERAS_BACKEND=tensorflow {again}")
        return
    print_table(
        ["changed", "held out", "test", "seeds"],
        [
            [
                option.change,
                *(
                    "{:.4f} ± {:.4f}".format(*mean_and_spread(shares))
                    for shares in (option.validation, option.test)
                ),
                str(len(done.seeds)),
            ]
            for option in done.options
        ],
    )
    write_pages(settings.models)
    say(f"Written to {settings.models}")


def _tell(outcome: Outcome, settings: Settings, again: str) -> None:
    """What became of one recipe; and the table of models anew."""
    from core.training.pages import write_pages

    match outcome.result:
        case Bundle() as bundle:
            _print_figures(bundle.metrics())
            say(f"The model is in {bundle.folder}")
            write_pages(settings.models)
        case Pretrained() as body:
            known = ""
            if body.accuracy is not None:
                known = f" Accuracy on Tiny ImageNet, {body.n:,} valid images: {body.accuracy:.4f}."
            say(f"{body.network} {body.source}.{known}")
        case TenSightError() as error:
            # The others of --all may still come to something.
            say(f"{outcome.name}: {error}")
        case None:
            say(f"{outcome.name} is trained. {_ELSEWHERE} KERAS_BACKEND=tensorflow {again}")


@app.command()
def evaluate(
    name: Annotated[str | None, typer.Argument(help="Name of the model.")] = None,
    everything: Annotated[
        bool,
        typer.Option(
            "--all",
            help="Measure every model, also on spoiled images (an hour or more), and make all "
            "generated pages anew.",
        ),
    ] = False,
    photos: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Measure on the photos of this folder instead, named in its labels.csv "
            "(file,label; `none` for a photo of none of the labels); nothing is written.",
        ),
    ] = None,
    pictures: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Draw its most confident mistakes and its confusions into this folder instead; "
            "they show images of the data set.",
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Measure a model's stored weights: on the test set, which renews its card, or on photos."""
    if everything == (name is not None):
        raise typer.BadParameter("give the name of a model, or --all")
    if [everything, photos is not None, pictures is not None].count(True) > 1:
        raise typer.BadParameter("--all, --photos and --pictures do not go together")
    if pictures is not None and as_json:
        raise typer.BadParameter("--pictures draws, and has nothing to print as JSON")
    settings = read_settings()
    catalog = Catalog(settings)
    if name is None:
        _evaluate_all(catalog, settings, as_json)
    elif photos is not None:
        _evaluate_photos(catalog.load(name), photos, as_json)
    elif pictures is not None:
        _draw(catalog, name, settings, pictures)
    else:
        bundle = _of_the_folder(catalog, settings, name)
        rows = _load_rows(settings)
        from core.training.evaluation import measure
        from core.training.pages import write_pages

        bundle = measure.evaluate(bundle, rows, settings, command=command_line())
        _print_evaluated(bundle, as_json)
        write_pages(settings.models)


def _evaluate_all(catalog: Catalog, settings: Settings, as_json: bool) -> None:
    # Before hours are spent: each of them is whole, and there is one.
    names = [folder.name for folder in find_bundles(settings.models)]
    if not names:
        raise ModelNotFoundError(f"There is no model in {settings.models} to measure.")
    bundles = [_of_the_folder(catalog, settings, name) for name in names]
    for bundle in bundles:
        bundle.verify()
    rows = _load_rows(settings)
    from core.training.evaluation import measure
    from core.training.evaluation.corruptions import CORRUPTED_ROWS, measure_corruptions
    from core.training.pages import write_pages

    others = [b for b in bundles if b.config.labels != rows.dataset.labels]
    for bundle in others:
        say(f"{bundle.config.name} has labels of its own, and stays as it is.")
    bundles = [bundle for bundle in bundles if bundle not in others]
    again = [measure.evaluate(b, rows, settings, command=command_line()) for b in bundles]
    # What follows takes an hour.
    write_pages(settings.models)
    classifiers = [Classifier(bundle, threads=settings.threads) for bundle in again]
    shift: dict[str, dict[str, CorruptionMetrics]] = {bundle.config.name: {} for bundle in again}
    for way, figures in measure_corruptions(classifiers, rows.dataset.test):
        say(f"Measured on images spoiled by {way}")
        for name, each in figures.items():
            shift[name][way] = each
    n = min(CORRUPTED_ROWS, len(rows.dataset.test))
    for bundle in again:
        done = measure.add_corruptions(bundle, shift[bundle.config.name], n)
        _print_evaluated(done, as_json)
    write_pages(settings.models)


def _of_the_folder(catalog: Catalog, settings: Settings, name: str) -> Bundle:
    """A model whose figures may be written anew: what was pulled is called by its content."""
    bundle = catalog.bundled(name)
    if bundle is None:
        raise ModelNotFoundError(
            f"There is no {name} in {settings.models}. Models from the Hub bring their figures, "
            "which stay as they are; `--photos DIR` measures one without writing to it."
        )
    return bundle


def _evaluate_photos(classifier: Classifier, folder: Path, as_json: bool) -> None:
    prepare_training()
    from core.training.evaluation.photos import evaluate_photos

    figures = evaluate_photos(classifier, folder)
    if as_json:
        whose = {"model": classifier.name, "revision": classifier.revision}
        print_json(whose | figures.model_dump(mode="json"))
    else:
        typer.echo(f"{classifier.name}, {figures.n} photos")
        _print_photo_figures(figures)


def _draw(catalog: Catalog, name: str, settings: Settings, folder: Path) -> None:
    bundle, classifier = catalog.bundle(name), catalog.load(name)
    figures = bundle.metrics().test
    prepare_training()
    from core.training.data.cifar10 import CIFAR10_LABELS, load_cifar10_test
    from core.training.evaluation.measure import refuse_other_labels
    from core.training.evaluation.mistakes import draw, refuse_without_mistakes

    refuse_other_labels(bundle, "CIFAR-10", CIFAR10_LABELS)
    refuse_without_mistakes(name, figures)
    say("Reading CIFAR-10's test rows ...")
    for file in draw(classifier, figures, load_cifar10_test(settings), folder):
        typer.echo(str(file))


@app.command()
def export(
    model: Annotated[Path, typer.Argument(metavar="MODEL.keras", help="A Keras model.")],
    folder: Annotated[
        Path, typer.Argument(metavar="DIR", help="Model folder to write; its name is the model's.")
    ],
    labels: Annotated[str, typer.Option(help="Name of each output, with commas between.")],
    validation: Annotated[
        Path,
        typer.Option(
            metavar="DIR",
            help="Photos with a labels.csv (file,label) that calibration and thresholds come from.",
        ),
    ],
    test: Annotated[
        Path,
        typer.Option(metavar="DIR", help="Other photos, likewise, that the figures come from."),
    ],
    pixels: Annotated[
        str, typer.Option(help="Numbers that the model takes for a pixel: 0..1, 0..255 or -1..1.")
    ] = "0..1",
    family: Annotated[
        str, typer.Option(help="How it was trained: scratch, transfer or finetuned.")
    ] = "scratch",
    precision: Annotated[
        str, typer.Option(help="Number format of the weights: float32, float16 or int8.")
    ] = "float16",
    title: Annotated[str | None, typer.Option(help="Its name, for people.")] = None,
    replace: Annotated[
        bool, typer.Option("--replace", help="Write over a model folder that is there.")
    ] = False,
) -> None:
    """Make a model folder of a Keras model that was trained elsewhere, with labels of its own."""
    for value, known, option in (
        (pixels, ("0..1", "0..255", "-1..1"), "--pixels"),
        (family, get_args(Family), "--family"),
        (precision, get_args(Precision), "--precision"),
    ):
        if value not in known:
            raise typer.BadParameter(f"{value} is none of {', '.join(known)}", param_hint=option)
    if folder.exists() and not replace:
        raise typer.BadParameter(
            f"{folder} is there already; --replace writes over it", param_hint="DIR"
        )
    settings = read_settings()
    prepare_training()
    from core.training.export.keras_import import Pixels, import_keras
    from core.training.pages import write_pages

    bundle = import_keras(
        model,
        folder,
        labels=tuple(label.strip() for label in labels.split(",")),
        validation=validation,
        test=test,
        pixels=cast("Pixels", pixels),
        family=cast("Family", family),
        precision=cast("Precision", precision),
        title=title,
        settings=settings,
        command=command_line(),
    )
    if folder.parent.resolve() == settings.models.resolve():
        # Elsewhere the folder above may have a README of its own.
        write_pages(settings.models)
    _print_evaluated(bundle, as_json=False)


def _load_data(settings: Settings) -> Dataset:
    prepare_training()
    from core.training.data.cifar10 import load_cifar10

    say("Reading CIFAR-10 ...")
    return load_cifar10(settings)


def _load_rows(settings: Settings) -> EvaluationData:
    dataset = _load_data(settings)
    from core.training.evaluation.evaluation_data import EvaluationData

    return EvaluationData.load(dataset, settings)


def _print_evaluated(bundle: Bundle, as_json: bool) -> None:
    metrics = bundle.metrics()
    if as_json:
        typer.echo(metrics.model_dump_json())
    else:
        _print_figures(metrics)
    say(f"Written to {bundle.folder}")


def _print_figures(metrics: Metrics) -> None:
    test = metrics.test
    reported = metrics.reported
    rows = [
        ["accuracy", f"{test.accuracy:.4f}", f"{reported.accuracy:.4f}" if reported else ""],
        [
            "precision (macro)",
            f"{test.precision:.4f}",
            f"{reported.precision:.4f}" if reported else "",
        ],
        ["recall (macro)", f"{test.recall:.4f}", f"{reported.recall:.4f}" if reported else ""],
        ["F1 (macro)", f"{test.f1:.4f}", f"{reported.f1:.4f}" if reported else ""],
        ["log loss", f"{test.log_loss:.4f}", ""],
        ["ECE (15 bins)", f"{test.ece:.4f}", ""],
        ["validation accuracy", f"{metrics.validation.accuracy:.4f}", ""],
    ]
    if metrics.single_view is not None:
        rows.insert(1, ["accuracy, one view", f"{metrics.single_view:.4f}", ""])
    if metrics.float32 is not None:
        rows.insert(2, ["accuracy, float32 weights", f"{metrics.float32:.4f}", ""])
    if metrics.lost is not None:
        rows.insert(3, ["accuracy lost by rounding", f"{metrics.lost:.4f}", ""])
    typer.echo(f"{test.data}, {test.n:,} rows")
    print_table(["", "here", "student report"], rows)
    print_table(
        ["class", "precision", "recall", "F1", "rows"],
        [
            [c.label, f"{c.precision:.4f}", f"{c.recall:.4f}", f"{c.f1:.4f}", str(c.support)]
            for c in test.classes
        ],
    )
    typer.echo("Confusion matrix: a row is the truth, a column the answer")
    labels = [c.label for c in test.classes]
    print_table(
        ["", *labels],
        [[label, *map(str, row)] for label, row in zip(labels, test.confusion, strict=True)],
    )
    if metrics.resize is not None:
        typer.echo(f"Accuracy by resize rule: {metrics.resize.n:,} of {metrics.resize.data}")
        rules = [[rule, f"{share:.4f}"] for rule, share in metrics.resize.accuracy.items()]
        print_table(["rule", "accuracy"], rules)
    if metrics.photos is not None:
        typer.echo(f"On {metrics.photos.n} photos, which nothing was chosen by")
        _print_photo_figures(metrics.photos)
    _print_real_photo_figures("Real photos", metrics.real_photos, metrics.real_photos_frozen)
    _print_real_photo_figures(
        "Unseen sources", metrics.unseen_sources, metrics.unseen_sources_frozen
    )


def _print_real_photo_figures(
    title: str, tuned: RealPhotoMetrics | None, frozen: RealPhotoMetrics | None
) -> None:
    """Print figures on real photos, beside those of the network before it was fine-tuned."""
    if tuned is None:
        return
    typer.echo(f"{title}: {tuned.data}; beside a logistic regression on the frozen network")
    print_table(
        ["", "n", "share", "95% interval", "frozen"],
        [
            [what, *_shown(share), *_shown(other)[1:2]]
            for (what, share), (_, other) in zip(
                _real_photo_rows(tuned, tuned), _real_photo_rows(frozen, tuned), strict=True
            )
        ],
    )
    print_table(
        ["source", "n", "right", "of none", "AUROC"],
        [
            [
                each.source,
                *_shown(each.accuracy)[:2],
                str(each.n_none),
                "" if each.auroc is None else f"{each.auroc:.4f}",
            ]
            for each in tuned.sources
        ],
    )
    if tuned.ece is not None:
        rows = [["ECE", f"{tuned.ece:.4f}"]]
        if tuned.ece_cross_fitted is not None:
            rows.append(["ECE, cross-fitted in five folds", f"{tuned.ece_cross_fitted:.4f}"])
        if tuned.ece_if_true is not None:
            rows.append(["ECE of a true model", "{:.4f} to {:.4f}".format(*tuned.ece_if_true)])
        print_table(["calibration", ""], rows)
    print_table(
        ["mistakes, or wrong labels", "label", "answer", "confidence"],
        [
            [
                f"{each.source}: {each.path}",
                each.label,
                each.answer,
                "" if each.confidence is None else f"{each.confidence:.3f}",
            ]
            for each in tuned.mistakes
        ],
    )


def _real_photo_rows(
    figures: RealPhotoMetrics | None, like: RealPhotoMetrics
) -> list[tuple[str, ProportionEstimate | tuple[int, float | None] | None]]:
    """Return what is printed of figures, with the rows of `like`; shares, or n and an area."""
    rejected = [f"  {kind}" for kind in like.rejected_kinds]
    kept_back = [f"  {kind}" for kind in like.rejected_kept_back_kinds]
    if figures is None:
        return [(name, None) for name, _ in _real_photo_rows(like, like)]
    worst = min(figures.recall.items(), key=lambda each: each[1].share)
    return [
        ("right label", figures.accuracy),
        *((f"  {label}", figures.recall.get(label)) for label in like.recall),
        (f"worst class: {worst[0]}", worst[1]),
        ("AUROC, labels against none", (figures.n_none, figures.auroc)),
        ("rejected of none at 95% accepted", figures.rejected),
        *((name, figures.rejected_kinds.get(name.strip())) for name in rejected),
        ("AUROC, labels against kinds kept back", (figures.n_kept_back, figures.auroc_kept_back)),
        ("rejected of these at 95% accepted", figures.rejected_kept_back),
        *((name, figures.rejected_kept_back_kinds.get(name.strip())) for name in kept_back),
    ]


def _shown(figure: ProportionEstimate | tuple[int, float | None] | None) -> list[str]:
    """Return n, the figure and its interval, as far as there are such."""
    if figure is None:
        return ["", "", ""]
    if isinstance(figure, tuple):
        n, area = figure
        return [str(n), "" if area is None else f"{area:.4f}", ""]
    return [str(figure.n), f"{figure.share:.4f}", f"{figure.low:.4f} to {figure.high:.4f}"]


def _print_photo_figures(figures: PhotoMetrics) -> None:
    rows: list[tuple[str, ProportionEstimate | None]] = [
        ("in class: right label", figures.accuracy),
        *((f"  {label}", share) for label, share in figures.recall.items()),
        ("in class: known, and right", figures.known_and_right),
        ("in class: told none", figures.known_told_none),
        ("of no class: told none", figures.told_none),
        ("of no class: taken for known", figures.taken_for_known),
    ]
    print_table(
        ["", "n", "share", "95% interval"],
        [
            [what, str(share.n), f"{share.share:.3f}", f"{share.low:.3f} to {share.high:.3f}"]
            for what, share in rows
            if share is not None
        ],
    )
