"""Suffixes of file names: what looks like a secret is a name if one of them follows."""

from __future__ import annotations

__all__ = ["FILE_SUFFIX", "IMAGE_SUFFIX"]

IMAGE_SUFFIX = r"\.(?i:avif|bmp|gif|hei[cf]|jpe?g|png|tiff?|webp)\b"
"""Regular expression of the suffix of a photo."""

FILE_SUFFIX = rf"(?:{IMAGE_SUFFIX}|\.(?i:csv|gz|html|json|keras|log|npz|pdf|tar|tflite|toml|txt)\b)"
"""Regular expression of the suffix of a photo or another file."""
