"""Classifiers that visitors of the page teach: ownership, limits and expiry."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import TypeVar

from core.bundle.leaderboard import ModelInfo
from core.errors import (
    BundleError,
    BusyError,
    MissingExtraError,
    ModelNotFoundError,
    PhotoReadError,
    RequestError,
    StoreError,
    TeachingError,
    TenSightError,
)
from core.registry.taught import TaughtRecord
from core.serving.predictor import Predictor
from core.serving.teaching import connect_teaching
from core.settings import Settings
from core.teaching.collect import LabelledPhoto
from core.teaching.corrections import Correction, correct
from core.teaching.learning import check_installed
from core.teaching.service import TaughtModel, Teaching
from demo.teaching_photos import ClaimedPhotos, PhotosToTeach, TeachingDraft, UploadedPhoto

__all__ = ["LIFETIME_S", "MAX_MODELS", "PageFullError", "PageTeaching", "page_teaching"]

LIFETIME_S = 24 * 3600.0
"""Seconds until a visitor's classifier is deleted."""
MAX_MODELS = 5
"""Classifiers of one visitor."""

# For all visitors together; each classifier takes at most 12 MB.
_MAX_ALL_MODELS = 100
# Maximum number of classifiers that are taught at once, each on one processor, and of those that
# are taught or wait.
_AT_ONCE = 2
_MAX_UNFINISHED = 8
_RETRY_S = 60
_PURGE_S = 300.0

_Result = TypeVar("_Result")

logger = logging.getLogger(__name__)


