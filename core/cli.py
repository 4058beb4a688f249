"""The command `tensight`: results go to stdout, everything else to stderr.

Exit status: 0 done, 1 something failed, 2 wrong usage.
"""

from __future__ import annotations

import importlib.util
import io
import json
import logging
import os
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from core import __version__, locale
from core.catalog import Catalog
from core.errors import (
    ImageError,
    MissingExtraError,
    ModelNotFoundError,
    PhotoReadError,
    SettingsError,
    TenSightError,
)
from core.images import strict_pillow
from core.settings import Settings

if TYPE_CHECKING:
    from core.bundle import Estimate, Metrics, PhotoFigures
    from core.training.data import Dataset
    from core.training.fit import Epoch

__all__ = ["app", "main"]

_TRAIN_MODULES = ("keras", "matplotlib", "pyarrow", "scipy", "sklearn", "yaml")

app = typer.Typer(
    name="tensight",
    help="Tells what is in a photo, how sure it is, and when it does not know.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
models_app = typer.Typer(help="The models that are there.", no_args_is_help=True)
app.add_typer(models_app, name="models")

ModelOption = Annotated[
    str | None, typer.Option("--model", "-m", help="Name of the model.", show_default="the best")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def main() -> None:
    """Run the command line."""
    strict_pillow()
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        app()
    except (ModelNotFoundError, SettingsError) as error:
        _say(str(error))
        sys.exit(2)
    except TenSightError as error:
        _say(str(error))
        sys.exit(1)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"tensight {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    del version


@app.command()
def predict(
    photos: Annotated[list[str], typer.Argument(metavar="PHOTO...", help="Files with photos.")],
    model: ModelOption = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object a photo, one a line.")
    ] = False,
) -> None:
    """Tell what is in photos."""
    classifier = Catalog(_settings()).load(model)
    failed = False
    for photo in photos:
        try:
            prediction = classifier.predict(photo)
        except (ImageError, PhotoReadError) as error:
            failed = True
            if as_json:
                _print_json({"photo": photo, "error": {"code": error.code, "message": str(error)}})
            else:
                _say(f"{photo}: {error}")
            continue
        if as_json:
            _print_json(prediction.to_dict())
        else:
            shown = list(prediction.scores.items())[:3]
            scores = ", ".join(f"{label} {score:.3f}" for label, score in shown)
            typer.echo(f"{photo}: {locale.verdict_words(prediction)} [{scores}]")
    if failed:
        raise typer.Exit(1)


@app.command()
def web(
    host: Annotated[
        str | None, typer.Option(help="Address to listen on.", show_default="TENSIGHT_HOST")
    ] = None,
    port: Annotated[
        int | None,
        typer.Option(min=1, max=65535, help="Port to listen on.", show_default="TENSIGHT_PORT"),
    ] = None,
    open_browser: Annotated[
        bool, typer.Option("--open", help="Also open the page in the browser of this desktop.")
    ] = False,
) -> None:
    """Serve the web page."""
    settings = _settings()
    from demo.app import serve

    serve(
        settings,
        host=host or settings.host,
        port=port or settings.port,
        open_browser=open_browser and _has_desktop(),
        say=_say,
    )


@app.command()
def config(
    markdown: Annotated[bool, typer.Option("--markdown", help="Print docs/SETTINGS.md.")] = False,
) -> None:
    """Show the settings in force; secrets are masked."""
    if markdown:
        typer.echo(Settings.document())
        return
    for variable, value, description in _settings().rows():
        typer.echo(f"{variable}={value}\n    {description}")


@models_app.command("list")
def list_models(as_json: JsonOption = False) -> None:
    """Show every model with its figures on the test set."""
    catalog = Catalog(_settings())
    entries = catalog.entries()
    default = catalog.default() if entries or not as_json else None
    if as_json:
        _print_json(
            [
                {
                    "name": entry.name,
                    "title": entry.bundle.config.title,
                    "family": entry.bundle.config.family,
                    "revision": entry.bundle.revision,
                    "default": entry.name == default,
                    "labels": entry.bundle.config.labels,
                    "accuracy": entry.metrics.test.accuracy,
                    "reported_accuracy": (
                        entry.metrics.reported.accuracy if entry.metrics.reported else None
                    ),
                    "f1": entry.metrics.test.f1,
                    "ece": entry.metrics.test.ece,
                    "test": {"data": entry.metrics.test.data, "n": entry.metrics.test.n},
                    "parameters": entry.metrics.parameters,
                    "bytes": entry.metrics.bytes,
                    "milliseconds": entry.metrics.milliseconds,
                    "hardware": entry.metrics.origin.hardware,
                }
                for entry in entries
            ]
        )
        return
    rows = [
        [
            f"{entry.name} (default)" if entry.name == default else entry.name,
            entry.bundle.config.family,
            entry.bundle.revision,
            f"{entry.metrics.test.accuracy:.4f}",
            f"{entry.metrics.reported.accuracy:.4f}" if entry.metrics.reported else "",
            f"{entry.metrics.test.ece:.4f}",
            f"{entry.metrics.parameters:,}",
            f"{entry.metrics.milliseconds:.1f}",
        ]
        for entry in entries
    ]
    _print_table(
        ["name", "family", "revision", "accuracy", "report", "ECE", "parameters", "ms"], rows
    )


@models_app.command()
def verify() -> None:
    """Check every file of every model, and load it."""
    settings = _settings()
    problems = Catalog(settings).problems()
    if not problems:
        raise ModelNotFoundError(f"There is no model in {settings.models}.")
    for name, error in problems.items():
        typer.echo(f"{name}: {error or 'good'}")
    if any(problems.values()):
        raise typer.Exit(1)


@app.command()
def explore(
    out: Annotated[
        Path | None,
        typer.Option(help="Folder for the HTML page.", show_default="TENSIGHT_HOME/explore"),
    ] = None,
) -> None:
    """Show what the training data is: shapes, counts, values, pictures."""
    settings = _settings()
    dataset = _load_data(settings)
    from core.training.explore import explore as describe

    summary, page = describe(dataset, out or settings.home / "explore")
    for title, header, rows in summary:
        typer.echo(title)
        _print_table(header, rows)
        typer.echo("")
    _say(f"Pictures: {page}")


@app.command()
def train(
    name: Annotated[str | None, typer.Argument(help="Name of the recipe.")] = None,
    everything: Annotated[
        bool, typer.Option("--all", help="Train every recipe, one after the other.")
    ] = False,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with a stopped run; begin where there is none.")
    ] = False,
    seed: Annotated[int, typer.Option(min=0, help="Of weights, order and augmentation.")] = 0,
) -> None:
    """Train a model by its recipe and put it among the models."""
    if everything == (name is not None):
        raise typer.BadParameter("give the name of a recipe, or --all")
    settings = _settings()
    _prepare_training()
    from core.training import recipes
    from core.training import train as training

    chosen = [recipes.get_recipe(name)] if name is not None else list(recipes.RECIPES.values())
    dataset = _load_data(settings)
    training.require(chosen, dataset, settings, resume=resume)
    again = shlex.join(["tensight", *dict.fromkeys([*sys.argv[1:], "--resume"])])
    failed = False
    for recipe in chosen:
        try:
            with _Progress() as progress:
                bundle = training.train(
                    recipe,
                    dataset,
                    settings,
                    seed=seed,
                    resume=resume,
                    reporter=progress,
                    command=shlex.join(["tensight", "train", recipe.name, "--seed", str(seed)]),
                )
        except KeyboardInterrupt:
            _say(f"Stopped. Go on from the last whole epoch with: {again}")
            raise typer.Exit(130) from None
        except TenSightError as error:
            # The others of --all may still come to something.
            failed = True
            _say(f"{recipe.name}: {error}")
            continue
        if bundle is None:
            _say(
                f"{recipe.name} is trained. Only TensorFlow can export it; there, go on with: "
                f"KERAS_BACKEND=tensorflow {again}"
            )
            continue
        _print_figures(bundle.metrics())
        _say(f"The model is in {bundle.folder}")
        training.write_index(settings.models)
    if failed:
        raise typer.Exit(1)


