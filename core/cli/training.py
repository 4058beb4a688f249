"""The commands that train and import models."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast, get_args

import typer

from core.cli.console import (
    TRAIN,
    EpochProgress,
    command_line,
    prepare_training,
    print_table,
    read_settings,
    say,
)
from core.cli.metrics_tables import print_evaluated, print_metrics
from core.errors import DataError, TenSightError

if TYPE_CHECKING:
    from core.bundle.config import Family, Precision
    from core.settings import Settings
    from core.training.data.datasets import Dataset
    from core.training.train_all import Outcome

__all__ = ["app"]

app = typer.Typer()

_EXPORT_ELSEWHERE = "Only TensorFlow can export models. Continue there with:"

ResumeOption = Annotated[
    bool, typer.Option("--resume", help="Resume a stopped run, or start a new one.")
]
SeedOption = Annotated[
    int | None,
    typer.Option(min=0, help="Seed of weights, order and augmentation.", show_default="0"),
]


@app.command(rich_help_panel=TRAIN)
def explore(
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR", help="Folder for the HTML page.", show_default="TENSIGHT_HOME/explore"
        ),
    ] = None,
) -> None:
    """Summarise the training data: shapes, class counts, pixel values, sample images."""
    from core.output import private_folder

    settings = read_settings()
    dataset = _load_data(settings)
    if out is None:
        private_folder(settings.home)
    from core.training.data.real_photos import find_real_photos, read_real_photos
    from core.training.explore import explore as describe

    photos = None
    try:
        folder = find_real_photos(settings)
    except DataError as error:
        say(str(error))  # which describes the layout: CIFAR-10 is summarised without them
    else:
        photos = {part: read_real_photos(folder, part) for part in ("train", "valid")}
    summary, page = describe(dataset, out or settings.home / "explore", photos)
    for title, header, rows in summary:
        typer.echo(title)
        print_table(header, rows)
        typer.echo("")
    say(f"Pictures: {page}")


@app.command(rich_help_panel=TRAIN)
def train(
    name: Annotated[str | None, typer.Argument(metavar="NAME", help="Name of the recipe.")] = None,
    everything: Annotated[
        bool, typer.Option("--all", help="Train all recipes, one after another.")
    ] = False,
    ablation: Annotated[bool, typer.Option("--ablation", hidden=True)] = False,
    weights: Annotated[
        str | None,
        typer.Option(
            metavar="imagenet|PATH",
            help="With --all: the VGG16 weights to start from, see `tensight pretrain`.",
        ),
    ] = None,
    resume: ResumeOption = False,
    seed: SeedOption = None,
    extra: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Also train on the photos of this folder, for example from `tensight feedback "
            "export`. Photos of none of the classes require a recipe that uses them, such as "
            "efficientnet.",
        ),
    ] = None,
) -> None:
    """Train a model by its recipe, evaluate it, and write its model folder."""
    if [everything, ablation, name is not None].count(True) != 1:
        raise typer.BadParameter("give the name of a recipe, or --all")
    if weights is not None and not everything and name != "vgg16":
        raise typer.BadParameter("--weights requires the recipe vgg16, or --all")
    if extra is not None and (name is None or name == "vgg16"):
        raise typer.BadParameter("--extra requires the name of a recipe other than vgg16")
    if seed is not None and ablation:
        raise typer.BadParameter("--ablation has seeds of its own; leave out --seed")
    if ablation:
        ablate(resume)
    elif name == "vgg16":
        pretrain(weights, resume, seed)
    else:
        _train(name, seed=seed, resume=resume, weights=weights, extra=extra)


@app.command(rich_help_panel=TRAIN)
def pretrain(
    weights: Annotated[
        str | None,
        typer.Option(
            metavar="imagenet|PATH",
            help="Use published weights instead: those of keras.applications (`imagenet`, "
            "downloaded), a file of them without the top, or those in a model folder such as "
            "models/transfer. They replace the weights in TENSIGHT_DATA.",
        ),
    ] = None,
    resume: ResumeOption = False,
    seed: SeedOption = None,
) -> None:
    """Provide the VGG16 weights that some recipes start from."""
    if weights is None:
        _train("vgg16", seed=seed, resume=resume)
        return
    settings = read_settings()
    prepare_training()
    from core.training import recipes, train_all
    from core.training.networks import vgg16

    with _resumable() as again:
        outcome = train_all.Outcome(recipes.VGG16, vgg16.import_vgg16(weights, settings))
        _report(outcome, settings, again)


@app.command(rich_help_panel=TRAIN)
def ablate(resume: ResumeOption = False) -> None:
    """Train variants of `classic` in short runs with several seeds, and write the comparison."""
    from core.bundle.leaderboard import mean_and_spread

    settings = read_settings()
    with _resumable() as again:
        dataset = _load_data(settings)
        from core.training.ablation import ablate as run
        from core.training.pages import write_pages

        done = run(dataset, settings, resume=resume, reporter=EpochProgress)
        if done is None:
            say(f"Training is complete. {_EXPORT_ELSEWHERE} KERAS_BACKEND=tensorflow {again}")
            return
        print_table(
            ["change", "validation", "test", "seeds"],
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


def _train(
    name: str | None,
    *,
    seed: int | None,
    resume: bool,
    weights: str | None = None,
    extra: Path | None = None,
) -> None:
    """Train one recipe, or all of them where the name is None."""
    settings = read_settings()
    prepare_training()
    from core.training import recipes, train_all

    with _resumable() as again:
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
            _report(outcome, settings, again)
    if failed:
        raise typer.Exit(1)


@contextmanager
def _resumable() -> Iterator[str]:
    """Yield the command that resumes this one, and print it where the run is interrupted."""
    again = shlex.join(["tensight", *dict.fromkeys([*sys.argv[1:], "--resume"])])
    try:
        yield again
    except KeyboardInterrupt:
        say(f"Stopped. To resume from the last completed epoch, run: {again}")
        raise typer.Exit(130) from None


def _report(outcome: Outcome, settings: Settings, again: str) -> None:
    """Print the outcome of one recipe, and write the generated pages."""
    from core.bundle.config import Pretrained
    from core.bundle.folder import Bundle
    from core.training.pages import write_pages

    match outcome.result:
        case Bundle() as bundle:
            print_metrics(bundle.metrics())
            say(f"The model is in {bundle.folder}")
            write_pages(settings.models)
        case Pretrained() as weights:
            known = ""
            if weights.accuracy is not None:
                known = (
                    f" Accuracy on Tiny ImageNet, {weights.n:,} validation images: "
                    f"{weights.accuracy:.4f}."
                )
            say(f"{weights.network} {weights.source}.{known}")
        case TenSightError() as error:
            # With --all, other recipes may still succeed.
            say(f"{outcome.name}: {error}")
        case None:
            say(
                f"Training of {outcome.name} is complete. {_EXPORT_ELSEWHERE} "
                f"KERAS_BACKEND=tensorflow {again}"
            )


@app.command(rich_help_panel=TRAIN)
def export(
    model: Annotated[Path, typer.Argument(metavar="MODEL.keras", help="A Keras model.")],
    folder: Annotated[
        Path,
        typer.Argument(
            metavar="DIR", help="Model folder to write; its name becomes the model's name."
        ),
    ],
    labels: Annotated[str, typer.Option(help="Names of the outputs, comma-separated.")],
    validation: Annotated[
        Path,
        typer.Option(
            metavar="DIR",
            help="Photos with a labels.csv (columns file,label) for calibration and thresholds.",
        ),
    ],
    test: Annotated[
        Path,
        typer.Option(metavar="DIR", help="Other photos with a labels.csv, for evaluation."),
    ],
    pixels: Annotated[
        str,
        typer.Option(help="Range of the pixel values that the model takes: 0..1, 0..255 or -1..1."),
    ] = "0..1",
    family: Annotated[
        str, typer.Option(help="How it was trained: scratch, transfer or finetuned.")
    ] = "scratch",
    precision: Annotated[
        str, typer.Option(help="Number format of the weights: float32, float16 or int8.")
    ] = "float16",
    title: Annotated[str | None, typer.Option(help="Display name of the model.")] = None,
    replace: Annotated[
        bool, typer.Option("--replace", help="Replace an existing model folder.")
    ] = False,
) -> None:
    """Import a Keras model that was trained elsewhere, with its own labels, as a model folder."""
    from core.bundle.config import Family, Precision

    for value, known, option in (
        (pixels, ("0..1", "0..255", "-1..1"), "--pixels"),
        (family, tuple(f for f in get_args(Family) if f != "taught"), "--family"),
        (precision, get_args(Precision), "--precision"),
    ):
        if value not in known:
            raise typer.BadParameter(f"{value} is not one of {', '.join(known)}", param_hint=option)
    if folder.exists() and not replace:
        raise typer.BadParameter(
            f"{folder} exists already; --replace replaces it", param_hint="DIR"
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
        # Another parent folder may have its own README.
        write_pages(settings.models)
    print_evaluated(bundle)


def _load_data(settings: Settings) -> Dataset:
    prepare_training()
    from core.training.data.cifar10 import load_cifar10

    say("Reading CIFAR-10 ...")
    return load_cifar10(settings)
