"""Teaching a classifier of a chat more: /teach more, its limits, and chats that share it."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from bot.teaching_texts import refusal
from bot.timings import Backoff, Timings
from core import locale
from core.bundle.config import CONFIG
from core.bundle.leaderboard import ModelInfo
from core.errors import BundleError, ModelNotFoundError, TeachingError, TeachingReason
from core.registry.catalog import Catalog
from core.registry.taught import TaughtStore
from core.serving.local import LocalPredictor
from core.teaching.base import BASE_MODEL
from core.teaching.stored_examples import StoredExamples
from tests.conftest import ROOT
from tests.support.drawings import shape_jpeg
from tests.support.running_bot import (
    RunningBot,
    ask,
    photo_message,
    press,
    running_bot,
    settings_for,
    texts,
)
from tests.support.servers import wait_for
from tests.support.teaching_chats import bot_without_pictures, learn, send_class, teach_shapes
from tests.support.telegram_server import TelegramServer

T = texts()


def not_added(reason: TeachingReason, *names: str) -> str:
    """Return the text of a refusal of photos."""
    return refusal(TeachingError(reason, "", *names), "en", if_too_many="teach_not_added")


class FullPredictor(LocalPredictor):
    """A predictor that describes taught models with given numbers of photos of their classes."""

    photos: tuple[int, ...] | None = None

    def model(self, name: str) -> ModelInfo:
        found = super().model(name)
        taught = found.metrics.taught
        if taught is None or self.photos is None:
            return found
        changed = taught.model_copy(update={"photos": self.photos})
        return replace(found, metrics=found.metrics.model_copy(update={"taught": changed}))


@pytest.fixture(scope="module")
def teaching(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningBot]:
    """Return a bot that the tests of this module share."""
    with (
        TelegramServer().running() as server,
        bot_without_pictures(server, tmp_path_factory.mktemp("more")) as bot,
    ):
        yield bot


def test_more_photos_and_classes_are_taught(teaching: RunningBot, chat: int) -> None:
    telegram = teaching.telegram
    teach_shapes(telegram, chat)
    begun = ask(telegram, chat, lambda: telegram.text(chat, "/teach more"))
    assert begun.text == T["teach_more"].format(title="Shapes", classes="“circle”, “square”")
    counted = ask(telegram, chat, partial(send_class, telegram, chat, "Square", range(10, 13)))
    assert counted.text == T["teach_count"].format(label="square", n=7)
    counted = ask(telegram, chat, partial(send_class, telegram, chat, "bars", range(3)))
    assert counted.text.splitlines() == [
        T["teach_count"].format(label="bars", n=3),
        T["teach_next"],
    ]
    before = len(telegram.sent(chat))
    telegram.text(chat, "/teach done Forms")
    learning, result = telegram.wait_for(before + 2, chat, seconds=300)[before:]
    assert learning.text.splitlines() == [
        T["teach_learning"].format(n=6),
        T["teach_keeps_name"].format(title="Shapes"),
    ]
    assert result.text.startswith("“Shapes” is ready. It knows “bars”, “circle”, “square”.")
    assert "Of 14 photos" in result.text


def test_classifier_of_an_earlier_base_answers_and_needs_all_photos_to_learn(
    teaching: RunningBot, chat: int
) -> None:
    telegram = teaching.telegram
    result = teach_shapes(telegram, chat)
    press(telegram, chat, result, T["teach_use"])
    (record,) = teaching.state.taught.teaching().models(f"chat:{chat}")
    store = TaughtStore(teaching.settings.home)
    content = store.examples(record.id)
    assert content is not None
    older = replace(StoredExamples.from_bytes(content), base="0" * 64)
    store.save_examples(record.id, older.to_bytes())
    ask(telegram, chat, lambda: telegram.text(chat, "/teach more"))
    ask(telegram, chat, partial(send_class, telegram, chat, "bars", range(3)))
    refused = learn(telegram, chat, "/teach done")
    assert refused.text == refusal(TeachingError("other_base", ""), "en")
    ask(telegram, chat, lambda: telegram.text(chat, "/teach cancel"))
    reply = ask(telegram, chat, lambda: telegram.photo(chat, shape_jpeg("square", 9)))
    assert reply.text.endswith("Shapes")


def test_chat_compares_its_classifiers_with_the_others(teaching: RunningBot, chat: int) -> None:
    telegram, other = teaching.telegram, chat + 9000
    teach_shapes(telegram, chat)
    for each, is_own in ((chat, True), (other, False)):
        reply = ask(telegram, each, partial(telegram.photo, each, shape_jpeg("circle", 9)))
        shown, _ = press(telegram, each, reply, T["compare"])
        asked = photo_message(telegram, shape_jpeg("circle", 9), each, each)
        command = partial(telegram.text, each, "/compare", reply_to_message=asked)
        answered = ask(telegram, each, command)
        for text in (shown.text, answered.text):
            assert "Classic CNN: " in text
            assert ("\nShapes: Circle" in text) == is_own


def test_limits_include_the_photos_that_the_classifier_was_taught_with(
    telegram: TelegramServer, tmp_path: Path
) -> None:
    chat, settings = 1, settings_for(telegram, tmp_path)
    predictor = FullPredictor(Catalog(settings), queue_size=64, deadline_s=30)
    with closing(predictor), bot_without_pictures(telegram, tmp_path, predictor=predictor):
        teach_shapes(telegram, chat)
        predictor.photos = (199, 4)
        ask(telegram, chat, lambda: telegram.text(chat, "/teach more"))
        refused = ask(telegram, chat, partial(send_class, telegram, chat, "circle", (10, 11)))
        assert refused.text == not_added("many_photos", "circle")
        assert "/teach cancel" in refused.text
        photo = partial(telegram.photo, chat, shape_jpeg("circle", 12), caption="circle")
        counted = ask(telegram, chat, photo)
        assert counted.text == T["teach_count"].format(label="circle", n=200)


def test_chat_over_its_photos_a_minute_is_told_and_waits(
    telegram: TelegramServer, tmp_path: Path
) -> None:
    chat, timings = 1, Timings(lesson_minute_s=2.0)
    with bot_without_pictures(telegram, tmp_path, chat_photos_per_minute=5, timings=timings):
        ask(telegram, chat, lambda: telegram.text(chat, "/teach"))
        for label in ("circle", "square"):
            # Sent in the last minute, however slow the machine is.
            send = partial(send_class, telegram, chat, label, range(4), date=int(time.time()) + 600)
            ask(telegram, chat, send)
        before = len(telegram.sent(chat))
        telegram.text(chat, "/teach done")
        learning, result = telegram.wait_for(before + 2, chat, seconds=300)[before:]
    assert learning.text.splitlines() == [
        T["teach_learning"].format(n=8),
        T["teach_wait"].format(limit=5, seconds=2),
    ]
    assert result.at - learning.at >= 3 * 2.0 / 5
    assert "Of 8 photos" in result.text


def test_lesson_is_refused_at_once_without_the_model_to_teach_on(
    telegram: TelegramServer, tmp_path: Path
) -> None:
    models, chat = tmp_path / "models", 1
    shutil.copytree(ROOT / "models" / "classic", models / "classic")
    with running_bot(telegram, tmp_path / "home", models=models):
        refused = ask(telegram, chat, lambda: telegram.text(chat, "/teach"))
        assert refused.text == refusal(TeachingError("no_base", "", "efficientnet-frozen"), "en")
        told = ask(telegram, chat, lambda: telegram.text(chat, "/teach done"))
        assert told.text == T["teach_nothing"]


def was_alarmed(telegram: TelegramServer, operator: int, beginning: str) -> bool:
    """Return whether an operator got an alarm that begins with a text."""
    return any(call.text.startswith(beginning) for call in telegram.sent(operator))


def test_forget_waits_while_the_model_to_teach_on_cannot_be_read(
    telegram: TelegramServer, tmp_path: Path
) -> None:
    models, home, chat, operator = tmp_path / "models", tmp_path / "home", 1, 900
    base = models / BASE_MODEL / CONFIG
    for name in ("classic", BASE_MODEL):
        shutil.copytree(ROOT / "models" / name, models / name)
    with bot_without_pictures(telegram, home, models=models):
        teach_shapes(telegram, chat)
    config = base.read_bytes()
    base.write_bytes(b"{")
    timings = Timings(retry=Backoff(0.2, 0.2))
    with running_bot(telegram, home, models=models, operators=(operator,), timings=timings) as bot:
        refused = ask(telegram, chat + 1, lambda: telegram.text(chat + 1, "/teach"))
        assert refused.text == locale.format_error(BundleError(""), "en")
        # Damage is no ordinary refusal.
        wait_for(lambda: was_alarmed(telegram, operator, "⚠ BundleError"))
        before = len(telegram.sent(chat))
        telegram.text(chat, "/forget")
        wait_for(lambda: was_alarmed(telegram, operator, T["alarm_forget"].partition("{")[0]))
        (told,) = telegram.wait_for(before + 1, chat)[before:]
        assert told.text == T["unavailable"]
        assert len(bot.state.taught.owned.all()) == 1
        base.write_bytes(config)
        last = telegram.wait_for(before + 2, chat)[before + 1 :]
        assert [call.text for call in last] == [T["forgotten"]]
        assert bot.state.taught.owned.all() == []


def test_shared_classifier_is_added_by_its_link_and_left(teaching: RunningBot, chat: int) -> None:
    telegram, other = teaching.telegram, chat + 7000
    teach_shapes(telegram, chat)
    shared = ask(telegram, chat, lambda: telegram.text(chat, "/teach share"))
    parameter = shared.text.partition("?start=")[2].split()[0]
    added = ask(telegram, other, lambda: telegram.text(other, f"/start {parameter}"))
    assert added.text == T["teach_added"].format(title="Shapes")
    press(telegram, other, added, T["teach_use"])
    reply = ask(telegram, other, lambda: telegram.photo(other, shape_jpeg("circle", 9)))
    assert reply.text.endswith("Shapes")
    left = ask(telegram, other, lambda: telegram.text(other, "/teach forget Shapes"))
    assert left.text == T["teach_left"].format(title="Shapes")
    listed = ask(telegram, other, lambda: telegram.text(other, "/teach list"))
    assert listed.text == T["teach_list_none"]
    own = ask(telegram, chat, lambda: telegram.text(chat, "/teach list"))
    assert own.text.startswith("“Shapes”"), "its owner keeps it"


def test_unshared_classifier_ends_in_other_chats(teaching: RunningBot, chat: int) -> None:
    telegram, other = teaching.telegram, chat + 8000
    teach_shapes(telegram, chat)
    shared = ask(telegram, chat, lambda: telegram.text(chat, "/teach share"))
    command = next(line for line in shared.text.splitlines() if line.startswith("/teach add "))
    ask(telegram, other, lambda: telegram.text(other, command))
    told = ask(telegram, other, lambda: telegram.text(chat, "/teach unshare"))
    assert told.text == T["teach_ended"].format(title="Shapes")
    again = ask(telegram, other, lambda: telegram.text(other, command))
    assert again.text == locale.format_error(ModelNotFoundError(""), "en")
    own = ask(telegram, chat, lambda: telegram.text(chat, "/teach list"))
    assert own.text.startswith("“Shapes”"), "its owner keeps it"
