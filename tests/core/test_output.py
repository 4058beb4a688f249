"""Output files replace old ones completely or not at all."""

from __future__ import annotations

from pathlib import Path

import pytest

from core.output import replacing


def test_replacing_writes_the_whole_file(tmp_path: Path) -> None:
    file = tmp_path / "a.json"
    file.write_text("old")
    with replacing(file) as new:
        new.write_text("new")
        assert file.read_text() == "old"
    assert file.read_text() == "new"
    assert list(tmp_path.iterdir()) == [file]


@pytest.mark.parametrize("failure", [OSError, KeyboardInterrupt])
def test_replacing_keeps_the_old_file_on_failure(
    tmp_path: Path, failure: type[BaseException]
) -> None:
    file = tmp_path / "a.json"
    file.write_text("old")

    def write() -> None:
        with replacing(file) as new:
            new.write_text("half")
            raise failure

    with pytest.raises(failure):
        write()
    assert file.read_text() == "old"
    assert list(tmp_path.iterdir()) == [file]
