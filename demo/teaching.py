"""Classifiers that visitors of the page teach: whose they are, their limits, and their end."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, Field, ValidationError

from core.bundle.leaderboard import ModelInfo
from core.errors import (
    BundleError,
    MissingExtraError,
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
from core.teaching.learning import check_installed
from core.teaching.limits import MAX_PHOTOS_IN_ALL
from core.teaching.service import TaughtModel, Teaching
from demo.components import uploaded

__all__ = [
    "LIFETIME_S",
    "MAX_MODELS",
    "PageFullError",
    "PageTeaching",
    "PhotosToTeach",
    "page_teaching",
]

LIFETIME_S = 24 * 3600.0
"""Seconds until a visitor's classifier is deleted."""
MAX_MODELS = 5
"""Classifiers of one visitor."""

# Of all visitors together, at most 12 MB each.
_MAX_ALL_MODELS = 100
_PURGE_S = 300.0

logger = logging.getLogger(__name__)


class _UploadedPhoto(BaseModel):
    """A photo of a class: its upload, and the name of its file."""

    label: str
    path: str
    name: str = ""


class PhotosToTeach(BaseModel):
    """What the browser sends to teach a classifier.

    Attributes:
        title: Name of the classifier.
        photos: Its photos, in the order in which the browser shows them.
        replaces: Id of the visitor's classifier that the new one replaces; empty for none.
    """

    title: str
    photos: Annotated[list[_UploadedPhoto], Field(max_length=MAX_PHOTOS_IN_ALL)]
    replaces: str = ""

    @classmethod
    def parse(cls, text: str) -> PhotosToTeach:
        """Read the JSON text of a request, which programs can send too.

        Raises:
            RequestError: It is invalid.
        """
        try:
            return cls.model_validate_json(text)
        except ValidationError as error:
            raise RequestError(
                f"The photos to teach cannot be read: {error.errors()[0]['msg']}. Reload the page."
            ) from error

    def labelled(self, folder: str) -> list[LabelledPhoto]:
        """Return the photos, named by their number from 1 on and the name of their file.

        Args:
            folder: Gradio's upload folder; a path outside of it cannot be read.
        """
        return [
            LabelledPhoto(
                each.label, Path(uploaded(each.path, folder) or folder), f"{i}. {each.name}"
            )
            for i, each in enumerate(self.photos, 1)
        ]


class PageTeaching:
    """Teaching within the limits of the page. All methods block.

    Visitors are told apart by a random key that their browser keeps, of which only a keyed hash is
    stored.

    Args:
        teaching: Teaches the classifiers.
        max_models: Maximum number of classifiers of all visitors.
    """

    def __init__(self, teaching: Teaching, *, max_models: int = _MAX_ALL_MODELS) -> None:
        self._teaching = teaching
        self._max_models = max_models

    def teach(
        self,
        visitor: str,
        asked: PhotosToTeach,
        folder: str,
        progress: Callable[[int, int], None] | None = None,
    ) -> TaughtModel:
        """Teach a classifier; the uploads are left to the sweep of their folder.

        Args:
            visitor: Key of the visitor.
            asked: The photos.
            folder: Gradio's upload folder.
            progress: Called with the number of photos that are done, and of all.

        Raises:
            TeachingError, OutputError: As raised by `Teaching.create`.
            RequestError: The visitor has no valid key.
            PageFullError: There are too many classifiers of all visitors.
        """
        owner, photos = _owner(visitor), asked.labelled(folder)
        self._teaching.purge()
        mine = {each.id for each in self._teaching.models(owner)}
        if len(mine - {asked.replaces}) >= MAX_MODELS:
            raise TeachingError("many_models", f"You have {MAX_MODELS} classifiers. Delete one.")
        if self._teaching.count_temporary() >= self._max_models:
            raise PageFullError
        taught = self._teaching.create(
            owner, asked.title, photos, lifetime_s=LIFETIME_S, progress=progress
        )
        if asked.replaces in mine:
            self._teaching.forget(owner, asked.replaces)
        return taught

    def models(self, visitor: str) -> list[TaughtRecord]:
        """List the classifiers of a visitor, the newest first; none without a valid key."""
        try:
            return self._teaching.models(_owner(visitor))[::-1]
        except RequestError:
            return []

    def describe(self, model: str) -> ModelInfo:
        """Describe a classifier by its id.

        Raises:
            ModelNotFoundError, BundleError: As raised by `Teaching.bundle`.
        """
        return ModelInfo.of(self._teaching.bundle(model))

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
            RequestError: The visitor has no valid key.
            ModelNotFoundError, OutputError: As raised by `Teaching.offer`.
        """
        self._teaching.offer(_owner(visitor), model)

    def forget(self, visitor: str, model: str) -> None:
        """Delete a visitor's classifier.

        Raises:
            RequestError: The visitor has no valid key.
            ModelNotFoundError, OutputError: As raised by `Teaching.forget`.
        """
        self._teaching.forget(_owner(visitor), model)

    @contextmanager
    def purged(self, every_s: float = _PURGE_S) -> Iterator[None]:
        """Delete classifiers whose time is over, as long as the context is open.

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
        # One more, so that a classifier can be replaced.
        connected = connect_teaching(
            settings, predictor, command="tensight web", max_models=MAX_MODELS + 1
        )
    except (BundleError, MissingExtraError, StoreError) as error:
        logger.info("Visitors cannot teach classifiers: %s", error)
        yield None
        return
    with closing(connected):
        teaching = PageTeaching(connected.teaching)
        with teaching.purged():
            yield teaching


def _owner(visitor: str) -> str:
    """Return the owner's name for the key of a visitor, 32 hex digits.

    Raises:
        RequestError: It is invalid.
    """
    if len(visitor) != 32 or set(visitor) - set("0123456789abcdef"):
        raise RequestError("The key of this browser is missing. Reload the page.")
    return f"visitor:{visitor}"
