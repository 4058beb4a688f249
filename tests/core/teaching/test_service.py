"""Teaching models, and their owners."""

from __future__ import annotations

import threading
import zipfile
from contextlib import closing
from dataclasses import replace
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest

import core
from core.bundle.config import CONFIG
from core.bundle.folder import Bundle
from core.errors import BundleError, ModelNotFoundError, TeachingError
from core.inference.head import write_head
from core.photos.pool import PhotoPool
from core.registry.catalog import Catalog
from core.registry.releases import Releases
from core.registry.revisions import RevisionStore
from core.registry.taught import TaughtRecord, TaughtStore
from core.settings import Settings
from core.teaching.base import TeachingBase
from core.teaching.collect import Embed, LabelledPhoto
from core.teaching.limits import MAX_CLASSES, MAX_TOTAL_PHOTOS
from core.teaching.owned import OwnedModels
from core.teaching.service import Teaching, find_teaching_base
from core.teaching.stored_examples import StoredExamples, views_that_fit
from tests.core.teaching.conftest import KEY, drawn
from tests.support.drawings import shape_jpeg
from tests.support.servers import wait_for
from tests.support.taught import learn_here, random_head, random_space, teachable


def test_taught_candidate_recognises_its_classes(teaching: Teaching, settings: Settings) -> None:
    done = []
    model = teaching.teach_named(
        "shapes",
        drawn("circle", "square", "bars"),
        title="Circles & co.",
        progress=lambda n, total: done.append((n, total)),
    )
    assert done == [(n, 12) for n in range(1, 13)]
    assert model.bundle.config.title == "Circles & co."
    assert model.bundle.config.labels == ("bars", "circle", "square")
    assert model.report.photos == (4, 4, 4)
    assert model.report.accuracy.share > 0.8
    assert "correct label" in (model.bundle.folder / "README.md").read_text()
    with closing(Releases(settings)) as releases, closing(Catalog(settings)) as catalog:
        assert [each.name for each in catalog.models()] == ["classic"], "a candidate is not live"
        releases.promote("shapes", model.bundle.revision)
        catalog.refresh()
        classifier = catalog.load("shapes")
        for name in ("circle", "square", "bars"):
            assert classifier.predict(shape_jpeg(name, 77)).label == name
        assert {each.name for each in catalog.models()} == {"classic", "shapes"}
        assert all(error is None for error in catalog.problems().values())


def test_same_photos_in_any_order_make_the_same_model(
    teaching: Teaching,
    settings: Settings,
    base: TeachingBase,
    embed: Embed,
    pool: PhotoPool,
    tmp_path: Path,
) -> None:
    photos = drawn("circle", "square")
    first = teaching.teach_named("shapes", photos)
    photos = [photos[i] for i in np.random.default_rng(3).permutation(len(photos))]
    elsewhere = settings.model_copy(update={"home": tmp_path / "other"})
    other = Teaching(elsewhere, base, embed, pool, KEY, learner=learn_here)
    assert other.teach_named("shapes", photos).bundle.revision == first.bundle.revision


def test_base_is_installed_once(teaching: Teaching, settings: Settings) -> None:
    teaching.teach_named("shapes", drawn("circle", "square"))
    teaching.teach_named("others", drawn("circle", "bars"))
    names = sorted(each.config.name for each in RevisionStore(settings.home).bundles())
    assert names == ["classic", "others", "shapes"]


def test_examples_are_deleted_with_the_last_revision(
    teaching: Teaching, settings: Settings
) -> None:
    teaching.teach_named("shapes", drawn("circle", "square"))
    kept = teaching.create("chat:1", "Shapes", drawn("circle", "bars"))
    assert kept.record is not None
    with closing(Releases(settings)) as releases:
        releases.gc()
    assert TaughtStore(settings.home).examples("shapes") is None
    assert TaughtStore(settings.home).examples(kept.record.id) is not None


