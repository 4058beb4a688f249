"""Live revisions as the database last gave them."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import closing
from pathlib import Path

import pytest

from core.bundle.folder import BUNDLED
from core.errors import StoreError
from core.registry.failures import FailureLog
from core.registry.live_revisions import LiveRevisions
from core.settings import Settings
from core.store.live import LiveModels, LiveRevision
from core.store.store import Store

AWAY = "The database is not available."


def test_no_database_means_no_live_revisions(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path / "home")
    live = LiveRevisions(settings, FailureLog())
    assert live.all() == live.refresh() == {}
    assert not settings.has_database(), "reading creates none"


def test_database_without_live_revisions_needs_no_store(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = Settings(home=tmp_path / "home")
    Store.open(settings).close()
    with monkeypatch.context() as patch:
        patch.setattr(Store, "find", None)
        assert LiveRevisions(settings, FailureLog()).all() == {}
    with closing(Store.open(settings)) as store:
        store.live.promote({"classic": BUNDLED}, {"classic": "0"})
    with closing(LiveRevisions(settings, FailureLog())) as live:
        assert live.all()["classic"].revision == BUNDLED


@pytest.mark.parametrize("content", [b"", b"no database" * 100])
def test_database_that_sqlite_cannot_read_is_left_to_the_store(
    tmp_path: Path, content: bytes
) -> None:
    settings = Settings(home=tmp_path)
    settings.database_file.write_bytes(content)
    failures: list[str] = []
    log = FailureLog()
    log.add_listener(failures.append)
    with closing(LiveRevisions(settings, log)) as live:
        assert live.all() == {}
    assert bool(failures) == bool(content), "an empty file gets its tables"


def test_rows_are_those_of_the_last_refresh(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path / "home")
    with (
        closing(Store.open(settings)) as store,
        closing(LiveRevisions(settings, FailureLog())) as live,
    ):
        assert live.all() == {}
        store.live.promote({"classic": BUNDLED}, {"classic": "0"})
        assert live.all() == {}
        assert live.refresh() == live.all()
        assert live.all()["classic"].revision == BUNDLED


def test_last_known_rows_are_kept_while_the_database_is_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    failures, received = FailureLog(), list[str]()
    failures.add_listener(received.append)
    settings = Settings(home=tmp_path / "home")
    read = LiveModels.all

    def fail(self: LiveModels) -> Mapping[str, LiveRevision]:
        raise StoreError(AWAY)

    with closing(Store.open(settings)) as store, closing(LiveRevisions(settings, failures)) as live:
        store.live.promote({"classic": BUNDLED}, {"classic": "0"})
        known = live.refresh()
        assert known
        for outage in (1, 2):
            monkeypatch.setattr(LiveModels, "all", fail)
            assert [live.refresh(), live.refresh()] == [known, known]
            assert received == [AWAY] * outage, "once for each outage"
            monkeypatch.setattr(LiveModels, "all", read)
            live.refresh()
