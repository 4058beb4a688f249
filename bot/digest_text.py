"""Texts of a digest, as pure functions of the digest and a language."""

from __future__ import annotations

from collections.abc import Iterator

from bot.digest import Digest, LiveModel
from bot.evidence_text import format_share
from core import locale
from core.bundle.metrics import ProportionEstimate
from core.charts.chart import Fact
from core.locale import Language

__all__ = ["digest_caption", "digest_facts", "digest_text", "live_lines"]

_MAX_MODELS = 6
_GB = 1e9
_MB = 1e6


def digest_caption(digest: Digest, language: Language) -> str:
    """Format the caption of a digest's picture: its period, and what needs attention."""
    return "\n".join([_head(digest, language), *_attention(digest, language)])


def digest_text(digest: Digest, language: Language) -> str:
    """Format a digest as text."""
    facts = (f"{fact.name}: {fact.value}" for fact in digest_facts(digest, language))
    lines = [_head(digest, language), *facts, *_attention(digest, language)]
    return "\n".join([*lines, *live_lines(digest, language)])


def digest_facts(digest: Digest, language: Language) -> list[Fact]:
    """Return the figures of a digest with their names."""
    texts, activity, disk = locale.bot_texts(language), digest.activity, digest.disk
    judged, home = texts["digest_none"], locale.decimal(disk.home / _MB, 0, language)
    if digest.judged is not None:
        judged = _share(digest.judged, language)
    n_judged = 0 if digest.judged is None else digest.judged.n
    values = {
        "photos": _whole(activity.photos, language),
        "people": _whole(digest.people, language),
        "p50": _seconds(digest, 0.5, language),
        "p95": _seconds(digest, 0.95, language),
        "errors": _whole(activity.errors, language),
        "judged": judged,
        "drift": _drift(digest, language),
        "disk": texts["digest_gb"].format(
            free=locale.decimal(disk.free / _GB, 1, language),
            total=locale.decimal(disk.total / _GB, 0, language),
        ),
    }
    warnings = {"errors": activity.errors > 0, "drift": any(e.alarms for e in digest.drift or [])}
    return [
        Fact(
            name=texts[f"digest_{key}"].format(n=_whole(n_judged, language), home=home),
            value=value,
            is_warning=warnings.get(key, False),
        )
        for key, value in values.items()
    ]


def live_lines(digest: Digest, language: Language) -> list[str]:
    """Return one line for each live model, those that answered most photos first."""
    texts = locale.bot_texts(language)
    if digest.live is None:
        return [texts["digest_live_unknown"]]
    return [line for model in digest.live[:_MAX_MODELS] for line in _live_lines(model, language)]


def _live_lines(model: LiveModel, language: Language) -> Iterator[str]:
    texts = locale.bot_texts(language)
    if model.since is None:
        since = texts["digest_bundled"]
    else:
        since = texts["digest_since"].format(at=f"{model.since:%Y-%m-%d %H:%M}")
    yield texts["digest_live"].format(
        model=model.name,
        revision=model.revision,
        since=since,
        photos=_whole(model.photos, language),
    )
    if model.rollout is not None:
        yield texts[f"digest_{model.rollout.kind}"].format(
            candidate=model.rollout.candidate,
            share=format_share(model.rollout.share, language),
            at=f"{model.rollout.began_at:%Y-%m-%d %H:%M}",
        )


def _head(digest: Digest, language: Language) -> str:
    key = "digest_head_day" if digest.days == 1 else "digest_head_days"
    return locale.bot_texts(language)[key].format(
        days=digest.days, at=f"{digest.end:%Y-%m-%d %H:%M} UTC"
    )


def _drift(digest: Digest, language: Language) -> str:
    texts = locale.bot_texts(language)
    if digest.drift is None:
        return texts["digest_drift_unknown"]
    if not any(each.groups for report in digest.drift for each in report.month.values()):
        return texts["digest_drift_few"]
    if not any(report.alarms for report in digest.drift):
        return texts["digest_drift_no"]
    return texts["digest_drift_yes"]


def _attention(digest: Digest, language: Language) -> Iterator[str]:
    """Yield what needs attention: drift, and the accuracy on operators' labels."""
    texts = locale.bot_texts(language)
    for report in digest.drift or []:
        if report.alarms:
            yield texts["digest_drift_line"].format(
                model=report.model,
                statistics=", ".join(texts[f"drift_{name}"] for name in report.alarms),
            )
    if digest.labels is not None:
        yield texts["digest_labels"].format(
            n=_whole(digest.labels.n, language), share=_share(digest.labels, language)
        )
    elif digest.new_labels:
        yield texts["digest_labels_old"].format(n=_whole(digest.new_labels, language))


def _share(estimate: ProportionEstimate, language: Language) -> str:
    """Format a share with its 95% interval, briefly."""
    return locale.bot_texts(language)["digest_share"].format(
        share=format_share(estimate.share, language),
        low=locale.decimal(100 * estimate.low, 0, language),
        high=locale.decimal(100 * estimate.high, 0, language),
    )


def _seconds(digest: Digest, share: float, language: Language) -> str:
    if not digest.activity.photos:
        return locale.bot_texts(language)["digest_none"]
    return f"{locale.decimal(digest.activity.quantile(share), 2, language)} s"


def _whole(n: int, language: Language) -> str:
    return locale.decimal(n, 0, language)
