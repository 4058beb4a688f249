"""Tables of evaluation results."""

from __future__ import annotations

import json

import pytest

from core.bundle.folder import Bundle
from core.cli.metrics_tables import print_evaluated, print_metrics
from tests.conftest import ROOT


@pytest.mark.parametrize("name", ["classic", "efficientnet"])
def test_table_states_the_stored_metrics(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    metrics = Bundle.open(ROOT / "models" / name).metrics()
    print_metrics(metrics)
    shown = capsys.readouterr().out
    rows = [line.split() for line in shown.splitlines()]
    accuracy = next(row for row in rows if row[:1] == ["accuracy"])
    assert accuracy[1] == f"{metrics.test.accuracy:.4f}"
    for each in metrics.test.classes:
        assert [each.label, f"{each.precision:.4f}", f"{each.recall:.4f}"] in [r[:3] for r in rows]
    labels = [each.label for each in metrics.test.classes]
    for label, counts in zip(labels, metrics.test.confusion, strict=True):
        assert [label, *map(str, counts)] in rows
    assert ("Real photos:" in shown) == (metrics.real_photos is not None)


def test_json_is_the_content_of_the_metrics_file(capsys: pytest.CaptureFixture[str]) -> None:
    bundle = Bundle.open(ROOT / "models" / "classic")
    print_evaluated(bundle, as_json=True)
    output = capsys.readouterr()
    assert json.loads(output.out) == json.loads(bundle.metrics().model_dump_json())
    assert output.err == f"Written to {bundle.folder}\n"
