"""/forget deletes the comparisons of a shadow, however a photo reached the model."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from core.bundle.folder import Bundle
from core.rollout.shadow import ShadowRunner
from core.serving.local import LocalPredictor
from core.store.rollouts import Rollout
from core.store.tables import COMPARISONS, SHADOW_SENDERS
from tests.support.rollouts import (
    MODEL,
    fake_worker,
    install_candidate,
    rollout_predictor,
    settings_with_model,
)
from tests.support.running_bot import GROUP, RunningBot, ask, photo_message, running_bot, texts
from tests.support.servers import wait_for
from tests.support.telegram_server import Call, TelegramServer

T = texts()
SENDER, MEMBER = 601, 602

# Answers every photo, once a file exists.
_ANSWERS = """
while not os.path.exists({file!r}):
    time.sleep(0.01)
answer(usual)
"""


@dataclass
class Shadowed:
    """A bot with an active shadow, whose candidate answers once it is released."""

    bot: RunningBot
    predictor: LocalPredictor
    file: Path

    @property
    def telegram(self) -> TelegramServer:
        return self.bot.telegram

    def release(self) -> None:
        self.file.touch()

    def count(self) -> int:
        """Count the stored comparisons."""
        with self.bot.store.database.read() as connection:
            return len(connection.execute(sa.select(COMPARISONS.c.id)).all())

    def senders(self) -> int:
        """Count the rows that name a sender."""
        select = sa.select(SHADOW_SENDERS.c.id).where(SHADOW_SENDERS.c.person.is_not(None))
        with self.bot.store.database.read() as connection:
            return len(connection.execute(select).all())

    def compared(self) -> int:
        """Return the number of photos that the candidate has answered."""
        (status,) = self.predictor.rollouts()
        return status.photos.get("compared", 0)

    def forget(self, user: int) -> None:
        reply = ask(self.telegram, user, lambda: self.telegram.text(user, "/forget"))
        assert reply.text == T["forgotten"]

    def answered(self, user: int, content: bytes) -> Call:
        return ask(self.telegram, user, partial(self.telegram.photo, user, content))

    def press(self, reply: Call, data: str) -> None:
        """Press a button, and wait until it was handled."""
        before = len(self.telegram.sent(None, "answerCallbackQuery"))
        self.telegram.press(SENDER, data, message=int(reply.data["message_id"]))
        self.telegram.wait_for(before + 1, None, "answerCallbackQuery")


@contextmanager
def shadowed(telegram: TelegramServer, folder: Path) -> Iterator[Shadowed]:
    settings = settings_with_model(folder)
    candidate = install_candidate(settings)
    file = folder / "released"
    command = fake_worker(_ANSWERS.format(file=str(file)))

    def run_shadow(rollout: Rollout, *folders: Path, **changes: Any) -> ShadowRunner:
        return ShadowRunner(rollout, *folders, command=command, **changes)

    predictor = rollout_predictor(settings, run_shadow=run_shadow)
    options: dict[str, Any] = {"models": settings.models, "model": MODEL}
    with (
        closing(predictor),
        running_bot(telegram, settings.home, predictor=predictor, **options) as bot,
    ):
        live = Bundle.open(settings.models / MODEL).revision
        begin = partial(bot.store.rollouts.begin, MODEL, "shadow", candidate=candidate, live=live)
        begin(share=1.0, slow_ms=1e6)
        predictor.warm()
        wait_for(lambda: len(predictor.rollouts()) == 1)
        yield Shadowed(bot, predictor, file)


def send_photo(shadow: Shadowed, content: bytes) -> None:
    shadow.answered(SENDER, content)


def send_album(shadow: Shadowed, content: bytes) -> None:
    telegram = shadow.telegram
    telegram.photo(SENDER, content, media_group_id="album")
    ask(telegram, SENDER, lambda: telegram.photo(SENDER, content, media_group_id="album"))


def send_command(command: str, shadow: Shadowed, content: bytes) -> None:
    telegram = shadow.telegram
    about = photo_message(telegram, content, SENDER, SENDER)
    ask(telegram, SENDER, lambda: telegram.text(SENDER, command, reply_to_message=about))


def send_command_about_a_member(command: str, shadow: Shadowed, content: bytes) -> None:
    """Let a member of a group ask about the photo of the sender."""
    telegram = shadow.telegram
    about = photo_message(telegram, content, GROUP, SENDER)
    text = f"{command}@tensight_bot"
    more = {"reply_to_message": about, "user": MEMBER}
    ask(telegram, GROUP, lambda: telegram.text(GROUP, text, **more))


def press_button(button: str, shadow: Shadowed, content: bytes) -> None:
    """Press a button under an answer, which asks a model again."""
    reply = shadow.answered(SENDER, content)
    wait_for(lambda: shadow.count() == 1)
    data = reply.buttons()[T[button]]
    if button == "model":
        shadow.press(reply, data)
        models = shadow.telegram.sent(SENDER)[-1].buttons().values()
        data = next(each for each in models if each.startswith("model:"))
    shadow.press(reply, data)  # the photo is not compared again


WAYS: dict[str, Callable[[Shadowed, bytes], None]] = {
    "photo": send_photo,
    "album": send_album,
    # Explanations are not compared.
    **{name: partial(send_command, name) for name in ("/what", "/compare")},
    **{
        f"{name} in a group": partial(send_command_about_a_member, name)
        for name in ("/what", "/compare")
    },
    **{f"button {name}": partial(press_button, name) for name in ("why", "compare", "model")},
}


@pytest.mark.parametrize("way", WAYS)
def test_forget_deletes_the_comparisons_of_every_way_to_a_model(
    telegram: TelegramServer, tmp_path: Path, content: bytes, way: str
) -> None:
    with shadowed(telegram, tmp_path) as shadow:
        shadow.release()
        WAYS[way](shadow, content)
        wait_for(lambda: shadow.count() > 0)
        shadow.bot.wait_until_idle()
        shadow.forget(SENDER)
        assert shadow.count() == 0
        assert shadow.senders() == 0


@pytest.mark.parametrize("way", ["photo", "album", "/compare in a group"])
def test_photo_compared_after_forget_leaves_nothing(
    telegram: TelegramServer, tmp_path: Path, content: bytes, way: str
) -> None:
    with shadowed(telegram, tmp_path) as shadow:
        WAYS[way](shadow, content)
        shadow.bot.wait_until_idle()
        shadow.forget(SENDER)
        shadow.release()
        wait_for(lambda: shadow.compared() > 0)
        assert shadow.count() == 0
        assert shadow.senders() == 0
