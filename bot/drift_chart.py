"""Chart of a drift alarm, with localised texts."""

from __future__ import annotations

from bot.drift_text import group_name
from bot.evidence_text import format_share
from core import locale
from core.charts.chart import Bar, Chart, Panel, Row
from core.locale import Language
from core.rollout.drift_result import BinGroup, Difference, DriftReport

__all__ = ["drift_chart"]

_MAX_ROWS = 6


def drift_chart(report: DriftReport, language: Language) -> Chart:
    """Build the chart of a revision's last day beside the month before.

    Args:
        report: The report, with at least one statistic that was compared.
        language: Language of the texts.
    """
    texts = locale.bot_texts(language)
    return Chart(
        title=f"{report.model} {report.revision}",
        series=(texts["drift_day"], texts["drift_month"]),
        panels=tuple(
            _panel(name, difference, language)
            for name, difference in report.month.items()
            if difference.groups
        ),
    )


def _panel(statistic: str, difference: Difference, language: Language) -> Panel:
    texts = locale.bot_texts(language)
    title = texts["drift_panel_alarm" if difference.is_alarm else "drift_panel"].format(
        statistic=texts[f"drift_{statistic}"], change=format_share(difference.change, language)
    )
    most = difference.most_changed[:_MAX_ROWS]
    # Labels by change; ranges of numbers in their order.
    groups = most if statistic == "labels" else [g for g in difference.groups if g in most]
    return Panel(title=title, rows=tuple(_row(statistic, group, language) for group in groups))


def _row(statistic: str, group: BinGroup, language: Language) -> Row:
    bars = (
        Bar(value=share, text=format_share(share, language))
        for share in (group.share, group.reference_share)
    )
    return Row(name=group_name(statistic, group, language), bars=tuple(bars))
