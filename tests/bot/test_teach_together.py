"""Chats that teach at once, and a bot whose photos are embedded by a remote predictor."""

from __future__ import annotations

import threading
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

from core.charts.drawer import ChartDrawer
from core.registry.catalog import Catalog
from core.serving.connect import connect
from core.serving.local import LocalPredictor
from core.settings import Settings
from tests.support.drawings import shape_jpeg
from tests.support.http_service import KEYS, MODELS, serving
from tests.support.running_bot import ask, press, running_bot, settings_for, texts
from tests.support.servers import wait_for
from tests.support.teaching_chats import bot_without_pictures, learn, send_class
from tests.support.telegram_server import Call, TelegramServer

T = texts()


class HeldLessons(LocalPredictor):
    """A predictor that answers photos, and holds the lessons that ask it for embeddings.

    Attributes:
        lessons: Threads of the lessons that have begun.
        go_on: Set to go on with them.
    """

    def __init__(self, settings: Settings) -> None:
        super().__init__(Catalog(settings), queue_size=64, deadline_s=30)
        self.lessons: set[int] = set()
        self.go_on = threading.Event()

    async def embed(self, *photos: Any, **options: Any) -> Any:
        self.lessons.add(threading.get_ident())
        self.go_on.wait(300)  # It runs in the thread of the lesson.
        return await super().embed(*photos, **options)


def send_classes(telegram: TelegramServer, chat: int, *labels: str) -> None:
    """Begin a lesson, and send three photos of each class."""
    ask(telegram, chat, lambda: telegram.text(chat, "/teach"))
    for label in labels:
        ask(telegram, chat, partial(send_class, telegram, chat, label, range(3)))


def test_two_chats_teach_at_once_while_photos_of_others_are_answered(
    telegram: TelegramServer, tmp_path: Path
) -> None:
    first, second, other = 1, 2, 3
    with (
        closing(HeldLessons(settings_for(telegram, tmp_path))) as predictor,
        bot_without_pictures(telegram, tmp_path, predictor=predictor),
    ):
        send_classes(telegram, first, "circle", "square")
        ask(telegram, first, lambda: telegram.photo(first, b"no photo"))
        ask(telegram, first, lambda: telegram.photo(first, shape_jpeg("square", 2)))
        send_classes(telegram, second, "circle", "bars")
        before = {chat: len(telegram.sent(chat)) for chat in (first, second)}
        for chat in before:
            telegram.text(chat, "/teach done")
        for chat, n in before.items():
            telegram.wait_for(n + 1, chat)
        wait_for(lambda: len(predictor.lessons) == 2)
        photo = ask(telegram, other, lambda: telegram.photo(other, shape_jpeg("circle", 9)))
        assert all(len(telegram.sent(chat)) == n + 1 for chat, n in before.items()), "both learn"
        predictor.go_on.set()
        results: list[Call] = [
            telegram.wait_for(n + 2, chat, seconds=300)[-1] for chat, n in before.items()
        ]
    assert photo.text.endswith("Classic CNN")
    assert results[0].text.startswith("“circle, square” is ready.")
    assert T["teach_skipped"].format(photos="“square 4”") in results[0].text
    assert T["teach_duplicates"].format(n=1) in results[0].text
    assert results[1].text.startswith("“circle, bars” is ready.")


def test_chat_teaches_with_a_remote_predictor(telegram: TelegramServer, tmp_path: Path) -> None:
    chat = 1
    service = Settings(models=MODELS, home=tmp_path / "service", model="classic", api_keys=KEYS)
    with serving(service, Catalog(service)) as url:
        home = tmp_path / "home"
        remote: dict[str, Any] = {"predictor_url": url, "predictor_key": KEYS[0]}
        settings = settings_for(telegram, home, **remote)
        with (
            closing(connect(settings)) as predictor,
            running_bot(telegram, home, predictor=predictor, **remote) as bot,
        ):
            bot.state.charts = ChartDrawer(is_installed=False)
            send_classes(telegram, chat, "circle", "square")
            result = learn(telegram, chat, "/teach done")
            assert "Of 6 photos" in result.text
            press(telegram, chat, result, T["teach_use"])
            reply = ask(telegram, chat, lambda: telegram.photo(chat, shape_jpeg("square", 9)))
            assert reply.text.startswith("Square (")
            assert reply.text.endswith("circle, square")
