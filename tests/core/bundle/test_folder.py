from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from core.bundle.config import METRICS, MODEL, Config
from core.bundle.folder import Bundle, find_bundles, write_bundle
from core.errors import BundleError
from core.inference.classifier import Classifier
from tests.conftest import ROOT


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a copy of models/classic that a test may change."""
    return Path(shutil.copytree(ROOT / "models" / "classic", tmp_path / "classic"))


def change(folder: Path, **values: Any) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | values))


def test_bundled_models_pass_verification() -> None:
    folders = find_bundles(ROOT / "models")
    assert {folder.name for folder in folders} >= {"baseline", "classic"}
    for folder in folders:
        bundle = Bundle.open(folder)
        bundle.verify()
        assert bundle.metrics().test.n == 10_000
        assert bundle.metrics().bytes == (folder / MODEL).stat().st_size


def test_models_folder_stays_within_its_size_limits() -> None:
    sizes = [file.stat().st_size for file in (ROOT / "models").rglob("*") if file.is_file()]
    assert sum(sizes) < 64 * 2**20
    assert max(sizes) < 16 * 2**20


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"labels": ["one"]}, "labels: Tuple should have at least 2"),
        ({"labels": ["one", "one"]}, "labels must differ"),
        ({"temperature": 0}, "temperature: Input should be greater than 0"),
        ({"schema_version": 3}, "schema_version: Input should be 1 or 2"),
        ({"schema_version": 2}, "schema_version 2 and the verdict's method `center` belong"),
        ({"name": "../classic"}, "name: String should match"),
        ({"name": "other"}, "names the model 'other'"),
        ({"sha256": {"../model.tflite": "0" * 64}}, "cannot be the name of a file"),
        ({"sha256": {"metrics.json": "0" * 64}}, "model.tflite has no digest"),
        ({"surprise": 1}, "surprise: Extra inputs are not permitted"),
        ({"views": ["upside down"]}, "views.0: Input should be"),
        ({"minimum_version": "99.0.0"}, r"needs TenSight 99\.0\.0 or newer; this is"),
    ],
)
def test_invalid_config_names_the_field(folder: Path, values: dict[str, Any], message: str) -> None:
    change(folder, **values)
    with pytest.raises(BundleError, match=message):
        Bundle.open(folder)


def test_non_json_config_is_rejected(folder: Path) -> None:
    (folder / "config.json").write_text("{")
    with pytest.raises(BundleError, match=r"config\.json is invalid: the file: Invalid JSON"):
        Bundle.open(folder)
    (folder / "config.json").unlink()
    with pytest.raises(BundleError, match="is not a model folder"):
        Bundle.open(folder)


def test_modified_weights_are_not_loaded(folder: Path) -> None:
    weights = bytearray((folder / MODEL).read_bytes())
    weights[1000] ^= 1
    (folder / MODEL).write_bytes(weights)
    with pytest.raises(BundleError, match="SHA-256 differs"):
        Classifier(Bundle.open(folder), threads=1)


def test_missing_or_extra_file_fails_verification(folder: Path) -> None:
    (folder / "extra.txt").write_text("?")
    with pytest.raises(BundleError, match=r"without a digest in config\.json: extra\.txt"):
        Bundle.open(folder).verify()
    (folder / "extra.txt").unlink()
    (folder / METRICS).unlink()
    with pytest.raises(BundleError, match="cannot be read"):
        Bundle.open(folder).verify()


def test_revision_depends_on_every_file(folder: Path) -> None:
    opened = Bundle.open(folder)
    files = {name: opened.read(name) for name in opened.config.sha256}
    first = write_bundle(folder, opened.config, files)
    same = write_bundle(folder, first.config, files)
    assert same.revision == first.revision
    other = write_bundle(folder, first.config, files | {"README.md": b"another card"})
    assert other.revision != first.revision


def test_write_replaces_the_whole_folder_or_nothing(folder: Path) -> None:
    before = {file.name: file.read_bytes() for file in folder.iterdir()}
    config = Bundle.open(folder).config
    with pytest.raises(BundleError, match="cannot be written"):
        write_bundle(folder, config, {METRICS: b"{}"})
    with pytest.raises(BundleError, match="names the model"):
        write_bundle(folder.parent / "other", config, {MODEL: b"x"})
    assert {file.name: file.read_bytes() for file in folder.iterdir()} == before
    write_bundle(folder, config, {MODEL: b"x"})
    assert {file.name for file in folder.iterdir()} == {MODEL, "config.json"}
    assert [file.name for file in folder.parent.iterdir()] == ["classic"], (
        "temporary files are left"
    )


@pytest.mark.parametrize("failure", [OSError, KeyboardInterrupt])
def test_interrupted_write_leaves_the_old_folder(
    folder: Path, failure: type[BaseException], monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle = Bundle.open(folder)
    rename = Path.rename

    def second_fails(self: Path, target: Path) -> Path:
        if target == folder and self.parent != folder.parent:
            raise failure
        return rename(self, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "rename", second_fails)
        with pytest.raises(failure):
            write_bundle(folder, bundle.config, {MODEL: b"x"})
    assert Bundle.open(folder).revision == bundle.revision
    assert [file.name for file in folder.parent.iterdir()] == ["classic"]


def test_next_write_recovers_from_a_killed_one(folder: Path) -> None:
    bundle = Bundle.open(folder)
    folder.rename(folder.with_name(".old-classic"))  # as after SIGKILL between the two renames
    assert find_bundles(folder.parent) == []
    write_bundle(folder, bundle.config, {MODEL: b"x"})
    assert [file.name for file in folder.parent.iterdir()] == ["classic"]


def test_config_survives_a_round_trip(folder: Path) -> None:
    config = Bundle.open(folder).config
    assert Config.model_validate_json(config.model_dump_json()) == config