class PageTeaching:
    """Teaching within the limits of the page. Methods block, except `teach` and `correct`.

    Visitors are told apart by a random key that their browser keeps, of which only a keyed hash is
    stored.

    Args:
        teaching: Teaches the classifiers.
        publishable: Whether an operator can publish classifiers that visitors offer.
        max_models: Maximum number of classifiers of all visitors.
        max_unfinished: Maximum number of classifiers that are learned or wait for it.
    """

    def __init__(
        self,
        teaching: Teaching,
        *,
        publishable: bool = False,
        max_models: int = _MAX_ALL_MODELS,
        max_unfinished: int = _MAX_UNFINISHED,
    ) -> None:
        self._teaching = teaching
        self._publishable = publishable
        self._max_models = max_models
        # Owners of new classifiers that are being taught, and are not counted elsewhere yet.
        self._begun: list[str] = []
        self._room = threading.Lock()
        self._free = threading.BoundedSemaphore(max_unfinished)
        self._workers = ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="teaching")

    @property
    def publishable(self) -> bool:
        """Return whether an operator can publish classifiers that visitors offer."""
        return self._publishable

    def check(self, visitor: str, draft: TeachingDraft) -> None:
        """Check whether a classifier can be taught, before its photos are uploaded.

        Args:
            visitor: Key of the visitor.
            draft: What is to be taught.

        Raises:
            TeachingError: Names or numbers of photos are not accepted, or the visitor has too many
                classifiers.
            RequestError: The visitor has no valid key.
            PageFullError: There are too many classifiers of all visitors.
        """
        draft.check()
        self._teaching.check_title(draft.title)
        self._teaching.purge()
        with self._room:
            self._check_room(_owner(visitor), draft.replaces)

    def teach(
        self,
        visitor: str,
        asked: PhotosToTeach,
        folder: str,
        progress: Callable[[int, int], None] | None = None,
    ) -> Future[TaughtModel]:
        """Begin to teach a classifier; the uploads are left to the sweep of their folder.

        The future raises what `check`, `Teaching.create`, `Teaching.teach_again` and
        `Teaching.more` raise.

        Args:
            visitor: Key of the visitor.
            asked: The photos.
            folder: Gradio's upload folder.
            progress: Called with the number of photos that are done, and of all.

        Raises:
            RequestError: The visitor has no valid key.
            BusyError: Too many classifiers wait already.
        """
        owner = _owner(visitor)

        def work(photos: Sequence[LabelledPhoto]) -> TaughtModel:
            return self._teach(owner, asked, photos, progress)

        return self._begin(asked.photos, folder, work)

    def correct(
        self,
        visitor: str,
        model: str,
        photo: UploadedPhoto,
        folder: str,
        progress: Callable[[int, int], None] | None = None,
    ) -> Future[Correction]:
        """Begin to teach a visitor's classifier a photo that it got wrong.

        The future raises PhotoReadError where the upload is gone, and what `correct` of
        core.teaching raises.

        Args:
            visitor: Key of the visitor.
            model: Id of the classifier.
            photo: The photo with its true class.
            folder: Gradio's upload folder.
            progress: As in `teach`.

        Raises:
            RequestError, BusyError: As in `teach`.
        """
        owner = _owner(visitor)

        def work(photos: Sequence[LabelledPhoto]) -> Correction:
            if not Path(str(photos[0].photo)).exists():
                raise PhotoReadError("The upload has been deleted, as it was too old.")
            return correct(self._teaching, owner, model, photos[0], progress=progress)

        return self._begin([photo], folder, work)

    def models(self, visitor: str) -> list[TaughtRecord]:
        """List the classifiers of a visitor, the newest first; none without a valid key."""
        try:
            return self._teaching.models(_owner(visitor))[::-1]
        except RequestError:
            return []

    def find(self, visitor: str, model: str | None) -> TaughtRecord | None:
        """Return a classifier of a visitor by its id; None where there is none."""
        return next((each for each in self.models(visitor) if each.id == model), None)

    def describe(self, model: str) -> ModelInfo:
        """Describe a classifier by its id.

        Raises:
            ModelNotFoundError, BundleError: As raised by `Teaching.bundle`.
        """
        return ModelInfo.of(self._teaching.bundle(model))

    def describe_all(self, visitor: str) -> list[ModelInfo]:
        """Describe the classifiers of a visitor; those whose files are gone are left out."""
        found = []
        for each in self.models(visitor):
            with suppress(ModelNotFoundError, BundleError):
                found.append(self.describe(each.id))
        return found

    def download(self, visitor: str, model: str) -> tuple[str, bytes]:
        """Return the folder name and the zip file of a visitor's classifier.

        Raises:
            RequestError: The visitor has no valid key.
            ModelNotFoundError, BundleError: As raised by `Teaching.download`.
        """
        return self._teaching.download(_owner(visitor), model)

    def offer(self, visitor: str, model: str) -> None:
        """Offer a visitor's classifier to the operator.

        Raises:
            RequestError: The visitor has no valid key, or no operator can publish it.
            ModelNotFoundError, OutputError: As raised by `Teaching.offer`.
        """
        if not self._publishable:
            raise RequestError(
                "This page has no operators who could publish it. Set TENSIGHT_OPERATORS for the "
                "page, or download the classifier."
            )
        self._teaching.offer(_owner(visitor), model)

    def withdraw(self, visitor: str, model: str) -> None:
        """Withdraw the offer of a visitor's classifier.

        Raises:
            RequestError: The visitor has no valid key.
            ModelNotFoundError, OutputError: As raised by `Teaching.withdraw`.
        """
        self._teaching.withdraw(_owner(visitor), model)

    def forget(self, visitor: str, model: str) -> None:
        """Delete a visitor's classifier.

        Raises:
            RequestError: The visitor has no valid key.
            ModelNotFoundError, OutputError: As raised by `Teaching.forget`.
        """
        self._teaching.forget(_owner(visitor), model)

    def close(self) -> None:
        """Stop learning; classifiers that wait are dropped."""
        self._workers.shutdown(wait=False, cancel_futures=True)

    @contextmanager
    def purged(self, every_s: float = _PURGE_S) -> Iterator[None]:
        """Delete expired classifiers at intervals while the context is open.

        Args:
            every_s: Seconds between two deletions.
        """
        ended = threading.Event()

        def work() -> None:
            while not ended.wait(every_s):
                try:
                    self._teaching.purge()
                except TenSightError:
                    logger.exception("Classifiers of visitors cannot be deleted")

        thread = threading.Thread(target=work, name="taught", daemon=True)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()

    def _begin(
        self,
        photos: Sequence[UploadedPhoto],
        folder: str,
        learn: Callable[[Sequence[LabelledPhoto]], _Result],
    ) -> Future[_Result]:
        """Claim uploads, and learn from them once a worker is free."""
        if not self._free.acquire(blocking=False):
            raise BusyError(_RETRY_S)
        at_end = ExitStack()
        at_end.callback(self._free.release)
        try:
            claimed = at_end.enter_context(closing(ClaimedPhotos(photos, folder)))

            def work() -> _Result:
                with at_end:
                    return learn(claimed.photos)

            future = self._workers.submit(work)
        except BaseException:
            at_end.close()
            raise
        # It never begins if the page ends before.
        future.add_done_callback(lambda _: at_end.close())
        return future

    def _teach(
        self,
        owner: str,
        asked: PhotosToTeach,
        photos: Sequence[LabelledPhoto],
        progress: Callable[[int, int], None] | None,
    ) -> TaughtModel:
        teaching = self._teaching
        teaching.purge()
        if asked.adds:
            return teaching.add_photos(owner, asked.replaces, photos, progress=progress)
        with self._holding_room(owner, asked.replaces) as replaces:
            if replaces:
                teach = partial(teaching.teach_again, owner, asked.replaces)
            else:
                teach = partial(teaching.create, owner)
            return teach(asked.title, photos, lifetime_s=LIFETIME_S, progress=progress)

    @contextmanager
    def _holding_room(self, owner: str, replaces: str) -> Iterator[bool]:
        """Hold room for a new classifier; yield whether one of the owner's is replaced instead.

        Raises:
            TeachingError, PageFullError: As in `check`.
        """
        with self._room:
            is_new = self._check_room(owner, replaces)
            if is_new:
                self._begun.append(owner)
        try:
            yield not is_new
        finally:
            if is_new:
                with self._room:
                    self._begun.remove(owner)

    def _check_room(self, owner: str, replaces: str) -> bool:
        """Check that there is room, and return whether it is needed for a new classifier.

        Hold `_room` meanwhile, and until the new one is among those that have begun.
        """
        mine = {each.id for each in self._teaching.models(owner)}
        if replaces in mine:
            return False
        if len(mine) + self._begun.count(owner) >= MAX_MODELS:
            raise TeachingError("many_models", f"You have {MAX_MODELS} classifiers. Delete one.")
        if self._teaching.count_temporary() + len(self._begun) >= self._max_models:
            raise PageFullError
        return True


