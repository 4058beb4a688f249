"""The Hugging Face Hub: the only file that imports its client."""

from __future__ import annotations

import errno
import hashlib
import logging
import sys
import threading
import traceback
from collections.abc import Callable, Sequence
from concurrent.futures import Future, as_completed
from concurrent.futures import TimeoutError as TooLateError
from dataclasses import dataclass
from functools import partial
from json import JSONDecodeError
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any, Literal, TypeVar

import httpx2
from huggingface_hub import HfApi, constants, hf_hub_download, snapshot_download
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    LocalEntryNotFoundError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.hf_api import RepoFile
from huggingface_hub.utils.tqdm import disable_progress_bars
from pydantic import SecretStr

from core.errors import DataError, HubAwayError, HubError, OutputError, TenSightError
from core.network import broken_variable, network_hint
from core.output import private_folder

__all__ = ["PATIENCE_S", "Commit", "RemoteFile", "fetch", "fetch_dataset", "publish", "resolve"]

# Seconds. The client itself tries for 23 before it says that there is no network.
PATIENCE_S = 10.0
_SLOWEST = 50_000  # bytes a second, below which a download is given up
_AT_ONCE = 8  # files
_UNCHANGED = "Nothing was changed."
_NO_ROOM = (
    "What the Hub sends cannot be written: {}. See that there is room, and that this user may "
    "write in TENSIGHT_HOME."
)
_OF_THE_DISK = (errno.ENOSPC, errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EDQUOT)

_CLIENT, _OURS = "huggingface_hub", "core"

Value = TypeVar("Value")

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class RemoteFile:
    """A file of a commit, as the commit's tree describes it.

    Attributes:
        path: In the repository.
        size: Bytes.
        blob_id: SHA-1 that git gives the file, or the pointer to it where it has a `sha256`.
        sha256: Of the content, where it lies in large file storage.
    """

    path: str
    size: int
    blob_id: str
    sha256: str | None

    def is_content(self, content: bytes) -> bool:
        """Whether these are the bytes."""
        if self.sha256 is not None:
            return hashlib.sha256(content).hexdigest() == self.sha256
        git = hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False)
        return git.hexdigest() == self.blob_id


@dataclass(frozen=True)
class Commit:
    """A commit of a repository of models.

    Attributes:
        repo: `owner/name`.
        sha: 40 hex digits.
        files: All of them.
    """

    repo: str
    sha: str
    files: tuple[RemoteFile, ...]


def resolve(
    repo: str, revision: str, *, token: SecretStr | None, patience_s: float = PATIENCE_S
) -> Commit:
    """Find out which commit a branch or tag is just now, and what is in it.

    Args:
        repo: `owner/name`.
        revision: Branch, tag or commit.
        token: For repositories that need one.
        patience_s: Seconds after which the Hub counts as out of reach.

    Raises:
        HubError: It cannot be found out; the message says why and what to do.
    """

    def ask() -> Commit:
        api = HfApi(token=_secret(token))
        sha = api.model_info(repo, revision=revision, timeout=patience_s).sha
        if not isinstance(sha, str) or len(sha) != 40:
            raise HubError(f"The Hub names no commit for {repo} at {revision}. Try again later.")
        tree = api.list_repo_tree(repo, revision=sha, recursive=True)
        files = tuple(
            RemoteFile(each.path, each.size, each.blob_id, each.lfs.sha256 if each.lfs else None)
            for each in tree
            if isinstance(each, RepoFile)
        )
        return Commit(repo, sha, files)

    return _told(repo, revision, lambda: _begin([ask])[0].result(patience_s))


def fetch(
    commit: Commit,
    files: Sequence[RemoteFile],
    *,
    into: Path,
    cache: Path,
    token: SecretStr | None,
    patience_s: float = 3 * PATIENCE_S,
    progress: Callable[[int, int], None] | None = None,
) -> None:
    """Download files of a commit, and see that they are what its tree says.

    Files that arrived whole before are not downloaded again; one that breaks off is gone on with,
    within the call, from the last whole 10 MB.

    Args:
        commit: Which one.
        files: Which of its files.
        into: Folder that they are written to, in the layout of the repository.
        cache: Folder that downloads are kept in.
        token: For repositories that need one.
        patience_s: Seconds that it may take, beside those that the bytes take at 50 kB/s. A
            process that ends then does not wait for what goes on downloading.
        progress: Told how many bytes have arrived, and of how many, after each file.

    Raises:
        HubError: They cannot be had, or are not those of the tree. (The client checks sizes alone.)
        OutputError: They cannot be written.
    """
    total = sum(file.size for file in files)

    def download(file: RemoteFile) -> tuple[RemoteFile, Path]:
        path = hf_hub_download(
            commit.repo, file.path, revision=commit.sha, cache_dir=cache, token=_secret(token)
        )
        return file, Path(path)

    def ask() -> None:
        arrived = 0
        futures = _begin([partial(download, file) for file in files])
        try:
            for future in as_completed(futures, patience_s + total / _SLOWEST):
                file, path = future.result()
                _write(_checked(commit, file, path), into / file.path)
                arrived += file.size
                if progress is not None:
                    progress(arrived, total)
        finally:
            # Those that have not begun: nobody waits for them any more.
            for future in futures:
                future.cancel()

    _told(commit.repo, commit.sha, ask)


