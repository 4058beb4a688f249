"""Teaching a bot that is killed, and what is left on its disk."""

from __future__ import annotations

import signal
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.support.bot_process import start_process
from tests.support.drawings import shape_jpeg
from tests.support.forks import Fork
from tests.support.running_bot import GROUP, texts
from tests.support.servers import wait_for
from tests.support.teaching_chats import send_class
from tests.support.telegram_server import TelegramServer

T = texts()
ADMINISTRATOR = 71
# A busy machine takes this long to start a process, or to learn.
_PATIENCE_S = 300


def kill(process: Fork) -> None:
    """End a process at once."""
    process.send_signal(signal.SIGKILL)
    process.wait()


def wait_until_said(telegram: TelegramServer, chat: int, says: Callable[[str], bool]) -> list[str]:
    """Wait until the bot says something, and return all texts of that kind."""

    def said() -> list[str]:
        return [call.text for call in telegram.sent(chat, "sendMessage") if says(call.text)]

    wait_for(lambda: bool(said()), seconds=_PATIENCE_S)
    return said()


def downloads(telegram: TelegramServer, home: Path) -> bool:
    """Return whether the bot is downloading photos to learn from."""
    return len(telegram.sent(None, "getFile")) >= 2


def has_installed(telegram: TelegramServer, home: Path) -> bool:
    """Return whether a taught model is installed; its lesson may not have ended."""
    return any((home / "taught").glob("*/record.json"))


@pytest.mark.parametrize(
    ("chat", "moment"),
    # The first two have each kind of chat and each moment; each takes a quarter of a minute.
    [
        (1, has_installed),
        (GROUP, downloads),
        pytest.param(1, downloads, marks=pytest.mark.long),
    ],
)
def test_lesson_goes_on_after_kills_and_leaves_no_photo(
    telegram: TelegramServer,
    tmp_path: Path,
    chat: int,
    moment: Callable[[TelegramServer, Path], bool],
) -> None:
    home, teacher, mention = tmp_path / "home", chat, ""
    if chat == GROUP:
        teacher, mention = ADMINISTRATOR, "@tensight_bot"
        telegram.administrators.add(teacher)
    with ExitStack() as stack:

        def start() -> Fork:
            process = start_process(telegram, home)
            stack.callback(process.wait, 120)
            stack.callback(process.terminate)
            return process

        bot = start()
        telegram.text(chat, f"/teach{mention}", user=teacher)
        send_class(telegram, chat, "circle", range(4), teacher)
        wait_until_said(telegram, chat, lambda text: "Photos of “circle”: 4" in text)
        send_class(telegram, chat, "square", range(4), teacher)
        # Acknowledged, and so stored; the album is not complete yet.
        wait_for(lambda: not telegram.pending, seconds=_PATIENCE_S)
        kill(bot)
        bot = start()
        counted = wait_until_said(telegram, chat, lambda text: "Photos of “square”" in text)
        assert counted[0].startswith("Photos of “square”: 4")
        telegram.text(chat, f"/teach{mention} done", user=teacher)
        wait_for(lambda: moment(telegram, home), seconds=_PATIENCE_S)
        kill(bot)
        start()
        result = wait_until_said(
            telegram, chat, lambda text: text.startswith("“circle, square” is")
        )[-1]
        assert "Of 8 photos, it recognises 100%" in result
        telegram.text(chat, f"/teach{mention} list", user=teacher)
        (listed,) = wait_until_said(telegram, chat, lambda text: "; accuracy: " in text)
        assert listed == "“circle, square”: “circle”, “square”; photos: 8; accuracy: 100%"
    sent = [shape_jpeg(label, seed) for label in ("circle", "square") for seed in range(4)]
    stored = [file.read_bytes() for file in tmp_path.rglob("*") if file.is_file()]
    assert stored
    assert not any(photo[100:200] in content for photo in sent for content in stored)
