"""Requests of the browser to teach a classifier, and the uploads that they refer to."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Self

from pydantic import BaseModel, Field, ValidationError

from core.errors import RequestError
from core.teaching.collect import LabelledPhoto
from core.teaching.limits import (
    MAX_CLASSES,
    MAX_TOTAL_PHOTOS,
    check_classes,
    check_counts,
    class_name,
    model_title,
)
from demo.components import uploaded

__all__ = ["ClaimedPhotos", "PhotosToTeach", "TeachingDraft", "UploadedPhoto"]


class _Request(BaseModel):
    """JSON that the browser sends, as programs can too.

    Attributes:
        title: Name of the classifier.
        replaces: Id of the visitor's classifier that is taught again; empty for a new one.
    """

    title: str
    replaces: str = ""

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read the JSON text of a request.

        Raises:
            RequestError: It is invalid.
        """
        try:
            return cls.model_validate_json(text)
        except ValidationError as error:
            raise RequestError(
                f"The photos to teach cannot be read: {error.errors()[0]['msg']}. Reload the page."
            ) from error


class _DraftClass(BaseModel):
    """A class of a draft: its name as typed, and its number of photos."""

    name: str
    photos: Annotated[int, Field(ge=0)]


class TeachingDraft(_Request):
    """A request to teach, without the photos, which are uploaded once it has been checked.

    Attributes:
        classes: The classes in the order in which the browser shows them.
    """

    classes: Annotated[list[_DraftClass], Field(max_length=2 * MAX_CLASSES)]

    def check(self) -> None:
        """Check names and numbers of photos.

        Raises:
            TeachingError: They are not accepted.
        """
        names = [class_name(each.name) for each in self.classes]
        check_classes(names)
        check_counts({n: each.photos for n, each in zip(names, self.classes, strict=True)})
        model_title(self.title)


class UploadedPhoto(BaseModel):
    """A photo of a class: its upload, and the name of its file."""

    label: str
    path: str
    name: str = ""


class PhotosToTeach(_Request):
    """Photos that the browser has uploaded.

    Attributes:
        photos: The photos, in the order in which the browser shows them.
        adds: Whether they are added to those that `replaces` was taught before.
    """

    photos: Annotated[list[UploadedPhoto], Field(max_length=MAX_TOTAL_PHOTOS)]
    adds: bool = False


class ClaimedPhotos:
    """Uploads that are kept until the classifier has been taught; close them afterwards.

    The sweep of the upload folder would delete them while the visitor waits for others.

    Args:
        photos: The uploads.
        uploads: Gradio's upload folder; a path outside of it cannot be read.

    Attributes:
        photos: The photos, named by their number from 1 on and the name of their file.
    """

    photos: Sequence[LabelledPhoto]

    def __init__(self, photos: Sequence[UploadedPhoto], uploads: str) -> None:
        # Beside the uploads, so that links can be made, and both end with the process.
        parent = Path(uploads).resolve().parent
        self._folder = Path(tempfile.mkdtemp(prefix="tensight-taught-", dir=parent))
        self.photos = [
            LabelledPhoto(each.label, self._claim(i, each.path, uploads), f"{i}. {each.name}")
            for i, each in enumerate(photos, 1)
        ]

    def close(self) -> None:
        """Delete them."""
        shutil.rmtree(self._folder, ignore_errors=True)

    def _claim(self, number: int, path: str, uploads: str) -> Path:
        """Return the path of a link to an upload, which does not exist where the upload is gone."""
        claimed = self._folder / str(number)
        if upload := uploaded(path, uploads):
            with suppress(OSError):
                os.link(Path(upload).resolve(), claimed)
        return claimed
