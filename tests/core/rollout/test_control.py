"""Shares of clients that commands accept and show."""

from __future__ import annotations

import pytest

from core.rollout.control import format_share, parse_share


@pytest.mark.parametrize("share", ["0.4%", "10%", "33.3%", "7%", "99.97%"])
def test_share_is_shown_as_it_was_given(share: str) -> None:
    assert format_share(parse_share(share, "canary")) == share


@pytest.mark.parametrize("share", ["0%", "101%", "x", "nan", "-5%"])
def test_invalid_share_is_rejected(share: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        parse_share(share, "shadow")
