"""The catalog serves the live revision, or falls back."""

from __future__ import annotations

import asyncio
import itertools
import json
import shutil
import threading
from contextlib import closing
from pathlib import Path

import pytest

from core.bundle.config import MODEL
from core.bundle.folder import BUNDLED, Bundle, find_bundles, write_bundle
from core.inference.classifier import Classifier
from core.registry.catalog import Catalog
from core.registry.live_classifiers import Timings
from core.registry.releases import Releases
from core.registry.revisions import RevisionStore
from core.serving.local import LocalPredictor
from core.serving.telemetry import Telemetry
from core.settings import Settings
from core.store.store import Store
from tests.conftest import ROOT
from tests.support import drawings
from tests.support.releases import (
    NAMES,
    REPO,
    Installation,
    files_of,
    retitled,
    revisions_in,
)
from tests.support.servers import wait_for


def test_promotion_and_rollback_take_effect_in_running_predictor(
    installation: Installation, versions: dict[str, Path]
) -> None:
    first = revisions_in(versions["first"])["classic"]
    bundled = revisions_in(versions["bundled"])["classic"]
    installation.succeed("pull")
    predictor = LocalPredictor(Catalog(installation.settings), queue_size=8, deadline_s=30)
    predictor.warm()

    def revision() -> str:
        return asyncio.run(predictor.predict(drawings.ship(64, 48), model="classic")).revision

    assert revision() == bundled
    with closing(Releases(installation.settings)) as releases:
        releases.promote("classic", first)
        wait_for(lambda: revision() == first)
        assert predictor.model("classic").config.title == "classic, first"
        releases.roll_back("classic")
        wait_for(lambda: revision() == bundled)
    # And one that another process makes live.
    installation.succeed("rollback", "classic")
    wait_for(lambda: revision() == first)
    predictor.close()


def test_promotion_drops_no_photo(installation: Installation, versions: dict[str, Path]) -> None:
    """Eight clients ask without a pause during a promotion and a rollback; none loses an answer."""
    first = revisions_in(versions["first"])["classic"]
    bundled = revisions_in(versions["bundled"])["classic"]
    installation.succeed("pull")
    predictor = LocalPredictor(Catalog(installation.settings), queue_size=8, deadline_s=30)
    predictor.warm()
    given: list[list[str]] = [[] for _ in range(8)]
    failed: list[Exception] = []
    end = threading.Event()

    async def ask(answers: list[str]) -> None:
        while not end.is_set():
            try:
                answer = await predictor.predict(drawings.ship(64, 48), model="classic")
                assert sum(answer.scores.values()) == pytest.approx(1)
                answers.append(answer.revision)
            except Exception as error:  # noqa: BLE001  # none may come
                failed.append(error)
                return

    async def all_ask() -> None:
        await asyncio.gather(*map(ask, given))

    def all_get(revision: str) -> None:
        """Wait until every client has got an answer of the revision, and some more of them."""
        begun = [len(answers) for answers in given]
        wait_for(
            lambda: (
                bool(failed)
                or all(
                    answers[n:].count(revision) >= 3
                    for n, answers in zip(begun, given, strict=True)
                )
            )
        )

    releases = Releases(installation.settings)
    asking = threading.Thread(target=lambda: asyncio.run(all_ask()))
    asking.start()
    try:
        all_get(bundled)
        releases.promote("classic", first)
        all_get(first)
        releases.roll_back("classic")
        all_get(bundled)
    finally:
        end.set()
        asking.join(60)
        predictor.close()
        releases.close()
    assert failed == []
    for answers in given:
        # One after the other: once a revision answers, the one before it does not come back.
        swapped = [revision for revision, _ in itertools.groupby(answers)]
        assert swapped == [bundled, first, bundled]


def test_damaged_live_revision_falls_back_to_last_good(
    deployed: Installation, versions: dict[str, Path], caplog: pytest.LogCaptureFixture
) -> None:
    deployed.succeed("pull", "--promote")
    first, second = revisions_in(versions["first"]), revisions_in(versions["second"])
    revisions = RevisionStore(deployed.home)
    (revisions.path("classic", second["classic"]) / MODEL).write_bytes(b"damaged")
    assert deployed.serving() == second | {"classic": first["classic"]}
    assert "classic cannot be loaded" in caplog.text
    shutil.rmtree(revisions.path("classic", first["classic"]).parent)
    bundled = revisions_in(versions["bundled"])
    assert deployed.serving() == second | {"classic": bundled["classic"]}
    assert "is not installed" in caplog.text


def test_listed_revisions_are_those_that_serve(
    deployed: Installation, versions: dict[str, Path]
) -> None:
    deployed.succeed("pull", "--promote")
    first, second = revisions_in(versions["first"]), revisions_in(versions["second"])
    # Its description can be read, so it counts as live until it is loaded.
    (RevisionStore(deployed.home).path("classic", second["classic"]) / MODEL).write_bytes(
        b"damaged"
    )
    predictor = LocalPredictor(Catalog(deployed.settings), queue_size=8, deadline_s=30)
    predictor.warm()
    telemetry = Telemetry()
    telemetry.watch_models(predictor.models)
    answer = asyncio.run(predictor.predict(drawings.ship(64, 48), model="classic"))
    told = {result.config.name: result.revision for result in predictor.models()}
    metrics = telemetry.text().decode()
    predictor.close()
    assert answer.revision == first["classic"]
    assert told == second | {"classic": first["classic"]}
    for name, revision in told.items():
        assert f'tensight_live_revision{{model="{name}",revision="{revision}"}} 1.0' in metrics
    assert second["classic"] not in metrics


