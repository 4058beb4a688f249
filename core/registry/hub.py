"""Client of the Hugging Face Hub. No other module imports huggingface_hub.

It is imported inside functions: it takes long to import, and most processes never ask the Hub.
"""

from __future__ import annotations

import errno
import hashlib
import logging
import re
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
from pydantic import SecretStr

from core.environment import invalid_hub_variable
from core.errors import DataError, HubError, HubUnavailableError, OutputError, TenSightError
from core.network import broken_variable, network_hint
from core.output import private_folder
from core.text import printable

__all__ = [
    "TIMEOUT_S",
    "Commit",
    "RemoteFile",
    "fetch",
    "fetch_dataset",
    "publish",
    "resolve_commit",
]

# Timeout in seconds. The client itself retries for 23 seconds before it reports a network failure.
TIMEOUT_S = 10.0
_MIN_BYTES_PER_S = 50_000  # lowest transfer rate in bytes per second that the timeouts allow for
_MAX_PARALLEL = 8  # parallel downloads
_UNCHANGED = "Nothing was changed."
_NO_ROOM = (
    "Cannot write the download to disk: {}. Check the free disk space and that this user has write "
    "permission for TENSIGHT_HOME."
)
_OF_THE_DISK = (errno.ENOSPC, errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EDQUOT)

_CLIENT, _OURS = "huggingface_hub", "core"

Value = TypeVar("Value")

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class RemoteFile:
    """A file in the tree of a commit.

    Attributes:
        path: Path in the repository.
        size: Size in bytes.
        blob_id: Git blob SHA-1 of the file, or of its LFS pointer where it has a `sha256`.
        sha256: SHA-256 of the content for a file in LFS, else None.
    """

    path: str
    size: int
    blob_id: str
    sha256: str | None

    def is_content(self, content: bytes) -> bool:
        """Return whether bytes match the digest of this file."""
        if self.sha256 is not None:
            return hashlib.sha256(content).hexdigest() == self.sha256
        git = hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False)
        return git.hexdigest() == self.blob_id


@dataclass(frozen=True)
class Commit:
    """A commit of a model repository.

    Attributes:
        repo: Repository, `owner/name`.
        sha: Commit hash, 40 hex digits.
        files: All files in its tree.
    """

    repo: str
    sha: str
    files: tuple[RemoteFile, ...]


def resolve_commit(
    repo: str, revision: str, *, token: SecretStr | None, timeout_s: float = TIMEOUT_S
) -> Commit:
    """Resolve a branch, tag or commit to a commit, and list its files.

    Args:
        repo: Repository, `owner/name`.
        revision: Branch, tag or commit.
        token: Access token; None for anonymous access.
        timeout_s: Timeout in seconds.

    Raises:
        HubUnavailableError: The Hub cannot be reached within the timeout.
        HubError: The Hub refuses access, or the repository or revision does not exist.
    """
    _check_variables()
    from huggingface_hub import HfApi  # noqa: PLC0415
    from huggingface_hub.hf_api import RepoFile  # noqa: PLC0415

    def ask() -> Commit:
        api = HfApi(token=_token_value(token))
        sha = api.model_info(repo, revision=revision, timeout=timeout_s).sha
        if not isinstance(sha, str) or not re.fullmatch("[0-9a-f]{40}", sha):
            raise HubError(f"The Hub returned no commit for {repo} at {revision}. Try again later.")
        tree = api.list_repo_tree(repo, revision=sha, recursive=True)
        files = tuple(
            RemoteFile(each.path, each.size, each.blob_id, each.lfs.sha256 if each.lfs else None)
            for each in tree
            if isinstance(each, RepoFile)
        )
        return Commit(repo, sha, files)

    return _translate_errors(
        repo, revision, lambda: _run_in_daemon_threads([ask])[0].result(timeout_s)
    )