def test_private_model_is_listed_to_its_owner_only(teaching: Teaching, settings: Settings) -> None:
    model = teaching.create("chat:1", "Shapes", drawn("circle", "square"))
    assert model.record is not None
    assert [each.title for each in teaching.models("chat:1")] == ["Shapes"]
    assert teaching.models("chat:2") == []
    assert teaching.owns("chat:1", model.record.id)
    assert not teaching.owns("chat:2", model.record.id)
    with closing(Catalog(settings)) as catalog, closing(Releases(settings)) as releases:
        assert [each.name for each in catalog.models()] == ["classic"]
        assert [each.bundle.config.name for each in releases.installed()] == ["classic"]
        assert catalog.load(model.record.id).predict(shape_jpeg("circle", 9)).label == "circle"
        described = catalog.private(model.record.id)
        assert described is not None
        assert described.config.title == "Shapes"
        with pytest.raises(ModelNotFoundError) as told:
            catalog.load(f"taught-{'0' * 32}")
        assert model.record.id not in str(told.value)
        for path in ("taught-../../x", "taught-", f"{model.record.id}/.."):
            with pytest.raises(ModelNotFoundError):
                catalog.load(path)
        assert releases.gc()[0] == [], "what answers, and its base, are kept"
        with pytest.raises(ModelNotFoundError):
            releases.promote(model.record.id, model.bundle.revision)
    stored = "".join(
        file.read_bytes().decode("latin-1")
        for file in (settings.home / "taught").rglob("*")
        if file.is_file()
    )
    assert "chat:1" not in stored
    assert "JFIF" not in stored


def test_more_photos_and_classes_are_taught(teaching: Teaching, settings: Settings) -> None:
    first = teaching.create("chat:1", "Shapes", drawn("circle", "square"))
    assert first.record is not None
    with closing(Catalog(settings)) as catalog:
        before = catalog.load(first.record.id)
        again = teaching.add_photos("chat:1", first.record.id, drawn("bars"))
        assert again.bundle.config.labels == ("bars", "circle", "square")
        assert catalog.load(first.record.id).revision == again.bundle.revision
        assert before.revision == first.bundle.revision
    assert not RevisionStore(settings.home).path(first.record.id, first.bundle.revision).exists(), (
        "the revision before is gone"
    )
    with pytest.raises(ModelNotFoundError):
        teaching.add_photos("chat:2", first.record.id, drawn("bars"))
    with pytest.raises(TeachingError, match="'ring' has 1"):
        teaching.add_photos(
            "chat:1", first.record.id, [LabelledPhoto("ring", shape_jpeg("bars", 50), "ring")]
        )
    assert teaching.models("chat:1")[0].revision == again.bundle.revision


def test_retaught_model_forgets_earlier_photos(teaching: Teaching, settings: Settings) -> None:
    first = teaching.create("chat:1", "Shapes", drawn("circle", "square"))
    assert first.record is not None
    model = first.record.id
    again = teaching.teach_again("chat:1", model, "Forms", drawn("circle", "bars"), lifetime_s=60)
    assert again.bundle.config.labels == ("bars", "circle")
    (record,) = teaching.models("chat:1")
    assert (record.id, record.title, record.revision) == (model, "Forms", again.bundle.revision)
    assert record.expires is not None
    assert not RevisionStore(settings.home).path(model, first.bundle.revision).exists()
    with pytest.raises(ModelNotFoundError):
        teaching.teach_again("chat:2", model, "Forms", drawn("circle", "bars"))
    with pytest.raises(TeachingError):
        teaching.teach_again("chat:1", model, "Forms", drawn("circle"))
    assert teaching.models("chat:1") == [record]


def test_photo_that_was_taught_moves_to_its_new_class(teaching: Teaching) -> None:
    photos = drawn("circle", "square", each=4)
    wrong = LabelledPhoto("circle", shape_jpeg("square", 60), "wrong")
    model = teaching.create("chat:1", "Shapes", [*photos, wrong])
    assert model.record is not None
    assert model.report.photos == (5, 4)
    corrected = teaching.add_photos("chat:1", model.record.id, [replace(wrong, label="square")])
    assert corrected.report.photos == (4, 5)