@app.command()
def evaluate(
    name: Annotated[str, typer.Argument(help="Name of the model.")],
    photos: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Measure on the photos of this folder instead, named in its labels.csv "
            "(file,label; `none` for a photo of none of the labels); nothing is written.",
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Measure a model's stored weights: on the test set, which renews its card, or on photos."""
    settings = _settings()
    catalog = Catalog(settings)
    bundle = catalog.bundle(name)
    if photos is not None:
        _prepare_training()
        from core.training.photos import evaluate_photos

        classifier = catalog.load(name)
        figures = evaluate_photos(classifier, photos)
        if as_json:
            whose = {"model": classifier.name, "revision": classifier.revision}
            _print_json(whose | figures.model_dump(mode="json"))
        else:
            typer.echo(f"{classifier.name}, {figures.n} photos")
            _print_photo_figures(figures)
        return
    dataset = _load_data(settings)
    from core.training import train as training

    bundle = training.evaluate(bundle, dataset, settings, command=_command())
    metrics = bundle.metrics()
    if as_json:
        typer.echo(metrics.model_dump_json())
    else:
        _print_figures(metrics)
    _say(f"Written to {bundle.folder}")
    training.write_index(settings.models)


def _settings() -> Settings:
    settings = Settings.read()
    logging.basicConfig(level=settings.log_level, format="%(levelname)s %(name)s: %(message)s")
    return settings


def _prepare_training() -> None:
    """Choose Keras's backend, before anything imports it, and check that the extra is there."""
    backend = os.environ.setdefault("KERAS_BACKEND", "tensorflow")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    needed = (*_TRAIN_MODULES, *(["tensorflow"] if backend == "tensorflow" else []))
    if any(importlib.util.find_spec(module) is None for module in needed):
        raise MissingExtraError("train", "This command")
    if importlib.util.find_spec(backend) is None:
        raise SettingsError(
            f"KERAS_BACKEND is {backend}, and no such package is installed here. Install it, or "
            "unset KERAS_BACKEND to compute with TensorFlow."
        )


def _load_data(settings: Settings) -> Dataset:
    _prepare_training()
    from core.training.data import load_cifar10

    _say("Reading CIFAR-10 ...")
    return load_cifar10(settings)


def _command() -> str:
    return shlex.join(["tensight", *sys.argv[1:]])


def _has_desktop() -> bool:
    """Whether there is a graphical browser to open; without one, Python would start a text one."""
    if sys.platform in ("darwin", "win32"):
        return True
    return bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))


