"""The command `tensight`: results go to stdout, everything else to stderr.

Exit status: 0 done, 1 something failed, 2 wrong usage.
"""

from __future__ import annotations

import asyncio
import importlib.util
import io
import json
import logging
import os
import shlex
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast, get_args

import typer

from core import locale
from core._version import __version__
from core.bundle.config import Family, Precision, Pretrained
from core.bundle.folder import Bundle, find_bundles
from core.bundle.leaderboard import Result, mean_and_spread
from core.errors import (
    BundleError,
    BusyError,
    ImageError,
    MissingExtraError,
    ModelNotFoundError,
    OutputError,
    PhotoReadError,
    RateError,
    SettingsError,
    TenSightError,
)
from core.inference.classifier import Classifier
from core.inference.prediction import Prediction
from core.photos.decode import decode, strict_pillow
from core.photos.saliency import LONGEST, overlay
from core.registry.catalog import Catalog
from core.registry.revisions import Revisions
from core.serving.connect import connect
from core.serving.local import LocalPredictor
from core.serving.predictor import Predictor
from core.settings import Settings

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from core.bundle.metrics import Estimate, Metrics, PhotoFigures, ShiftFigures
    from core.training.data.datasets import Dataset
    from core.training.evaluation.measure import Rows
    from core.training.fit import Epoch
    from core.training.plan import Outcome

__all__ = ["app", "main"]

_ELSEWHERE = "Only TensorFlow can export it; there, go on with:"
_SAMPLES = 12
_TRIES = 20
_LONGEST_PAUSE_S = 60
_TRAIN_MODULES = ("imagecorruptions", "keras", "matplotlib", "pyarrow", "scipy", "sklearn", "yaml")