def _checked(commit: Commit, file: RemoteFile, path: Path) -> bytes:
    """The bytes of a file that arrived."""
    try:
        # A file of another size is not worth reading: it may be larger than memory.
        content = path.read_bytes() if path.stat().st_size == file.size else None
    except OSError as error:
        raise HubError(
            f"{file.path} of {commit.repo} did not arrive ({error.strerror}). {_UNCHANGED} Try "
            "again."
        ) from error
    if content is None or not file.is_content(content):
        # Else it would be taken from the cache the next time.
        path.resolve().unlink(missing_ok=True)
        path.unlink(missing_ok=True)
        raise HubError(
            f"{file.path} of {commit.repo} at {commit.sha[:12]} arrived as other bytes than the "
            f"commit names. {_UNCHANGED} Try again; if it happens again, do not trust the network "
            "between."
        )
    return content


def _write(content: bytes, path: Path) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    except OSError as error:
        raise OutputError(_NO_ROOM.format(error)) from error


def publish(
    folder: Path,
    files: Sequence[str],
    repo: str,
    *,
    token: SecretStr | None,
    message: str,
    tag: str | None,
    private: bool,
    space: bool = False,
    bars: bool = False,
) -> str:
    """Upload files as one commit; the repository is made where there is none.

    Args:
        folder: Where they lie.
        files: Their paths in it. Their folders come to hold them alone; other folders of the
            repository stay.
        repo: `owner/name`.
        token: One that may write.
        message: Of the commit.
        tag: To put on it.
        private: Whether a repository that is made is.
        space: Whether it is a Gradio Space, not a repository of models.
        bars: Whether the client shows on stderr how far it is.

    Returns:
        The commit, 40 hex digits.

    Raises:
        HubError: It cannot be uploaded, or not be tagged; the message says how far it came.
    """
    api = HfApi(token=_secret(token))
    kind: dict[str, Any] = {"repo_type": "space"} if space else {}
    sdk: dict[str, Any] = {"space_sdk": "gradio"} if space else {}

    def prepare() -> None:
        api.create_repo(repo, exist_ok=True, private=private, **kind, **sdk)
        if tag is not None and tag in {ref.name for ref in api.list_repo_refs(repo).tags}:
            raise HubError(f"{repo} has a tag {tag} already. Nothing was sent. Give another --tag.")

    def upload() -> str:
        done = api.upload_folder(
            repo_id=repo,
            **kind,
            folder_path=folder,
            commit_message=message,
            allow_patterns=list(files),
            # What a model had before and has no more would not be in its config.json.
            delete_patterns=[
                f"{name}/*" for name in sorted({f.split("/")[0] for f in files if "/" in f})
            ],
        )
        return str(done.oid)

    _told(repo, "main", prepare, so_far="Nothing was sent.", bars=bars)
    unsure = "See on its page on the Hub whether a commit was made."
    commit = _told(repo, "main", upload, so_far=unsure, bars=bars)
    if tag is not None:
        try:
            put = partial(api.create_tag, repo, tag=tag, revision=commit)
            _told(repo, "main", put, so_far="No tag was made.", bars=bars)
        except HubError as error:
            raise HubError(
                f"{repo} is published as commit {commit}, but not tagged {tag}: {error} Then "
                "publish once more with the same --tag: what is there already is not sent again."
            ) from error
    return commit


def _secret(token: SecretStr | None) -> str | Literal[False]:
    """What the client takes for a token; with None it would send one that somebody saved."""
    return token.get_secret_value() if token else False


def _begin(asks: Sequence[Callable[[], Value]]) -> list[Future[Value]]:
    """Make calls, `_AT_ONCE` at a time, in threads that no process waits for when it ends.

    (It would for those of an executor, and the client may go on trying for long.)
    """
    futures: list[Future[Value]] = [Future() for _ in asks]
    waiting: SimpleQueue[tuple[Future[Value], Callable[[], Value]]] = SimpleQueue()
    for each in zip(futures, asks, strict=True):
        waiting.put(each)

    def work() -> None:
        while True:
            try:
                future, ask = waiting.get_nowait()
            except Empty:
                return
            if not future.set_running_or_notify_cancel():
                continue
            try:
                future.set_result(ask())
            except BaseException as error:  # noqa: BLE001  # told to who waits
                future.set_exception(error)

    for _ in range(min(len(asks), _AT_ONCE)):
        threading.Thread(target=work, daemon=True).start()
    return futures


