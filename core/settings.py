"""Settings: one frozen object, read from TENSIGHT_* variables and .env at an entry point."""

from __future__ import annotations

import os
import sysconfig
from pathlib import Path
from typing import Annotated, Literal

import platformdirs
from pydantic import Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from core.errors import SettingsError

__all__ = ["Settings", "processors"]

# Defaults that differ from machine to machine, in words.
_MACHINE_DEFAULTS = {
    "home": "the user's data folder",
    "models": "`models/` of the checkout, else of the installed package",
    "threads": "all processors",
}


def processors() -> int:
    """Number of processors this process may use (a container may hold fewer than the machine)."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _default_home() -> Path:
    return Path(platformdirs.user_data_dir("tensight", appauthor=False))


def _default_models() -> Path:
    beside_core = Path(__file__).resolve().parent.parent / "models"
    if beside_core.is_dir():
        return beside_core
    return Path(sysconfig.get_path("data")) / "share" / "tensight" / "models"


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
        Field(description="Folder for what the program writes: training runs, weights, downloads."),
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
    host: Annotated[str, Field(description="Address that the page listens on.")] = "127.0.0.1"
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
    hub_token: Annotated[
        SecretStr | None,
        Field(description="Hugging Face token, for downloads that need one."),
    ] = None
    log_level: Annotated[
        Literal["DEBUG", "INFO", "WARNING", "ERROR"],
        Field(description="Least severe message that is logged."),
    ] = "WARNING"

    @classmethod
    def read(cls) -> Settings:
        """Read the environment and .env.

        Raises:
            SettingsError: A value is of the wrong kind; the message names the variable.
        """
        try:
            return cls()
        except ValidationError as error:
            lines = [
                f"TENSIGHT_{str(e['loc'][0]).upper()}={e['input']!s}: {e['msg']}."
                for e in error.errors()
            ]
            raise SettingsError("\n".join(lines)) from error

    def rows(self) -> list[tuple[str, str, str]]:
        """(variable, value in force, description) of every setting; secrets masked."""
        rows = []
        for name, field in type(self).model_fields.items():
            value = getattr(self, name)
            shown = "" if value is None else str(value)
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
            default = _MACHINE_DEFAULTS.get(name, "" if field.default is None else field.default)
            lines.append(f"| `TENSIGHT_{name.upper()}` | {default} | {field.description} |")
        return "\n".join(lines)
