"""The Hugging Face Hub: the only file that imports its client."""

from __future__ import annotations

from pathlib import Path

import httpx2
from huggingface_hub import snapshot_download
from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError
from pydantic import SecretStr

from core.errors import DataError

__all__ = ["fetch_dataset"]


def fetch_dataset(
    repo: str,
    pattern: str,
    *,
    cache: Path,
    token: SecretStr | None = None,
    endpoint: str | None = None,
) -> Path:
    """Download the matching files of a data set, once; a progress bar goes to stderr.

    Args:
        repo: Name of the data set on the Hub, `owner/name`.
        pattern: Which files, as a glob over their paths in the repo.
        cache: Folder that downloads are kept in.
        token: For data sets that need one.
        endpoint: Address of the Hub; None: the public one, or HF_ENDPOINT.

    Returns:
        Folder with the files in the layout of the repo.

    Raises:
        DataError: The Hub cannot be reached, or does not have the files.
    """
    try:
        folder = Path(
            snapshot_download(
                repo,
                repo_type="dataset",
                allow_patterns=pattern,
                cache_dir=cache,
                token=token.get_secret_value() if token else None,
                endpoint=endpoint,
            )
        )
    except (LocalEntryNotFoundError, HfHubHTTPError, httpx2.HTTPError, OSError) as error:
        raise DataError(
            f"The data set {repo} cannot be fetched from the Hub ({type(error).__name__}). Check "
            "the network, or put the files in a folder and name it in TENSIGHT_DATA."
        ) from error
    if not any(folder.glob(pattern)):
        raise DataError(f"The data set {repo} on the Hub has no file like {pattern}.")
    return folder
