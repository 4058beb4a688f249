"""The leaderboard of the tab Models."""

from __future__ import annotations

import re

from core.registry.catalog import Catalog
from demo.tabs.leaderboard import leaderboard, models_chart


def test_leaderboard_is_sorted_by_accuracy_on_photos(catalog: Catalog) -> None:
    results = catalog.models()
    without = results[0].metrics.model_copy(update={"photos": None, "real_photos": None})
    results[0] = type(results[0])(results[0].config, without, results[0].revision)
    shares = {
        each.config.title: found[0].share if (found := each.metrics.photo_accuracy) else -1.0
        for each in results
    }
    rows = re.findall(r'<th scope="?row"?>([^<]+)</th>', leaderboard(results[::-1], "en"))
    assert sorted(rows) == sorted(shares)
    assert [shares[row] for row in rows] == sorted(shares.values(), reverse=True)
    assert rows[-1] == results[0].config.title


def test_leaderboard_shows_test_set_and_both_sets_of_photos_with_intervals(
    catalog: Catalog,
) -> None:
    (baseline,) = [each for each in catalog.models() if each.config.name == "baseline"]
    shown = leaderboard([baseline], "en")
    for cell in (
        "78.5% (n = 693)\n75.3 to 81.4%",
        "83.1% (n = 10,000)\n82.4 to 83.9%",
        "63.2% (n = 38)\n47.3 to 76.6%",
    ):
        assert f"<td>{cell}</td>" in shown
    assert "<td>83,1% (n = 10.000)\n82,4 bis 83,9%</td>" in leaderboard([baseline], "de")
    unmeasured = baseline.metrics.model_copy(update={"photos": None, "real_photos": None})
    without = type(baseline)(baseline.config, unmeasured, baseline.revision)
    assert leaderboard([without], "en").count("n = ") == 1


def test_chart_does_not_mix_validation_and_test_photos(catalog: Catalog) -> None:
    results = catalog.models()
    other = results[0].metrics.model_copy(update={"real_photos": None})
    results[0] = type(results[0])(results[0].config, other, results[0].revision)
    assert "Accuracy on photos" not in models_chart(results, "en")


def test_chart_shows_accuracy_on_photos_if_every_model_has_it(catalog: Catalog) -> None:
    results = catalog.models()
    drawn = models_chart(results, "en")
    assert drawn.count('class="dot') == len(results)
    assert "Accuracy on photos" in drawn
    without = results[0].metrics.model_copy(update={"photos": None, "real_photos": None})
    results[0] = type(results[0])(results[0].config, without, results[0].revision)
    # Accuracies on photos and on the test set are not comparable.
    assert "Accuracy on photos" not in models_chart(results, "en")