app = typer.Typer(
    name="tensight",
    help="Tells what is in a photo, how sure it is, and when it does not know.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
models_app = typer.Typer(help="The models that are there.", no_args_is_help=True)
app.add_typer(models_app, name="models")
feedback_app = typer.Typer(help="What visitors say of answers.", no_args_is_help=True)
app.add_typer(feedback_app, name="feedback")
space_app = typer.Typer(help="The page as a Space on the Hub.", no_args_is_help=True)
app.add_typer(space_app, name="space")

ModelOption = Annotated[
    str | None, typer.Option("--model", "-m", help="Name of the model.", show_default="the best")
]
RepoOption = Annotated[
    str | None,
    typer.Option("--repo", help="Repository, OWNER/NAME.", show_default="TENSIGHT_HUB_REPO"),
]
RevisionOption = Annotated[
    str | None,
    typer.Option("--revision", help="Branch, tag or commit.", show_default="TENSIGHT_HUB_REVISION"),
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
    failed = False
    with closing(connect(_settings())) as predictor:
        for photo in photos:
            try:
                prediction = asyncio.run(_patiently(predictor, photo, model))
            except (ImageError, PhotoReadError) as error:
                failed = True
                if as_json:
                    what = {"code": error.code, "message": str(error)}
                    _print_json({"photo": photo, "error": what})
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


async def _patiently(
    predictor: Predictor, photo: str, model: str | None, *, saliency: bool = False
) -> Prediction:
    """The answer to a photo; where all places are taken, it comes back when it is told to."""
    for _ in range(_TRIES):
        try:
            return await predictor.predict(photo, model=model, saliency=saliency)
        except (BusyError, RateError) as error:
            await asyncio.sleep(min(error.retry_after, _LONGEST_PAUSE_S))
    return await predictor.predict(photo, model=model, saliency=saliency)


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
    share: Annotated[
        bool,
        typer.Option(
            "--share", help="Also make the page reachable for everybody, through Gradio's servers."
        ),
    ] = False,
    metrics_port: Annotated[
        int | None,
        typer.Option(
            min=1, max=65535, help="Port of 127.0.0.1 where Prometheus may ask about the bot."
        ),
    ] = None,
) -> None:
    """Serve the web page; and, where TENSIGHT_TELEGRAM_TOKEN is set, the bot."""
    settings = _settings()
    from demo.app import serve

    if share:
        _say(
            "For up to a week, everybody who gets the address can send photos to this machine, "
            "through servers of Gradio's maker: they carry the photos and the answers. Ctrl-C ends "
            "it."
        )
    serve(
        settings,
        host=host or settings.host,
        port=port or settings.port,
        open_browser=open_browser and _has_desktop(),
        say=_say,
        share=share,
        samples=None if settings.data is None else partial(_samples, settings),
        beside=None
        if settings.telegram_token is None
        else partial(_bot_beside, settings, metrics_port=metrics_port),
    )


@app.command()
def bot(
    webhook: Annotated[
        str | None,
        typer.Option(
            metavar="URL",
            help="Public https address that Telegram sends updates to. Unset: they are fetched.",
        ),
    ] = None,
    host: Annotated[
        str | None,
        typer.Option(help="Address to listen for webhooks on.", show_default="TENSIGHT_HOST"),
    ] = None,
    port: Annotated[
        int, typer.Option(min=1, max=65535, help="Port to listen for webhooks on.")
    ] = 8443,
    metrics_port: Annotated[
        int | None,
        typer.Option(min=1, max=65535, help="Port of 127.0.0.1 that Prometheus may ask."),
    ] = None,
) -> None:
    """Answer photos on Telegram."""
    settings = _settings()
    from bot.app import serve
    from core.registry.sync import FirstPull
    from core.store.store import Store

    with ExitStack() as stack:
        predictor = stack.enter_context(closing(connect(settings)))
        store = stack.enter_context(closing(Store.open(settings)))
        if isinstance(predictor, LocalPredictor):
            predictor.warm()
            stack.enter_context(closing(FirstPull(settings)))
        serve(
            settings,
            predictor,
            store,
            webhook=webhook,
            host=host or settings.host,
            port=port,
            metrics_port=metrics_port,
            say=_say,
        )


@app.command()
def serve(
    host: Annotated[
        str | None, typer.Option(help="Address to listen on.", show_default="TENSIGHT_HOST")
    ] = None,
    port: Annotated[
        int | None,
        typer.Option(
            min=1, max=65535, help="Port to listen on.", show_default="TENSIGHT_SERVICE_PORT"
        ),
    ] = None,
) -> None:
    """Serve photos over HTTP, for programs and for fronts that run elsewhere."""
    settings = _settings()
    from core.serving.http import server

    server.serve(settings, host=host or settings.host, port=port or settings.service_port, say=_say)


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
def list_models(
    as_json: JsonOption = False,
    remote: Annotated[
        bool, typer.Option("--remote", help="Show those of the repository on the Hub instead.")
    ] = False,
    repo: RepoOption = None,
    revision: RevisionOption = None,
) -> None:
    """Show every model with its figures on the test set."""
    settings = _settings()
    if remote:
        _list_remote(settings, repo, revision, as_json)
        return
    if repo is not None or revision is not None:
        raise typer.BadParameter("--repo and --revision go with --remote", param_hint="models list")
    catalog = Catalog(settings)
    results = catalog.results()
    live = catalog.live()
    others = [
        each
        for each in Revisions(settings.home).all()
        if (each.bundle.config.name, each.bundle.revision)
        not in {(result.config.name, result.revision) for result in results}
    ]
    there = any(result.revision is not None for result in results)
    default = catalog.default() if there or not (as_json or others) else None

    def state(name: str, revision: str | None, answers: bool) -> str:
        row = live.get(name)
        if not answers:
            return "last good" if row is not None and row.last_good == revision else "candidate"
        if revision is None:
            return "figures only"
        if row is None:
            return "bundled"
        return "live" if catalog.is_live(name, revision) else "stands in"

    if as_json:
        rows = [
            result.to_dict()
            | {"default": _name(result) == default}
            | {"state": state(_name(result), result.revision, answers=True)}
            for result in results
        ]
        for each in others:
            bundle = each.bundle
            result = Result(bundle.config, bundle.metrics(), bundle.revision)
            other = {
                "default": False,
                "state": state(_name(result), result.revision, answers=False),
            }
            rows.append(result.to_dict() | other)
        _print_json(rows)
        return
    _print_table(
        ["name", "state", "revision", "family", "accuracy", "report", "ECE", "parameters", "ms"],
        [
            [
                f"{_name(result)} (default)" if _name(result) == default else _name(result),
                state(_name(result), result.revision, answers=True),
                result.revision or "",
                result.config.family,
                f"{result.metrics.test.accuracy:.4f}",
                f"{result.metrics.reported.accuracy:.4f}" if result.metrics.reported else "",
                f"{result.metrics.test.ece:.4f}",
                f"{result.metrics.parameters:,}",
                f"{result.metrics.milliseconds:.1f}",
            ]
            for result in results
        ],
    )
    if others:
        typer.echo("Here, and not live:")
        _print_table(
            ["name", "state", "revision", "from", "commit", "since"],
            [
                [
                    each.bundle.config.name,
                    state(each.bundle.config.name, each.bundle.revision, answers=False),
                    each.bundle.revision,
                    each.repo,
                    each.commit[:12],
                    each.date,
                ]
                for each in others
            ],
        )


@models_app.command()
def pull(
    repo: RepoOption = None,
    revision: RevisionOption = None,
    live: Annotated[
        bool, typer.Option("--promote", help="Also make all of them live, in one step.")
    ] = False,
) -> None:
    """Bring the models of a repository on the Hub here; nothing answers with them yet.

    Each file is checked, and each model loaded by another process, before it is taken.
    """
    from core.registry import releases

    with _downloading() as progress:
        pulled = releases.pull(
            _settings(),
            repo=repo,
            revision=revision,
            live="all" if live else "no",
            progress=progress,
        )
    for each in pulled:
        typer.echo(f"{each.bundle.config.name} {each.bundle.revision}{' is live' if live else ''}")
    if not live:
        _say("Make one live with: tensight models promote NAME REVISION")


@models_app.command()
def promote(
    name: Annotated[str, typer.Argument(help="Name of the model.")],
    revision: Annotated[
        str,
        typer.Argument(
            help="One that is here, as `models list` shows it or how it begins; bundled."
        ),
    ],
) -> None:
    """Make a revision of a model live; running fronts answer with it within a second."""
    from core.registry import releases

    typer.echo(f"{name} {releases.promote(_settings(), name, revision)} is live")


@models_app.command()
def rollback(name: Annotated[str, typer.Argument(help="Name of the model.")]) -> None:
    """Make the last good revision of a model live again, in place of the one that is."""
    from core.registry import releases

    row = releases.roll_back(_settings(), name)
    typer.echo(f"{name} {row.revision} is live, no longer {row.last_good}")


@models_app.command()
def push(
    repo: RepoOption = None,
    tag: Annotated[str | None, typer.Option(help="Tag to put on the commit.")] = None,
    message: Annotated[str, typer.Option("--message", help="Of the commit.")] = "Publish models",
    private: Annotated[
        bool, typer.Option("--private", help="A repository that is made is seen by you alone.")
    ] = False,
) -> None:
    """Publish the models of TENSIGHT_MODELS, with all cards, in a repository on the Hub.

    The repository is made where there is none. A model that does not verify is refused.
    """
    from core.registry import releases

    commit = releases.push(
        _settings(),
        repo=repo,
        tag=tag,
        message=message,
        private=private,
        bars=sys.stderr.isatty(),
    )
    typer.echo(f"{commit}{f' {tag}' if tag else ''}")


@models_app.command()
def gc() -> None:
    """Delete what was pulled and is neither live nor the last good one."""
    from core.registry import releases

    gone, freed = releases.collect(_settings())
    for revision in gone:
        typer.echo(revision)
    _say(f"{freed / 1e6:.1f} MB were freed")


@models_app.command()
def verify() -> None:
    """Check every file of every model, and load it; of those that were pulled too."""
    settings = _settings()
    problems = Catalog(settings).problems()
    if not problems:
        raise ModelNotFoundError(f"There is no model in {settings.models}.")
    for name, error in problems.items():
        typer.echo(f"{name}: {error or 'good'}")
    if any(problems.values()):
        raise typer.Exit(1)


@feedback_app.command()
def stats(as_json: JsonOption = False) -> None:
    """Show how right each model is on the photos that visitors judged."""
    from core.store.feedback_export import feedback_stats

    rows = feedback_stats(_settings())
    if as_json:
        _print_json(rows)
        return
    if not rows:
        _say("Nobody has judged an answer yet.")
        return
    _print_table(
        ["model", "revision", "judged", "right", "95% interval"],
        [
            [
                row["model"],
                row["revision"],
                str(row["n"]),
                f"{row['share']:.3f}",
                f"{row['low']:.3f} to {row['high']:.3f}",
            ]
            for row in rows
        ],
    )


@feedback_app.command("export")
def export_feedback(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Folder to make.")],
    model: ModelOption = None,
) -> None:
    """Write the photos that visitors left, with what is on them, for `evaluate --photos`."""
    from core.store.feedback_export import export_photos

    settings = _settings()
    catalog = Catalog(settings)
    labels = catalog.bundle(model or catalog.default()).config.labels
    written, left_out = export_photos(settings, folder, labels)
    why = " (judged in more than one way, or of no class of the model)" if left_out else ""
    _say(f"{written} photos were written to {folder}, {left_out} left out{why}")


@space_app.command("build")
def build_space(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Folder to make.")],
) -> None:
    """Write a folder with everything that a Gradio Space needs."""
    from demo.space import build

    build(_settings(), folder)
    _say(f"Written to {folder}; `python {folder / 'app.py'}` starts it.")


@space_app.command("push")
def push_space(
    repo: Annotated[str, typer.Argument(metavar="OWNER/NAME", help="Name of the Space.")],
    message: Annotated[str, typer.Option("--message", help="Of the commit.")] = "Publish the page",
    private: Annotated[
        bool, typer.Option("--private", help="A Space that is made is seen by its owner alone.")
    ] = False,
) -> None:
    """Publish the page as a Space; it is made where there is none."""
    from demo.space import push

    commit = push(_settings(), repo, message=message, private=private, bars=sys.stderr.isatty())
    typer.echo(f"spaces/{repo} is at {commit}")


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
            "in place of training them.",
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
    settings = _settings()
    _prepare_training()
    from core.training import plan, recipes
    from core.training.networks import vgg16

    again = shlex.join(["tensight", *dict.fromkeys([*sys.argv[1:], "--resume"])])
    try:
        if ablation:
            _ablate(settings, resume, again)
            return
        if name == recipes.VGG16 and weights is not None:
            _tell(plan.Outcome(name, vgg16.adopt_vgg16(weights, settings)), settings, again)
            return
        if name is not None and name != recipes.VGG16:
            recipes.get_recipe(name)
        outcomes = plan.train_all(
            plan.plan() if name is None else [name],
            _load_data(settings),
            settings,
            seed=seed or 0,
            resume=resume,
            reporter=_Progress,
            vgg16_weights=weights,
            extra=extra,
        )
        failed = False
        for outcome in outcomes:
            failed |= isinstance(outcome.result, TenSightError)
            _tell(outcome, settings, again)
    except KeyboardInterrupt:
        _say(f"Stopped. Go on from the last whole epoch with: {again}")
        raise typer.Exit(130) from None
    if failed:
        raise typer.Exit(1)


def _ablate(settings: Settings, resume: bool, again: str) -> None:
    dataset = _load_data(settings)
    from core.training import train
    from core.training.ablation import ablate

    done = ablate(dataset, settings, resume=resume, reporter=_Progress)
    if done is None:
        _say(f"All is trained. {_ELSEWHERE} KERAS_BACKEND=tensorflow {again}")
        return
    _print_table(
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
    train.write_pages(settings.models)
    _say(f"Written to {settings.models}")


def _tell(outcome: Outcome, settings: Settings, again: str) -> None:
    """What became of one recipe; and the table of models anew."""
    from core.training import train as training

    match outcome.result:
        case Bundle() as bundle:
            _print_figures(bundle.metrics())
            _say(f"The model is in {bundle.folder}")
            training.write_pages(settings.models)
        case Pretrained() as body:
            known = ""
            if body.accuracy is not None:
                known = f" Accuracy on Tiny ImageNet, {body.n:,} valid images: {body.accuracy:.4f}."
            _say(f"{body.network} {body.source}.{known}")
        case TenSightError() as error:
            # The others of --all may still come to something.
            _say(f"{outcome.name}: {error}")
        case None:
            _say(f"{outcome.name} is trained. {_ELSEWHERE} KERAS_BACKEND=tensorflow {again}")


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
    settings = _settings()
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
        from core.training import train
        from core.training.evaluation import measure

        bundle = measure.evaluate(bundle, rows, settings, command=_command())
        _print_evaluated(bundle, as_json)
        train.write_pages(settings.models)


def _evaluate_all(catalog: Catalog, settings: Settings, as_json: bool) -> None:
    # Before hours are spent: each of them is whole, and there is one.
    names = [folder.name for folder in find_bundles(settings.models)]
    if not names:
        raise ModelNotFoundError(f"There is no model in {settings.models} to measure.")
    bundles = [_of_the_folder(catalog, settings, name) for name in names]
    for bundle in bundles:
        bundle.verify()
    rows = _load_rows(settings)
    from core.training import train
    from core.training.evaluation import measure
    from core.training.evaluation.corruptions import SHIFT_ROWS, measure_shift

    others = [b for b in bundles if b.config.labels != rows.dataset.labels]
    for bundle in others:
        _say(f"{bundle.config.name} has labels of its own, and stays as it is.")
    bundles = [bundle for bundle in bundles if bundle not in others]
    again = [measure.evaluate(b, rows, settings, command=_command()) for b in bundles]
    # What follows takes an hour.
    train.write_pages(settings.models)
    classifiers = [Classifier(bundle, threads=settings.threads) for bundle in again]
    shift: dict[str, dict[str, ShiftFigures]] = {bundle.config.name: {} for bundle in again}
    for way, figures in measure_shift(classifiers, rows.dataset.test):
        _say(f"Measured on images spoiled by {way}")
        for name, each in figures.items():
            shift[name][way] = each
    n = min(SHIFT_ROWS, len(rows.dataset.test))
    for bundle in again:
        done = measure.add_shift(bundle, shift[bundle.config.name], n)
        _print_evaluated(done, as_json)
    train.write_pages(settings.models)


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
    _prepare_training()
    from core.training.data.photos import evaluate_photos

    figures = evaluate_photos(classifier, folder)
    if as_json:
        whose = {"model": classifier.name, "revision": classifier.revision}
        _print_json(whose | figures.model_dump(mode="json"))
    else:
        typer.echo(f"{classifier.name}, {figures.n} photos")
        _print_photo_figures(figures)


def _draw(catalog: Catalog, name: str, settings: Settings, folder: Path) -> None:
    bundle, classifier = catalog.bundle(name), catalog.load(name)
    figures = bundle.metrics().test
    _prepare_training()
    from core.training.data.datasets import CIFAR10_LABELS, load_cifar10_test
    from core.training.evaluation.measure import refuse_other_labels
    from core.training.evaluation.mistakes import draw, refuse_without_mistakes

    refuse_other_labels(bundle, "CIFAR-10", CIFAR10_LABELS)
    refuse_without_mistakes(name, figures)
    _say("Reading CIFAR-10's test rows ...")
    for file in draw(classifier, figures, load_cifar10_test(settings), folder):
        typer.echo(str(file))


@app.command()
def explain(
    photo: Annotated[str, typer.Argument(help="A photo.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Picture to write: PNG or JPEG.")],
    model: ModelOption = None,
) -> None:
    """Show what in a photo spoke for the answer."""
    kind = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG"}.get(out.suffix.lower())
    if kind is None:
        raise typer.BadParameter(f"{out} must end in .png or .jpg", param_hint="--out")
    with closing(connect(_settings())) as predictor:
        try:
            prediction = asyncio.run(_patiently(predictor, photo, model, saliency=True))
        except ImageError as error:
            _say(f"{photo}: {error}")
            raise typer.Exit(1) from error
        configs = {result.config.name: result.config for result in predictor.models()}
    typer.echo(f"{photo}: {locale.verdict_words(prediction)}")
    if prediction.saliency is None:
        raise BundleError(
            f"{prediction.model} sees too coarsely to show what spoke for its answer. Choose "
            "another model with --model."
        )
    rgb = decode(photo, min_side=LONGEST)
    picture = overlay(rgb, prediction.saliency, configs[prediction.model].input)
    new = out.with_name(f".{out.name}.new")
    try:
        # Beside it first: what is there is replaced once the new one is whole.
        picture.save(new, kind)
        new.replace(out)
    except OSError as error:
        new.unlink(missing_ok=True)
        raise OutputError(
            f"{out} cannot be written: {error.strerror or error}. Name a file in a folder that is "
            "there, and that may be written to."
        ) from error
    _say(f"Written to {out}")


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
    settings = _settings()
    _prepare_training()
    from core.training import train as training
    from core.training.export.adopt import Pixels, adopt

    bundle = adopt(
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
        command=_command(),
    )
    if folder.parent.resolve() == settings.models.resolve():
        # Elsewhere the folder above may have a README of its own.
        training.write_pages(settings.models)
    _print_evaluated(bundle, as_json=False)


def _list_remote(settings: Settings, repo: str | None, revision: str | None, as_json: bool) -> None:
    from core.registry import releases

    found = releases.list_remote(settings, repo=repo, revision=revision)
    if as_json:
        _print_json(
            [
                Result(each.config, each.metrics, each.revision).to_dict() | {"here": each.here}
                for each in found
            ]
        )
        return
    rows = [
        [
            each.config.name,
            each.config.family,
            each.revision,
            f"{each.metrics.test.accuracy:.4f}",
            f"{each.metrics.milliseconds:.1f}",
            "yes" if each.here else "no",
        ]
        for each in found
    ]
    _print_table(["name", "family", "revision", "accuracy", "ms", "here"], rows)


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
    from core.training.data.datasets import load_cifar10

    _say("Reading CIFAR-10 ...")
    return load_cifar10(settings)


def _samples(settings: Settings) -> dict[str, list[NDArray[np.uint8]]]:
    """The first test images of each class."""
    _prepare_training()
    from core.training.data.datasets import CIFAR10_LABELS, load_cifar10_test

    test = load_cifar10_test(settings)
    return {
        label: list(test.images[test.labels == i][:_SAMPLES])
        for i, label in enumerate(CIFAR10_LABELS)
    }


@contextmanager
def _bot_beside(
    settings: Settings, predictor: Predictor, *, metrics_port: int | None = None
) -> Iterator[None]:
    """The bot in a thread of its own; the page goes on where it cannot run."""
    from bot.app import Figures, prepare, run
    from core.store.store import Store

    loop, stop = asyncio.new_event_loop(), asyncio.Event()

    def answer() -> None:
        try:
            with closing(Store.open(settings)) as store:
                application = prepare(settings, predictor, store)
                figures = Figures()
                with figures.told_on(metrics_port):
                    loop.run_until_complete(run(application, stop, figures=figures, say=_say))
        except TenSightError as error:
            _say(f"The bot does not run: {error}")
        except Exception as error:
            logging.getLogger(__name__).exception("The bot does not run")
            _say(f"The bot does not run: {type(error).__name__}; the log says more.")
        finally:
            loop.close()

    thread = threading.Thread(target=answer, name="bot")
    thread.start()
    try:
        yield
    finally:
        with suppress(RuntimeError):  # its loop has ended
            loop.call_soon_threadsafe(stop.set)
        thread.join()


def _load_rows(settings: Settings) -> Rows:
    dataset = _load_data(settings)
    from core.training.evaluation.measure import Rows

    return Rows.of(dataset, settings)


def _command() -> str:
    return shlex.join(["tensight", *sys.argv[1:]])


def _has_desktop() -> bool:
    """Whether there is a graphical browser to open; without one, Python would start a text one."""
    if sys.platform in ("darwin", "win32"):
        return True
    return bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))


def _name(result: Result) -> str:
    return result.config.name


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


def _print_evaluated(bundle: Bundle, as_json: bool) -> None:
    metrics = bundle.metrics()
    if as_json:
        typer.echo(metrics.model_dump_json())
    else:
        _print_figures(metrics)
    _say(f"Written to {bundle.folder}")


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


@contextmanager
def _downloading() -> Iterator[Callable[[int, int], None] | None]:
    """A bar for the bytes that have arrived; None where stderr is no terminal."""
    if not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import DownloadColumn, Progress

    columns = (*Progress.get_default_columns(), DownloadColumn())
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task("Downloading", total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


class _Progress:
    """A bar for the batches of an epoch, and a line for each epoch that is done."""

    def __init__(self, what: str) -> None:
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
        self._bar.console.print(what, highlight=False, soft_wrap=True)
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