def _say(message: str) -> None:
    typer.echo(message, err=True)


def _print_json(value: Any) -> None:
    # In ASCII, so that a file name which is no text still comes out as JSON.
    typer.echo(json.dumps(value, allow_nan=False))


def _print_table(header: list[str], rows: list[list[str]]) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table

    table = Table(*header, box=box.SIMPLE_HEAD, pad_edge=False)
    for row in rows:
        table.add_row(*row)
    # Piped output is not cut to the width of a terminal that is not there.
    width = None if sys.stdout.isatty() else 200
    Console(width=width).print(table)


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
    _print_table(["", "here", "student report"], rows)
    _print_table(
        ["class", "precision", "recall", "F1", "rows"],
        [
            [c.label, f"{c.precision:.4f}", f"{c.recall:.4f}", f"{c.f1:.4f}", str(c.support)]
            for c in test.classes
        ],
    )
    typer.echo("Confusion matrix: a row is the truth, a column the answer")
    labels = [c.label for c in test.classes]
    _print_table(
        ["", *labels],
        [[label, *map(str, row)] for label, row in zip(labels, test.confusion, strict=True)],
    )
    if metrics.resize is not None:
        typer.echo(f"Accuracy by resize rule: {metrics.resize.n:,} of {metrics.resize.data}")
        rules = [[rule, f"{share:.4f}"] for rule, share in metrics.resize.accuracy.items()]
        _print_table(["rule", "accuracy"], rules)
    if metrics.photos is not None:
        typer.echo(f"On {metrics.photos.n} photos, which nothing was chosen by")
        _print_photo_figures(metrics.photos)


def _print_photo_figures(figures: PhotoFigures) -> None:
    rows: list[tuple[str, Estimate | None]] = [
        ("in class: right label", figures.accuracy),
        *((f"  {label}", share) for label, share in figures.recall.items()),
        ("in class: known, and right", figures.known_and_right),
        ("in class: told none", figures.known_told_none),
        ("of no class: told none", figures.told_none),
        ("of no class: taken for known", figures.taken_for_known),
    ]
    _print_table(
        ["", "n", "share", "95% interval"],
        [
            [what, str(share.n), f"{share.share:.3f}", f"{share.low:.3f} to {share.high:.3f}"]
            for what, share in rows
            if share is not None
        ],
    )


class _Progress:
    """A bar for the batches of an epoch, and a line for each epoch that is done."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.progress import (
            BarColumn,
            MofNCompleteColumn,
            Progress,
            TextColumn,
            TimeRemainingColumn,
        )

        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            console=Console(stderr=True),
        )
        self._task = self._bar.add_task("epoch", total=None)

    def __enter__(self) -> _Progress:
        self._bar.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._bar.stop()

    def on_batch(self, epoch: int, done: int, total: int) -> None:
        self._bar.update(self._task, description=f"epoch {epoch}", completed=done, total=total)

    def on_epoch(self, epoch: Epoch, total: int, best: bool) -> None:
        self._bar.console.print(
            f"epoch {epoch.epoch}/{total}  loss {epoch.loss:.4f}  accuracy {epoch.accuracy:.4f}  "
            f"validation loss {epoch.validation_loss:.4f}  accuracy "
            f"{epoch.validation_accuracy:.4f}{' *' if best else ''}  {epoch.seconds:.0f} s",
            soft_wrap=True,
        )


if __name__ == "__main__":
    main()