def test_fallback_is_not_listed_as_live(deployed: Installation, versions: dict[str, Path]) -> None:
    first, second = revisions_in(versions["first"]), revisions_in(versions["second"])

    def listed() -> dict[str, tuple[str, str]]:
        rows = json.loads(deployed.succeed("list", "--json"))
        return {
            row["name"]: (row["state"], row["revision"])
            for row in rows
            if row["state"] in ("live", "stands in", "bundled")
        }

    live = {name: ("live", revision) for name, revision in first.items()}
    assert listed() == live
    deployed.succeed("rollback", "classic")
    assert listed() == live | {"classic": ("live", revisions_in(versions["bundled"])["classic"])}
    # The bundled one is damaged, then a live one that was pulled.
    spoiled = deployed.home.parent / "spoiled"
    shutil.copytree(deployed.models, spoiled)
    (spoiled / "classic" / "config.json").write_text("{")
    bundled, deployed.models = deployed.models, spoiled
    assert listed() == live | {"classic": ("stands in", first["classic"])}
    deployed.models = bundled
    deployed.succeed("rollback", "classic")
    deployed.succeed("pull", "--promote")
    folder = RevisionStore(deployed.home).path("classic", second["classic"])
    (folder / "config.json").write_text("{")
    assert listed() == {
        "baseline": ("live", second["baseline"]),
        "classic": ("stands in", first["classic"]),
    }
    assert "stands in" in deployed.succeed("list")


def test_restored_live_revision_is_loaded_again(
    deployed: Installation, versions: dict[str, Path]
) -> None:
    first = revisions_in(versions["first"])["classic"]
    kept = RevisionStore(deployed.home).path("classic", first).parent
    away = kept.with_name(f".away-{first}")
    kept.rename(away)
    catalog = Catalog(deployed.settings, Timings(retry_s=0.1))
    assert catalog.load("classic").revision == revisions_in(versions["bundled"])["classic"]
    catalog.watch()
    away.rename(kept)
    wait_for(lambda: catalog.load("classic").revision == first)
    catalog.close()


def test_damaged_revision_does_not_delay_next_promotion(
    deployed: Installation, versions: dict[str, Path]
) -> None:
    deployed.succeed("pull")
    first, second, bundled = (
        revisions_in(versions[version])["classic"] for version in ("first", "second", "bundled")
    )
    catalog = Catalog(deployed.settings, Timings(retry_s=1000))
    assert catalog.load("classic").revision == first
    store = Store.open(deployed.settings)
    (RevisionStore(deployed.home).path("classic", second) / MODEL).write_bytes(b"damaged")
    store.live.promote({"classic": second}, dict.fromkeys(NAMES, "0"))
    catalog.refresh()
    assert catalog.load("classic").revision == first, "the last good one"
    store.live.promote({"classic": BUNDLED}, dict.fromkeys(NAMES, "0"))
    catalog.refresh()
    assert catalog.load("classic").revision == bundled
    store.close()
    catalog.close()


def test_rolled_back_model_serves_updated_bundled_revision(
    deployed: Installation, versions: dict[str, Path]
) -> None:
    deployed.succeed("rollback", "classic")
    # TenSight is updated, and another revision is bundled.
    updated = deployed.home.parent / "updated"
    shutil.copytree(versions["bundled"], updated)
    revision = retitled(updated / "classic", "updated")
    deployed.models = updated
    assert deployed.serving()["classic"] == revision


def test_model_without_bundled_revision_can_be_loaded(
    installation: Installation, tmp_path: Path
) -> None:
    empty = Settings(home=installation.home, models=tmp_path / "none", hub_repo=REPO)
    installation.succeed("pull", "--promote", TENSIGHT_MODELS=str(empty.models))
    catalog = Catalog(empty)
    assert isinstance(catalog.load("classic"), Classifier)
    assert catalog.default() == "classic"
    catalog.close()


def test_pulled_mobilenet_goes_on_answering(
    installation: Installation, versions: dict[str, Path], tmp_path: Path
) -> None:
    """`mobilenet` was the default before `efficientnet`, and is no longer bundled."""
    assert "mobilenet" not in {folder.name for folder in find_bundles(ROOT / "models")}
    older = Bundle.open(versions["first"] / "classic")
    config = older.config.model_copy(update={"name": "mobilenet", "title": "MobileNetV2"})
    files = {name: older.read(name) for name in config.sha256}
    revision = write_bundle(tmp_path / "hub" / "mobilenet", config, files).revision
    installation.hub.repos[REPO].commit(files_of(tmp_path / "hub"))
    installation.succeed("pull", "--promote")
    # The Hub has it no longer either.
    installation.hub.repos[REPO].commit(files_of(versions["second"]))
    installation.succeed("pull", "--promote")
    with closing(Catalog(installation.settings)) as catalog:
        assert "mobilenet" in [each.name for each in catalog.models()]
        prediction = catalog.load("mobilenet").predict(drawings.gradient(60, 40))
        assert (prediction.model, prediction.revision) == ("mobilenet", revision)
