"""The commands that release revisions on evidence: shadow, canary, evidence and drift."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from core.cli.console import (
    MODELS,
    OPERATOR,
    TRAIN,
    JsonOption,
    command_line,
    print_json,
    print_table,
    read_settings,
    say,
)
from core.errors import MissingExtraError, OutputError, StoreError

if TYPE_CHECKING:
    from core.rollout.evidence import CanaryEvidence, ShadowEvidence
    from core.settings import Settings
    from core.store.rollouts import Rollout
    from core.store.store import Store

__all__ = ["app"]

app = typer.Typer()

ModelArgument = Annotated[
    str | None, typer.Argument(metavar="MODEL", help="Name of the model.", show_default=False)
]
RevisionArgument = Annotated[
    str | None,
    typer.Argument(
        metavar="REVISION",
        help="The candidate: an installed revision or a unique prefix of it, see `models list`.",
        show_default=False,
    ),
]
StopOption = Annotated[bool, typer.Option("--stop", help="End the active rollout of the model.")]


@app.command(rich_help_panel=MODELS)
def shadow(
    model: ModelArgument = None,
    revision: RevisionArgument = None,
    share: Annotated[
        str, typer.Option(help="Share of the photos to answer, such as 20% or 0.2.")
    ] = "100%",
    stop: StopOption = False,
    as_json: JsonOption = False,
) -> None:
    """Let a candidate answer copies of live photos in the background, or list the shadows.

    Its answers are compared with those of the live revision, see `tensight evidence`. Nobody gets
    them, and no photo waits for them.
    """
    _rollout("shadow", model, revision, share, stop, as_json)


@app.command(rich_help_panel=MODELS)
def canary(
    model: ModelArgument = None,
    revision: RevisionArgument = None,
    share: Annotated[
        str, typer.Option(help="Share of the chats and visitors, such as 10% or 0.1.")
    ] = "10%",
    stop: StopOption = False,
    as_json: JsonOption = False,
) -> None:
    """Let a candidate answer a share of the chats and visitors, or list the canaries.

    It is rolled back automatically if its errors, latency or judged accuracy are significantly
    worse, see docs/ROLLOUT.md, and manually with --stop. `tensight models promote` makes it live.
    """
    _rollout("canary", model, revision, share, stop, as_json)


@app.command(rich_help_panel=MODELS)
def evidence(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="Name of the model.")],
    as_json: JsonOption = False,
) -> None:
    """Show the evidence about the latest shadow or canary of a model."""
    from core.registry.catalog import Catalog
    from core.rollout.evidence import (
        CanaryEvidence,
        canary_evidence,
        lacks_answers,
        shadow_evidence,
    )

    settings = read_settings()
    with _open_store(settings) as store, closing(Catalog(settings)) as catalog:
        labels = catalog.bundle(model).config.labels
        rollout = store.rollouts.latest(model)
        if rollout is None:
            raise StoreError(
                f"There was no shadow and no canary of {model}. Start one with `tensight shadow "
                f"{model} REVISION`."
            )
        found: CanaryEvidence | ShadowEvidence
        if rollout.kind == "canary":
            found = canary_evidence(store.rollout_evidence, rollout, labels)
        else:
            found = shadow_evidence(store.rollout_evidence, rollout)
    is_unanswered = lacks_answers(rollout, found)
    if as_json:
        shown = {"rollout": _row(rollout), "evidence": found.to_dict()}
        print_json(shown | {"lacks_answers": is_unanswered})
        return
    typer.echo(_sentence(rollout))
    if is_unanswered:
        typer.echo(
            "No photo was answered by the candidate yet. If photos were sent meanwhile, it is not "
            "installed where they are answered: install it on that machine with `tensight models "
            "pull`."
        )
    if isinstance(found, CanaryEvidence):
        _print_canary(found)
    else:
        _print_shadow(found)


@app.command(rich_help_panel=MODELS)
def drift(model: ModelArgument = None, as_json: JsonOption = False) -> None:
    """Compare the photos of the last 24 full hours with those of the month before and validation.

    The exit status is 0 even if they differ.
    """
    _require_scipy()
    from datetime import UTC, datetime

    from core.registry.catalog import Catalog
    from core.rollout.drift_report import drift_reports
    from core.rollout.drift_samples import drift_samples

    settings = read_settings()
    with _open_store(settings) as store, closing(Catalog(settings)) as catalog:
        samples = drift_samples(store.drift, catalog.models(), datetime.now(UTC), model=model)
        if model is not None and not samples:
            catalog.bundle(
                model
            )  # An unknown name is an error, and does not mean that all is quiet.
    reports = drift_reports(samples)
    if as_json:
        print_json([each.to_dict() for each in reports])
        return
    if not reports:
        say("No photos were answered in the last 24 full hours.")
        return
    rows = [
        [
            each.model,
            each.revision,
            reference,
            statistic,
            str(found.n),
            str(found.reference_n),
            f"{found.change:.1%}",
            f"{found.p:.2g}",
            found.largest,
            "alarm" if reference == "month" and found.is_alarm else "",
        ]
        for each in reports
        for reference, differences in (("month", each.month), ("validation", each.validation))
        for statistic, found in differences.items()
    ]
    header = ["model", "revision", "compared with", "statistic", "photos", "reference photos"]
    print_table([*header, "change", "p", "most changed", ""], rows)


@app.command("simulate-rollouts", rich_help_panel=TRAIN)
def simulate_rollouts(
    runs: Annotated[
        int, typer.Option(min=10, help="Number of simulated canaries for each false-alarm rate.")
    ] = 10_000,
    out: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="File to write, such as docs/ROLLOUT.md."),
    ] = None,
) -> None:
    """Simulate the tests of canaries and drift: false alarms, and photos until a rollback."""
    _require_scipy()
    from core.output import replacing
    from core.rollout.page import rollout_page

    if out is not None and not out.parent.is_dir():
        raise OutputError(f"The folder {out.parent} does not exist. Create it, or choose another.")
    page = rollout_page(runs, command=command_line(), progress=say)
    if out is None:
        typer.echo(page, nl=False)
        return
    try:
        with replacing(out) as new:
            new.write_text(page, "utf-8")
    except OSError as error:
        raise OutputError(
            f"{out} cannot be written: {error.strerror or error}. Choose another file with --out."
        ) from error


def _rollout(
    kind: Literal["shadow", "canary"],
    model: str | None,
    revision: str | None,
    share: str,
    stop: bool,
    as_json: bool,
) -> None:
    """Start, end or list rollouts of a kind."""
    if (model is None and stop) or (stop and revision is not None):
        raise typer.BadParameter("--stop needs the name of a model, and takes no revision")
    if model is not None and revision is None and not stop:
        raise typer.BadParameter("give the candidate's REVISION, or --stop")
    from core.registry.catalog import Catalog
    from core.registry.releases import Releases
    from core.rollout.control import begin_rollout, end_rollout, parse_share

    try:
        parsed = parse_share(share, kind)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--share") from error
    settings = read_settings()
    with _open_store(settings) as store:
        if model is None:
            active = [each for each in store.rollouts.active() if each.kind == kind]
            _print_active(kind, active, as_json)
            return
        if revision is None:
            ended = end_rollout(store, model, kind, operator=OPERATOR)
            _report(ended, "has ended", as_json)
            return
        with closing(Catalog(settings)) as catalog, closing(Releases(settings, store)) as releases:
            begun = begin_rollout(
                store,
                catalog,
                releases,
                model=model,
                revision=revision,
                kind=kind,
                share=parsed,
                operator=OPERATOR,
            )
        _report(begun, "began", as_json)


def _report(rollout: Rollout, what: str, as_json: bool) -> None:
    """Print the result of a command."""
    if as_json:
        print_json(_row(rollout))
        return
    typer.echo(f"The {rollout.kind} of {rollout.model} {rollout.candidate} {what}.")


@contextmanager
def _open_store(settings: Settings) -> Iterator[Store]:
    from core.store.store import Store

    with closing(Store.open(settings)) as store:
        yield store


def _row(rollout: Rollout) -> dict[str, Any]:
    from dataclasses import asdict

    times = {"began_at": rollout.began_at.isoformat()}
    if rollout.ended_at is not None:
        times["ended_at"] = rollout.ended_at.isoformat()
    return asdict(rollout) | times


def _print_active(kind: str, rollouts: list[Rollout], as_json: bool) -> None:
    if as_json:
        print_json([_row(each) for each in rollouts])
        return
    from core.rollout.control import format_share

    if not rollouts:
        say(f"No {kind} is active.")
        return
    print_table(
        ["model", "candidate", "live", "share", "since"],
        [
            [
                each.model,
                each.candidate,
                each.live,
                format_share(each.share),
                f"{each.began_at:%Y-%m-%d %H:%M} UTC",
            ]
            for each in rollouts
        ],
    )


def _sentence(rollout: Rollout) -> str:
    from core.rollout.control import format_share

    began = f"since {rollout.began_at:%Y-%m-%d %H:%M} UTC"
    what = (
        f"{rollout.kind} of {rollout.model} {rollout.candidate} beside {rollout.live}, "
        f"{format_share(rollout.share)}, {began}"
    )
    if rollout.ended_at is None:
        return what
    ended = f"{rollout.ended_at:%Y-%m-%d %H:%M} UTC"
    outcome = (rollout.outcome or "").replace("_", " ")
    return f"{what}; {outcome} {ended}: {rollout.reason}"


def _print_canary(found: CanaryEvidence) -> None:
    print_table(
        [
            "test",
            "candidate",
            "candidate failed",
            "live",
            "live failed",
            "evidence",
            "rolled back at",
        ],
        [
            [
                each.test,
                *map(str, (each.candidate, each.candidate_failed, each.live, each.live_failed)),
                f"{each.evidence:.3g}",
                f"{each.alarm_at:.3g}",
            ]
            for each in found.tests
        ],
    )
    if found.classes:
        print_table(
            ["true class", "candidate", "candidate wrong", "live", "live wrong"],
            [[label, *map(str, counts.values())] for label, counts in found.classes.items()],
        )


def _print_shadow(found: ShadowEvidence) -> None:
    typer.echo(f"{found.photos} photos compared, {found.failed} not answered by the candidate")
    if found.agreement:
        print_table(
            ["live answer", "photos", "agreement", "95% interval"],
            [
                [label, str(each.n), f"{each.share:.3f}", f"{each.low:.3f} to {each.high:.3f}"]
                for label, each in found.agreement.items()
            ],
        )
    if found.changes:
        rows = [[before, after, str(n)] for before, after, n in found.changes]
        print_table(["live answer", "candidate's answer", "photos"], rows)
    if found.milliseconds:
        print_table(
            ["revision", "median ms", "95% ms"],
            [
                [which, f"{median:.1f}", f"{p95:.1f}"]
                for which, (median, p95) in found.milliseconds.items()
            ],
        )
        typer.echo(
            "The candidate runs in the background with one thread and the lowest priority, so its "
            "times cannot be compared with live ones; a canary compares them."
        )
    if found.differences:
        print_table(
            ["candidate minus live", "median", "5%", "95%"],
            [
                [name.replace("_", " "), *(f"{value:+.3f}" for value in values)]
                for name, values in found.differences.items()
            ],
        )
    if found.right:
        print_table(
            ["revision", "judged", "accuracy", "95% interval"],
            [
                [which, str(each.n), f"{each.share:.3f}", f"{each.low:.3f} to {each.high:.3f}"]
                for which, each in found.right.items()
            ],
        )


def _require_scipy() -> None:
    """Raise MissingExtraError where the tests' library is not installed."""
    if importlib.util.find_spec("scipy") is None:
        raise MissingExtraError("charts", "This command")