def _told(
    repo: str,
    revision: str,
    ask: Callable[[], Value],
    *,
    so_far: str = _UNCHANGED,
    bars: bool = False,
) -> Value:
    """What a call gives, or our own error, with what was done `so_far` and what to do."""
    # It tells every try of its own, twice.
    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)
    if not bars:
        disable_progress_bars()
    try:
        return ask()
    except TenSightError:
        raise
    except OfflineModeIsEnabled as error:
        raise HubAwayError("HF_HUB_OFFLINE is set, so the Hub is not asked. Unset it.") from error
    except GatedRepoError as error:
        raise HubError(
            f"{repo} is open only to those who were let in. Ask for that on its page on the Hub, "
            "and set TENSIGHT_HUB_TOKEN."
        ) from error
    except RevisionNotFoundError as error:
        raise HubError(
            f"{repo} has no branch, tag or commit {revision!r}. Look at its page on the Hub, and "
            "give another --revision or TENSIGHT_HUB_REVISION."
        ) from error
    except RepositoryNotFoundError as error:
        raise HubError(
            f"There is no repository {repo} on the Hub, or not for who asks. Check --repo or "
            "TENSIGHT_HUB_REPO, and TENSIGHT_HUB_TOKEN where it is private."
        ) from error
    except HfHubHTTPError as error:
        status = error.response.status_code
        if status in (401, 403):
            raise HubError(
                f"The Hub refuses {repo} ({status}). Check that TENSIGHT_HUB_TOKEN is right, and "
                "that it may do this."
            ) from error
        raise HubError(
            f"The Hub could not answer for {repo} ({status}). {so_far} Try again later."
        ) from error
    except HFValidationError as error:
        raise HubError(
            f"{repo!r} is no name of a repository. It looks like owner/name: check --repo or "
            "TENSIGHT_HUB_REPO."
        ) from error
    except (JSONDecodeError, UnicodeDecodeError, KeyError, TypeError, AttributeError) as error:
        if not _is_of_the_client(error):
            raise  # a mistake of this program, which the network is not to be blamed for
        # What is told does not say where the client stumbled.
        logger.debug("The Hub's client does not understand an answer", exc_info=error)
        raise HubAwayError(
            f"What came is no answer of the Hub ({type(error).__name__}). {so_far} See whether a "
            "login page of the network stands between, and that HF_ENDPOINT is right where it is "
            "set; then try again."
        ) from error
    except (ValueError, ImportError, httpx2.InvalidURL, FileNotFoundError) as error:
        # The client of the network cannot be made.
        broken = broken_variable()
        if broken is not None:
            raise HubAwayError(f"The Hub cannot be reached. {so_far} {broken}") from error
        if not isinstance(error, ValueError):
            raise
        raise HubError(f"The Hub does not take this: {error} Mend it, and try again.") from error
    except (TooLateError, httpx2.HTTPError, OSError) as error:
        if isinstance(error, OSError) and error.errno in _OF_THE_DISK:
            raise OutputError(_NO_ROOM.format(error)) from error
        raise HubAwayError(
            f"The Hub cannot be reached, or broke off ({type(error).__name__}). {so_far} Check the "
            f"network, and try again. {network_hint(constants.ENDPOINT)}".rstrip()
        ) from error


def _is_of_the_client(error: Exception) -> bool:
    """Whether the Hub's client met an error, or what it called; else code of this package did."""
    last = ""
    for frame, _ in traceback.walk_tb(error.__traceback__):
        module = str(frame.f_globals.get("__name__", "")).partition(".")[0]
        if module in (_CLIENT, _OURS):
            last = module
    return last == _CLIENT


def fetch_dataset(
    repo: str,
    pattern: str,
    *,
    cache: Path,
    token: SecretStr | None = None,
    endpoint: str | None = None,
) -> Path:
    """Download the matching files of a data set, once; on a terminal bars show how far it is.

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
    if not sys.stderr.isatty():
        disable_progress_bars()
    try:
        private_folder(cache.parent)
        folder = Path(
            snapshot_download(
                repo,
                repo_type="dataset",
                allow_patterns=pattern,
                cache_dir=cache,
                token=_secret(token),
                endpoint=endpoint,
            )
        )
    except (
        *(LocalEntryNotFoundError, HfHubHTTPError, httpx2.HTTPError, httpx2.InvalidURL),
        *(OSError, ValueError, ImportError),
    ) as error:
        hint = network_hint(endpoint or constants.ENDPOINT)
        raise DataError(
            f"The data set {repo} cannot be fetched from the Hub ({type(error).__name__}). Check "
            "the network, or put the files in a folder and name it in TENSIGHT_DATA. "
            f"{hint}".rstrip()
        ) from error
    if not any(folder.glob(pattern)):
        raise DataError(f"The data set {repo} on the Hub has no file like {pattern}.")
    return folder
