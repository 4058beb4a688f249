"""Key of the hashes that stand for users in the database."""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
import tempfile
from contextlib import suppress
from pathlib import Path

from core.errors import StoreError
from core.output import PRIVATE_FILE, private_folder
from core.settings import Settings

__all__ = ["keyed_hash", "load_hash_key"]

# White space, zeros and the bytes of a byte order mark: a key of these alone could be guessed.
_NO_KEY = b" \t\r\n\v\f\0\xef\xbb\xbf"


def keyed_hash(key: bytes, text: str) -> str:
    """Compute the HMAC-SHA256 of a text, as 64 hex digits."""
    return hmac.new(key, text.encode(), hashlib.sha256).hexdigest()


def load_hash_key(settings: Settings) -> bytes:
    """Return TENSIGHT_SECRET, or else the key of the file `secret`, which is created once.

    Raises:
        StoreError: The file contains no key, or cannot be read or created.
    """
    if settings.secret is not None:
        return settings.secret.get_secret_value().encode()
    file = settings.home / "secret"
    try:
        if not file.exists():
            _create(file)
        key = file.read_bytes()
    except OSError as error:
        raise StoreError(
            f"The key of the user hashes is stored in {file}, which cannot be used "
            f"({error.strerror or error}). Give this user permission to read and write there."
        ) from error
    # Zeros are what a file system may leave of a file after a power cut.
    if not key.strip(_NO_KEY):
        raise StoreError(
            f"The key file {file} contains no key. Restore it from a backup. If you delete it, "
            "a new key is created: data stored until now can then no longer be assigned to its "
            "user, and /forget does not delete it."
        )
    return key


def _create(file: Path) -> None:
    """Create a key file; of two processes that do so at once, the first one wins."""
    private_folder(file.parent)
    with tempfile.TemporaryDirectory(prefix=".new-", dir=file.parent) as scratch:
        new = Path(scratch) / file.name
        new.touch(mode=PRIVATE_FILE)
        with new.open("w", encoding="ascii") as stream:
            stream.write(secrets.token_hex(32))
            # Written to disk before it gets its name: a power cut must not leave an empty key.
            stream.flush()
            os.fsync(stream.fileno())
        with suppress(FileExistsError):
            os.link(new, file)
