"""Reading folders of real photos."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from core.errors import DataError
from core.settings import Settings
from core.training.data.real_photos import (
    KEPT_BACK_KINDS,
    NONE_LABEL,
    has_real_photos,
    load_real_photos,
)
from tests.support import made


def test_parts_hold_decoded_photos_and_keep_kinds_back(tmp_path: Path) -> None:
    parts = load_real_photos(Settings(data=made.real_photos(tmp_path)))
    assert len(parts.train) == len(parts.valid) == 4 * 13
    assert len(parts.kept_back) == 8, "those of train and of valid"
    assert set(parts.kept_back.kinds) == {"kangaroo"}
    assert set(parts.train.kinds[~parts.train.known]) == {"cow", "bus", "chair"}
    assert len(parts.unseen) == 0
    assert parts.train.images[3].shape == (100, 120, 3)
    assert parts.train.images[3].dtype == np.uint8
    assert parts.train.labels.tolist()[:13] == [*range(10), NONE_LABEL, NONE_LABEL, NONE_LABEL]
    assert parts.train.paths[0] == "airplane/0.png"


def test_held_out_source_is_for_evaluation_only(tmp_path: Path) -> None:
    settings = Settings(data=made.real_photos(tmp_path))
    parts = load_real_photos(settings, ["two/photos"])
    assert set(parts.train.sources) == set(parts.valid.sources) == {"one/photos"}
    assert set(parts.unseen.sources) == {"two/photos"}
    assert len(parts.unseen) == 2 * 2 * 13
    assert not set(parts.unseen.kinds) & set(KEPT_BACK_KINDS)
    with pytest.raises(DataError, match="no photos of the source three/photos"):
        load_real_photos(settings, ["three/photos"])


def test_missing_folder_error_describes_layout(tmp_path: Path) -> None:
    sentence = r"holds? .*train-\*\.parquet and valid-\*\.parquet .* image .* kind and source\.$"
    for settings in (Settings(), Settings(data=tmp_path)):
        assert not has_real_photos(settings)
        with pytest.raises(DataError, match=sentence):
            load_real_photos(settings)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"label": [11]}, "labels from 11 to 11; expected 0 to 10"),
        ({"image": [{"bytes": b"no photo", "path": "a.jpg"}]}, r"a\.jpg cannot be decoded"),
        ({"kind": None}, "cannot be read"),
    ],
)
def test_damaged_folder_is_refused(
    tmp_path: Path, changed: dict[str, list[object] | None], message: str
) -> None:
    made.real_photos(tmp_path)
    file = tmp_path / "real_photos" / "train-00000-of-00001.parquet"
    row = pq.read_table(file).slice(0, 1).to_pydict() | changed
    pq.write_table(pa.table({name: cell for name, cell in row.items() if cell is not None}), file)
    with pytest.raises(DataError, match=message):
        load_real_photos(Settings(data=tmp_path))


def test_published_folder_has_the_counts_of_its_readme(data_folder: Path) -> None:
    settings = Settings(data=data_folder)
    if not has_real_photos(settings):
        pytest.skip("TENSIGHT_DATA has no real_photos/")
    parts = load_real_photos(settings)
    every = parts.train.concat(parts.valid).concat(parts.kept_back)
    assert len(every) == 7233
    assert int(every.known.sum()) == 4780
    assert set(parts.kept_back.kinds) > set(KEPT_BACK_KINDS)
    learned = {*parts.train.kinds.tolist(), *parts.valid.kinds.tolist()}
    assert not learned & {"procyon-lotor", "crotalus-atrox", "sunflower"}, "raccoon, snake, flower"
