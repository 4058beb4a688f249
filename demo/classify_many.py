"""Classification of many photos: uploads or files of zip archives, each retried while busy."""

from __future__ import annotations

import asyncio
import zipfile
import zlib
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TypeVar

from core.errors import ImageError, RequestError
from core.inference.prediction import Prediction
from core.photos.decode import MAX_BYTES
from core.serving.ask import retry_while_busy
from core.serving.predictor import PreviewedPrediction
from demo.components import read_path
from demo.context import PageContext

__all__ = ["MAX_PHOTOS", "BatchPhoto", "ZipError", "list_photos", "predict_many", "preview_many"]

MAX_PHOTOS = 100
"""Maximum number of photos in a batch."""

# What reading a damaged, encrypted or oddly compressed file of an archive raises.
_UNREADABLE = (OSError, EOFError, NotImplementedError, zipfile.BadZipFile, zlib.error)

_THUMBNAIL = 128

_Answer = TypeVar("_Answer")


class ZipError(RequestError):
    """An upload that is called a zip archive cannot be read as one; `name` is its name."""

    def __init__(self, name: str) -> None:
        super().__init__(f"{name} cannot be opened. Send a zip file without a password.")
        self.name = name


@dataclass(frozen=True)
class BatchPhoto:
    """A photo of a batch.

    Attributes:
        name: Name of the file.
        path: Path of the upload: the photo itself, or the archive that holds it.
        member: Name within the archive; None for an upload of its own.
    """

    name: str
    path: str
    member: str | None = None

    def content(self) -> bytes | str:
        """Return the bytes of an archive's file, or the path of an upload.

        Raises:
            ImageError: The file is too large, encrypted, or damaged.
            PhotoReadError: There is no upload.
        """
        if self.member is None:
            return read_path(self.path)
        try:
            with zipfile.ZipFile(self.path) as archive, archive.open(self.member) as stream:
                # The size that an archive claims need not be true.
                data = stream.read(MAX_BYTES + 1)
        except (*_UNREADABLE, RuntimeError) as error:
            raise ImageError("truncated", f"{self.name} cannot be read: {error}") from error
        if len(data) > MAX_BYTES:
            raise ImageError("too_large", f"{self.name} has more than {MAX_BYTES} bytes.")
        return data


def list_photos(paths: Sequence[str]) -> list[BatchPhoto]:
    """List the photos of uploads, those in zip archives one by one.

    Args:
        paths: Paths of uploads, outputs of `uploaded`.

    Returns:
        The photos in order; folders and hidden files of archives are left out.

    Raises:
        ZipError: An archive cannot be read.
    """
    photos = []
    for path in paths:
        name = Path(path).name
        if not name.lower().endswith(".zip"):
            photos.append(BatchPhoto(name, path))
            continue
        try:
            with zipfile.ZipFile(path) as archive:
                members = [each for each in archive.infolist() if not each.is_dir()]
        except (OSError, ValueError, zipfile.BadZipFile) as error:
            raise ZipError(name) from error
        if any(member.flag_bits & 1 for member in members):  # encrypted
            raise ZipError(name)
        photos += [
            BatchPhoto(PurePosixPath(member.filename).name, path, member.filename)
            for member in members
            if not _is_hidden(member.filename)
        ]
    return photos


def _is_hidden(member: str) -> bool:
    parts = PurePosixPath(member).parts
    return "__MACOSX" in parts or any(part.startswith(".") for part in parts)


async def predict_many(
    context: PageContext, paths: Sequence[str], model: str | None, client: str
) -> list[Prediction | Exception]:
    """Classify photos, retrying each while the predictor is busy.

    Args:
        context: Context of the page.
        paths: Paths of uploads, outputs of `uploaded`.
        model: Name of the model; None for the default model.
        client: Key of the client that sent them.

    Returns:
        Prediction or error of each photo, in the order of `paths`.
    """

    async def ask(photo: BatchPhoto) -> Prediction:
        return await context.predictor.predict(photo.content(), model=model, client=client)

    photos = [BatchPhoto(Path(path).name, path) for path in paths]
    return await _classify_each(context, photos, ask, lambda _: None)


async def preview_many(
    context: PageContext,
    photos: Sequence[BatchPhoto],
    model: str,
    client: str,
    step: Callable[[int], None],
) -> list[PreviewedPrediction | Exception]:
    """Classify photos as `predict_many` does, with thumbnails.

    Args:
        context: Context of the page.
        photos: The photos.
        model: Name of the model.
        client: Key of the client that sent them.
        step: Called with the number of photos that are done.

    Returns:
        Prediction with thumbnail, or error, of each photo, in the order of `photos`.
    """

    async def ask(photo: BatchPhoto) -> PreviewedPrediction:
        content = await asyncio.to_thread(photo.content)
        return await context.predictor.predict_with_preview(
            content, model=model, side=_THUMBNAIL, client=client
        )

    return await _classify_each(context, photos, ask, step)


async def _classify_each(
    context: PageContext,
    photos: Sequence[BatchPhoto],
    ask: Callable[[BatchPhoto], Awaitable[_Answer]],
    step: Callable[[int], None],
) -> list[_Answer | Exception]:
    done = 0

    async def classify(photo: BatchPhoto) -> _Answer | Exception:
        nonlocal done
        async with context.batches:
            try:
                return await retry_while_busy(lambda: ask(photo))
            except Exception as error:  # noqa: BLE001  # reported in the photo's row
                return error
            finally:
                done += 1
                step(done)

    return list(await asyncio.gather(*map(classify, photos)))