def test_forgetting_a_sender_teaches_again_without_their_photos(
    teaching: Teaching, settings: Settings
) -> None:
    mine = drawn("circle", "square", sender="person:1")
    theirs = [
        *drawn("bars", sender="person:2"),
        *drawn("circle", sender="person:2", first=20),
    ]
    model = teaching.create("chat:1", "Shapes", [*mine, *theirs])
    assert model.record is not None
    (forgotten,) = teaching.forget_sender("person:2")
    assert forgotten.model is not None
    assert forgotten.dropped == ("bars",)
    assert forgotten.model.bundle.config.labels == ("circle", "square")
    assert forgotten.model.report.photos == (4, 4)
    content = TaughtStore(settings.home).examples(model.record.id)
    assert content is not None
    assert len(StoredExamples.from_bytes(content)) == 8
    assert teaching.forget_sender("person:2") == []
    (gone,) = teaching.forget_sender("person:1")
    assert gone.model is None
    assert teaching.models("chat:1") == []
    assert not (settings.home / "taught" / model.record.id).exists()


def test_forget_deletes_models_with_unreadable_examples(
    teaching: Teaching, settings: Settings
) -> None:
    model = teaching.create("chat:1", "Shapes", drawn("circle", "square", sender="person:1"))
    assert model.record is not None
    TaughtStore(settings.home).save_examples(model.record.id, b"damaged")
    assert [each.model for each in teaching.forget_sender("person:2")] == [None]
    assert teaching.models("chat:1") == []


def test_forget_deletes_models_whose_base_is_missing(
    teaching: Teaching, settings: Settings
) -> None:
    teaching.create("chat:1", "Theirs", drawn("circle", "square", sender="person:1"))
    damaged = teaching.create("chat:2", "Damaged", drawn("circle", "square")).record
    teaching.create("chat:3", "Kept", drawn("circle", "square", sender="person:2"))
    assert damaged is not None
    TaughtStore(settings.home).save_examples(damaged.id, b"damaged")
    owned = OwnedModels(settings.home, KEY)
    deleted = owned.delete_taught_by("person:1")
    assert sorted(each.title for each in deleted) == ["Damaged", "Theirs"]
    assert [each.title for each in owned.all()] == ["Kept"]


def test_missing_base_and_damaged_base_are_distinguished(tmp_path: Path) -> None:
    folder = teachable(tmp_path / "models").bundle.folder
    settings = Settings(home=tmp_path / "home", models=folder.parent)
    with pytest.raises(TeachingError) as missing:
        find_teaching_base(settings)
    assert missing.value.reason == "no_base"
    assert find_teaching_base(settings, "classic").bundle.folder == folder
    (folder / CONFIG).write_bytes(b"{")
    with pytest.raises(BundleError, match="is invalid"):
        find_teaching_base(settings, "classic")
    (folder / CONFIG).unlink()
    with pytest.raises(BundleError, match="cannot be read"):
        find_teaching_base(settings, "classic")


def test_shared_model_is_listed_until_it_is_forgotten(teaching: Teaching) -> None:
    model = teaching.create("chat:1", "Shapes", drawn("circle", "square"))
    assert model.record is not None
    key = teaching.share("chat:1", model.record.id)
    assert teaching.share("chat:1", model.record.id) == key
    assert teaching.add_shared("chat:2", key).id == model.record.id
    assert teaching.add_shared("chat:1", key).users == (teaching.hash_owner("chat:2"),)
    assert [each.id for each in teaching.models("chat:2")] == [model.record.id]
    with pytest.raises(ModelNotFoundError):
        teaching.forget("chat:2", model.record.id)
    assert teaching.forget("chat:1", model.record.id) == (teaching.hash_owner("chat:2"),)
    assert teaching.models("chat:2") == []
    with pytest.raises(ModelNotFoundError, match="no longer shared"):
        teaching.add_shared("chat:3", key)


