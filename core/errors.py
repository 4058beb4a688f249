"""All errors that TenSight raises on purpose.

    TenSightError                 a code, and a message that says what to do
    ├── ImageError (ValueError)           the photo cannot be used
    ├── PhotoReadError (OSError)          the photo's file cannot be read
    ├── OutputError (OSError)             an output file cannot be written
    ├── BundleError (ValueError)          a model folder is incomplete or invalid
    │   ├── EngineStartError                  the process of its engine did not start
    │   └── EngineStoppedError                its engine crashed or hung
    ├── ModelNotFoundError (LookupError)  there is no model of that name
    ├── PredictorError (RuntimeError)     the predictor failed; the photo may be fine
    │   ├── BusyError                     the queue is full
    │   ├── DeadlineError (TimeoutError)  the prediction was not ready in time
    │   └── UnavailableError              the predictor cannot be reached, or is closed
    ├── HubError (RuntimeError)           the Hub refuses, or returns unusable content
    │   └── HubUnavailableError (ConnectionError)    the Hub cannot be reached
    ├── StoreError (RuntimeError)         the database is not available
    │   └── ChangedError                      what an operator decided on has changed meanwhile
    ├── AccessError (PermissionError)     a request has no valid API key
    ├── RateError (RuntimeError)          a client exceeds its rate limit
    ├── RequestError (ValueError)         a request is malformed
    │   └── SlowRequestError                  its body is too slow
    ├── SettingsError (ValueError)        a TENSIGHT_ setting is invalid
    ├── ListenError (OSError)             a server cannot bind to its address
    ├── DataError (ValueError)            training data is missing or invalid
    ├── TrainingError (RuntimeError)      training or export cannot run
    ├── TeachingError (ValueError)        a classifier cannot be taught with these photos
    ├── BotError (RuntimeError)           the bot cannot run
    ├── UnsupportedSystemError (OSError)  this operating system lacks a feature
    ├── CommandUnavailableError (ImportError)  a registered command cannot be loaded
    └── MissingExtraError (ImportError)   an optional extra is not installed

Each is also the builtin exception that callers would expect. `code` is stable, for programs; the
message is for people.
"""

from __future__ import annotations

from typing import Any, Literal

__all__ = [
    "AccessError",
    "BotError",
    "BundleError",
    "BusyError",
    "ChangedError",
    "CommandUnavailableError",
    "DataError",
    "DeadlineError",
    "EngineStartError",
    "EngineStoppedError",
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
    "TeachingError",
    "TeachingReason",
    "TenSightError",
    "TrainingError",
    "UnavailableError",
    "UnsupportedSystemError",
]

ImageErrorCode = Literal["not_an_image", "truncated", "too_large", "too_many_pixels", "unsupported"]


TeachingReason = Literal[
    "few_classes",
    "many_classes",
    "few_photos",
    "many_photos",
    "many_in_all",
    "bad_class",
    "same_class",
    "bad_model",
    "taken_model",
    "many_models",
    "two_classes",
    "alike",
    "copy",
    "no_photos",
    "other_base",
    "no_base",
    "failed",
]
"""Why a classifier cannot be taught, for fronts that say it in other words."""


class TenSightError(Exception):
    """Base class of all errors of this package.

    Attributes:
        code: Stable identifier of the kind of error, for programs.
    """

    code: str = "error"

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle without the constructor, whose parameters differ from the arguments it stores."""
        return _restore, (type(self), self.args, vars(self))


def _restore(
    kind: type[TenSightError], args: tuple[Any, ...], attributes: dict[str, Any]
) -> TenSightError:
    """Return an unpickled error."""
    error = kind.__new__(kind, *args)
    vars(error).update(attributes)
    return error


class ImageError(TenSightError, ValueError):
    """The photo cannot be used.

    Attributes:
        code: `not_an_image` (not an image of any kind), `truncated` (the file is damaged or
            incomplete), `too_large` (file size), `too_many_pixels` (pixels, side length or aspect
            ratio), `unsupported` (an image in a format that is not supported).
    """

    def __init__(self, code: ImageErrorCode, message: str) -> None:
        super().__init__(message)
        self.code = code


class PhotoReadError(TenSightError, OSError):
    """The photo's file is missing, a folder, or not readable by this user."""

    code = "not_readable"


class OutputError(TenSightError, OSError):
    """An output file cannot be written."""

    code = "output"


class BundleError(TenSightError, ValueError):
    """A model folder is incomplete, modified or of an unknown format."""

    code = "bad_bundle"


class EngineStartError(BundleError):
    """The process of an engine could not be started, ended early or did not load it in time.

    The model need not be at fault: the system may lack memory, or may have ended the process.
    """


