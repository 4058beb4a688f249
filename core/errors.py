"""Every error that TenSight raises on purpose.

    TenSightError                 code, and a sentence that says what to do
    ├── ImageError (ValueError)           the photo cannot be answered
    ├── PhotoReadError (OSError)          the photo's file cannot be read
    ├── OutputError (OSError)             a file cannot be written where it was asked for
    ├── BundleError (ValueError)          a model folder is not what it claims to be
    ├── ModelNotFoundError (LookupError)  no model of that name
    ├── PredictorError (RuntimeError)     no answer now, though the photo may be fine
    │   ├── BusyError                     the queue is full
    │   ├── DeadlineError (TimeoutError)  the answer came too late
    │   └── UnavailableError              the predictor cannot be reached, or is closed
    ├── HubError (RuntimeError)           the Hub refuses, or gives what cannot be used
    │   └── HubUnavailableError (ConnectionError)    the Hub cannot be reached
    ├── StoreError (RuntimeError)         the database cannot be used
    ├── AccessError (PermissionError)     a request has no key that is known
    ├── RateError (RuntimeError)          a visitor asks too often
    ├── RequestError (ValueError)         a request is not of the form that was agreed
    │   └── SlowRequestError                  its body does not come
    ├── SettingsError (ValueError)        a TENSIGHT_ setting is wrong
    ├── ListenError (OSError)             a server cannot listen on its address
    ├── DataError (ValueError)            training data is missing or not as expected
    ├── TrainingError (RuntimeError)      a training run cannot start, go on or be exported
    ├── BotError (RuntimeError)           the bot cannot run
    ├── CommandUnavailableError (ImportError)  a front's command cannot be loaded
    └── MissingExtraError (ImportError)   an optional part is not installed

Each is also the builtin that a caller would expect. `code` is stable and meant for programs;
the message is meant for people.
"""

from __future__ import annotations

from typing import Literal

__all__ = [
    "AccessError",
    "BotError",
    "BundleError",
    "BusyError",
    "CommandUnavailableError",
    "DataError",
    "DeadlineError",
    "HubError",
    "HubUnavailableError",
    "ImageError",
    "ImageErrorCode",
    "ListenError",
    "MissingExtraError",
    "ModelNotFoundError",
    "OutputError",
    "PhotoReadError",
    "PredictorError",
    "RateError",
    "RequestError",
    "SettingsError",
    "SlowRequestError",
    "StoreError",
    "TenSightError",
    "TrainingError",
    "UnavailableError",
]

ImageErrorCode = Literal["not_an_image", "truncated", "too_large", "too_many_pixels", "unsupported"]


class TenSightError(Exception):
    """Base of all errors of this package.

    Attributes:
        code: Stable name of the kind of error, for programs.
    """

    code: str = "error"


class ImageError(TenSightError, ValueError):
    """The bytes are no photo that can be answered.

    Attributes:
        code: `not_an_image` (no image of any kind), `truncated` (the file is damaged or ends too
            early), `too_large` (bytes), `too_many_pixels` (pixels, side or aspect),
            `unsupported` (an image, but of a kind that is not read).
    """

    def __init__(self, code: ImageErrorCode, message: str) -> None:
        super().__init__(message)
        self.code = code


class PhotoReadError(TenSightError, OSError):
    """The photo's file is missing, a folder, or not readable by this user."""

    code = "not_readable"


class OutputError(TenSightError, OSError):
    """A file cannot be written where it was asked for."""

    code = "output"


class BundleError(TenSightError, ValueError):
    """A model folder is incomplete, changed, or not of this format."""

    code = "bad_bundle"


class ModelNotFoundError(TenSightError, LookupError):
    """No model, or recipe of one, of that name is there."""

    code = "model_not_found"


class PredictorError(TenSightError, RuntimeError):
    """The predictor could not answer now; the photo may be fine."""

    code = "predictor"


class BusyError(PredictorError):
    """The queue is full.

    Attributes:
        retry_after: Seconds after which a new try is likely to be taken.
    """

    code = "busy"

    def __init__(self, retry_after: int) -> None:
        super().__init__(f"Busy: all places are taken. Try again in {retry_after} s.")
        self.retry_after = retry_after


class DeadlineError(PredictorError, TimeoutError):
    """The answer was not there in time."""

    code = "deadline"


class UnavailableError(PredictorError):
    """The predictor cannot be reached or is closed; a later attempt may succeed.

    It has the code of its base class, which is what clients of earlier versions know.
    """


class HubError(TenSightError, RuntimeError):
    """The Hub cannot be reached, refuses, or gives what cannot be used.

    The message says whether anything was changed by then: a download changes nothing, an upload
    may have come half-way.
    """

    code = "hub"


class HubUnavailableError(HubError, ConnectionError):
    """The Hub is not asked or cannot be reached, broke off, or something else answers for it."""

    code = "hub_away"


class StoreError(TenSightError, RuntimeError):
    """The database cannot be used, or holds nothing that could be done what was asked with."""

    code = "store"


class AccessError(TenSightError, PermissionError):
    """A request has no key, or one that is not known."""

    code = "no_access"

    def __init__(self) -> None:
        super().__init__("This needs a key: send it as `Authorization: Bearer KEY`.")


class RateError(TenSightError, RuntimeError):
    """Somebody asks more often than is allowed.

    Attributes:
        retry_after: Seconds after which a new try is taken.
    """

    code = "too_many_requests"

    def __init__(self, retry_after: int) -> None:
        super().__init__(f"Too many requests. Try again in {retry_after} s.")
        self.retry_after = retry_after


class RequestError(TenSightError, ValueError):
    """A request is not of the form that was agreed."""

    code = "bad_request"


class SlowRequestError(RequestError):
    """The body of a request does not come, or too slowly."""

    code = "too_slow"

    def __init__(self, seconds: float) -> None:
        super().__init__(
            f"After {seconds:.3g} s the body was not all here. Send it again, or a smaller photo."
        )


class SettingsError(TenSightError, ValueError):
    """A setting has a value that cannot be used."""

    code = "bad_setting"


class ListenError(TenSightError, OSError):
    """A server cannot listen on the address that it was given."""

    code = "cannot_listen"


class BotError(TenSightError, RuntimeError):
    """The bot cannot run: its token is wrong, or another program answers in its place."""

    code = "bot"


class DataError(TenSightError, ValueError):
    """Training or evaluation data is missing or not as expected."""

    code = "bad_data"


class TrainingError(TenSightError, RuntimeError):
    """A training run cannot start, be resumed or be exported."""

    code = "training"


class CommandUnavailableError(TenSightError, ImportError):
    """A command is registered, and the package that it comes from cannot be loaded."""

    code = "command_unavailable"


class MissingExtraError(TenSightError, ImportError):
    """An optional part of the package is needed and not installed.

    Attributes:
        extra: Name of the extra in pyproject.toml.
    """

    code = "missing_extra"

    def __init__(self, extra: str, purpose: str) -> None:
        super().__init__(
            f"{purpose} needs the extra '{extra}', which is not installed here. In a checkout, "
            "`make setup` installs it into .venv-dev; a wheel takes it as 'tensight-….whl"
            f"[{extra}]'."
        )
        self.extra = extra