def test_unshared_model_stays_with_its_owner(teaching: Teaching) -> None:
    model = teaching.create("chat:1", "Shapes", drawn("circle", "square"))
    assert model.record is not None
    teaching.add_shared("chat:2", teaching.share("chat:1", model.record.id))
    assert teaching.unshare("chat:1", model.record.id) == (teaching.hash_owner("chat:2"),)
    assert teaching.models("chat:2") == []
    assert len(teaching.models("chat:1")) == 1


def test_published_copy_is_a_candidate(
    teaching: Teaching, settings: Settings, base: TeachingBase
) -> None:
    model = teaching.create("chat:1", "Shapes", drawn("circle", "square"))
    assert model.record is not None
    teaching.offer("chat:1", model.record.id)
    assert [each.id for each in teaching.offers()] == [model.record.id]
    bundle = teaching.publish(model.record.id, "shapes")
    with closing(Releases(settings)) as releases:
        releases.promote("shapes", bundle.revision)
    with closing(Catalog(settings)) as catalog:
        assert {each.name: each.config.offered for each in catalog.models()}["shapes"]
    with pytest.raises(TeachingError, match="comes with TenSight"):
        teaching.publish(model.record.id, "classic")


def test_forget_leaves_published_copies_unchanged(teaching: Teaching, settings: Settings) -> None:
    # The bot, the page and TEACH.md say so.
    model = teaching.create("chat:1", "Shapes", drawn("circle", "square", sender="person:1"))
    assert model.record is not None
    public = teaching.publish(model.record.id, "shapes")
    assert [each.model for each in teaching.forget_sender("person:1")] == [None]
    assert teaching.models("chat:1") == []
    left = {each.config.name: each for each in RevisionStore(settings.home).bundles()}
    assert left["shapes"].revision == public.revision
    assert TaughtStore(settings.home).examples("shapes") is None, "it has no training data"


def test_classifier_of_the_most_classes_has_at_most_12_mb() -> None:
    """A page holds a bounded number of classifiers, and so a bounded number of bytes."""
    features, classes = 1280, MAX_CLASSES
    space = random_space(features, rank=128)
    head = write_head(replace(random_head(features, classes), space=space))
    views = views_that_fit(MAX_TOTAL_PHOTOS, features)
    rng = np.random.default_rng(0)
    examples = StoredExamples(
        tuple("x" * 62 + f"{i:02}" for i in range(classes)),
        rng.normal(size=(MAX_TOTAL_PHOTOS, views, features)).astype(np.float16),
        np.arange(MAX_TOTAL_PHOTOS) % classes,
        rng.integers(0, 256, (MAX_TOTAL_PHOTOS, 16), np.uint8),
        rng.integers(0, 256, (MAX_TOTAL_PHOTOS, 16), np.uint8),
        "0" * 64,
    ).to_bytes()
    assert len(head) + len(examples) <= 12_000_000


def test_model_expires(
    settings: Settings, base: TeachingBase, embed: Embed, pool: PhotoPool
) -> None:
    now = [1000.0]
    teaching = Teaching(settings, base, embed, pool, KEY, learner=learn_here, clock=lambda: now[0])
    model = teaching.create("visitor", "Shapes", drawn("circle", "square"), lifetime_s=60)
    assert teaching.purge() == []
    now[0] += 61
    assert teaching.models("visitor") == []
    assert teaching.purge() == [model.record]
    assert teaching.count() == 0
    assert not list((settings.home / "revisions").glob("*/taught-*"))


