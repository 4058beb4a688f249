"""The key of the user hashes."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest
from pydantic import SecretStr

from core.errors import StoreError
from core.settings import Settings
from core.store.hash_key import load_hash_key


def test_key_is_created_once_and_readable_by_its_owner_alone(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path / "home")
    key = load_hash_key(settings)
    assert len(key) == 64
    assert load_hash_key(settings) == key
    (file,) = settings.home.iterdir()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(settings.home.stat().st_mode) == 0o700


def test_key_of_the_settings_takes_precedence(tmp_path: Path) -> None:
    assert load_hash_key(Settings(home=tmp_path, secret=SecretStr("mine"))) == b"mine"


@pytest.mark.parametrize("content", [b"", b"\n", b" \t\n", bytes(8), b"\xef\xbb\xbf\r\n"])
def test_empty_key_file_is_refused_and_kept(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "secret").write_bytes(content)
    with pytest.raises(StoreError, match=r"The key file .*secret contains no key"):
        load_hash_key(Settings(home=tmp_path))
    assert (tmp_path / "secret").read_bytes() == content


def test_unreadable_key_file_is_explained(tmp_path: Path) -> None:
    (tmp_path / "secret").mkdir()
    with pytest.raises(StoreError, match=r"secret, which cannot be used \(Is a directory\)"):
        load_hash_key(Settings(home=tmp_path))
