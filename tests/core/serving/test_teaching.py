"""Teaching with the embeddings of a predictor."""

from __future__ import annotations

import asyncio
from contextlib import closing
from pathlib import Path

import numpy as np

from core.inference.embedding import Embedding
from core.registry.catalog import Catalog
from core.serving.heads import LocalHeads
from core.serving.local import LocalPredictor
from core.serving.remote import RemotePredictor
from core.serving.teaching import connect_teaching
from core.settings import Settings
from core.teaching.service import find_teaching_base
from tests.support.drawings import shape_jpeg
from tests.support.http_service import MODELS, PATIENCE_S
from tests.support.taught import drawn_shapes


def test_front_teaches_on_the_served_base(url: str, tmp_path: Path) -> None:
    front = Settings(models=MODELS, home=tmp_path / "front", threads=1)
    heads = LocalHeads(Catalog(front))
    with closing(RemotePredictor(url, timeout_s=PATIENCE_S, heads=heads)) as predictor:
        with closing(connect_teaching(front, predictor)) as connected:
            model = connected.teaching.create("chat:1", "Shapes", drawn_shapes())
        assert model.record is not None
        assert model.bundle.config.base == find_teaching_base(front).reference
        photo = shape_jpeg("square", 9)
        prediction = asyncio.run(predictor.predict(photo, model=model.record.id, saliency=True))
    assert prediction.label == "square"
    assert prediction.saliency is not None
    spec = find_teaching_base(front).input
    assert prediction.saliency.shape == (spec.height, spec.width)


def test_features_of_the_served_base_average_to_the_embedding(catalog: Catalog) -> None:
    base = find_teaching_base(Settings(models=MODELS))
    with closing(LocalPredictor(catalog, queue_size=4, deadline_s=PATIENCE_S)) as local:
        found = asyncio.run(local.embed(shape_jpeg("circle", 1), base.reference, features=True))
    assert found.features is not None
    assert found.features.shape == (7, 7, 1280)
    np.testing.assert_allclose(found.features.mean(axis=(0, 1)), found.vector, atol=1e-3)
    again = Embedding.from_dict(found.to_dict())
    np.testing.assert_array_equal(again.features, found.features)
