"""Chart of a digest, with localised texts."""

from __future__ import annotations

from bot.digest import Digest
from bot.digest_text import digest_facts, live_lines
from bot.evidence_text import format_share
from core import locale
from core.charts.chart import Bar, Chart, Panel, Row
from core.locale import Language

__all__ = ["digest_chart"]

_VERDICTS = ("known", "unsure", "none")


def digest_chart(digest: Digest, language: Language) -> Chart:
    """Build the chart of a digest.

    Args:
        digest: The digest.
        language: Language of the texts.
    """
    texts = locale.bot_texts(language)
    return Chart(
        title=texts["digest_title_day" if digest.days == 1 else "digest_title_days"].format(
            days=digest.days
        ),
        series=(texts["digest_photos"],),
        facts=tuple(digest_facts(digest, language)),
        panels=(_verdicts(digest, language), _photos(digest, language)),
        notes=(texts["digest_live_title"], *live_lines(digest, language)),
    )


def _verdicts(digest: Digest, language: Language) -> Panel:
    texts, counts = locale.bot_texts(language), digest.activity.verdicts
    n = max(digest.activity.photos, 1)
    return Panel(
        title=texts["digest_verdicts"],
        rows=tuple(
            Row(
                name=texts[f"digest_verdict_{verdict}"],
                bars=(
                    Bar(
                        value=counts[verdict],
                        text=f"{locale.decimal(counts[verdict], 0, language)} "
                        f"({format_share(counts[verdict] / n, language)})",
                    ),
                ),
            )
            for verdict in _VERDICTS
        ),
    )


def _photos(digest: Digest, language: Language) -> Panel:
    texts, is_day = locale.bot_texts(language), digest.days == 1
    return Panel(
        title=texts["digest_by_hour" if is_day else "digest_by_day"],
        rows=tuple(
            Row(
                name=f"{start:%H:%M}" if is_day else f"{start:%m-%d}",
                bars=(Bar(value=n, text=locale.decimal(n, 0, language)),),
            )
            for start, n in digest.parts
        ),
    )
