"""The bot's public profile."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bot.timings import Timings
from core import locale
from tests.support.running_bot import running_bot, texts
from tests.support.servers import wait_for
from tests.support.telegram_server import TelegramServer

TAGS = tuple(None if language == "en" else language for language in locale.LANGUAGES)


@pytest.fixture
def profile(telegram: TelegramServer, tmp_path: Path) -> dict[tuple[str, str | None], str]:
    """Return the texts that the bot published in two runs, by name and language."""
    for run in (1, 2):
        with running_bot(telegram, tmp_path):
            read = len(TAGS) * run
            wait_for(lambda: len(telegram.sent(None, "getMyCommands")) >= read)  # noqa: B023
            wait_for(lambda: all(("Commands", tag) in telegram.texts for tag in TAGS))
    return telegram.texts


def test_profile_describes_the_default_model_in_each_language(
    profile: dict[tuple[str, str | None], str],
) -> None:
    assert "airplane" in profile["Description", None]
    assert "vliegtuig" in profile["Description", "nl"]
    assert all(len(profile["Description", tag]) <= 512 for tag in TAGS)
    assert {profile["Name", tag] for tag in TAGS} == {"TenSight"}
    assert profile["ShortDescription", "nl"] == texts("nl")["about"]


def test_profile_lists_the_commands_of_everyone(
    profile: dict[tuple[str, str | None], str],
) -> None:
    for language in locale.LANGUAGES:
        commands = json.loads(profile["Commands", None if language == "en" else language])
        assert [each["command"] for each in commands][:3] == ["start", "help", "model"]
        described = texts(language)
        assert all(c["description"] == described[f"command_{c['command']}"] for c in commands)
        assert "pull" not in {each["command"] for each in commands}


def test_profile_is_changed_only_where_it_differs(
    telegram: TelegramServer, profile: dict[tuple[str, str | None], str]
) -> None:
    assert len(telegram.sent(None, "setMyName")) == len(TAGS), "set in the first run alone"


def test_profile_lists_operators_commands_in_their_chats(
    telegram: TelegramServer, tmp_path: Path
) -> None:
    operators = (501, 502)
    with running_bot(telegram, tmp_path, operators=operators, timings=Timings()):
        calls = telegram.wait_for(len(TAGS) * (1 + len(operators)), None, "setMyCommands")
    scoped = [call.data for call in calls if "scope" in call.data]
    assert {(json.loads(d["scope"])["chat_id"], d.get("language_code")) for d in scoped} == {
        (operator, tag) for operator in operators for tag in TAGS
    }
    for data in scoped:
        described = {c["command"]: c["description"] for c in json.loads(data["commands"])}
        expected = texts(data.get("language_code", "en"))
        assert described["pull"] == expected["command_pull"]
        assert described["start"] == expected["command_start"]
