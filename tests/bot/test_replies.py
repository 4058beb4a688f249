"""Reply texts and keyboards."""

from __future__ import annotations

import pytest

from bot import replies

LABELS = [f"label-{i}-{'x' * 40}" for i in range(1_000)]


def test_class_buttons_show_fifty_labels_within_the_limit_on_callback_data() -> None:
    keyboard = replies.class_buttons("k" * 16, LABELS, "en").inline_keyboard
    buttons = [button for row in keyboard for button in row]
    assert len(buttons) == 52, "fifty labels, none of these, and back"
    assert all(len(str(button.callback_data).encode()) <= 64 for button in buttons)


@pytest.mark.parametrize("key", ["help", "description"])
def test_greeting_names_twenty_labels_and_counts_the_rest(key: str) -> None:
    text = replies.greeting(key, LABELS, "en")
    assert LABELS[19] in text
    assert LABELS[20] not in text
    assert "and 980 others" in text