class PageFullError(RequestError):
    """Visitors have taught as many classifiers as the page can hold."""

    def __init__(self) -> None:
        super().__init__(
            "Visitors have taught as many classifiers as this page can hold. Try again later."
        )


@contextmanager
def page_teaching(settings: Settings, predictor: Predictor) -> Iterator[PageTeaching | None]:
    """Prepare to teach for visitors; None where nothing can be taught.

    Args:
        settings: The settings.
        predictor: Computes the embeddings.
    """
    try:
        check_installed()
        connected = connect_teaching(
            settings, predictor, command="tensight web", max_models=MAX_MODELS
        )
    except (TeachingError, MissingExtraError, StoreError, BundleError) as error:
        level = logging.WARNING if isinstance(error, BundleError) else logging.INFO
        logger.log(level, "The tab Teach is disabled: %s", error)
        yield None
        return
    with (
        closing(connected),
        # Operators publish from their chats with a bot; no other front can.
        closing(PageTeaching(connected.teaching, publishable=bool(settings.operators))) as teaching,
        teaching.purged(),
    ):
        yield teaching


def _owner(visitor: str) -> str:
    """Return the owner's name for the key of a visitor, 32 hex digits.

    Raises:
        RequestError: It is invalid.
    """
    if len(visitor) != 32 or set(visitor) - set("0123456789abcdef"):
        raise RequestError("The key of this browser is missing. Reload the page.")
    return f"visitor:{visitor}"
