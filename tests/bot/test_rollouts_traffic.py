"""Shadows and canaries of a bot whose users send photos and judge the answers."""

from __future__ import annotations

import io
import itertools
import shutil
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from core.bundle.folder import Bundle, write_bundle
from core.registry.catalog import Catalog
from core.registry.revisions import RevisionStore, StoredRevision
from core.rollout.shadow import ShadowLimits, ShadowRunner
from core.serving.local import LocalPredictor
from core.settings import Settings
from core.store.rollouts import Rollout
from tests.support.rollouts import (
    MODEL,
    fake_worker,
    install_candidate,
    rollout_predictor,
    settings_with_model,
)
from tests.support.running_bot import RunningBot, ask, running_bot
from tests.support.servers import wait_for
from tests.support.telegram_server import TelegramServer

# A threshold that no photo is below.
NEVER = -1000.0
# Judged photos after which a canary that is no worse has certainly had its chance.
ENOUGH = 160


@dataclass(frozen=True)
class Photos:
    """Photos by the label that the live revision answers with.

    Attributes:
        worse: Photos of the class in which the candidate is worse.
        others: Photos of other classes, on which both agree.
        none_below: Threshold of the candidate: it answers 60% of `worse` with `none`.
        label: The class in which it is worse.
    """

    worse: list[bytes]
    others: list[tuple[str, bytes]]
    none_below: float
    label: str


def jpeg(seed: int) -> bytes:
    """Return a photo of coloured clouds."""
    colours = np.random.default_rng(seed).integers(0, 256, (5, 5, 3), np.uint8)
    stream = io.BytesIO()
    clouds = Image.fromarray(colours).resize((96, 96), Image.Resampling.BICUBIC)
    clouds.save(stream, "PNG")
    return stream.getvalue()


