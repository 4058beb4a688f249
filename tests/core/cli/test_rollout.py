from __future__ import annotations

import json
import re
import subprocess
from collections import Counter
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa

from core.bundle.folder import Bundle
from core.settings import Settings
from core.store.drift import AnswerHistograms
from core.store.store import Store
from core.store.tables import DRIFT, ROLLOUTS
from tests.support.command_line import run_tensight
from tests.support.drift import store_answers
from tests.support.rollouts import MODEL, install_candidate, settings_with_model


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return settings_with_model(tmp_path)


def run(settings: Settings, *arguments: str) -> subprocess.CompletedProcess[str]:
    folders = {"TENSIGHT_HOME": str(settings.home), "TENSIGHT_MODELS": str(settings.models)}
    return run_tensight(*arguments, **folders)


def test_canary_is_begun_and_ended_by_command(settings: Settings) -> None:
    candidate = install_candidate(settings)
    began = run(settings, "canary", MODEL, candidate[:6], "--share", "20%")
    assert (began.returncode, began.stdout) == (0, f"The canary of {MODEL} {candidate} began.\n")
    again = run(settings, "shadow", MODEL, candidate)
    assert again.returncode == 1
    assert "is active already. End it first: `tensight canary baseline --stop`" in again.stderr
    (listed,) = json.loads(run(settings, "canary", "--json").stdout)
    assert (listed["candidate"], listed["share"]) == (candidate, 0.2)
    found = json.loads(run(settings, "evidence", MODEL, "--json").stdout)
    assert [each["evidence"] for each in found["evidence"]["tests"]] == pytest.approx([1, 1, 1])
    shown = run(settings, "evidence", MODEL).stdout
    (header,) = (line for line in shown.splitlines() if "rolled back at" in line)
    columns = re.split(r"\s{2,}", header.strip())
    assert len(columns) == len(set(columns)) == 7, "each column has a name of its own"
    ended = run(settings, "canary", MODEL, "--stop")
    assert ended.stdout == f"The canary of {MODEL} {candidate} has ended.\n"
    assert "rolled back" in run(settings, "evidence", MODEL).stdout
    assert run(settings, "canary", MODEL, "--stop").returncode == 1
    assert run(settings, "models", "promote", MODEL, candidate).returncode == 0
    assert run(settings, "models", "rollback", MODEL).returncode == 0
    with closing(Store.open(settings)) as store:
        acts = [(entry.act, entry.outcome) for entry in store.audit.recent(9)]
    assert acts == [
        (f"rollback {MODEL}", f"bundled is live, no longer {candidate}"),
        (f"promote {MODEL} {candidate}", "is live"),
        (f"canary {MODEL} --stop", "has ended"),
        (f"canary {MODEL} {candidate} 20%", "began"),
    ]


def test_evidence_says_that_the_candidate_has_answered_no_photo(settings: Settings) -> None:
    candidate = install_candidate(settings)
    assert run(settings, "shadow", MODEL, candidate).returncode == 0
    assert "tensight models pull" not in run(settings, "evidence", MODEL).stdout
    assert not json.loads(run(settings, "evidence", MODEL, "--json").stdout)["lacks_answers"]
    with closing(Store.open(settings)) as store, store.database.write() as connection:
        earlier = datetime.now(UTC) - timedelta(minutes=6)
        connection.execute(sa.update(ROLLOUTS).values(began_at=earlier))
    shown = run(settings, "evidence", MODEL).stdout
    assert "No photo was answered by the candidate yet" in shown
    assert "`tensight models pull`" in shown
    found = json.loads(run(settings, "evidence", MODEL, "--json").stdout)
    assert found["lacks_answers"] is True


def test_candidate_must_differ_from_the_live_revision(settings: Settings) -> None:
    refused = run(settings, "shadow", MODEL, "bundled")
    assert refused.returncode == 2
    assert "is live already" in refused.stderr
    assert run(settings, "shadow", MODEL, "123456").returncode == 2


@pytest.mark.parametrize(
    "arguments",
    [
        ("canary", MODEL, "abcdef", "--share", "100%"),
        ("canary", MODEL, "abcdef", "--share", "nan"),
        ("shadow", MODEL, "abcdef", "--share", "101%"),
        ("shadow", MODEL),
        ("shadow", "--stop"),
    ],
)
def test_wrong_usage_is_explained(settings: Settings, arguments: tuple[str, ...]) -> None:
    refused = run(settings, *arguments)
    assert refused.returncode == 2
    assert "Traceback" not in refused.stderr


def test_drift_of_an_unknown_model_is_an_error(settings: Settings) -> None:
    quiet = run(settings, "drift", MODEL)
    assert (quiet.returncode, quiet.stdout) == (0, "")
    assert "No photos" in quiet.stderr
    for options in ((), ("--json",)):
        refused = run(settings, "drift", "typo", *options)
        assert refused.returncode != 0
        assert f"There is no model 'typo'. Available models: {MODEL}." in refused.stderr


def test_drift_is_reported_against_month_and_validation(settings: Settings) -> None:
    assert "No photos" in run(settings, "drift").stderr
    usual = AnswerHistograms(
        Counter(cat=400, dog=400), Counter({"0.5": 800}), Counter({"0.933": 800})
    )
    today = AnswerHistograms(
        Counter(cat=10, dog=390), Counter({"0.5": 400}), Counter({"0.933": 400})
    )
    key = MODEL, Bundle.open(settings.models / MODEL).revision
    with closing(Store.open(settings)) as store:
        store.drift.add({key: usual})
        with store.database.write() as connection:
            connection.execute(sa.update(DRIFT).values(hour=datetime.now(UTC) - timedelta(days=9)))
        store_answers(store, *key, today, hours_ago=1)
    (report,) = json.loads(run(settings, "drift", MODEL, "--json").stdout)
    assert report["alarms"] == ["labels"]
    assert report["month"]["labels"]["n"] == 400
    assert report["month"]["known_scores"]["p"] == 1.0
    assert report["validation"]["labels"]["change"] > 0.5
    assert "alarm" in run(settings, "drift").stdout
