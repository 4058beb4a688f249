"""Rollouts and promotions whose process is killed: the state is one of before or after."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path
from typing import NamedTuple

import pytest

from core.bundle.folder import Bundle
from core.settings import Settings
from core.store.feedback import Feedback
from core.store.live import LiveRevision
from core.store.rollouts import AUTOMATIC
from core.store.store import Store
from tests.conftest import ROOT
from tests.support.forks import Fork
from tests.support.processes import is_running, wait_until
from tests.support.rollouts import MODEL, install_candidate

# Statements, and attempts to commit, after which the process is killed; no command has more.
MAX_STEPS = 30

COMMANDS = {
    "begin": "store.rollouts.begin('a', 'canary', candidate='3', live='2', share=.5, slow_ms=9,"
    " audit=entry)",
    "end": "store.rollouts.end(1, 'rolled_back', BY_HAND, audit=entry)",
    "promote": "store.live.promote({'a': '3'}, {}, operator='me')",
    "roll back": "store.live.roll_back('a', operator='me')",
}
PROGRAM = """
import os, signal
import sqlalchemy as sa
from core.settings import Settings
from core.store.audit import AuditEntry
from core.store.end_reasons import BY_HAND
from core.store.store import Store

steps = {steps}
entry = AuditEntry.now("me", "command", "done")

def step(*_arguments):
    global steps
    steps -= 1
    if steps < 0:
        os.kill(os.getpid(), signal.SIGKILL)

store = Store.open(Settings())
sa.event.listen(store.database.engine, "before_cursor_execute", step)
sa.event.listen(store.database.engine, "commit", step)
{command}
"""


class State(NamedTuple):
    live: dict[str, LiveRevision]
    active: list[str]
    outcome: str | None
    audit: list[str]


def state_of(store: Store) -> State:
    latest = store.rollouts.latest("a")
    return State(
        store.live.all(),
        [each.candidate for each in store.rollouts.active()],
        None if latest is None else latest.outcome,
        [each.act for each in store.audit.recent(99)],
    )


@pytest.mark.parametrize("command", COMMANDS)
def test_killed_command_is_atomic(tmp_path: Path, command: str) -> None:
    environment = os.environ | {"TENSIGHT_HOME": str(tmp_path)}
    with closing(Store.open(Settings(home=tmp_path))) as store:
        store.live.promote({"a": "1"}, {})
        store.live.promote({"a": "2"}, {})
        if command != "begin":
            store.rollouts.begin("a", "canary", candidate="3", live="2", share=0.5, slow_ms=9.0)
        before = state_of(store)
        for steps in range(MAX_STEPS):
            program = PROGRAM.format(steps=steps, command=COMMANDS[command])
            with Fork(["-c", program], environment) as killed:
                status = killed.wait(timeout=300)
            if status == 0:
                break
            assert status == -signal.SIGKILL
            assert state_of(store) == before
        assert 3 <= steps < MAX_STEPS - 1
        after = state_of(store)
    assert after.audit[0] in {"command", "promote a 3", "rollback a"}
    assert (after.live["a"].revision, after.active, after.outcome) == {
        "begin": ("2", ["3"], None),
        "end": ("2", [], "rolled_back"),
        "promote": ("3", [], "promoted"),
        "roll back": ("1", [], "superseded"),
    }[command]


@contextmanager
def serving(settings: Settings, photo: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Serve in a process that is killed at the end, with what it has started."""
    environment = os.environ | {
        "PYTHONPATH": str(ROOT),
        "TENSIGHT_HOME": str(settings.home),
        "TENSIGHT_MODELS": str(settings.models),
    }
    command = [sys.executable, "-m", "tests.support.rollout_process", str(photo)]
    process = subprocess.Popen(command, env=environment)
    try:
        yield process
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
        others = list(map(int, children.read_text().split())) if children.exists() else []
    finally:
        process.kill()
        process.wait()
    wait_until(lambda: not any(map(is_running, others)))


def answers(settings: Settings) -> str:
    """Return the revision of the latest answer."""
    file = settings.home / "answered"
    return file.read_text("ascii") if file.exists() else ""


@pytest.mark.long
def test_shadow_goes_on_after_its_process_was_killed(settings: Settings, photo: Path) -> None:
    candidate = install_candidate(settings)
    live = Bundle.open(settings.models / MODEL).revision
    with closing(Store.open(settings)) as store:
        rollout = store.rollouts.begin(
            MODEL, "shadow", candidate=candidate, live=live, share=1.0, slow_ms=1e6
        )

        def compared() -> int:
            return len(store.rollout_evidence.comparisons(rollout.number))

        for at_least in (1, 20):
            with serving(settings, photo):
                wait_until(partial(lambda n: compared() >= n, at_least))
            assert store.rollouts.active() == [rollout]
            assert answers(settings) == live


@pytest.mark.long
def test_canary_killed_at_its_rollback_is_rolled_back_once(settings: Settings, photo: Path) -> None:
    candidate = install_candidate(settings)
    live = Bundle.open(settings.models / MODEL).revision
    with closing(Store.open(settings)) as store:
        rollout = store.rollouts.begin(
            MODEL, "canary", candidate=candidate, live=live, share=0.5, slow_ms=1e6
        )
        with serving(settings, photo):
            wait_until(lambda: answers(settings) == candidate)
            for i in range(12):
                for revision, label in ((candidate, "dog"), (live, "cat")):
                    said = label, "known", {label: 1.0}, "cat", f"person {i}"
                    store.feedback.add(Feedback("bot", MODEL, revision, *said))
        ended, entries = store.rollouts.latest(MODEL), store.audit.recent(9)
        assert ended is not None
        if ended.ended_at is None:
            assert (ended, entries) == (rollout, [])
        else:
            assert (ended.outcome, len(entries)) == ("rolled_back", 1)
        with serving(settings, photo):
            wait_until(lambda: store.rollouts.active() == [])
            (settings.home / "answered").unlink(missing_ok=True)
            wait_until(lambda: answers(settings) == live)
        (entry,) = store.audit.recent(9)
    assert (entry.operator, entry.act) == (AUTOMATIC, f"canary {MODEL} {candidate}")


@pytest.mark.long
def test_process_killed_at_a_promotion_serves_it_after_its_restart(
    settings: Settings, photo: Path
) -> None:
    candidate = install_candidate(settings)
    live = Bundle.open(settings.models / MODEL).revision
    with closing(Store.open(settings)) as store:
        store.rollouts.begin(
            MODEL, "canary", candidate=candidate, live=live, share=0.5, slow_ms=1e6
        )
        with serving(settings, photo):
            wait_until(lambda: answers(settings) == candidate)
            store.live.promote({MODEL: candidate}, {MODEL: live})
        ended = store.rollouts.latest(MODEL)
        assert ended is not None
        assert ended.outcome == "promoted"
        (settings.home / "answered").unlink()
        with serving(settings, photo):
            wait_until(lambda: bool(answers(settings)))
            assert answers(settings) == candidate
        assert store.rollouts.active() == []