def fetch(
    commit: Commit,
    files: Sequence[RemoteFile],
    *,
    into: Path,
    cache: Path,
    token: SecretStr | None,
    timeout_s: float = 3 * TIMEOUT_S,
    progress: Callable[[int, int], None] | None = None,
) -> None:
    """Download files of a commit and verify their digests.

    Completed files are read from the cache. An interrupted transfer is resumed within the call,
    from the last complete 10 MB.

    Args:
        commit: The commit to download from.
        files: Which of its files to download.
        into: Target folder; files are written in the layout of the repository.
        cache: Cache folder of the Hub's client.
        token: Access token; None for anonymous access.
        timeout_s: Timeout in seconds, in addition to size / 50 kB/s. Downloads run in daemon
            threads and do not block process exit.
        progress: Called after each file with the number of bytes downloaded and the total.

    Raises:
        HubUnavailableError: The Hub cannot be reached, or the timeout expired.
        HubError: The Hub refuses access, or a file does not match its digest. (The client itself
            compares sizes only.)
        OutputError: The files cannot be written.
    """
    _check_variables()
    from huggingface_hub import hf_hub_download  # noqa: PLC0415

    total = sum(file.size for file in files)

    def download(file: RemoteFile) -> tuple[RemoteFile, Path]:
        path = hf_hub_download(
            commit.repo, file.path, revision=commit.sha, cache_dir=cache, token=_token_value(token)
        )
        return file, Path(path)

    def ask() -> None:
        arrived = 0
        futures = _run_in_daemon_threads([partial(download, file) for file in files])
        try:
            for future in as_completed(futures, timeout_s + total / _MIN_BYTES_PER_S):
                file, path = future.result()
                _write(_read_verified(commit, file, path), into / file.path)
                arrived += file.size
                if progress is not None:
                    progress(arrived, total)
        finally:
            # Downloads that have not started are dropped, since nothing waits for them any more.
            for future in futures:
                future.cancel()

    _translate_errors(commit.repo, commit.sha, ask)


