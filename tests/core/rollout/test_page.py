from __future__ import annotations

from pathlib import Path

from core.rollout.page import rollout_page
from tests.support.command_line import run_tensight


def test_page_states_false_alarms_and_power() -> None:
    seen: list[str] = []
    page = rollout_page(2, command="tensight simulate-rollouts", progress=seen.append, photos=1_500)
    assert page.startswith("# Release on evidence\n")
    assert "\n1,500 judged photos each" in page
    assert "| 50% | 95% | 60 points |" in page
    assert "| 0.1% | 5.1% | " in page
    assert "| 1,000 | " in page
    assert len(seen) == 41


def test_missing_folder_is_reported_before_simulating(tmp_path: Path) -> None:
    run = run_tensight("simulate-rollouts", "--out", tmp_path / "none" / "page.md")
    assert run.returncode == 1
    assert "does not exist. Create it" in run.stderr
