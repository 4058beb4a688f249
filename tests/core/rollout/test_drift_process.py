"""The worker process that finds drift."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter

import pytest

from core.rollout.drift_process import SAMPLES, DriftProcess
from core.rollout.drift_report import drift_reports
from core.rollout.drift_samples import DriftSample
from core.store.drift import AnswerHistograms
from tests.conftest import ROOT

USUAL = AnswerHistograms(
    Counter(cat=500, dog=500), Counter({"1": 500, "2": 500}), Counter({"0.933": 1000})
)
DAY = AnswerHistograms(
    Counter(cat=450, dog=50), Counter({"1": 250, "2": 250}), Counter({"0.933": 500})
)
SAMPLE = DriftSample("classic", "0" * 12, DAY, USUAL, None)


def test_worker_gives_the_result_of_this_process() -> None:
    found = DriftProcess().compare([SAMPLE])
    assert found == drift_reports([SAMPLE])
    assert found is not None
    assert found[0].alarms == ["labels"]
    change = found[0].month["labels"].most_changed[0]
    assert (change.bins, change.share, change.reference_share) == (("dog",), 0.1, 0.5)


def test_nothing_to_compare_needs_no_worker() -> None:
    assert DriftProcess(is_installed=False).compare([]) == []


def test_scipy_is_not_loaded_by_the_process_that_asks() -> None:
    program = (
        "import sys, bot.drift_alarm\n"
        "from core.rollout.drift_process import DriftProcess, SAMPLES\n"
        "samples = SAMPLES.validate_json(sys.stdin.read())\n"
        "assert DriftProcess().compare(samples)[0].alarms == ['labels']\n"
        "print({'scipy', 'matplotlib'} & {name.split('.')[0] for name in sys.modules})"
    )
    run = subprocess.run(
        [sys.executable, "-c", program],
        input=SAMPLES.dump_json([SAMPLE]).decode(),
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert run.stdout == "set()\n"


@pytest.mark.parametrize(
    "process",
    [
        DriftProcess(is_installed=False),
        DriftProcess((sys.executable, "-c", "raise SystemExit('broken')")),
        DriftProcess((sys.executable, "-c", "print('no JSON')")),
        DriftProcess((sys.executable, "-c", "input()\nwhile True: pass"), timeout_s=0.5),
    ],
    ids=["missing extra", "failure", "wrong output", "hang"],
)
def test_failed_worker_gives_no_result(process: DriftProcess) -> None:
    assert process.compare([SAMPLE]) is None
