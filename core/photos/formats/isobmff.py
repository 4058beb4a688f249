"""Read the boxes of HEIF and AVIF files (ISO base media file format, ISO/IEC 14496-12)."""

from __future__ import annotations

import re

from core.photos.formats.inspected import Inspected

__all__ = ["inspect"]

# An item's entry: version, flags, item id of 2 or 4 bytes, protection, type.
_EXIF_ITEM = re.compile(rb"(infe(?:\x02.{3}.{2}|\x03.{3}.{4}).{2})Exif", re.DOTALL)


def inspect(data: bytes) -> Inspected:
    """Hide the EXIF items of a file from its decoder, which would load them whole.

    The orientation of these formats is a property of the picture; EXIF is not to be asked.
    """
    # As long as before, since other boxes name places in the file.
    return Inspected(_EXIF_ITEM.sub(rb"\1skip", data))
