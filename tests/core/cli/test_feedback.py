"""Commands about feedback."""

from __future__ import annotations

import json
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

from core.photos.prepare import to_archival_jpeg
from core.registry.taught import new_id
from core.settings import Settings
from core.store.store import Store
from tests.support import drawings
from tests.support.command_line import run_tensight
from tests.support.feedback import page_feedback


def test_feedback_commands_print_and_export(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path / "home")

    def tensight(*arguments: str) -> subprocess.CompletedProcess[str]:
        return run_tensight("feedback", *arguments, TENSIGHT_HOME=str(settings.home))

    assert "There is no user feedback yet" in tensight("stats").stderr
    store = Store.open(settings)
    store.feedback.add(page_feedback("cat", photo=to_archival_jpeg(drawings.ship(64, 48))))
    # Whoever knows the id of a private model may use it.
    store.feedback.add(replace(page_feedback("cat"), model=new_id()))
    store.close()
    rows: list[dict[str, Any]] = json.loads(tensight("stats", "--json").stdout)
    assert [(row["model"], row["right"]) for row in rows] == [("classic", 1)]
    assert "classic" in tensight("stats").stdout
    assert "1 photos" in tensight("export", str(tmp_path / "out")).stderr
