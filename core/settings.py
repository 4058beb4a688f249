"""Settings: an immutable object, read from TENSIGHT_ variables and .env at an entry point."""

from __future__ import annotations

import os
import re
import stat
import sysconfig
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit

import platformdirs
from pydantic import Field, SecretStr, ValidationError, ValidationInfo, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from core.errors import SettingsError
from core.redaction import credentials, masked_value, without_credentials

__all__ = ["Settings", "processors"]

# Descriptions of the defaults that depend on the machine.
_MACHINE_DEFAULTS = {
    "home": "the user's data folder",
    "models": "`models/` of the checkout or of the installed package",
    "threads": "number of processors",
}


# Who needs which settings; every setting belongs to one group.
_GROUPS: dict[str, tuple[str, ...]] = {
    "All commands": ("model", "models", "home", "threads", "database_url", "log_level"),
    "Limits on photos, for the page, the bot and the HTTP service": (
        *("queue_size", "deadline_s", "client_share", "megapixels_at_once"),
        *("photo_memory_mb", "photo_processor_s", "photo_seconds"),
    ),
    "Web page": ("host", "port", "photos_per_minute", "proxies"),
    "HTTP service": ("service_port", "api_keys", "trusted_keys", "rate_per_minute"),
    "Client of an HTTP service": ("predictor_url", "predictor_key"),
    "Telegram bot": (
        *("telegram_token", "operators", "chat_photos_per_minute", "chat_models"),
        *("retention_days", "secret"),
        *("telegram_proxy", "telegram_webhook_secret", "telegram_api_url", "telegram_file_url"),
    ),
    "Models on the Hugging Face Hub": ("hub_repo", "hub_revision", "hub_token"),
    "Training": ("data",),
}
_MIN_KEY_CHARACTERS = 16
# Replacement of a secret in output.
_MASK = "**********"
# White space, the byte order mark, and characters that join or separate without being seen.
_BLANKS = re.compile(r"\A[\s\u200b-\u200d\u2060\ufeff]+|[\s\u200b-\u200d\u2060\ufeff]+\Z")