def _read_verified(commit: Commit, file: RemoteFile, path: Path) -> bytes:
    """Read a downloaded file and verify its digest; a corrupt one is removed from the cache."""
    try:
        # A file of the wrong size is not read, since it may be larger than the memory.
        content = path.read_bytes() if path.stat().st_size == file.size else None
    except OSError as error:
        raise HubError(
            f"The download of {file.path} from {commit.repo} cannot be read ({error.strerror}). "
            f"{_UNCHANGED} Try again."
        ) from error
    if content is None or not file.is_content(content):
        # Otherwise the next download would return the corrupt file from the cache.
        path.resolve().unlink(missing_ok=True)
        path.unlink(missing_ok=True)
        raise HubError(
            f"{file.path} of {commit.repo} at {commit.sha[:12]} failed verification: the bytes "
            f"downloaded do not match the digest in the commit. {_UNCHANGED} Try again; if it "
            "fails again, a proxy may be altering downloads."
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
    """Upload files as one commit; the repository is created if it does not exist.

    Args:
        folder: Local folder.
        files: Paths in it. In the repository, the folders that these files are in are replaced;
            other folders are kept.
        repo: Repository, `owner/name`.
        token: Access token with write permission.
        message: Commit message.
        tag: Tag to create for the commit; None for no tag.
        private: Whether a newly created repository is private.
        space: Whether the repository is a Gradio Space instead of a model repository.
        bars: Whether the client shows progress bars on stderr.

    Returns:
        Commit hash, 40 hex digits.

    Raises:
        HubUnavailableError: The Hub cannot be reached.
        HubError: The upload or the tag failed; the message says what was done until then.
    """
    _check_variables()
    from huggingface_hub import HfApi  # noqa: PLC0415

    api = HfApi(token=_token_value(token))
    kind: dict[str, Any] = {"repo_type": "space"} if space else {}
    sdk: dict[str, Any] = {"space_sdk": "gradio"} if space else {}

    def prepare() -> None:
        api.create_repo(repo, exist_ok=True, private=private, **kind, **sdk)
        if tag is not None and tag in {ref.name for ref in api.list_repo_refs(repo).tags}:
            raise HubError(
                f"{repo} already has a tag {tag}. Nothing was uploaded. Choose another --tag."
            )

    def upload() -> str:
        done = api.upload_folder(
            repo_id=repo,
            **kind,
            folder_path=folder,
            commit_message=message,
            allow_patterns=list(files),
            # Files that a model no longer has must go: its config.json has no digest for them.
            delete_patterns=[
                f"{name}/*" for name in sorted({f.split("/")[0] for f in files if "/" in f})
            ],
        )
        return str(done.oid)

    _translate_errors(repo, "main", prepare, so_far="Nothing was uploaded.", bars=bars)
    unsure = "Check on its page on the Hub whether a commit was created."
    commit = _translate_errors(repo, "main", upload, so_far=unsure, bars=bars)
    if tag is not None:
        try:
            put = partial(api.create_tag, repo, tag=tag, revision=commit)
            _translate_errors(repo, "main", put, so_far="No tag was created.", bars=bars)
        except HubError as error:
            raise HubError(
                f"{repo} is published as commit {commit}, but not tagged {tag}: {error} Then "
                "run the command again with the same --tag; files that are already uploaded are "
                "not sent again."
            ) from error
    return commit


def _token_value(token: SecretStr | None) -> str | Literal[False]:
    """Convert a token for the client, which for None would send a token saved by `hf auth`."""
    return token.get_secret_value() if token else False


def _check_variables() -> None:
    """Check the variables that the client reads when it is imported.

    Raises:
        HubUnavailableError: One of them is invalid.
    """
    invalid = invalid_hub_variable()
    if invalid is not None:
        raise HubUnavailableError(f"The Hub cannot be reached. {_UNCHANGED} {invalid}")


def _run_in_daemon_threads(asks: Sequence[Callable[[], Value]]) -> list[Future[Value]]:
    """Run calls in daemon threads, `_MAX_PARALLEL` in parallel.

    The threads of an executor would block process exit for as long as the client retries.

    Args:
        asks: The calls.

    Returns:
        One future for each call, in the order of `asks`.
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
            except BaseException as error:  # noqa: BLE001  # raised by the future's result
                future.set_exception(error)

    for _ in range(min(len(asks), _MAX_PARALLEL)):
        threading.Thread(target=work, daemon=True).start()
    return futures


def _translate_errors(
    repo: str,
    revision: str,
    ask: Callable[[], Value],
    *,
    so_far: str = _UNCHANGED,
    bars: bool = False,
) -> Value:
    """Call the Hub's client and translate its exceptions.

    Args:
        repo: Repository to name in error messages.
        revision: Revision to name in error messages.
        ask: The call.
        so_far: Sentence for error messages that says what was changed before the failure.
        bars: Whether the client shows progress bars.

    Raises:
        HubUnavailableError: The Hub cannot be reached, or something else answers in its place.
        HubError: The Hub refuses the request.
        OutputError: A file cannot be written.
    """
    from huggingface_hub.utils.tqdm import disable_progress_bars  # noqa: PLC0415

    # The client logs each of its retries twice.
    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)
    if not bars:
        disable_progress_bars()
    try:
        return ask()
    except TenSightError:
        raise
    except Exception as error:
        translated = (
            _translate_refusal(error, repo, revision, so_far)
            or _translate_client_error(error, so_far)
            or _translate_connection_error(error, so_far)
        )
        if translated is None:
            raise  # a bug of this program must not be reported as a network problem
        raise translated from error


def _translate_refusal(error: Exception, repo: str, revision: str, so_far: str) -> HubError | None:
    """Translate an error by which the Hub, or its client, refuses a request; None for others."""
    from huggingface_hub import errors  # noqa: PLC0415

    if isinstance(error, errors.OfflineModeIsEnabled):
        return HubUnavailableError(
            "HF_HUB_OFFLINE is set, so no request was sent to the Hub. Unset it to go online."
        )
    if isinstance(error, errors.GatedRepoError):
        return HubError(
            f"{repo} is a gated repository. Request access on its page on the Hub, then set "
            "TENSIGHT_HUB_TOKEN."
        )
    if isinstance(error, errors.RevisionNotFoundError):
        return HubError(
            f"{repo} has no branch, tag or commit {revision!r}. Check its page on the Hub, then "
            "change --revision or TENSIGHT_HUB_REVISION."
        )
    if isinstance(error, errors.RepositoryNotFoundError):
        return HubError(
            f"Repository {repo} does not exist on the Hub, or the token has no access to it. Check "
            "--repo or TENSIGHT_HUB_REPO, and TENSIGHT_HUB_TOKEN if it is private."
        )
    if isinstance(error, errors.HfHubHTTPError):
        status = error.response.status_code
        if status in (401, 403):
            return HubError(
                f"The Hub denied access to {repo} (HTTP status {status}). Check that "
                "TENSIGHT_HUB_TOKEN is valid and has the required permission."
            )
        return HubError(
            f"The Hub failed to answer for {repo} (HTTP status {status}). {so_far} Try again later."
        )
    if isinstance(error, errors.HFValidationError):
        return HubError(
            f"{repo!r} is not a valid repository name. Expected owner/name; check --repo or "
            "TENSIGHT_HUB_REPO."
        )
    return None


def _translate_client_error(error: Exception, so_far: str) -> HubError | None:
    """Translate an error of the client on a response or a setting; None for others."""
    if isinstance(
        error, JSONDecodeError | UnicodeDecodeError | KeyError | TypeError | AttributeError
    ):
        if not _is_of_the_client(error):
            return None
        # The message does not say where in the client it failed, so the traceback is logged.
        logger.debug("The Hub's client failed to parse a response", exc_info=error)
        return HubUnavailableError(
            f"The response did not come from the Hub ({type(error).__name__}). {so_far} Check "
            "whether the network redirects to a login page and, if HF_ENDPOINT is set, that it is "
            "correct; then try again."
        )
    if isinstance(error, ValueError | ImportError | httpx2.InvalidURL | FileNotFoundError):
        # The HTTP client cannot be created, for example with an invalid proxy URL in HTTPS_PROXY.
        broken = broken_variable()
        if broken is not None:
            return HubUnavailableError(f"The Hub cannot be reached. {so_far} {broken}")
        if isinstance(error, ValueError):
            return HubError(
                f"The Hub rejected the request: {printable(str(error))} Correct it and try again."
            )
    return None


def _translate_connection_error(error: Exception, so_far: str) -> HubError | OutputError | None:
    """Translate an error of the network or of the disk; None for others."""
    from huggingface_hub import constants  # noqa: PLC0415

    if isinstance(error, FileNotFoundError) or not isinstance(
        error, TooLateError | httpx2.HTTPError | OSError
    ):
        return None
    if isinstance(error, OSError) and error.errno in _OF_THE_DISK:
        return OutputError(_NO_ROOM.format(error))
    return HubUnavailableError(
        f"The Hub cannot be reached, or the connection broke ({type(error).__name__}). "
        f"{so_far} Check the network, then try again. "
        f"{network_hint(constants.ENDPOINT)}".rstrip()
    )


def _is_of_the_client(error: Exception) -> bool:
    """Return whether an exception comes from the Hub's client rather than from this package."""
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
    """Download the matching files of a data set, with progress bars on a terminal.

    Completed files are read from the cache.

    Args:
        repo: Data set on the Hub, `owner/name`.
        pattern: Glob pattern for the paths of the files in the repository.
        cache: Cache folder of the Hub's client.
        token: Access token; None for anonymous access.
        endpoint: URL of the Hub; None for HF_ENDPOINT or the public Hub.

    Returns:
        Folder with the files in the layout of the repository.

    Raises:
        DataError: The Hub cannot be reached, or has no matching file.
    """
    invalid = invalid_hub_variable()
    if invalid is not None:
        raise DataError(f"The data set {repo} cannot be downloaded from the Hub. {invalid}")
    from huggingface_hub import constants, snapshot_download  # noqa: PLC0415
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError  # noqa: PLC0415
    from huggingface_hub.utils.tqdm import disable_progress_bars  # noqa: PLC0415

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
                token=_token_value(token),
                endpoint=endpoint,
            )
        )
    except (
        *(LocalEntryNotFoundError, HfHubHTTPError, httpx2.HTTPError, httpx2.InvalidURL),
        *(OSError, ValueError, ImportError),
    ) as error:
        hint = network_hint(endpoint or constants.ENDPOINT)
        raise DataError(
            f"The data set {repo} cannot be downloaded from the Hub ({type(error).__name__}). "
            "Check the network, or put the files in a folder and set TENSIGHT_DATA to it. "
            f"{hint}".rstrip()
        ) from error
    if not any(folder.glob(pattern)):
        raise DataError(
            f"The data set {repo} on the Hub has no file that matches {pattern}. Check the name of "
            "the data set."
        )
    return folder
