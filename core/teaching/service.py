"""Teach, share, publish and delete classifiers: the interface for command line and fronts."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from core.bundle.folder import Bundle, find_bundles
from core.errors import BundleError, MissingExtraError, TeachingError
from core.inference.head import EmbeddingSpace
from core.photos.pool import PhotoPool
from core.registry.bases import Bases
from core.registry.taught import TaughtRecord, new_id
from core.settings import Settings
from core.teaching.base import BASE_MODEL, TeachingBase
from core.teaching.bundles import (
    folder_name,
    install_taught,
    rename_taught,
    write_taught_bundle,
    zip_taught,
)
from core.teaching.collect import Collected, Embed, LabelledPhoto, collect, sender_hash
from core.teaching.learning import LearnedHead, check_installed, learn
from core.teaching.limits import (
    MIN_CLASSES,
    MIN_PHOTOS,
    check_classes,
    check_counts,
    check_model_name,
    comparison_key,
    model_title,
)
from core.teaching.owned import OwnedModels
from core.teaching.report import TeachingReport, check_distinguishable, evaluate_head
from core.teaching.stored_examples import StoredExamples

__all__ = ["SenderRemoval", "TaughtModel", "Teaching", "find_teaching_base"]

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class TaughtModel:
    """The result of teaching.

    Attributes:
        bundle: The installed model folder.
        report: Its quality, from cross-validation.
        record: Record of a private model; None for one that the command line taught.
    """

    bundle: Bundle
    report: TeachingReport
    record: TaughtRecord | None = None


@dataclass(frozen=True)
class SenderRemoval:
    """Outcome of removing a sender's photos from a private model.

    Attributes:
        record: The model's record before the removal.
        model: The model as it was taught again; None where it was deleted.
        dropped: Classes that were left with too few photos.
    """

    record: TaughtRecord
    model: TaughtModel | None
    dropped: tuple[str, ...]


def find_teaching_base(settings: Settings, name: str = BASE_MODEL) -> TeachingBase:
    """Open the bundled model that new classifiers are taught on.

    Args:
        settings: `models` is used.
        name: Name of the model.

    Raises:
        TeachingError: The model is not installed.
        BundleError: The model is damaged, or nothing can be taught on it.
    """
    folder = settings.models / name
    try:
        return TeachingBase(Bundle.open(folder))
    except BundleError as error:
        if _is_missing(folder):
            raise TeachingError("no_base", str(error), name) from error
        raise


class Teaching(OwnedModels):
    """Taught models of the command line and of fronts. Safe to share between threads.

    All methods that teach take seconds: fronts call them in a thread. Owners and senders are named
    by strings of the front's choice, such as `chat:123`, of which only keyed hashes are stored.

    Args:
        settings: `home` and `models` are used.
        base: The model to teach on.
        embed: Computes the base's embeddings.
        pool: Decodes photos.
        key: Key of the hashes of owners, senders and photos.
        learner: Learns the heads; the default does so in a worker process.
        max_models: Maximum number of models of one owner.
        command: Command that is named in the models' metadata.
        clock: Returns the time, in seconds since 1970.
    """

    def __init__(
        self,
        settings: Settings,
        base: TeachingBase,
        embed: Embed,
        pool: PhotoPool,
        key: bytes,
        *,
        learner: Callable[[StoredExamples, EmbeddingSpace], LearnedHead] = learn,
        max_models: int = 10,
        command: str = "tensight",
        clock: Callable[[], float] = time.time,
    ) -> None:
        super().__init__(settings.home, key, clock=clock)
        self._settings = settings
        self._base = base
        self._embed = embed
        self._pool = pool
        self._learn = learner
        self._max_models = max_models
        self._command = command

    def teach_named(
        self,
        name: str,
        photos: Sequence[LabelledPhoto],
        *,
        title: str | None = None,
        progress: Progress | None = None,
    ) -> TaughtModel:
        """Teach a model under a name of its own, and install it as a candidate.

        Args:
            name: Name of the model; a taught model of that name gets another revision.
            photos: All its photos.
            title: Name shown to people; None for `name`.
            progress: Called with the number of photos that are done, and their total number.

        Raises:
            TeachingError: Names or photos are not accepted, or learning failed; nothing is changed.
            MissingExtraError: The extra `teach` is not installed.
            OutputError: TENSIGHT_HOME cannot be written.
        """
        check_model_name(name, self._untaught_names())
        title = self.check_title(title or name)
        check_installed()
        collected = collect(
            photos, self._base, self._embed, self._pool, self._key, progress=progress
        )
        model = self._install(name, title, collected, None)
        self._taught.save_examples(name, collected.examples.to_bytes())
        return model

    def check_title(self, title: str) -> str:
        """Return the stored form of a classifier's title.

        Raises:
            TeachingError: It cannot be a title, or reads like name or title of a model that was not
                taught, for which people would take the classifier.
        """
        stored = model_title(title)
        untaught = self._untaught_bundles()
        names = {name for each in untaught for name in (each.config.name, each.config.title)}
        if comparison_key(stored) in {comparison_key(name) for name in names}:
            raise TeachingError(
                "taken_model",
                f"{stored!r} is the name of a model that comes with TenSight. Choose another one.",
                stored,
            )
        return stored

    def create(
        self,
        owner: str,
        title: str,
        photos: Sequence[LabelledPhoto],
        *,
        lifetime_s: float | None = None,
        progress: Progress | None = None,
    ) -> TaughtModel:
        """Teach a private model; see `record.id` of the result for the name to predict with.

        Args:
            owner: The visitor, chat or group that it belongs to.
            title: Name that the owner gives it.
            photos: All its photos.
            lifetime_s: Seconds until `purge` deletes it; None for never.
            progress: As in `teach_named`.

        Raises:
            TeachingError, MissingExtraError, OutputError: As in `teach_named`; or the owner has too
                many models.
        """
        title = self.check_title(title)
        check_installed()
        self._refuse_more_models(owner)
        collected = collect(
            photos, self._base, self._embed, self._pool, self._key, progress=progress
        )
        record = TaughtRecord(
            id=new_id(),
            title=title,
            owner=self.hash_owner(owner),
            revision="0" * 12,
            created=self._clock(),
            expires=self._expiry(lifetime_s),
        )
        return self._install(record.id, title, collected, record)

    def teach_again(
        self,
        owner: str,
        model: str,
        title: str,
        photos: Sequence[LabelledPhoto],
        *,
        lifetime_s: float | None = None,
        progress: Progress | None = None,
    ) -> TaughtModel:
        """Teach a private model anew; it keeps its id, and forgets what it was taught before.

        Args:
            owner: Owner of the model.
            model: Id of the model.
            title: New name that the owner gives it.
            photos: All its photos.
            lifetime_s: Seconds from now until `purge` deletes it; None for never.
            progress: As in `teach_named`.

        Raises:
            ModelNotFoundError: The owner has no such model.
            TeachingError, MissingExtraError, OutputError: As in `teach_named`. The model keeps
                answering as before.
        """
        title = self.check_title(title)
        self._owned(owner, model)
        check_installed()
        collected = collect(
            photos, self._base, self._embed, self._pool, self._key, progress=progress
        )
        with self._changing_owned(owner, model) as record:
            again = record.model_copy(update={"title": title, "expires": self._expiry(lifetime_s)})
            return self._install(record.id, title, collected, again)

    def add_photos(
        self,
        owner: str,
        model: str,
        photos: Sequence[LabelledPhoto],
        *,
        progress: Progress | None = None,
    ) -> TaughtModel:
        """Add photos, also of new classes, to a private model and teach it again.

        A photo that the model has already moves from its old class to the new one.

        Args:
            owner: Owner of the model.
            model: Id of the model.
            photos: The photos to add.
            progress: As in `teach_named`.

        Raises:
            ModelNotFoundError: The owner has no such model.
            TeachingError: As in `teach_named`; or the base has changed since. The model keeps
                answering as before.
            MissingExtraError, OutputError: As in `teach_named`.
        """
        self._owned(owner, model)
        check_installed()
        new = collect(
            photos,
            self._base,
            self._embed,
            self._pool,
            self._key,
            complete=False,
            progress=progress,
        )
        with self._changing_owned(owner, model) as record:
            merged = _in_canonical_order(self._examples(record.id).merged(new.examples))
            check_classes(merged.classes)
            check_counts(merged.counts())
            names = dict(
                zip((each.tobytes() for each in new.examples.photos), new.names, strict=True)
            )
            known = [
                names.get(photo.tobytes(), f"earlier photo {i + 1}")
                for i, photo in enumerate(merged.photos)
            ]
            collected = Collected(merged, tuple(known), new.skipped, new.duplicates)
            return self._install(record.id, record.title, collected, record)

    def forget_sender(self, sender: str) -> list[SenderRemoval]:
        """Remove a person's photos from all private models, and teach these again.

        A class that is left with fewer than three photos is dropped, and a model with fewer than
        two classes, whose base has changed since, or whose examples cannot be read, is deleted.

        Args:
            sender: As in `LabelledPhoto.sender`.

        Raises:
            OutputError: TENSIGHT_HOME cannot be written.
        """
        hashed_sender = sender_hash(self._key, sender)
        removals = []
        for each in self._taught.all():
            with self._taught.changing(each.id):
                record = self._taught.find(each.id)
                if record is None:
                    continue
                try:
                    examples = self._examples(record.id)
                except TeachingError:
                    # Unreadable examples may include this sender's photos, so the model goes.
                    self._delete(record)
                    removals.append(SenderRemoval(record, None, ()))
                    continue
                remaining = examples.without_sender(hashed_sender)
                if len(remaining) < len(examples):
                    removals.append(self._teach_remaining(record, remaining))
        return removals

    def publish(self, model: str, name: str) -> Bundle:
        """Install a copy of a private model under a public name, as a candidate.

        `Releases.promote` makes it live. The examples that it was taught with stay private.

        Args:
            model: Id of the private model.
            name: The public name.

        Raises:
            ModelNotFoundError: There is no such model.
            TeachingError: The name cannot be used.
            BundleError, OutputError: The model is damaged, or TENSIGHT_HOME cannot be written.
        """
        check_model_name(name, self._untaught_names())
        bundle = self.bundle(model)
        with tempfile.TemporaryDirectory(prefix="tensight-taught-") as scratch:
            public = rename_taught(bundle, Path(scratch) / name, offered=True)
            return install_taught(self._settings.home, self._base_of(bundle), public)

    def download(self, owner: str, model: str) -> tuple[str, bytes]:
        """Return a private model as a zip file, which `core.load` reads once it is unpacked.

        Args:
            owner: Owner of the model.
            model: Id of the model.

        Returns:
            A name made from the title, and the content of NAME.zip with the folder NAME. The file
            contains neither the id, with which others could use the model here, nor the examples.

        Raises:
            ModelNotFoundError: The owner has no such model.
            BundleError: Its model folder is missing or damaged.
        """
        name = folder_name(self._owned(owner, model).title)
        return name, zip_taught(self.bundle(model), name)

    def _teach_remaining(self, record: TaughtRecord, remaining: StoredExamples) -> SenderRemoval:
        counts = remaining.counts()
        kept = tuple(name for name in remaining.classes if counts[name] >= MIN_PHOTOS)
        dropped = tuple(name for name in remaining.classes if name not in kept)
        if len(kept) < MIN_CLASSES or remaining.base != self._base.reference.sha256:
            self._delete(record)
            return SenderRemoval(record, None, dropped)
        examples = remaining.select_classes(kept)
        names = tuple(f"photo {i + 1}" for i in range(len(examples)))
        try:
            model = self._install(
                record.id, record.title, Collected(examples, names, (), 0), record
            )
        except (TeachingError, MissingExtraError):
            # The remaining photos cannot be taught, and the sender's must not stay in the model.
            self._delete(record)
            return SenderRemoval(record, None, dropped)
        return SenderRemoval(record, model, dropped)

    def _install(
        self, name: str, title: str, collected: Collected, record: TaughtRecord | None
    ) -> TaughtModel:
        """Learn a head and install it; a private model answers with the new head from then on."""
        examples, started = collected.examples, time.monotonic()
        check_distinguishable(examples)
        learned = self._learn(examples, self._base.space(examples.embeddings))
        findings = evaluate_head(
            examples,
            learned,
            names=collected.names,
            skipped=collected.skipped,
            duplicates=collected.duplicates,
        )
        with tempfile.TemporaryDirectory(prefix="tensight-taught-") as scratch:
            draft = write_taught_bundle(
                Path(scratch) / name,
                self._base,
                examples.classes,
                learned,
                findings,
                title=title,
                command=self._command,
                seconds=time.monotonic() - started,
                offered=record is None,
            )
            if record is None:
                bundle = install_taught(self._settings.home, self._base, draft)
                return TaughtModel(bundle, findings.report)
            saved = record.model_copy(update={"revision": draft.revision})

            # Saved under the lock of the revisions, so that garbage collection spares this one.
            def save() -> None:
                self._taught.save_examples(name, examples.to_bytes())
                self._taught.save(saved)

            bundle = install_taught(self._settings.home, self._base, draft, on_installed=save)
        if record.revision != saved.revision:
            self._remove_revision(record.revision)
        return TaughtModel(bundle, findings.report, saved)

    def _expiry(self, lifetime_s: float | None) -> float | None:
        return None if lifetime_s is None else self._clock() + lifetime_s

    def _examples(self, name: str) -> StoredExamples:
        content = self._taught.examples(name)
        if content is None:
            raise TeachingError(
                "failed",
                "The training data of this classifier is no longer stored. The classifier keeps "
                "answering; to teach more, teach a new one with all photos.",
            )
        return StoredExamples.from_bytes(content)

    def _refuse_more_models(self, owner: str) -> None:
        owner_hash = self.hash_owner(owner)
        if sum(each.owner == owner_hash for each in self._taught.all()) >= self._max_models:
            raise TeachingError(
                "many_models",
                f"You already have {self._max_models} classifiers. Delete one first.",
            )

    def _untaught_names(self) -> set[str]:
        """Return the names of models that were not taught, which no taught model may take."""
        names = {each.config.name for each in self._untaught_bundles()}
        return names | {folder.name for folder in find_bundles(self._settings.models)}

    def _untaught_bundles(self) -> list[Bundle]:
        """Return the readable models that were not taught."""
        bundles = list(self._revisions.bundles())
        for folder in find_bundles(self._settings.models):
            try:
                bundles.append(Bundle.open(folder))
            except BundleError:
                continue
        return [each for each in bundles if each.config.base is None]

    def _base_of(self, bundle: Bundle) -> TeachingBase:
        """Return the base of a taught model, which may differ from the base of new models."""
        found = Bases(self._settings.models, self._revisions).of(bundle)
        return self._base if found is None else TeachingBase(found)


def _is_missing(folder: Path) -> bool:
    """Check that a folder does not exist, rather than that it cannot be read."""
    try:
        folder.lstat()
    except OSError as error:
        return isinstance(error, FileNotFoundError | NotADirectoryError)
    return False


def _in_canonical_order(examples: StoredExamples) -> StoredExamples:
    """Return the same photos in the order that `collect` gives them."""
    classes = sorted(examples.classes, key=lambda name: (comparison_key(name), name))
    counts = examples.counts()
    ordered = examples.select_classes(tuple(name for name in classes if counts[name]))
    keys = [
        (int(n), photo.tobytes()) for n, photo in zip(ordered.labels, ordered.photos, strict=True)
    ]
    return ordered.take(np.asarray(sorted(range(len(keys)), key=keys.__getitem__), np.int64))