def photos_of(settings: Settings) -> Photos:
    """Choose photos by the answers of the live revision."""
    with closing(Catalog(settings)) as catalog:
        classifier = catalog.load(MODEL)
        said = [(content, classifier.predict(content)) for content in map(jpeg, range(120))]
    ((label, _),) = Counter(each.label for _, each in said).most_common(1)
    mine = sorted(
        ((each.known_score, content) for content, each in said if each.label == label),
        key=lambda each: each[0],
    )
    # Exactly six of ten are below the threshold.
    mine = mine[: len(mine) // 10 * 10]
    below = len(mine) * 6 // 10
    none_below = (mine[below - 1][0] + mine[below][0]) / 2
    others = [
        (each.label, content)
        for content, each in said
        if each.label != label and each.known_score > none_below
    ]
    return Photos([content for _, content in mine], others, none_below, label)


def with_threshold(folder: Path, title: str, none_below: float) -> None:
    """Change the threshold of a model folder."""
    bundle = Bundle.open(folder)
    verdict = bundle.config.verdict.model_copy(update={"none_below": none_below})
    config = bundle.config.model_copy(update={"title": title, "verdict": verdict})
    write_bundle(folder, config, {name: bundle.read(name) for name in config.sha256})


def installed(settings: Settings, none_below: float) -> str:
    """Install a candidate with a threshold; return its revision."""
    revisions = RevisionStore(settings.home)
    with revisions.staging() as staging:
        shutil.copytree(settings.models / MODEL, staging / MODEL)
        with_threshold(staging / MODEL, "Candidate", none_below)
        stored = StoredRevision(Bundle.open(staging / MODEL), "owner/models", "0" * 40, "2026")
        with revisions.changing():
            return revisions.add(stored).revision


@contextmanager
def serving(
    telegram: TelegramServer, settings: Settings, **changes: Any
) -> Iterator[tuple[RunningBot, LocalPredictor]]:
    """Run a bot that checks its rollouts continuously."""
    predictor = rollout_predictor(settings, **changes)
    options: dict[str, Any] = {"models": settings.models, "model": MODEL}
    with (
        closing(predictor),
        running_bot(telegram, settings.home, predictor=predictor, **options) as bot,
    ):
        predictor.warm()
        yield bot, predictor


def begin(bot: RunningBot, predictor: LocalPredictor, candidate: str, **changes: Any) -> Rollout:
    """Begin a rollout and wait until the bot applies it."""
    live = Bundle.open(bot.settings.models / MODEL).revision
    begun = bot.store.rollouts.begin(MODEL, candidate=candidate, live=live, slow_ms=1e6, **changes)
    wait_for(lambda: len(predictor.rollouts()) == 1)
    return begun


@pytest.mark.long
@pytest.mark.parametrize("is_worse", [True, False])
def test_canary_worse_on_one_class_is_rolled_back_automatically(
    telegram: TelegramServer, tmp_path: Path, is_worse: bool
) -> None:
    settings = settings_with_model(tmp_path)
    with_threshold(settings.models / MODEL, "Live", NEVER)
    photos = photos_of(settings)
    candidate = installed(settings, photos.none_below if is_worse else NEVER)
    with serving(telegram, settings) as (bot, predictor):
        begin(bot, predictor, candidate, kind="canary", share=0.5)
        people = itertools.count(10_000)
        sent = 0
        while sent < (1000 if is_worse else ENOUGH) and bot.store.rollouts.active():
            for _ in range(8):
                sent += send_and_judge(bot, next(people), photos, sent)
            bot.wait_until_idle()
        if is_worse:
            wait_for(lambda: bot.store.rollouts.active() == [])
        ended = bot.store.rollouts.latest(MODEL)
        assert ended is not None
        entries = bot.store.audit.recent(5)
    if is_worse:
        assert ended.outcome == "rolled_back"
        assert (ended.reason or "").startswith("worse than the live revision: accuracy")
        assert [each.act for each in entries] == [f"canary {MODEL} {candidate}"]
        assert predictor.rollouts() == []
    else:
        assert (ended.outcome, entries) == (None, [])


def send_and_judge(bot: RunningBot, person: int, photos: Photos, place: int) -> int:
    """Let a person send two photos and say what they show; return the number of photos."""
    telegram = bot.telegram
    chosen = [
        (photos.label, photos.worse[(7 * place) % len(photos.worse)]),
        photos.others[place % len(photos.others)],
    ]
    for truth, content in chosen:
        reply = ask(telegram, person, partial(telegram.photo, person, content))
        (key,) = {data.split(":")[1] for data in reply.buttons().values()}
        labels = sorted(Bundle.open(bot.settings.models / MODEL).config.labels)
        data = f"truth:{key}:{labels.index(truth)}"
        telegram.press(person, data, message=int(reply.data["message_id"]))
    return len(chosen)


@pytest.mark.parametrize("code", ["time.sleep(600)", "os._exit(1)"], ids=["hang", "crash"])
def test_hanging_or_crashing_shadow_does_not_affect_visitors(
    telegram: TelegramServer, tmp_path: Path, content: bytes, code: str
) -> None:
    settings = settings_with_model(tmp_path)
    candidate = install_candidate(settings)
    limits = ShadowLimits(photos=2, answer_timeout_s=600.0)
    command = fake_worker(code)

    def run_shadow(rollout: Rollout, *folders: Path, **changes: Any) -> ShadowRunner:
        return ShadowRunner(rollout, *folders, command=command, limits=limits, **changes)

    with serving(telegram, settings, run_shadow=run_shadow) as (bot, predictor):
        rollout = begin(bot, predictor, candidate, kind="shadow", share=1.0)
        for person in range(900, 906):
            # The worker hangs, or has crashed, while these are answered.
            # The photos differ, since each is compared once.
            photo = content + bytes([person % 256])
            ask(telegram, person, partial(telegram.photo, person, photo))
        with bot.store.database.engine.connect() as connection:
            found = connection.exec_driver_sql("SELECT DISTINCT revision FROM answers").all()
        assert [row[0] for row in found] == [rollout.live]

        def outcomes() -> dict[str, int]:
            (status,) = predictor.rollouts()
            return status.photos

        if code == "os._exit(1)":
            wait_for(lambda: outcomes().get("failed", 0) + outcomes().get("dropped", 0) == 6)
            assert outcomes()["failed"] > 0
        else:
            wait_for(lambda: outcomes().get("dropped", 0) >= 4)
        assert outcomes().get("compared", 0) == 0
