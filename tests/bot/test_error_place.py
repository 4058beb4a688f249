"""The line of this program that an error came from."""

from __future__ import annotations

from pathlib import Path

import pytest

from bot import error_place

ROOT = Path(error_place.__file__).resolve().parent.parent


@pytest.mark.parametrize(
    ("file", "ours"),
    [
        ("bot/photos.py", True),
        ("core/store/inbox.py", True),
        ("tests/bot/test_photos.py", True),
        (".venv-dev/lib/python3.11/site-packages/telegram/_bot.py", False),
        ("env/lib/python3/dist-packages/httpx/x.py", False),
        ("../elsewhere/bot/x.py", False),
    ],
)
def test_file_is_ours_unless_it_is_a_library(file: str, ours: bool) -> None:
    assert error_place.is_ours((ROOT / file).resolve()) is ours


def test_installed_file_is_ours_by_its_package() -> None:
    root = Path("/usr/lib/python3/site-packages")
    assert error_place.is_ours(root / "bot" / "photos.py", root)
    assert not error_place.is_ours(root / "telegram" / "_bot.py", root)


def test_place_is_that_of_the_innermost_own_frame() -> None:
    try:
        error_place.is_ours(None)  # type: ignore[arg-type]
    except AttributeError as error:
        assert error_place.place_of(error).startswith("error_place.py:")
