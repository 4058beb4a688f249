"""Limits on the contents of config.json and metrics.json, which may come from anyone."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from pydantic import BaseModel, ValidationError

from core.bundle.config import Config, first_problem
from core.bundle.folder import find_bundles
from core.bundle.metrics import Metrics
from core.errors import HubError
from core.registry.hub import Commit, RemoteFile
from core.registry.repository import models_in
from tests.conftest import ROOT

CLASSIC = ROOT / "models" / "classic"
HIDDEN = "\u202e"


def config(**changes: Any) -> dict[str, Any]:
    read: dict[str, Any] = json.loads((CLASSIC / "config.json").read_text("utf-8"))
    return read | changes


def texts(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yield the path of each string."""
    if isinstance(value, str):
        yield path
    elif isinstance(value, dict):
        for key, each in value.items():
            yield from texts(each, (*path, key))
    elif isinstance(value, list):
        for i, each in enumerate(value):
            yield from texts(each, (*path, i))


def changed(value: Any, path: tuple[Any, ...], to: str) -> Any:
    """Copy only the changed parts, since the metrics are large."""
    if not path:
        return to
    copy = value.copy()
    copy[path[0]] = changed(value[path[0]], path[1:], to)
    return copy


@pytest.mark.parametrize(("name", "kind"), [("config", Config), ("metrics", Metrics)])
@pytest.mark.parametrize("words", [f"a{HIDDEN}b", "a\x1b[2Jb", "a\nb", "x" * 100_000])
def test_text_with_invisible_characters_or_excessive_length_is_rejected(
    name: str, kind: type[BaseModel], words: str
) -> None:
    for folder in find_bundles(ROOT / "models"):
        good = json.loads((folder / f"{name}.json").read_text("utf-8"))
        kind.model_validate(good)
        # The first element stands for all of a list.
        for path in (p for p in texts(good) if not any(isinstance(k, int) and k for k in p)):
            with pytest.raises(ValidationError):
                kind.model_validate(changed(good, path, words))


@pytest.mark.parametrize("key", [f"a{HIDDEN}", "a\n"])
def test_key_with_invisible_characters_is_rejected(key: str) -> None:
    good = json.loads((CLASSIC / "metrics.json").read_text("utf-8"))
    for path in (("origin", "versions"), ("photos", "recall"), ("shift",)):
        bad = json.loads(json.dumps(good))
        place = bad
        for step in path:
            place = place[step]
        place[key] = next(iter(place.values()))
        with pytest.raises(ValidationError, match="cannot be seen"):
            Metrics.model_validate(bad)


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"views": ["identity"] * 1000}, "at most"),
        ({"views": ["identity", "mirror", "identity"]}, "views must differ"),
        ({"minimum_version": "9" * 5000 + ".0.0"}, "should match pattern"),
        ({"minimum_version": "١.٢.٣"}, "should match pattern"),
        ({"sha256": {f"f{i}": "0" * 64 for i in range(1000)}}, "at most"),
        ({"sha256": {"f" * 300: "0" * 64}}, "cannot be the name of a file"),
        ({f"x{HIDDEN}\n" * 200: 1}, "Extra inputs"),
    ],
)
def test_config_beyond_its_limits_is_rejected(changes: dict[str, Any], why: str) -> None:
    with pytest.raises(ValidationError) as caught:
        Config.model_validate(config(**changes))
    message = first_problem(caught.value)
    assert why in message
    assert HIDDEN not in message
    assert "\n" not in message
    assert len(message) < 400


@pytest.mark.parametrize("name", [f"a{HIDDEN}b", "a\nb", "a\x1b[31m", "\u200bclassic", "x" * 300])
def test_repository_with_an_unprintable_model_name_is_rejected(name: str) -> None:
    files = tuple(
        RemoteFile(f"{folder}/{file}", 10, "0" * 40, None)
        for folder in ("classic", name)
        for file in ("config.json", "model.tflite")
    )
    with pytest.raises(HubError, match="too long or contains invisible characters") as caught:
        models_in(Commit("owner/models", "0" * 40, files))
    assert name not in str(caught.value)
    assert str(caught.value).isprintable()
