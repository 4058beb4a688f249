"""The application and its settings."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from core.errors import BotError
from tests.support.running_bot import running_bot
from tests.support.telegram_server import TelegramServer


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"telegram_proxy": "nonsense"}, "TENSIGHT_TELEGRAM_PROXY is not a usable proxy"),
        ({"database_url": "sqlite:///{home}/own.db"}, "TENSIGHT_SECRET is not set"),
    ],
)
def test_unusable_setting_is_explained(
    telegram: TelegramServer, tmp_path: Path, settings: dict[str, str], message: str
) -> None:
    given: dict[str, Any] = {k: v.format(home=tmp_path) for k, v in settings.items()}
    with pytest.raises(BotError, match=message), running_bot(telegram, tmp_path, **given):
        pass
