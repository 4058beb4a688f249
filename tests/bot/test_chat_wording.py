"""Messages of the core, as operators read them in chat."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

import pytest

from bot.chat_wording import reword_for_chat
from bot.operators import COMMANDS
from tests.conftest import ROOT

# Packages whose errors a bot may show.
PACKAGES = ("bundle", "inference", "photos", "registry", "rollout", "serving", "store", "teaching")


def words(node: ast.AST) -> str:
    """Return the text of a string, with made-up values of its placeholders."""
    if isinstance(node, ast.Constant):
        return str(node.value)
    if isinstance(node, ast.JoinedStr):
        return "".join(map(words, node.values))
    assert isinstance(node, ast.FormattedValue)
    return "canary" if ast.unparse(node.value).endswith("kind") else "NAME"


def messages() -> Iterator[str]:
    """Yield all texts in errors of the core that name a command."""
    for package in PACKAGES:
        for file in (ROOT / "core" / package).rglob("*.py"):
            for call in ast.walk(ast.parse(file.read_text("utf-8"))):
                if isinstance(call, ast.Call):
                    for each in call.args:
                        if isinstance(each, (ast.Constant, ast.JoinedStr)):
                            text = words(each)
                            if "`tensight " in text:
                                yield text


def test_messages_suggest_chat_commands_instead_of_shell_commands() -> None:
    found = list(messages())
    assert len(found) > 10
    for message in found:
        text = reword_for_chat(message)
        assert "`tensight" not in text, text
        for name, options in re.findall(r"“tensight (?:models )?(\w+)([^”]*)”", text):
            # /pull knows one repository.
            assert name not in COMMANDS or "--repo" in options, text


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ("End it first: `tensight canary a --stop`.", "End it first: /canary a stop."),
        ("Install more with `tensight models pull`.", "Install more with /pull."),
        ("Run `tensight models list` to see them.", "Send /models to see them."),
        ("`tensight shadow` without a model lists them.", "/shadow without a model lists them."),
        ("Run `tensight train classic`.", "Run “tensight train classic” on the server."),
    ],
)
def test_commands_are_those_of_the_chat(message: str, expected: str) -> None:
    assert reword_for_chat(message) == expected
