"""Teaching the bot by photos in a chat: /teach."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import partial
from io import BytesIO
from pathlib import Path

import pytest
from PIL import Image

from bot.learning import seconds_to_wait
from bot.lessons import labels_of
from core.charts.draw import WIDTH
from core.charts.drawer import ChartDrawer
from core.store.lessons import LessonPhoto
from tests.support.drawings import shape_jpeg
from tests.support.running_bot import MENTION, RunningBot, anonymous, ask, press, running_bot, texts
from tests.support.teaching_chats import bot_without_pictures, learn, send_class, teach_shapes
from tests.support.telegram_server import Call, TelegramServer

T = texts()
ADMINISTRATOR, MEMBER, OTHER = 71, 72, 73
# The worker of the bot has the lowest priority, and never ends on a busy machine.
DRAW = """
import sys
from core.charts.chart import Chart
from core.charts.draw import draw_chart
sys.stdout.buffer.write(draw_chart(Chart.model_validate_json(sys.stdin.buffer.read())))
"""


@pytest.fixture(scope="module")
def teaching(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningBot]:
    """Return a bot that the tests of this module share."""
    with (
        TelegramServer().running() as server,
        bot_without_pictures(server, tmp_path_factory.mktemp("teach")) as bot,
    ):
        server.administrators.update((ADMINISTRATOR, OTHER))
        yield bot


def test_taught_model_is_reported_selected_and_deleted(teaching: RunningBot, chat: int) -> None:
    telegram = teaching.telegram
    result = teach_shapes(telegram, chat)
    assert result.text.startswith("“Shapes” is ready. It knows “circle”, “square”.")
    assert "Of 8 photos, it recognises 100%" in result.text
    assert T["teach_weak"].format(classes="“circle”, “square”") in result.text
    shown, _ = press(telegram, chat, result, T["teach_use"])
    assert shown.text == T["chosen_model"].format(model="Shapes")
    reply = ask(telegram, chat, lambda: telegram.photo(chat, shape_jpeg("square", 9)))
    assert reply.text.startswith("Square (")
    assert reply.text.endswith("Shapes")
    offer = ask(telegram, chat, lambda: telegram.text(chat, "/model"))
    assert any(name.startswith("✓ Shapes") for name in offer.buttons())
    other = ask(telegram, chat + 5000, lambda: telegram.text(chat + 5000, "/model"))
    assert not any("Shapes" in name for name in other.buttons())
    privacy = ask(telegram, chat, lambda: telegram.text(chat, "/privacy"))
    assert "“Shapes”" in privacy.text
    listed = ask(telegram, chat, lambda: telegram.text(chat, "/teach list"))
    assert listed.text == "“Shapes”: “circle”, “square”; photos: 8; accuracy: 100%"
    ask(telegram, chat, lambda: telegram.text(chat, "/forget"))
    listed = ask(telegram, chat, lambda: telegram.text(chat, "/teach list"))
    assert listed.text == T["teach_list_none"]


def test_lesson_survives_a_restart_and_keeps_no_photo(
    telegram: TelegramServer, tmp_path: Path
) -> None:
    sent = [shape_jpeg(label, seed) for label in ("circle", "square") for seed in range(4)]
    with bot_without_pictures(telegram, tmp_path):
        ask(telegram, 1, lambda: telegram.text(1, "/teach"))
        ask(telegram, 1, lambda: send_class(telegram, 1, "circle", range(4)))
    with running_bot(telegram, tmp_path) as bot:
        bot.state.charts = ChartDrawer((sys.executable, "-c", DRAW), timeout_s=250)
        reply = ask(telegram, 1, lambda: send_class(telegram, 1, "square", range(4)))
        assert reply.text.startswith(T["teach_count"].format(label="square", n=4))
        result = learn(telegram, 1, "/teach done")
        assert result.text.startswith("“circle, square” is ready.")
        (picture,) = telegram.wait_for(1, 1, "sendPhoto", seconds=300)
        assert picture.text == T["chart_confusion_caption"] + "\n\n1 circle\n2 square"
        assert Image.open(BytesIO(next(iter(picture.files.values())))).width == WIDTH
        stored = [file.read_bytes() for file in tmp_path.rglob("*") if file.is_file()]
    assert not any(photo[100:200] in content for photo in sent for content in stored)


def test_shared_model_is_used_elsewhere_until_it_is_forgotten(
    teaching: RunningBot, chat: int
) -> None:
    telegram, other = teaching.telegram, chat + 6000
    teach_shapes(telegram, chat)
    shared = ask(telegram, chat, lambda: telegram.text(chat, "/teach share"))
    command = next(line for line in shared.text.splitlines() if line.startswith("/teach add "))
    added = ask(telegram, other, lambda: telegram.text(other, command))
    press(telegram, other, added, T["teach_use"])
    reply = ask(telegram, other, lambda: telegram.photo(other, shape_jpeg("circle", 9)))
    assert reply.text.endswith("Shapes")
    told = ask(telegram, other, lambda: telegram.text(chat, "/teach forget shapes"))
    assert told.text == T["teach_ended"].format(title="Shapes")
    reply = ask(telegram, other, lambda: telegram.photo(other, shape_jpeg("circle", 9)))
    assert reply.text.endswith("Classic CNN")


def send_bars(telegram: TelegramServer, group: int) -> None:
    """Send an album to a group as another administrator, who mentions the bot."""
    for i in range(3):
        caption = MENTION | {"caption": "@tensight_bot bars"} if i == 0 else {}
        item = caption | {"media_group_id": "bars", "user": OTHER}
        telegram.photo(group, shape_jpeg("bars", i), **item)


def test_administrators_teach_a_group(teaching: RunningBot, group: int) -> None:
    telegram = teaching.telegram

    def command(text: str, user: int) -> Call:
        return ask(telegram, group, lambda: telegram.text(group, text, user=user))

    refused = command("/teach@tensight_bot", MEMBER)
    assert refused.text == T["teach_admins"]
    begun = command("/teach@tensight_bot", ADMINISTRATOR)
    assert T["teach_group"].format(bot="tensight_bot") in begun.text
    for label in ("circle", "square"):
        send_class(telegram, group, label, range(3), user=ADMINISTRATOR)
        telegram.wait_for(len(telegram.sent(group)) + 1, group)
    ask(telegram, group, lambda: send_bars(telegram, group))
    assert command("/teach@tensight_bot done", MEMBER).text == T["teach_admins"]
    result = learn(telegram, group, "/teach@tensight_bot done", user=ADMINISTRATOR)
    assert "Of 9 photos" in result.text
    # Forgetting this sender removes all photos of a class.
    ask(telegram, OTHER, lambda: telegram.text(OTHER, "/forget"))
    listed = command("/teach@tensight_bot list", MEMBER)
    assert "“circle”, “square”; photos: 6" in listed.text


def test_anonymous_administrator_forgets_the_photos_of_one_group(
    teaching: RunningBot, group: int
) -> None:
    telegram, other, bot = teaching.telegram, group - 5000, "@tensight_bot"
    for each in (group, other):
        ask(telegram, each, partial(telegram.text, each, f"/teach{bot}", **anonymous(each)))
        for label in ("circle", "square"):
            send = partial(send_class, telegram, each, label, range(3), **anonymous(each))
            ask(telegram, each, send)
        learn(telegram, each, f"/teach{bot} done", **anonymous(each))
    before = len(telegram.sent(group))
    telegram.text(group, f"/forget{bot}", **anonymous(group))
    ended, forgotten = telegram.wait_for(before + 2, group)[before:]
    assert ended.text == T["teach_ended"].format(title="circle, square")
    assert forgotten.text == T["forgotten"]
    listed = [
        ask(telegram, each, partial(telegram.text, each, f"/teach{bot} list", user=MEMBER)).text
        for each in (group, other)
    ]
    assert listed[0] == T["teach_list_none"]
    assert "photos: 6" in listed[1]


def test_too_few_photos_are_refused_and_the_lesson_goes_on(teaching: RunningBot, chat: int) -> None:
    telegram = teaching.telegram
    ask(telegram, chat, lambda: telegram.text(chat, "/teach"))
    for label, seeds in (("circle", range(3)), ("square", range(2))):
        ask(telegram, chat, partial(send_class, telegram, chat, label, seeds))
    before = len(telegram.sent(chat))
    telegram.text(chat, "/teach done")
    refused = telegram.wait_for(before + 2, chat)[-1]
    assert "Send more of “square”" in refused.text
    reply = ask(telegram, chat, lambda: telegram.photo(chat, shape_jpeg("square", 5)))
    assert reply.text == T["teach_count"].format(label="square", n=3)
    cancelled = ask(telegram, chat, lambda: telegram.text(chat, "/teach cancel"))
    assert cancelled.text == T["teach_cancelled"]


@pytest.mark.parametrize(
    ("captions", "current", "labels"),
    [
        (["cat", "", "dog", ""], None, ["cat", "cat", "dog", "dog"]),
        (["", "cat", ""], None, ["cat", "cat", "cat"]),
        (["", "", "dog"], "cat", ["cat", "cat", "dog"]),
        ([""], None, [None]),
        (["CAT"], None, ["Cat"]),
    ],
)
def test_caption_applies_to_the_following_photos(
    captions: list[str], current: str | None, labels: list[str | None]
) -> None:
    known = ["Cat"] if captions == ["CAT"] else []
    assert labels_of(captions, current, known) == labels


def test_chat_over_its_photos_a_minute_waits() -> None:
    now = 1_000_000.0
    photos = [
        LessonPhoto(str(i), "file", "cat", None, datetime.fromtimestamp(now - age, UTC))
        for i, age in enumerate([90, 50, 40, 30, 20])
    ]
    assert seconds_to_wait(photos, 2, now) == 60
    assert seconds_to_wait(photos, 4, now) == 0
    assert seconds_to_wait(photos, 2, now, minute_s=45) == 22.5