class EngineStoppedError(BundleError):
    """The engine of a model crashed, or did not answer in time."""


class ModelNotFoundError(TenSightError, LookupError):
    """There is no model, or no recipe, of that name."""

    code = "model_not_found"


class PredictorError(TenSightError, RuntimeError):
    """The predictor failed or is not available; the photo may be fine."""

    code = "predictor"


class BusyError(PredictorError):
    """The queue is full.

    Attributes:
        retry_after: Seconds after which a retry is likely to succeed.
    """

    code = "busy"

    def __init__(self, retry_after: int) -> None:
        super().__init__(f"The service is busy: its queue is full. Try again in {retry_after} s.")
        self.retry_after = retry_after


class DeadlineError(PredictorError, TimeoutError):
    """The prediction was not ready in time."""

    code = "deadline"


class UnavailableError(PredictorError):
    """The predictor cannot be reached or is closed; a later attempt may succeed.

    It has the code of its base class, which clients of earlier versions know.
    """

    @classmethod
    def closed(cls) -> UnavailableError:
        """Return the error of a predictor that is used after `close`, or closed meanwhile."""
        return cls("The predictor is closed.")


class HubError(TenSightError, RuntimeError):
    """The Hub cannot be reached, refuses, or returns unusable content.

    The message says whether anything was changed: a download changes nothing, an upload may be
    incomplete.
    """

    code = "hub"


class HubUnavailableError(HubError, ConnectionError):
    """The Hub is offline, cannot be reached, disconnected, or a proxy responded for it."""

    code = "hub_away"


class StoreError(TenSightError, RuntimeError):
    """The database is not available, or has no data for the requested operation."""

    code = "store"


class ChangedError(StoreError):
    """The state that an operator was shown has changed before the command ran; nothing was done."""


class AccessError(TenSightError, PermissionError):
    """A request has no valid API key."""

    code = "no_access"

    def __init__(self) -> None:
        super().__init__(
            "API key missing or invalid. Send a valid key as `Authorization: Bearer KEY`."
        )


class RateError(TenSightError, RuntimeError):
    """A client exceeds its rate limit.

    Attributes:
        retry_after: Seconds after which the limit allows a retry.
    """

    code = "too_many_requests"

    def __init__(self, retry_after: int) -> None:
        super().__init__(f"Rate limit exceeded: too many requests. Try again in {retry_after} s.")
        self.retry_after = retry_after


class RequestError(TenSightError, ValueError):
    """A request is malformed or not supported."""

    code = "bad_request"


class SlowRequestError(RequestError):
    """The body of a request is not received in time."""

    code = "too_slow"

    def __init__(self, seconds: float) -> None:
        super().__init__(
            f"The request body was not complete after {seconds:.3g} s. Try again with a faster "
            "connection or a smaller photo."
        )


class SettingsError(TenSightError, ValueError):
    """A setting has an invalid value."""

    code = "bad_setting"


class ListenError(TenSightError, OSError):
    """A server cannot bind to its address."""

    code = "cannot_listen"


class BotError(TenSightError, RuntimeError):
    """The bot cannot run: its token is invalid, or another program uses it."""

    code = "bot"


class DataError(TenSightError, ValueError):
    """Training or evaluation data is missing or invalid."""

    code = "bad_data"


class TrainingError(TenSightError, RuntimeError):
    """A training run cannot start, be resumed or be exported."""

    code = "training"


class TeachingError(TenSightError, ValueError):
    """A classifier cannot be taught with these names and photos; nothing was changed.

    Attributes:
        reason: Why.
        names: The classes, photos or models that the reason is about.
    """

    code = "teaching"

    def __init__(self, reason: TeachingReason, message: str, *names: str) -> None:
        super().__init__(message)
        self.reason = reason
        self.names = names


class UnsupportedSystemError(TenSightError, OSError):
    """This operating system lacks a feature that is needed."""

    code = "unsupported_system"


class CommandUnavailableError(TenSightError, ImportError):
    """A registered command cannot be loaded from its package."""

    code = "command_unavailable"


class MissingExtraError(TenSightError, ImportError):
    """An optional extra is required and not installed.

    Attributes:
        extra: Name of the extra in pyproject.toml.
    """

    code = "missing_extra"

    def __init__(self, extra: str, purpose: str) -> None:
        # Ray has an environment of its own.
        make = "`make cluster`" if extra == "cluster" else "`make setup`"
        folder = ".venv-cluster" if extra == "cluster" else ".venv-dev"
        super().__init__(
            f"{purpose} needs the extra '{extra}', which is not installed here. In a checkout, "
            f"{make} installs it into {folder}; a wheel takes it as 'tensight-….whl[{extra}]'."
        )
        self.extra = extra
