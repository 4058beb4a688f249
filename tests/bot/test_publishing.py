"""Operators' commands about taught models: listing and publishing."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from core.charts.drawer import ChartDrawer
from core.serving.local import LocalPredictor
from tests.support.drawings import shape_jpeg
from tests.support.running_bot import RunningBot, ask, press, running_bot, texts
from tests.support.servers import wait_for
from tests.support.teaching_chats import teach_shapes
from tests.support.telegram_server import Call, TelegramServer

T = texts()
OPERATOR, TEACHER, USER = 601, 602, 603


@pytest.fixture
def operated(telegram: TelegramServer, tmp_path: Path) -> Iterator[RunningBot]:
    """Return a bot with an operator, whose chats may teach one model each."""
    with running_bot(telegram, tmp_path / "home", operators=(OPERATOR,), chat_models=1) as bot:
        assert isinstance(bot.state.predictor, LocalPredictor)
        bot.state.predictor.warm()  # From then on it follows what is made live.
        bot.state.charts = ChartDrawer(is_installed=False)
        yield bot


def command(telegram: TelegramServer, user: int, text: str) -> str:
    """Send a command and return the text of the reply."""
    return ask(telegram, user, lambda: telegram.text(user, text)).text


def models(telegram: TelegramServer) -> Call:
    """Return the models that a user may select."""
    return ask(telegram, USER, lambda: telegram.text(USER, "/model"))


def confirm(telegram: TelegramServer, question: Call, button: str) -> str:
    """Press a button of a question and return what the question becomes."""
    press_it = partial(press, telegram, OPERATOR, question, button)
    return ask(telegram, OPERATOR, press_it, "editMessageText").text


def test_operator_publishes_a_model_that_its_owner_offers(operated: RunningBot) -> None:
    telegram = operated.telegram
    nothing = T["taught_summary"].format(n=0, owners=0, classes=0, photos=0, megabytes="0.0")
    assert nothing in command(telegram, OPERATOR, "/status")
    teach_shapes(telegram, TEACHER)
    assert "taught models: 1, of chats and visitors: 1; things: 2; photos: 8;" in command(
        telegram, OPERATOR, "/status"
    )
    listed = command(telegram, OPERATOR, "/taught")
    assert T["taught_limit"].format(n=1) in listed
    row = next(line for line in listed.splitlines() if "private" in line)
    assert "things: 2; photos: 8; accuracy: 100%" in row
    assert "Shapes" not in listed, "its owner alone sees its name"
    assert "circle" not in listed
    code = row.partition(":")[0]
    publish = f"/publish {code} shapes"
    assert command(telegram, OPERATOR, publish) == T["publish_private"]
    assert command(telegram, USER, publish) == T["unknown"]

    told = ask(telegram, OPERATOR, lambda: telegram.text(TEACHER, "/teach offer"))
    assert f"{code}: “Shapes”: “circle”, “square”; photos: 8" in told.text
    assert "comes with TenSight" in command(
        telegram, OPERATOR, publish.replace("shapes", "classic")
    )
    withdrawn = T["teach_withdrawn"].format(title="Shapes")
    assert command(telegram, TEACHER, "/teach withdraw shapes") == withdrawn
    assert command(telegram, OPERATOR, publish) == T["publish_private"]
    not_offered = T["teach_not_offered"].format(title="Shapes")
    assert command(telegram, TEACHER, "/teach withdraw") == not_offered
    ask(telegram, OPERATOR, lambda: telegram.text(TEACHER, "/teach offer"))
    question = ask(telegram, OPERATOR, lambda: telegram.text(OPERATOR, publish))
    assert confirm(telegram, question, T["cancel"]) == T["cancelled"]
    assert not any("Shapes" in name for name in models(telegram).buttons())

    question = ask(telegram, OPERATOR, lambda: telegram.text(OPERATOR, publish))
    assert confirm(telegram, question, T["yes"]).endswith(" is live")
    published = T["teach_published"].format(title="Shapes", name="shapes")
    wait_for(lambda: telegram.sent(TEACHER)[-1].text == published)
    assert command(telegram, OPERATOR, publish) == T["publish_private"], "the offer has ended"
    assert f"publish {code} shapes: shapes " in command(telegram, OPERATOR, "/audit")
    # Running processes pick up what became live within a second.
    wait_for(lambda: "Shapes" in [name.split(" · ")[0] for name in models(telegram).buttons()])
    offer = models(telegram)
    (button,) = (name for name in offer.buttons() if name.startswith("Shapes"))
    press(telegram, USER, offer, button)
    reply = ask(telegram, USER, lambda: telegram.photo(USER, shape_jpeg("circle", 9)))
    assert reply.text.startswith("Circle (")

    # One model a chat: the next one is refused before any photo is sent.
    assert command(telegram, TEACHER, "/teach") == T["teach_error_many_models"]


def test_publishing_explains_what_it_needs(operated: RunningBot) -> None:
    telegram = operated.telegram
    assert command(telegram, OPERATOR, "/publish") == T["publish_usage"]
    assert command(telegram, OPERATOR, "/publish 0123456789ab x") == T["publish_unknown"]
