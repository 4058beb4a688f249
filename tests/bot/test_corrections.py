"""Corrections of answers of taught models, whose photos are then taught."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.drawings import shape_jpeg
from tests.support.running_bot import MENTION, RunningBot, ask, press, texts
from tests.support.teaching_chats import bot_without_pictures, photos_of, teach_shapes
from tests.support.telegram_server import Call, TelegramServer

T = texts()
ADMINISTRATOR, MEMBER = 71, 72
AT = "@tensight_bot"


@pytest.fixture(scope="module")
def teaching(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningBot]:
    """Return a bot that the tests of this module share."""
    with (
        TelegramServer().running() as server,
        bot_without_pictures(server, tmp_path_factory.mktemp("correct")) as bot,
    ):
        server.administrators.add(ADMINISTRATOR)
        yield bot


@pytest.fixture(scope="module")
def taught(teaching: RunningBot) -> int:
    """Return the id of a chat in which a model answers that it has taught."""
    chat = 4711
    press(teaching.telegram, chat, teach_shapes(teaching.telegram, chat), T["teach_use"])
    return chat


def answer(telegram: TelegramServer, chat: int, seed: int) -> Call:
    """Return the answer to a photo that was not taught."""
    return ask(telegram, chat, lambda: telegram.photo(chat, shape_jpeg("square", seed)))


def choose(telegram: TelegramServer, chat: int, reply: Call, label: str, user: int) -> Call:
    """Press Wrong and the true class; return what the message becomes."""
    asked, _ = press(telegram, chat, reply, T["wrong"], user=user)
    offered, notice = press(telegram, chat, message_of(asked, reply), label, user=user)
    assert notice.data["text"] in (T["thanks"], T["already_judged"])
    return message_of(offered, reply)


def message_of(edit: Call, reply: Call) -> Call:
    """Return a changed message, whose id is that of the first one."""
    edit.data["message_id"] = reply.data["message_id"]
    return edit


def test_wrong_answer_is_taught_after_one_confirmation(teaching: RunningBot, taught: int) -> None:
    telegram = teaching.telegram
    before = photos_of(telegram, taught)
    offered = choose(telegram, taught, answer(telegram, taught, 21), "square", taught)
    button = T["teach_correction_offered"].format(label="square")
    assert list(offered.buttons()) == [button, T["teach_correction_declined"]]
    assert len(offered.buttons()[button].encode()) <= 64
    assert photos_of(telegram, taught) == before
    left, _ = press(telegram, taught, offered, button)
    assert list(left.buttons()) == [T["why"], T["compare"], T["model"]]
    told = telegram.sent(taught)[-2].text
    assert told.startswith("“Shapes” has learned from this photo. It recognises 100% of its ")
    assert f"it was 100% of {before}. Change in percentage points: ±0.0" in told
    assert "This photo now: Square (" in told
    assert photos_of(telegram, taught) == before + 1


def test_declined_correction_teaches_nothing(teaching: RunningBot, taught: int) -> None:
    telegram = teaching.telegram
    before = photos_of(telegram, taught)
    offered = choose(telegram, taught, answer(telegram, taught, 22), "circle", taught)
    left, _ = press(telegram, taught, offered, T["teach_correction_declined"])
    assert list(left.buttons()) == [T["why"], T["compare"], T["model"]]
    assert photos_of(telegram, taught) == before


def test_correction_that_fails_can_be_tried_again(teaching: RunningBot, taught: int) -> None:
    telegram = teaching.telegram
    before = photos_of(telegram, taught)
    offered = choose(telegram, taught, answer(telegram, taught, 23), "square", taught)
    (record,) = teaching.state.taught.teaching().models(f"chat:{taught}")
    examples = teaching.settings.home / "taught" / record.id / "examples.npz"
    examples.rename(examples.with_suffix(".away"))
    button = T["teach_correction_offered"].format(label="square")
    refused, _ = press(telegram, taught, offered, button)
    assert refused.text == T["teach_correction_failed"]
    examples.with_suffix(".away").rename(examples)
    press(telegram, taught, offered, button)
    assert photos_of(telegram, taught) == before + 1


def test_members_of_a_group_give_feedback_and_administrators_teach(
    teaching: RunningBot, group: int
) -> None:
    telegram, listing = teaching.telegram, f"/teach{AT} list"
    result = teach_shapes(telegram, group, ADMINISTRATOR, mention=AT)
    press(telegram, group, result, T["teach_use"], user=ADMINISTRATOR)
    mention = MENTION | {"user": MEMBER}
    photo = shape_jpeg("square", 9)
    reply = ask(telegram, group, lambda: telegram.photo(group, photo, **mention))
    judged = choose(telegram, group, reply, "square", MEMBER)
    assert T["wrong"] in judged.buttons(), "the administrator can still correct it"
    feedback = teaching.store.feedback.stats()
    assert any(row.model.startswith("taught-") for row in feedback)
    offered = choose(telegram, group, reply, "square", ADMINISTRATOR)
    button = T["teach_correction_offered"].format(label="square")
    _, notice = press(telegram, group, offered, button, user=MEMBER)
    assert notice.data["text"] == T["teach_admins"]
    assert photos_of(telegram, group, listing) == 8
    press(telegram, group, offered, button, user=ADMINISTRATOR)
    assert photos_of(telegram, group, listing) == 9
    # It is a row of who sent the photo, not of who corrected the answer.
    ask(telegram, MEMBER, lambda: telegram.text(MEMBER, "/forget"))
    assert photos_of(telegram, group, listing) == 8


def test_answer_of_a_shared_model_is_not_taught(teaching: RunningBot, taught: int) -> None:
    telegram, other = teaching.telegram, taught + 1
    shared = ask(telegram, taught, lambda: telegram.text(taught, "/teach share"))
    command = next(line for line in shared.text.splitlines() if line.startswith("/teach add "))
    added = ask(telegram, other, lambda: telegram.text(other, command))
    press(telegram, other, added, T["teach_use"])
    judged = choose(telegram, other, answer(telegram, other, 24), "circle", other)
    assert list(judged.buttons()) == [T["why"], T["compare"], T["model"]]
