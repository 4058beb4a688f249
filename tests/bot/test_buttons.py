"""Buttons under answers."""

from __future__ import annotations

import io

from PIL import Image

from core.bundle.folder import Bundle, find_bundles
from core.store.chats import Chat
from tests.conftest import ROOT
from tests.support.running_bot import RunningBot, press, texts, with_data
from tests.support.telegram_server import Call

T = texts()
ALL = [T[key] for key in ("why", "compare", "right", "wrong", "model")]
WITHOUT_FEEDBACK = [T[key] for key in ("why", "compare", "model")]


def test_why_button_shows_the_overlay(bot: RunningBot, chat: int, reply: Call) -> None:
    shown, _ = press(bot.telegram, chat, reply, T["why"])
    assert shown.method == "editMessageMedia"
    (picture,) = shown.files.values()
    assert Image.open(io.BytesIO(picture)).size == (640, 480)
    assert shown.text.endswith(T["why_text"].format(label="ship"))


def test_compare_button_shows_all_models_without_feedback_buttons(
    bot: RunningBot, chat: int, reply: Call
) -> None:
    shown, _ = press(bot.telegram, chat, reply, T["compare"], photo=True)
    assert shown.method == "editMessageCaption"
    assert len(shown.text.splitlines()) == len(find_bundles(ROOT / "models"))
    assert "Baseline CNN: " in shown.text
    assert list(shown.buttons()) == WITHOUT_FEEDBACK
    models, _ = press(bot.telegram, chat, shown, T["model"])
    back, _ = press(bot.telegram, chat, models, T["back"])
    assert list(back.buttons()) == WITHOUT_FEEDBACK


def test_model_button_lists_the_selectable_models(bot: RunningBot, chat: int, reply: Call) -> None:
    shown, _ = press(bot.telegram, chat, reply, T["model"])
    names = list(shown.buttons())
    titles = [name.removeprefix("✓ ").split(" · ")[0] for name in names]
    selectable = ["Classic CNN", "EfficientNet-Lite2", "VGG16, fine-tuned", "Airbench CNN"]
    assert titles == [*selectable, "VGG16, transferred", T["back"]]
    classic, scratch = (
        Bundle.open(ROOT / "models" / name).metrics().test.accuracy
        for name in ("classic", "scratch")
    )
    assert names[0].startswith(f"✓ Classic CNN · {classic:.1%} · ")
    assert names[3].startswith(f"Airbench CNN · {scratch:.1%} · ")
    back, _ = press(bot.telegram, chat, shown, T["back"])
    assert list(back.buttons()) == ALL


def test_model_choice_replaces_the_answer(bot: RunningBot, chat: int, reply: Call) -> None:
    models, _ = press(bot.telegram, chat, reply, T["model"])
    name = next(name for name in models.buttons() if name.startswith("Airbench CNN"))
    other, _ = press(bot.telegram, chat, models, name)
    assert other.text.endswith("Airbench CNN")
    assert list(other.buttons()) == ALL
    marked = list(press(bot.telegram, chat, other, T["model"])[0].buttons())
    assert marked[0].startswith("Classic CNN · ")
    assert marked[3].startswith("✓ Airbench CNN · ")


def test_unavailable_model_choice_is_explained(bot: RunningBot, chat: int, reply: Call) -> None:
    gone = with_data(reply, "model::000000000000")
    assert press(bot.telegram, chat, gone, "x")[1].text == T["no_model"]


def test_right_button_stores_feedback_once(bot: RunningBot, chat: int, reply: Call) -> None:
    shown, notice = press(bot.telegram, chat, reply, T["right"])
    assert notice.text == T["thanks"]
    assert list(shown.buttons()) == WITHOUT_FEEDBACK
    assert press(bot.telegram, chat, reply, T["right"])[1].text == T["already_judged"]
    assert bot.store.chats.user_stats(bot.state.person(chat) or "") == (1, 1, 1)


def test_wrong_button_asks_for_the_true_label(bot: RunningBot, chat: int, reply: Call) -> None:
    classes, notice = press(bot.telegram, chat, reply, T["wrong"])
    assert notice.text == T["which"]
    assert list(classes.buttons())[:3] == ["airplane", "automobile", "bird"]
    assert T["none_of_these"] in classes.buttons()
    assert press(bot.telegram, chat, classes, "truck")[1].text == T["thanks"]
    assert bot.store.chats.user_stats(bot.state.person(chat) or "") == (1, 1, 0)


def test_right_button_asks_which_of_two_labels_was_right(
    bot: RunningBot, chat: int, reply: Call
) -> None:
    with bot.store.database.engine.begin() as connection:
        connection.exec_driver_sql("UPDATE answers SET verdict = 'unsure'")
    classes, notice = press(bot.telegram, chat, reply, T["right"])
    assert notice.text == T["which"]
    assert press(bot.telegram, chat, classes, "truck")[1].text == T["thanks"]


def test_feedback_counts_without_its_photo(bot: RunningBot, chat: int, reply: Call) -> None:
    bot.store.chats.set(chat, Chat(keep_photos=True))
    bot.telegram.faults.gone |= set(bot.telegram.files)
    assert press(bot.telegram, chat, reply, T["right"])[1].text == T["thanks"]


def test_button_of_a_photo_deleted_by_telegram_is_explained(
    bot: RunningBot, chat: int, reply: Call
) -> None:
    bot.telegram.faults.gone |= set(bot.telegram.files)
    assert press(bot.telegram, chat, reply, T["why"])[1].text == T["gone"]
