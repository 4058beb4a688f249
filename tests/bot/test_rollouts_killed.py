"""Shadows, canaries and promotions of a bot that is killed while it runs them."""

from __future__ import annotations

from contextlib import closing
from functools import partial
from pathlib import Path

import pytest

from core.bundle.folder import Bundle
from core.store.store import Store
from tests.support.bot_process import start_process
from tests.support.rollouts import MODEL, install_candidate, settings_with_model
from tests.support.running_bot import ask, texts
from tests.support.servers import wait_for
from tests.support.telegram_server import TelegramServer

T = texts()
OPERATOR, USER = 501, 503

# Live revision, active rollouts, and how the latest one ended.
State = tuple[str | None, tuple[str, ...], str | None]


def state_of(store: Store) -> State:
    live, latest = store.live.all().get(MODEL), store.rollouts.latest(MODEL)
    active = tuple(each.kind for each in store.rollouts.active())
    return (
        None if live is None else live.revision,
        active,
        None if latest is None else latest.outcome,
    )


@pytest.mark.long
@pytest.mark.parametrize("command", ["shadow", "canary", "promote"])
def test_kill_leaves_the_state_before_or_after_a_command(
    telegram: TelegramServer, tmp_path: Path, content: bytes, command: str
) -> None:
    settings = settings_with_model(tmp_path)
    candidate = install_candidate(settings)
    run = partial(
        start_process,
        telegram,
        settings.home,
        TENSIGHT_MODEL=MODEL,
        TENSIGHT_MODELS=str(settings.models),
        TENSIGHT_OPERATORS=str(OPERATOR),
    )
    with closing(Store.open(settings)) as store:
        if command == "promote":
            live = Bundle.open(settings.models / MODEL).revision
            store.rollouts.begin(
                MODEL, "canary", candidate=candidate, live=live, share=0.5, slow_ms=1e6
            )
        before = state_of(store)
        after: State = {
            "shadow": (None, ("shadow",), None),
            "canary": (None, ("canary",), None),
            "promote": (candidate, (), "promoted"),
        }[command]
        bot = run()
        try:
            text = f"/{command} {MODEL} {candidate}"
            question = ask(telegram, OPERATOR, lambda: telegram.text(OPERATOR, text))
            message = int(question.data["message_id"])
            telegram.press(OPERATOR, question.buttons()[T["yes"]], message=message)
            wait_for(lambda: not telegram.pending)
        finally:
            bot.kill()
            bot.wait()
        assert state_of(store) in (before, after)
        bot = run()
        try:
            reply = ask(telegram, USER, lambda: telegram.photo(USER, content))
            assert T["why"] in reply.buttons()
            # The command that was interrupted is run again, or said to be lost.
            wait_for(lambda: not any(e.outcome == "begun" for e in store.audit.recent(1)))
        finally:
            bot.kill()
            bot.wait()
        assert state_of(store) in (before, after)
        live_revision, active, outcome = state_of(store)
        assert len(active) <= 1
        if live_revision is not None:
            assert (active, outcome) == ((), "promoted")