def test_model_that_is_renewed_while_the_purge_waits_is_kept(
    settings: Settings, base: TeachingBase, embed: Embed, pool: PhotoPool
) -> None:
    now = [1000.0]
    teaching = Teaching(settings, base, embed, pool, KEY, learner=learn_here, clock=lambda: now[0])
    records = []
    for title in ("Deleted", "Renewed"):
        made = teaching.create("visitor", title, drawn("circle", "square"), lifetime_s=60)
        assert made.record is not None
        records.append(made.record)
        now[0] += 1
    deleted, renewed = records
    now[0] += 61
    store = TaughtStore(settings.home)
    purged: list[TaughtRecord] = []
    purge = threading.Thread(target=lambda: purged.extend(teaching.purge()))
    with store.changing(renewed.id):
        purge.start()
        # It has listed both, and waits for the lock of the second one.
        wait_for(lambda: store.find(deleted.id) is None)
        store.save(renewed.model_copy(update={"expires": now[0] + 60}))
    purge.join()
    assert purged == [deleted]
    assert [each.title for each in teaching.models("visitor")] == ["Renewed"]


def test_owner_has_a_limited_number_of_models(
    settings: Settings, base: TeachingBase, embed: Embed, pool: PhotoPool
) -> None:
    teaching = Teaching(settings, base, embed, pool, KEY, learner=learn_here, max_models=1)
    teaching.create("chat:1", "Shapes", drawn("circle", "square"))
    with pytest.raises(TeachingError, match="already have 1 classifiers"):
        teaching.create("chat:1", "Shapes", drawn("circle", "square"))


def test_downloaded_model_is_loaded_with_its_base(
    teaching: Teaching, settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = teaching.create("visitor", "Mes Carrés!", drawn("circle", "square"))
    assert model.record is not None
    name, content = teaching.download("visitor", model.record.id)
    assert name == "mes-carres"
    assert model.record.id.encode() not in content
    with zipfile.ZipFile(BytesIO(content)) as archive:
        archive.extractall(tmp_path)
    files = {file.name for file in (tmp_path / name).iterdir()}
    assert files == {"config.json", "head.npz", "metrics.json", "README.md"}
    monkeypatch.setenv("TENSIGHT_MODELS", str(settings.models))
    for folder in (tmp_path / name, f"./{name}"):
        assert core.load(folder).predict(shape_jpeg("circle", 9)).label == "circle"
    monkeypatch.setenv("TENSIGHT_MODELS", str(tmp_path / "none"))
    monkeypatch.setenv("TENSIGHT_HOME", str(tmp_path / "nowhere"))
    with pytest.raises(BundleError, match="taught on the model classic"):
        core.load(tmp_path / name)
    with pytest.raises(ModelNotFoundError):
        teaching.download("others", model.record.id)


def test_changed_base_is_reported_and_the_model_still_answers(
    teaching: Teaching, settings: Settings, base: TeachingBase, embed: Embed, pool: PhotoPool
) -> None:
    model = teaching.create("chat:1", "Shapes", drawn("circle", "square"))
    assert model.record is not None
    content = TaughtStore(settings.home).examples(model.record.id)
    assert content is not None
    older = replace(StoredExamples.from_bytes(content), base="0" * 64)
    TaughtStore(settings.home).save_examples(model.record.id, older.to_bytes())
    with pytest.raises(TeachingError, match="send all photos again") as told:
        teaching.add_photos("chat:1", model.record.id, drawn("bars"))
    assert told.value.reason == "other_base"
    with closing(Catalog(settings)) as catalog:
        assert catalog.load(model.record.id).revision == model.bundle.revision


def test_examples_hold_embeddings_and_hashes_alone(teaching: Teaching, settings: Settings) -> None:
    teaching.teach_named("shapes", drawn("circle", "square", sender="person:1"))
    content = TaughtStore(settings.home).examples("shapes")
    assert content is not None
    assert len(content) < 8_000_000
    stored = StoredExamples.from_bytes(content)
    assert stored.embeddings.dtype == np.float16
    assert stored.embeddings.shape[:2] == (8, 4)
    assert b"person" not in content
    assert not {
        each.name
        for each in Bundle.open(
            next((settings.home / "revisions").glob("*/shapes"))
        ).folder.iterdir()
    } & {"examples.npz"}
