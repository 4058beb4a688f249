"""Private taught models: their owners, and the users they are shared with."""

from __future__ import annotations

import hashlib
import hmac
import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from core.bundle.folder import Bundle
from core.errors import BundleError, ModelNotFoundError, TeachingError
from core.registry.revisions import RevisionStore
from core.registry.taught import TaughtRecord, TaughtStore
from core.teaching.collect import sender_hash
from core.teaching.limits import MAX_NAME_LENGTH
from core.teaching.stored_examples import StoredExamples
from core.text import printable

__all__ = ["OwnedModels"]

_MAX_USERS = 1_000


class OwnedModels:
    """The private taught models of a machine. Safe to share between threads and processes.

    Owners are named by strings of the front's choice, such as `chat:123`, of which only keyed
    hashes are stored.

    Args:
        home: TENSIGHT_HOME.
        key: Key of the hashes.
        clock: Returns the time, in seconds since 1970.
    """

    def __init__(self, home: Path, key: bytes, *, clock: Callable[[], float] = time.time) -> None:
        self._key = key
        self._clock = clock
        self._taught = TaughtStore(home)
        self._revisions = RevisionStore(home)

    def models(self, owner: str) -> list[TaughtRecord]:
        """List the private models of an owner, and those that others share with them.

        Args:
            owner: The visitor, chat or group.
        """
        owner_hash = self.hash_owner(owner)
        return [each for each in self.all() if owner_hash in (each.owner, *each.users)]

    def owns(self, owner: str, model: str) -> bool:
        """Return whether somebody owns a private model; a shared one is not owned by its users."""
        record = self._taught.find(model)
        return record is not None and hmac.compare_digest(record.owner, self.hash_owner(owner))

    def may_use(self, user: str, model: str) -> bool:
        """Return whether somebody owns, or has added, a private model that has not expired."""
        record, now = self._taught.find(model), self._clock()
        if record is None or (record.expires is not None and record.expires <= now):
            return False
        return self.hash_owner(user) in (record.owner, *record.users)

    def count(self) -> int:
        """Return the number of private models."""
        return len(self._taught.all())

    def all(self) -> list[TaughtRecord]:
        """List the private models of all owners that have not expired, the oldest first."""
        now = self._clock()
        return [each for each in self._taught.all() if each.expires is None or now < each.expires]

    def examples_bytes(self, model: str) -> int:
        """Return the size of a model's stored examples in bytes; 0 where none are stored."""
        return self._taught.examples_bytes(model)

    def count_temporary(self) -> int:
        """Return the number of private models with an expiry, which `purge` deletes."""
        return sum(each.expires is not None for each in self._taught.all())

    def share(self, owner: str, model: str) -> str:
        """Return the key with which others can add a private model; see `add_shared`.

        Raises:
            ModelNotFoundError: The owner has no such model.
            OutputError: TENSIGHT_HOME cannot be written.
        """
        with self._changing_owned(owner, model) as record:
            key = record.share_key or secrets.token_hex(16)
            self._taught.save(record.model_copy(update={"share_key": key}))
        return key

    def unshare(self, owner: str, model: str) -> tuple[str, ...]:
        """End sharing; others no longer list the model.

        Returns:
            Hashes (see `hash_owner`) of the others who had added it, to be told.

        Raises:
            ModelNotFoundError: The owner has no such model.
            OutputError: TENSIGHT_HOME cannot be written.
        """
        with self._changing_owned(owner, model) as record:
            self._taught.save(record.model_copy(update={"share_key": None, "users": ()}))
        return record.users

    def add_shared(self, user: str, share_key: str) -> TaughtRecord:
        """Add a model that its owner shares to the models of somebody else.

        Args:
            user: The visitor, chat or group that adds it.
            share_key: The result of `share`.

        Raises:
            ModelNotFoundError: No model is shared with this key any more, or with too many already.
            OutputError: TENSIGHT_HOME cannot be written.
        """
        user_hash = self.hash_owner(user)
        for each in self._taught.all():
            if not _has_share_key(each, share_key):
                continue
            with self._taught.changing(each.id):
                record = self._taught.find(each.id)
                if record is None or not _has_share_key(record, share_key):
                    break
                if user_hash not in (record.owner, *record.users):
                    if len(record.users) >= _MAX_USERS:
                        raise ModelNotFoundError(
                            f"This model is shared with {_MAX_USERS} others already. Ask its "
                            "owner for a copy."
                        )
                    record = record.model_copy(update={"users": (*record.users, user_hash)})
                    self._taught.save(record)
                return record
        raise ModelNotFoundError("This model is no longer shared. Ask its owner for a new link.")

    def leave(self, user: str, model: str) -> None:
        """Remove a model that others share from the models of somebody who added it.

        Raises:
            OutputError: TENSIGHT_HOME cannot be written.
        """
        user_hash = self.hash_owner(user)
        with self._taught.changing(model):
            record = self._taught.find(model)
            if record is not None and user_hash in record.users:
                remaining = tuple(each for each in record.users if each != user_hash)
                self._taught.save(record.model_copy(update={"users": remaining}))

    def move(self, owner: str, new_owner: str) -> None:
        """Pass all models of an owner, and those shared with them, to a new owner.

        Raises:
            OutputError: TENSIGHT_HOME cannot be written.
        """
        old, new = self.hash_owner(owner), self.hash_owner(new_owner)
        for each in self.models(owner):
            with self._taught.changing(each.id):
                record = self._taught.find(each.id)
                if record is None:
                    continue
                users = tuple(dict.fromkeys(new if user == old else user for user in record.users))
                is_own = record.owner == old
                changed = {"users": users} | ({"owner": new} if is_own else {})
                self._taught.save(record.model_copy(update=changed))

    def offer(self, owner: str, model: str) -> None:
        """Offer a private model to the operator for publication; see `offers` and `withdraw`.

        Raises:
            ModelNotFoundError: The owner has no such model.
            OutputError: TENSIGHT_HOME cannot be written.
        """
        with self._changing_owned(owner, model) as record:
            self._taught.save(record.model_copy(update={"offered": True}))

    def withdraw(self, owner: str, model: str) -> None:
        """End the offer of a private model to the operator; nothing happens without an offer.

        Raises:
            ModelNotFoundError: The owner has no such model.
            OutputError: TENSIGHT_HOME cannot be written.
        """
        with self._changing_owned(owner, model) as record:
            self._taught.save(record.model_copy(update={"offered": False}))

    def mark_published(self, model: str, name: str) -> None:
        """Record that a copy of a private model was published, and end its offer.

        Args:
            model: Its id; nothing happens if it has been deleted meanwhile.
            name: The public name.

        Raises:
            OutputError: TENSIGHT_HOME cannot be written.
        """
        with self._taught.changing(model):
            record = self._taught.find(model)
            if record is not None:
                changes = {"offered": False, "published": name}
                self._taught.save(record.model_copy(update=changes))

    def offers(self) -> list[TaughtRecord]:
        """List the private models that are offered to the operator."""
        return [each for each in self._taught.all() if each.offered]

    def bundle(self, model: str) -> Bundle:
        """Return the model folder of a private model, for download.

        Raises:
            ModelNotFoundError: There is no such model.
            BundleError: Its model folder is missing or damaged.
        """
        record = self._taught.find(model)
        if record is None:
            raise _not_found(model)
        found = self._revisions.find(record.id, record.revision)
        if found is None:
            raise BundleError(f"The files of {model} are missing. Teach it again.")
        return found

    def forget(self, owner: str, model: str) -> tuple[str, ...]:
        """Delete a private model and everything it was taught with.

        Args:
            owner: Owner of the model.
            model: Id of the model.

        Returns:
            Hashes (see `hash_owner`) of the others who had added it, to be told.

        Raises:
            ModelNotFoundError: The owner has no such model.
            OutputError: TENSIGHT_HOME cannot be written.
        """
        with self._changing_owned(owner, model) as record:
            self._delete(record)
        return record.users

    def delete_taught_by(self, sender: str) -> list[TaughtRecord]:
        """Delete the private models that were taught with a person's photos.

        `Teaching.forget_sender` removes the photos only, which needs the base of the models.

        Args:
            sender: As in `LabelledPhoto.sender`.

        Returns:
            Records of the deleted models.

        Raises:
            OutputError: TENSIGHT_HOME cannot be written.
        """
        hashed_sender = sender_hash(self._key, sender)
        deleted = []
        for each in self._taught.all():
            with self._taught.changing(each.id):
                record = self._taught.find(each.id)
                if record is None or not self._may_hold_photos(record, hashed_sender):
                    continue
                self._delete(record)
                deleted.append(record)
        return deleted

    def purge(self) -> list[TaughtRecord]:
        """Delete the private models that have expired, and return their records.

        Raises:
            OutputError: TENSIGHT_HOME cannot be written.
        """
        deleted = []
        for each in self._taught.all():
            if not self._has_expired(each):
                continue
            with self._taught.changing(each.id):
                # Its owner may have taught it again, or deleted it, while this waited.
                record = self._taught.find(each.id)
                if record is not None and self._has_expired(record):
                    self._delete(record)
                    deleted.append(record)
        return deleted

    def hash_owner(self, owner: str) -> str:
        """Return the keyed hash that identifies an owner in records, 64 hex digits."""
        return hmac.new(self._key, f"owner {owner}".encode(), hashlib.sha256).hexdigest()

    @contextmanager
    def _changing_owned(self, owner: str, model: str) -> Iterator[TaughtRecord]:
        """Hold the lock of an owner's model, and yield its record."""
        self._owned(owner, model)
        with self._taught.changing(model):
            yield self._owned(owner, model)

    def _owned(self, owner: str, model: str) -> TaughtRecord:
        record = self._taught.find(model)
        if record is None or not hmac.compare_digest(record.owner, self.hash_owner(owner)):
            raise _not_found(model)
        return record

    def _delete(self, record: TaughtRecord) -> None:
        self._taught.remove(record.id)
        self._remove_revision(record.revision)

    def _remove_revision(self, revision: str) -> None:
        with self._revisions.changing():
            for folder in self._revisions.folders():
                if folder.name == revision:
                    self._revisions.remove(folder)

    def _has_expired(self, record: TaughtRecord) -> bool:
        return record.expires is not None and record.expires <= self._clock()

    def _may_hold_photos(self, record: TaughtRecord, hashed_sender: bytes) -> bool:
        """Return whether a model was, or may have been, taught with a sender's photos."""
        try:
            examples = StoredExamples.from_bytes(self._taught.examples(record.id) or b"")
        except TeachingError:
            return True
        return len(examples.without_sender(hashed_sender)) < len(examples)


def _has_share_key(record: TaughtRecord, share_key: str) -> bool:
    expected = record.share_key
    return expected is not None and secrets.compare_digest(expected.encode(), share_key.encode())


def _not_found(model: str) -> ModelNotFoundError:
    return ModelNotFoundError(
        f"You have no classifier {printable(model, MAX_NAME_LENGTH)!r}. It may have been deleted."
    )
