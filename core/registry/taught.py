"""Records of private taught models, with owner and revision, and training data of taught models.

Both are files in TENSIGHT_HOME/taught.
"""

from __future__ import annotations

import re
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

from pydantic import Field, ValidationError

from core.bundle.config import Digest, Line, Record, write_record
from core.errors import OutputError
from core.lock import locked
from core.output import private_folder, replacing

__all__ = ["TAUGHT_PREFIX", "TaughtRecord", "TaughtStore", "is_private", "new_id"]

TAUGHT_PREFIX = "taught-"
"""Beginning of the ids of private models, which no other model's name has."""

_ID = re.compile(rf"{TAUGHT_PREFIX}[0-9a-f]{{32}}")
_RECORD = "record.json"
_EXAMPLES = "examples.npz"
_LOCK_TIMEOUT_S = 600


def is_private(name: str) -> bool:
    """Return whether a name is that of a private taught model, whether or not there is one."""
    return name.startswith(TAUGHT_PREFIX)


def new_id() -> str:
    """Return a new id that cannot be guessed."""
    return TAUGHT_PREFIX + secrets.token_hex(16)


class TaughtRecord(Record):
    """A private taught model. Whoever knows its id may use it.

    Attributes:
        id: Its id, which is the name in its model folder.
        title: Name that its owner gave it.
        owner: Keyed hash of the visitor, chat or group that it belongs to.
        revision: The revision that answers, 12 hex digits.
        created: Time of creation, seconds since 1970 in UTC.
        expires: Time after which it is deleted; null for never.
        share_key: Key with which others can add it to their models; null while it is not shared.
        users: Keyed hashes of the others who have added it.
        offered: Whether its owner offers it to the operator for publication.
        published: Name under which the operator last published a copy; null if never.
    """

    id: Annotated[str, Field(pattern=f"^{_ID.pattern}$")]
    title: Line
    owner: Digest
    revision: Annotated[str, Field(pattern=r"^[0-9a-f]{12}$")]
    created: float
    expires: float | None = None
    share_key: Annotated[str, Field(pattern=r"^[0-9a-f]{32}$")] | None = None
    users: tuple[Digest, ...] = ()
    offered: bool = False
    published: Line | None = None


class TaughtStore:
    """The records of private taught models, and the training data of all taught models.

    NAME/record.json exists for private models only, NAME/examples.npz for all taught models.

    Args:
        home: TENSIGHT_HOME.
    """

    def __init__(self, home: Path) -> None:
        self._folder = home / "taught"

    def find(self, name: str) -> TaughtRecord | None:
        """Return the record of a private model; None where there is none."""
        # Names come from untrusted requests.
        return self._read(name) if _ID.fullmatch(name) else None

    def all(self) -> list[TaughtRecord]:
        """Return all records, the oldest first."""
        names = sorted(file.parent.name for file in self._folder.glob(f"*/{_RECORD}"))
        found = [record for name in names if (record := self.find(name)) is not None]
        return sorted(found, key=lambda record: (record.created, record.id))

    def public_names(self) -> list[str]:
        """List the names of taught models that are not private, by name."""
        names = {file.parent.name for file in self._folder.glob(f"*/{_EXAMPLES}")}
        return sorted(name for name in names if not is_private(name))

    def save(self, record: TaughtRecord) -> None:
        """Write a record.

        Raises:
            OutputError: TENSIGHT_HOME cannot be written.
        """
        with self._writing():
            private_folder(self._folder)
            private_folder(self._folder / record.id)
            write_record(self._folder / record.id / _RECORD, record)

    def remove(self, name: str) -> None:
        """Delete the record of a model, and its training data.

        Raises:
            OutputError: TENSIGHT_HOME cannot be written.
        """
        with self._writing():
            # Without its record there is no such model.
            (self._folder / name / _RECORD).unlink(missing_ok=True)
            shutil.rmtree(self._folder / name, ignore_errors=True)

    def examples(self, name: str) -> bytes | None:
        """Return the content of examples.npz of a taught model; None where there is none."""
        try:
            return (self._folder / name / _EXAMPLES).read_bytes()
        except OSError:
            return None

    def examples_bytes(self, name: str) -> int:
        """Return the size of examples.npz of a taught model; 0 where there is none."""
        try:
            return (self._folder / name / _EXAMPLES).stat().st_size
        except OSError:
            return 0

    def save_examples(self, name: str, content: bytes) -> None:
        """Write examples.npz of a taught model.

        Raises:
            OutputError: TENSIGHT_HOME cannot be written.
        """
        with self._writing():
            private_folder(self._folder)
            private_folder(self._folder / name)
            with replacing(self._folder / name / _EXAMPLES) as new:
                new.touch(mode=0o600)
                new.write_bytes(content)

    @contextmanager
    def changing(self, name: str) -> Iterator[None]:
        """Hold the lock for changing a model's record.

        Args:
            name: Id of the model.

        Raises:
            OutputError: TENSIGHT_HOME cannot be written, or the lock was not released in time.
        """
        busy = OutputError(
            f"Another process has been changing {name} for {_LOCK_TIMEOUT_S} s. Try again once it "
            "has finished."
        )
        if _ID.fullmatch(name) is None:
            raise ValueError(f"{name!r} is not an id")
        # Not in the model's own folder, which may be deleted meanwhile.
        file = self._folder / ".locks" / name
        with self._writing():
            private_folder(self._folder)
            private_folder(file.parent)
        with locked(file, timeout_s=_LOCK_TIMEOUT_S, on_timeout=busy):
            yield

    def _read(self, name: str) -> TaughtRecord | None:
        try:
            return TaughtRecord.model_validate_json((self._folder / name / _RECORD).read_bytes())
        except (OSError, ValidationError):
            return None

    @contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise OutputError(
                f"{self._folder} cannot be written: {error.strerror or error}. Check the free "
                "disk space and that this user has write permission."
            ) from error