def processors() -> int:
    """Return how many processors this process may use; a container may have a lower limit."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _default_home() -> Path:
    try:
        return Path(platformdirs.user_data_dir("tensight", appauthor=False))
    except RuntimeError as error:
        raise SettingsError(
            "TENSIGHT_HOME is not set, and this user has no home folder. Set it to a folder that "
            "this user can write to."
        ) from error


def _default_models() -> Path:
    beside_core = Path(__file__).resolve().parent.parent / "models"
    if beside_core.is_dir():
        return beside_core
    return Path(sysconfig.get_path("data")) / "share" / "tensight" / "models"


def _check_env_file(file: Path) -> None:
    """Check that the file .env is readable, if there is one.

    Raises:
        SettingsError: It is a pipe or a device, not readable, or not UTF-8 text.
    """
    try:
        kind = file.stat().st_mode
        if stat.S_ISDIR(kind):
            return
        if not stat.S_ISREG(kind):
            # A container has no .env where the null device is mounted in its place.
            if file.samefile(os.devnull):
                return
            # Reading a pipe would block until somebody writes to it.
            raise SettingsError(
                f"{file.absolute()} is a pipe or a device, which cannot be read as a file. Replace "
                "it by a text file, set the variables in the environment, or start TenSight in "
                "another folder."
            )
        content = file.read_bytes()
        content.decode("utf-8")
    except (FileNotFoundError, NotADirectoryError):
        return
    except OSError as error:
        raise SettingsError(
            f"{file.absolute()} cannot be read: {error.strerror or error}. Give this user read "
            "permission, or start TenSight in another folder."
        ) from error
    except UnicodeDecodeError:
        content = b"\0"
    # Null bytes mean UTF-16 without a byte order mark.
    if b"\0" in content:
        # Without the cause, which would show the content of the file.
        raise SettingsError(
            f"{file.absolute()} is not UTF-8 text. Save it as UTF-8; PowerShell and Notepad "
            "write UTF-16 by default."
        )


def _strip(value: str) -> str:
    """Return a value without blanks and invisible characters at its ends."""
    return _BLANKS.sub("", value)


def _is_url(value: str) -> bool:
    """Return whether a value is a URL whose host and port can be used."""
    try:
        parts = urlsplit(value)
        host = parts.hostname or ""
        if ":" not in host:
            host.encode("idna")  # raises an error for an empty or a long label
        return host not in ("", ".") and parts.port != 0
    except ValueError:
        return False


def _written(value: object) -> str:
    """Format a value as in the environment, with secrets masked."""
    if isinstance(value, tuple):
        return ",".join(map(str, value))
    if value is None:
        return ""
    return masked_value(value) if isinstance(value, str) else without_credentials(str(value))


class Settings(BaseSettings):
    """The configuration of the program.

    Each field is an environment variable with the prefix `TENSIGHT_`, or a line of the file `.env`
    in the working directory; the environment takes precedence. Use `Settings.read()`, which raises
    a `SettingsError` that names the variable with an invalid value.
    """

    model_config = SettingsConfigDict(
        env_prefix="TENSIGHT_",
        env_file=".env",
        env_ignore_empty=True,
        extra="ignore",
        frozen=True,
        # The input may be a secret.
        hide_input_in_errors=True,
        # The validator is built on first use: many processes import this module without reading
        # settings.
        defer_build=True,
    )

    data: Annotated[
        Path | None,
        Field(
            description="Folder with training data: cifar10/, tiny-imagenet/, mobilenet_v2/, and "
            "photos/ for evaluation. Unset: the first two are downloaded from the Hub."
        ),
    ] = None
    home: Annotated[
        Path,
        Field(
            description="Folder for everything that the program writes: database, models from the "
            "Hub, downloads, training runs, weights."
        ),
    ] = Field(default_factory=_default_home)
    models: Annotated[Path, Field(description="Folder with the model bundles.")] = Field(
        default_factory=_default_models
    )
    model: Annotated[
        str | None,
        Field(description="Default model. Unset: the available model that is best for photos."),
    ] = None
    threads: Annotated[
        int,
        Field(ge=1, le=256, description="Number of threads for inference. Unset: all processors."),
    ] = Field(default_factory=processors)
    host: Annotated[
        str,
        Field(
            description="Address that the page, the HTTP service and the webhook server bind to."
        ),
    ] = "127.0.0.1"
    port: Annotated[int, Field(ge=1, le=65535, description="Port of the page.")] = 7860
    queue_size: Annotated[
        int,
        Field(
            ge=1,
            le=10_000,
            description="Maximum number of photos that wait or run. Beyond it, clients are told "
            "when to retry.",
        ),
    ] = 64
    deadline_s: Annotated[
        float, Field(gt=0, le=600, description="Timeout of a photo in seconds.")
    ] = 30.0
    client_share: Annotated[
        float,
        Field(
            gt=0,
            le=1,
            description="Share of the queue that one visitor, chat or API key may hold while "
            "others hold any.",
        ),
    ] = 0.25
    photo_memory_mb: Annotated[
        int,
        Field(
            ge=64,
            le=65_536,
            description="Memory limit for decoding a photo, in megabytes. Enforced on Linux.",
        ),
    ] = 1024
    photo_processor_s: Annotated[
        float,
        Field(
            gt=0,
            le=600,
            description="Limit on the processor time for decoding a photo, in seconds.",
        ),
    ] = 5.0
    photo_seconds: Annotated[
        float,
        Field(
            gt=0, le=600, description="Limit on the elapsed time for decoding a photo, in seconds."
        ),
    ] = 20.0
    megapixels_at_once: Annotated[
        int,
        Field(
            ge=1,
            le=100_000,
            description="Maximum size in megapixels of all photos that are decoded at the same "
            "time. A megapixel takes up to 17 MB of memory.",
        ),
    ] = 100
    photos_per_minute: Annotated[
        int,
        Field(
            ge=1,
            description="Rate limit of a visitor of the page, or of an MCP client: photos and "
            "explanations per minute.",
        ),
    ] = 240
    proxies: Annotated[
        int,
        Field(
            ge=0,
            le=10,
            description="Number of trusted reverse proxies in front of the page and the HTTP "
            "service; the client address is taken from X-Forwarded-For accordingly. 0: the header "
            "is ignored.",
        ),
    ] = 0
    service_port: Annotated[int, Field(ge=1, le=65535, description="Port of the HTTP service.")] = (
        8000
    )
    api_keys: Annotated[
        tuple[SecretStr, ...],
        NoDecode,
        Field(
            description="API keys of the HTTP service, comma-separated, at least 16 characters "
            "each. Unset: no key is required."
        ),
    ] = ()
    trusted_keys: Annotated[
        tuple[SecretStr, ...],
        NoDecode,
        Field(
            description="API keys of your own fronts, comma-separated. A front sends a keyed hash "
            "of each of its clients, and limits apply per client instead of per front."
        ),
    ] = ()
    rate_per_minute: Annotated[
        int | None,
        Field(
            ge=1,
            description="Rate limit of the HTTP service: requests per minute of an API key, or of "
            "an address if no keys are set. Unset: no limit.",
        ),
    ] = None
    predictor_url: Annotated[
        str | None,
        Field(
            pattern=r"^https?://\S+$",
            description="URL of the HTTP service that classifies photos instead of this process, "
            "for example http://127.0.0.1:8000.",
        ),
    ] = None
    predictor_key: Annotated[SecretStr | None, Field(description="API key for that service.")] = (
        None
    )
    hub_repo: Annotated[
        str | None,
        Field(
            pattern=r"^[A-Za-z0-9][\w.-]*/[\w.-]+$",
            description="Repository with models on the Hugging Face Hub, as owner/name. Unset: "
            "only the bundled models.",
        ),
    ] = None
    hub_revision: Annotated[
        str, Field(min_length=1, description="Branch, tag or commit of that repository.")
    ] = "main"
    hub_token: Annotated[
        SecretStr | None,
        Field(
            description="Hugging Face token for private repositories and uploads. A saved login "
            "of the Hub's own tools is not used."
        ),
    ] = None
    database_url: Annotated[
        SecretStr | None,
        Field(description="URL of the database. Unset: a SQLite file in TENSIGHT_HOME."),
    ] = None
    telegram_token: Annotated[
        SecretStr | None, Field(description="Token of the Telegram bot, from @BotFather.")
    ] = None
    telegram_api_url: Annotated[
        str,
        Field(
            pattern=r"^https?://\S+/bot$",
            description="URL of the Bot API server, without the token.",
        ),
    ] = "https://api.telegram.org/bot"
    telegram_file_url: Annotated[
        str,
        Field(
            pattern=r"^https?://\S+/bot$",
            description="URL of the files of the Bot API server, without the token.",
        ),
    ] = "https://api.telegram.org/file/bot"
    telegram_proxy: Annotated[
        SecretStr | None,
        Field(description="URL of the proxy for connections to Telegram."),
    ] = None
    telegram_webhook_secret: Annotated[
        SecretStr | None,
        Field(
            description="Secret that Telegram sends with every webhook request. Unset: a random "
            "one."
        ),
    ] = None
    operators: Annotated[
        tuple[int, ...],
        NoDecode,
        Field(
            description="Telegram user ids of the operators, comma-separated. Operators can manage "
            "the system from chat. If set, visitors of the page can offer them their taught "
            "classifiers."
        ),
    ] = ()
    chat_photos_per_minute: Annotated[
        int, Field(ge=1, description="Rate limit of the bot: photos per minute of a chat.")
    ] = 60
    chat_models: Annotated[
        int,
        Field(
            ge=1,
            le=1_000,
            description="Maximum number of classifiers that a chat may teach the bot (`/teach`).",
        ),
    ] = 10
    retention_days: Annotated[
        int,
        Field(
            ge=1,
            description="Days after which the bot deletes answers and unanswered updates, and any "
            "process that serves photos the evidence of shadows and canaries. Until then, the "
            "buttons under an answer work.",
        ),
    ] = 7
    secret: Annotated[
        SecretStr | None,
        Field(
            description="Key of the hashes that stand for users. Unset: generated once and stored "
            "in TENSIGHT_HOME."
        ),
    ] = None
    log_level: Annotated[
        Literal["DEBUG", "INFO", "WARNING", "ERROR"],
        Field(description="Minimum level of log messages."),
    ] = "WARNING"

    @field_validator("*", mode="before")
    @classmethod
    def _without_blanks(cls, value: object, info: ValidationInfo) -> object:
        """Strip whitespace, as values from files and mounted secrets end with a newline.

        Invisible characters are stripped too: editors write a byte order mark before the first
        one, and web pages put others around what is copied from them.
        """
        if not isinstance(value, str) or info.field_name is None:
            return value
        if info.field_name == "secret":
            # Stored hashes were computed with the value as it is.
            if not _strip(value):
                raise ValueError("is blank; unset it to have a key generated")
            return value
        stripped = _strip(value)
        if value and not stripped:
            return cls.model_fields[info.field_name].get_default(call_default_factory=True)
        return stripped

    @field_validator("operators", mode="before")
    @classmethod
    def _ids(cls, value: object) -> object:
        if not isinstance(value, str):
            return value
        parts = [_strip(part) for part in value.split(",") if _strip(part)]
        if not all(part.isdecimal() for part in parts):
            raise ValueError("must be a list of numbers; send /whoami to the bot to get yours")
        return [int(part) for part in parts]

    @field_validator("api_keys", "trusted_keys", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        if not isinstance(value, str):
            return value
        keys = [_strip(key) for key in value.split(",") if _strip(key)]
        if not keys:
            raise ValueError("contains no key; unset it to require none")
        return keys

    @field_validator("api_keys", "trusted_keys", "predictor_key")
    @classmethod
    def _can_be_sent(
        cls, value: SecretStr | tuple[SecretStr, ...] | None
    ) -> SecretStr | tuple[SecretStr, ...] | None:
        keys = value if isinstance(value, tuple) else [value] if value is not None else []
        if not all(re.fullmatch(r"[!-~]+", key.get_secret_value()) for key in keys):
            raise ValueError("a key consists of printable ASCII characters without spaces")
        if any(len(key.get_secret_value()) < _MIN_KEY_CHARACTERS for key in keys):
            raise ValueError(
                f"a key has at least {_MIN_KEY_CHARACTERS} characters; `openssl rand -hex 16` "
                "generates one"
            )
        return value

    @field_validator("predictor_url", "telegram_api_url", "telegram_file_url")
    @classmethod
    def _is_an_address(cls, value: str | None, info: ValidationInfo) -> str | None:
        if value is not None and not _is_url(value):
            example = "http://127.0.0.1:8000"
            if info.field_name != "predictor_url":
                example = str(cls.model_fields[str(info.field_name)].default)
            raise ValueError(f"is not a URL such as {example}")
        return value

    @classmethod
    def read(cls) -> Settings:
        """Read the settings from the environment and .env.

        Raises:
            SettingsError: A value is invalid, and the message names the variable; or .env is not
                readable.
        """
        _check_env_file(Path(".env"))
        try:
            return cls()
        except ValidationError as error:
            lines = [cls._refusal(str(e["loc"][0]), e["input"], e["msg"]) for e in error.errors()]
        # Without the cause, which contains the values.
        raise SettingsError("\n".join(lines))

    @classmethod
    def _refusal(cls, name: str, given: object, why: str) -> str:
        """Return the message about an invalid variable, with secrets masked."""
        is_secret = "SecretStr" in str(cls.model_fields[name].annotation)
        shown = _MASK if is_secret else masked_value(str(given))
        return f"TENSIGHT_{name.upper()}={shown}: {why}."

    def secrets(self) -> list[str]:
        """Return all secrets, including passwords in URLs, so that logs can mask them."""
        found = []
        for name in type(self).model_fields:
            value = getattr(self, name)
            for each in value if isinstance(value, tuple) else (value,):
                text = each.get_secret_value() if isinstance(each, SecretStr) else each
                if isinstance(each, SecretStr):
                    found.append(each.get_secret_value())
                if isinstance(each, SecretStr) or (isinstance(text, str) and "://" in text):
                    found += credentials(str(text))
        return list(dict.fromkeys(found))

    @property
    def database_file(self) -> Path:
        """The SQLite file that is used if `database_url` is not set."""
        return self.home / "tensight.db"

    def has_database(self) -> bool:
        """Return whether a database is configured or exists."""
        return self.database_url is not None or self.database_file.is_file()

    def rows(self) -> list[tuple[str, str, str]]:
        """Return variable, current value and description of each setting, with secrets masked."""
        return [row for _, rows in self.groups() for row in rows]

    def groups(self) -> list[tuple[str, list[tuple[str, str, str]]]]:
        """Return the rows of `rows` by who needs them: title of the group, and its rows."""
        fields = type(self).model_fields
        return [
            (
                title,
                [
                    (
                        f"TENSIGHT_{name.upper()}",
                        _written(getattr(self, name)),
                        fields[name].description or "",
                    )
                    for name in names
                ],
            )
            for title, names in _GROUPS.items()
        ]

    @classmethod
    def document(cls) -> str:
        """Render docs/SETTINGS.md: all settings with their defaults, the same on every machine."""
        lines = [
            "# Settings",
            "",
            "Generated by `tensight config --markdown`; do not edit. Each setting is an",
            "environment variable, or a line of the file `.env` in the working directory; the",
            "environment takes precedence. `tensight config` shows the current values.",
        ]
        for title, names in _GROUPS.items():
            lines += ["", f"## {title}", "", "| variable | default | description |"]
            lines.append("| --- | --- | --- |")
            for name in names:
                field = cls.model_fields[name]
                default = _MACHINE_DEFAULTS.get(name, _written(field.default))
                lines.append(f"| `TENSIGHT_{name.upper()}` | {default} | {field.description} |")
        return "\n".join(lines)
