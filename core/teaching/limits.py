"""Limits on what a classifier can be taught with, and checks of its names."""

from __future__ import annotations

import unicodedata
from collections.abc import Collection, Sequence

from core.errors import TeachingError
from core.registry.taught import is_private
from core.text import has_hidden, printable

__all__ = [
    "MAX_CLASSES",
    "MAX_NAME_LENGTH",
    "MAX_PHOTOS",
    "MAX_TOTAL_PHOTOS",
    "MIN_CLASSES",
    "MIN_PHOTOS",
    "check_classes",
    "check_counts",
    "check_model_name",
    "class_name",
    "comparison_key",
    "model_title",
]

MIN_CLASSES, MAX_CLASSES = 2, 50
MIN_PHOTOS, MAX_PHOTOS = 3, 200
"""Numbers of photos of one class."""
MAX_TOTAL_PHOTOS = 2_500
MAX_NAME_LENGTH = 64
"""Maximum length of the name of a class or of a model, in characters."""

_NONE = "none"


def comparison_key(name: str) -> str:
    """Return a key that is equal for names that read the same, such as `Cat` and `cat`."""
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", name).casefold()).strip()


def class_name(name: str) -> str:
    """Return the stored form of a class name: Unicode form NFC, without surrounding spaces.

    Raises:
        TeachingError: The name is empty or too long, has characters that cannot be seen, or is
            `none`, which stands for photos of none of the classes.
    """
    stored = unicodedata.normalize("NFC", name).strip()
    shown = printable(stored, MAX_NAME_LENGTH)
    if not stored or len(stored) > MAX_NAME_LENGTH:
        raise TeachingError(
            "bad_class",
            f"The name of a class has 1 to {MAX_NAME_LENGTH} characters; {shown!r} has "
            f"{len(stored)}. Rename the class.",
            shown,
        )
    if has_hidden(stored):
        raise TeachingError(
            "bad_class",
            f"The name of the class {shown!r} has characters that cannot be seen. Rename it.",
            shown,
        )
    if comparison_key(stored) == _NONE:
        raise TeachingError(
            "bad_class",
            f"The name {shown!r} stands for photos of none of the classes. Rename the class.",
            shown,
        )
    return stored


def check_classes(names: Sequence[str]) -> None:
    """Check the number of classes, and that their names differ.

    Args:
        names: Results of `class_name`.

    Raises:
        TeachingError: There are too few or too many, or two read the same.
    """
    if len(names) < MIN_CLASSES:
        raise TeachingError(
            "few_classes",
            f"A classifier needs at least {MIN_CLASSES} classes; there is {len(names)}. Add photos "
            "of another class.",
        )
    if len(names) > MAX_CLASSES:
        raise TeachingError(
            "many_classes",
            f"There are {len(names)} classes; at most {MAX_CLASSES} can be taught. Leave some out.",
        )
    seen: dict[str, str] = {}
    for name in names:
        other = seen.get(comparison_key(name))
        seen[comparison_key(name)] = name
        if other is not None:
            raise TeachingError(
                "same_class",
                f"The names of the classes {other!r} and {name!r} read the same. Rename one, or "
                "put their photos together.",
                other,
                name,
            )


def check_counts(counts: dict[str, int]) -> None:
    """Check the number of photos of each class, and of all.

    Args:
        counts: Different, readable photos by class.

    Raises:
        TeachingError: A class has too few or too many photos, or all classes together too many.
    """
    few = [name for name, n in counts.items() if n < MIN_PHOTOS]
    if few:
        listed = ", ".join(f"{name!r} has {counts[name]}" for name in few)
        raise TeachingError(
            "few_photos",
            f"A class needs at least {MIN_PHOTOS} different photos: {listed}. Add photos.",
            *few,
        )
    many = [name for name, n in counts.items() if n > MAX_PHOTOS]
    if many:
        listed = ", ".join(f"{name!r} has more" for name in many)
        raise TeachingError(
            "many_photos",
            f"A class has at most {MAX_PHOTOS} photos: {listed}. Leave some out.",
            *many,
        )
    if sum(counts.values()) > MAX_TOTAL_PHOTOS:
        raise TeachingError(
            "many_in_all",
            f"All classes together have at most {MAX_TOTAL_PHOTOS:,} photos. Leave some out.",
        )


def check_model_name(name: str, taken: Collection[str]) -> None:
    """Check the name of a model that is to be listed with others.

    Args:
        name: The name, which the schema of config.json has accepted or will check.
        taken: Names of models that were not taught, which it must not replace.

    Raises:
        TeachingError: The name cannot be used.
    """
    allowed = set("abcdefghijklmnopqrstuvwxyz0123456789_-")
    if not name or len(name) >= MAX_NAME_LENGTH or set(name) - allowed or name[0] in "_-":
        raise TeachingError(
            "bad_model",
            f"{printable(name, MAX_NAME_LENGTH)!r} cannot be the name of a model. Use 1 to "
            f"{MAX_NAME_LENGTH - 1} lower-case letters, digits, `_` and `-`, such as `my-birds`.",
            printable(name, MAX_NAME_LENGTH),
        )
    if is_private(name) or name == _NONE:
        raise TeachingError(
            "bad_model", f"The name {name!r} is reserved. Choose another one.", name
        )
    if name in taken:
        raise TeachingError(
            "taken_model",
            f"{name!r} is the name of a model that comes with TenSight. Choose another one.",
            name,
        )


def model_title(title: str) -> str:
    """Return the stored form of a classifier's title: without surrounding spaces.

    Raises:
        TeachingError: It is empty or too long, has characters that cannot be seen, or is `none`.
    """
    stored = title.strip()
    is_none = comparison_key(stored) == _NONE
    if not stored or len(stored) > MAX_NAME_LENGTH or has_hidden(stored) or is_none:
        raise TeachingError(
            "bad_model",
            f"{printable(stored, MAX_NAME_LENGTH)!r} cannot be the name of a classifier. Use 1 to "
            f"{MAX_NAME_LENGTH} visible characters, other than `none`.",
            printable(stored, MAX_NAME_LENGTH),
        )
    return stored
