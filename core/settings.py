"""Settings: one frozen object, read from TENSIGHT_* variables and .env at an entry point."""

from __future__ import annotations

import os
import re
import sysconfig
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import unquote, urlsplit

import platformdirs
from pydantic import Field, SecretStr, ValidationError, ValidationInfo, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from core.errors import SettingsError
from core.network import without_credentials

__all__ = ["Settings", "processors"]

# Defaults that differ from machine to machine, in words.
_MACHINE_DEFAULTS = {
    "home": "the user's data folder",
    "models": "`models/` of the checkout, else of the installed package",
    "threads": "all processors",
}


_MIN_KEY_CHARACTERS = 16
# What stands in the place of a secret.
_MASK = "**********"


def processors() -> int:
    """Number of processors this process may use (a container may hold fewer than the machine)."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _default_home() -> Path:
    try:
        return Path(platformdirs.user_data_dir("tensight", appauthor=False))
    except RuntimeError as error:
        raise SettingsError(
            "TENSIGHT_HOME is not set, and this user has no home folder. Set it to a folder that "
            "this user may write."
        ) from error


def _default_models() -> Path:
    beside_core = Path(__file__).resolve().parent.parent / "models"
    if beside_core.is_dir():
        return beside_core
    return Path(sysconfig.get_path("data")) / "share" / "tensight" / "models"


def _check_env_file(file: Path) -> None:
    """See that .env can be read, where there is one.

    Raises:
        SettingsError: It cannot.
    """
    try:
        content = file.read_bytes()
        content.decode("utf-8")
    except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
        return
    except OSError as error:
        raise SettingsError(
            f"{file.absolute()} cannot be read: {error.strerror or error}. Let this user read it, "
            "or start TenSight in another folder."
        ) from error
    except UnicodeDecodeError:
        content = b"\0"
    # Where there are zeros, it is UTF-16 without the mark at its beginning.
    if b"\0" in content:
        # The cause would hold what stands in the file.
        raise SettingsError(
            f"{file.absolute()} is not UTF-8 text, so it cannot be read. Save it as UTF-8; "
            "PowerShell and Notepad write UTF-16 unless told otherwise."
        )


def _written(value: object) -> str:
    """A value as it stands in the environment; secrets masked."""
    if isinstance(value, tuple):
        return ",".join(map(str, value))
    if value is None:
        return ""
    return without_credentials(value) if isinstance(value, str) else str(value)


class Settings(BaseSettings):
    """What the program was told by its environment.

    Fields stand in the environment in capitals after `TENSIGHT_`, or in a file `.env` in the
    working folder; the environment wins. Use `Settings.read()`: it turns a wrong value into a
    `SettingsError` that names the variable.
    """

    model_config = SettingsConfigDict(
        env_prefix="TENSIGHT_",
        env_file=".env",
        env_ignore_empty=True,
        extra="ignore",
        frozen=True,
        # What was given may be a secret.
        hide_input_in_errors=True,
    )

    data: Annotated[
        Path | None,
        Field(
            description="Folder with training data: cifar10/, tiny-imagenet/, mobilenet_v2/, and "
            "photos/ to measure on. Unset: the first two are fetched from the Hub."
        ),
    ] = None
    home: Annotated[
        Path,
        Field(
            description="Folder for what the program writes: database, models from the Hub, "
            "downloads, training runs, weights."
        ),
    ] = Field(default_factory=_default_home)
    models: Annotated[Path, Field(description="Folder with the model bundles.")] = Field(
        default_factory=_default_models
    )
    model: Annotated[
        str | None,
        Field(description="Default model. Unset: the best for photos that is there."),
    ] = None
    threads: Annotated[
        int,
        Field(
            ge=1, le=256, description="Threads that one inference may use. Unset: all processors."
        ),
    ] = Field(default_factory=processors)
    host: Annotated[
        str,
        Field(
            description="Address that the page, the HTTP service and the bot's webhooks listen on."
        ),
    ] = "127.0.0.1"
    port: Annotated[int, Field(ge=1, le=65535, description="Port that the page listens on.")] = 7860
    queue_size: Annotated[
        int,
        Field(
            ge=1,
            le=10_000,
            description="Photos that may wait or run at once; more are told to come back.",
        ),
    ] = 64
    deadline_s: Annotated[
        float, Field(gt=0, le=600, description="Seconds after which a photo is given up.")
    ] = 30.0
    client_share: Annotated[
        float,
        Field(
            gt=0,
            le=1,
            description="Part of these places that one visitor, chat or key may hold while others "
            "hold any.",
        ),
    ] = 0.25
    photo_memory_mb: Annotated[
        int,
        Field(
            ge=64,
            le=65_536,
            description="Megabytes that decoding one photo may take, where the system keeps such "
            "limits (Linux).",
        ),
    ] = 1024
    photo_processor_s: Annotated[
        float,
        Field(
            gt=0, le=600, description="Seconds of processor time that decoding one photo may take."
        ),
    ] = 5.0
    photo_seconds: Annotated[
        float,
        Field(gt=0, le=600, description="Seconds that decoding one photo may take in all."),
    ] = 20.0
    megapixels_at_once: Annotated[
        int,
        Field(
            ge=1,
            le=100_000,
            description="Million pixels of photos that are decoded at once; each takes up to 17 MB "
            "of memory meanwhile.",
        ),
    ] = 100
    photos_per_minute: Annotated[
        int,
        Field(
            ge=1,
            description="Photos and explanations that one visitor of the page, or one MCP client, "
            "may ask for in a minute.",
        ),
    ] = 240
    proxies: Annotated[
        int,
        Field(
            ge=0,
            le=10,
            description="Number of trusted reverse proxies in front of the page and of the HTTP "
            "service: the client's address is taken from X-Forwarded-For accordingly. 0: the "
            "header is not read.",
        ),
    ] = 0
    service_port: Annotated[
        int, Field(ge=1, le=65535, description="Port that the HTTP service listens on.")
    ] = 8000
    api_keys: Annotated[
        tuple[SecretStr, ...],
        NoDecode,
        Field(
            description="Keys of at least 16 characters, with commas between them; who asks the "
            "HTTP service must send one. Unset: anybody may."
        ),
    ] = ()
    trusted_keys: Annotated[
        tuple[SecretStr, ...],
        NoDecode,
        Field(
            description="Those of these keys that belong to fronts of yours, with commas between "
            "them. Such a front sends a keyed hash of each of its clients along, and limits count "
            "for each client, not for the front."
        ),
    ] = ()
    rate_per_minute: Annotated[
        int | None,
        Field(
            ge=1,
            description="Requests that one key, or one address where no keys are set, may send to "
            "the HTTP service in a minute. Unset: any number.",
        ),
    ] = None
    predictor_url: Annotated[
        str | None,
        Field(
            pattern=r"^https?://\S+$",
            description="Address of an HTTP service that answers photos in place of this process, "
            "as http://127.0.0.1:8000.",
        ),
    ] = None
    predictor_key: Annotated[
        SecretStr | None, Field(description="Key that this service asks for.")
    ] = None
    hub_repo: Annotated[
        str | None,
        Field(
            pattern=r"^[A-Za-z0-9][\w.-]*/[\w.-]+$",
            description="Repository on the Hugging Face Hub with the models, as owner/name. Unset: "
            "the bundled models alone.",
        ),
    ] = None
    hub_revision: Annotated[
        str, Field(min_length=1, description="Branch, tag or commit of it.")
    ] = "main"
    hub_token: Annotated[
        SecretStr | None,
        Field(
            description="Hugging Face token, for what needs one. (A login that the Hub's own "
            "programs saved is not used.)"
        ),
    ] = None
    database_url: Annotated[
        SecretStr | None,
        Field(description="Address of a database. Unset: a SQLite file in TENSIGHT_HOME."),
    ] = None
    telegram_token: Annotated[
        SecretStr | None, Field(description="Token of the Telegram bot, as @BotFather gives it.")
    ] = None
    telegram_api_url: Annotated[
        str,
        Field(
            pattern=r"^https?://\S+/bot$",
            description="Address of the Bot API server, up to where the token follows.",
        ),
    ] = "https://api.telegram.org/bot"
    telegram_file_url: Annotated[
        str,
        Field(
            pattern=r"^https?://\S+/bot$",
            description="Address of the Bot API server's files, up to where the token follows.",
        ),
    ] = "https://api.telegram.org/file/bot"
    telegram_proxy: Annotated[
        SecretStr | None,
        Field(description="Address of a proxy that the bot reaches Telegram through."),
    ] = None
    telegram_webhook_secret: Annotated[
        SecretStr | None,
        Field(description="What Telegram sends with every webhook. Unset: one is made."),
    ] = None
    operators: Annotated[
        tuple[int, ...],
        NoDecode,
        Field(
            description="Telegram ids, with commas between them, of those who may run the system "
            "from chat."
        ),
    ] = ()
    chat_photos_per_minute: Annotated[
        int, Field(ge=1, description="Photos that one chat may send to the bot in a minute.")
    ] = 60
    retention_days: Annotated[
        int,
        Field(
            ge=1,
            description="Days after which the bot forgets what it answered, and what it could not "
            "answer until then; so long the buttons of an answer work.",
        ),
    ] = 7
    secret: Annotated[
        SecretStr | None,
        Field(
            description="Key of the hashes that stand for persons. Unset: made once, and kept in "
            "TENSIGHT_HOME."
        ),
    ] = None
    log_level: Annotated[
        Literal["DEBUG", "INFO", "WARNING", "ERROR"],
        Field(description="Least severe message that is logged."),
    ] = "WARNING"

    @field_validator("*", mode="before")
    @classmethod
    def _without_blanks(cls, value: object, info: ValidationInfo) -> object:
        """Leave out the newline that a value from a file or a mounted secret ends in."""
        if not isinstance(value, str) or info.field_name is None:
            return value
        if info.field_name == "secret":
            # Hashes that are stored were made with it as it is.
            if not value.strip():
                raise ValueError("is blank; unset it, and a key is made once")
            return value
        stripped = value.strip()
        if value and not stripped:
            return cls.model_fields[info.field_name].get_default(call_default_factory=True)
        return stripped

    @field_validator("operators", mode="before")
    @classmethod
    def _ids(cls, value: object) -> object:
        if not isinstance(value, str):
            return value
        parts = [part.strip() for part in value.split(",") if part.strip()]
        if not all(part.isdecimal() for part in parts):
            raise ValueError("is a list of numbers; send /whoami to the bot to learn yours")
        return [int(part) for part in parts]

    @field_validator("api_keys", "trusted_keys", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        if not isinstance(value, str):
            return value
        keys = [key.strip() for key in value.split(",") if key.strip()]
        if not keys:
            raise ValueError("holds no key; unset it, so that anybody may ask")
        return keys

    @field_validator("api_keys", "trusted_keys", "predictor_key")
    @classmethod
    def _can_be_sent(
        cls, value: SecretStr | tuple[SecretStr, ...] | None
    ) -> SecretStr | tuple[SecretStr, ...] | None:
        keys = value if isinstance(value, tuple) else [value] if value is not None else []
        if not all(re.fullmatch(r"[!-~]+", key.get_secret_value()) for key in keys):
            raise ValueError("a key is of letters, digits and signs of ASCII, without spaces")
        if any(len(key.get_secret_value()) < _MIN_KEY_CHARACTERS for key in keys):
            raise ValueError(
                f"a key has at least {_MIN_KEY_CHARACTERS} characters; `openssl rand -hex 16` "
                "makes one"
            )
        return value

    @field_validator("predictor_url")
    @classmethod
    def _is_an_address(cls, value: str | None) -> str | None:
        try:
            parts = urlsplit(value or "http://host")
            good = bool(parts.hostname) and (parts.port is None or parts.port > 0)
        except ValueError:
            good = False
        if not good:
            raise ValueError("is no address; it looks like http://127.0.0.1:8000")
        return value

    @classmethod
    def read(cls) -> Settings:
        """Read the environment and .env.

        Raises:
            SettingsError: A value is of the wrong kind, and the message names the variable; or the
                file cannot be read.
        """
        _check_env_file(Path(".env"))
        try:
            return cls()
        except ValidationError as error:
            lines = [cls._refusal(str(e["loc"][0]), e["input"], e["msg"]) for e in error.errors()]
        # Without the cause, which holds what was given.
        raise SettingsError("\n".join(lines))

    @classmethod
    def _refusal(cls, name: str, given: object, why: str) -> str:
        """Say which variable is wrong; of a secret without its value."""
        is_secret = "SecretStr" in str(cls.model_fields[name].annotation)
        shown = _MASK if is_secret else without_credentials(str(given))
        return f"TENSIGHT_{name.upper()}={shown}: {why}."

    def secrets(self) -> list[str]:
        """All secrets that are set, as a log must not show them; passwords in addresses too."""
        found = []
        for name in type(self).model_fields:
            value = getattr(self, name)
            for each in value if isinstance(value, tuple) else (value,):
                text = each.get_secret_value() if isinstance(each, SecretStr) else each
                if isinstance(each, SecretStr):
                    found.append(each.get_secret_value())
                if isinstance(text, str) and "://" in text and "@" in text:
                    password = urlsplit(text).password
                    found += [password, unquote(password)] if password else []
        return list(dict.fromkeys(found))

    @property
    def database_file(self) -> Path:
        """The SQLite file that is used where `database_url` is not set."""
        return self.home / "tensight.db"

    def has_database(self) -> bool:
        """Whether a database was named, or made before."""
        return self.database_url is not None or self.database_file.is_file()

    def rows(self) -> list[tuple[str, str, str]]:
        """(variable, value in force, description) of every setting; secrets masked."""
        rows = []
        for name, field in type(self).model_fields.items():
            shown = _written(getattr(self, name))
            rows.append((f"TENSIGHT_{name.upper()}", shown, field.description or ""))
        return rows

    @classmethod
    def document(cls) -> str:
        """docs/SETTINGS.md: every setting with its default, the same on every machine."""
        lines = [
            "# Settings",
            "",
            "Made by `tensight config --markdown`; do not edit. Each is an environment variable,",
            "or a line of a file `.env` in the working folder; the environment wins. `tensight",
            "config` shows the values in force.",
            "",
            "| variable | default | what it is |",
            "| --- | --- | --- |",
        ]
        for name, field in cls.model_fields.items():
            default = _MACHINE_DEFAULTS.get(name, _written(field.default))
            lines.append(f"| `TENSIGHT_{name.upper()}` | {default} | {field.description} |")
        return "\n".join(lines)
