"""The key of the hashes that stand for persons."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest
from pydantic import SecretStr

from bot.state import key_of
from core.errors import BotError
from core.settings import Settings


def test_key_is_made_once_for_its_owner_alone(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path / "home")
    key = key_of(settings)
    assert len(key) == 64
    assert key_of(settings) == key
    (file,) = settings.home.iterdir()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(settings.home.stat().st_mode) == 0o700
    assert key_of(Settings(home=tmp_path, secret=SecretStr("mine"))) == b"mine"


@pytest.mark.parametrize("content", [b"", b"\n", b" \t\n"])
def test_empty_secret_file_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "secret").write_bytes(content)
    with pytest.raises(BotError, match=r"secret, the key of the hashes .* is empty"):
        key_of(Settings(home=tmp_path))
    assert (tmp_path / "secret").read_bytes() == content, "it may be put back"


def test_secret_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    (tmp_path / "secret").mkdir()
    with pytest.raises(BotError, match=r"secret, which cannot be used \(Is a directory\)"):
        key_of(Settings(home=tmp_path))
