from __future__ import annotations

import pytest

from core.errors import ImageError
from core.photos.formats.inspected import MAX_PARTS, check_parts, damaged_error


def test_file_of_too_many_parts_is_refused() -> None:
    check_parts(MAX_PARTS)
    with pytest.raises(ImageError, match="more than 50,000 parts") as caught:
        check_parts(MAX_PARTS + 1)
    assert caught.value.code == "unsupported"


def test_damaged_file_has_its_code() -> None:
    assert damaged_error().code == "truncated"
