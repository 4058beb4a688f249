"""Outcomes of operators' commands."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

from core.serving.remote import RemotePredictor
from core.store.chats import Chat
from tests.support.operator_chat import OPERATOR, confirm, last_text
from tests.support.running_bot import running_bot, texts
from tests.support.servers import free_port, wait_for
from tests.support.telegram_server import TelegramServer

T = texts()


def test_promotion_for_a_remote_predictor_names_the_service(
    telegram: TelegramServer, tmp_path: Path
) -> None:
    url = f"http://127.0.0.1:{free_port()}"
    with (
        closing(RemotePredictor(url, timeout_s=0.2)) as predictor,
        running_bot(telegram, tmp_path, predictor=predictor, operators=(OPERATOR,)) as bot,
    ):
        confirm(telegram, "/promote classic bundled")
        done = T["promote_done"].format(model="classic", revision="bundled")
        wait_for(lambda: last_text(telegram) == f"{done}\n{T['live_elsewhere']}")
        assert "TENSIGHT_PREDICTOR_URL" in T["live_elsewhere"]
        bot.store.chats.set(OPERATOR, Chat(language="nl"))
        confirm(telegram, "/rollback classic", texts("nl")["yes"])
        wait_for(lambda: last_text(telegram).endswith(f"\n{texts('nl')['live_elsewhere']}"))
