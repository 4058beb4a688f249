"""The protocol of the process that decodes photos, without a process."""

from __future__ import annotations

from io import BytesIO

import numpy as np
import pytest

from core.messages import read_message, write_message
from core.photos.prepare import Preparation, prepare
from core.photos.preprocess import InputSpec
from core.photos.worker import request_from_header, request_to_header, serve
from tests.support import drawings
from tests.support.hostile_photos import encoded

SPEC = InputSpec(
    height=32, width=32, resize="squash", interpolation="bilinear", mean=(0, 0, 0), std=(1, 1, 1)
)
PHOTO = encoded(drawings.ship(64, 48), "JPEG")
MAX_BYTES = 2**20


@pytest.mark.parametrize("request_", [Preparation(), Preparation(SPEC, preview=8, archival=True)])
def test_request_survives_its_header(request_: Preparation) -> None:
    assert request_from_header(request_to_header(request_)) == request_


def test_results_follow_in_the_order_of_the_requests() -> None:
    requests, results = BytesIO(), BytesIO()
    wanted = Preparation(SPEC, preview=8, archival=True)
    write_message(requests, request_to_header(wanted), b"no photo")
    write_message(requests, request_to_header(wanted), PHOTO)
    requests.seek(0)
    with pytest.raises(EOFError):
        serve(requests, results, processor_s=60)
    results.seek(0)
    assert read_message(results, max_bytes=0) == ({"ready": True}, b"")
    refused, _ = read_message(results, max_bytes=0)
    assert refused["code"] == "not_an_image"
    header, body = read_message(results, max_bytes=MAX_BYTES)
    expected = prepare(PHOTO, wanted)
    assert expected.crops is not None
    assert expected.preview is not None
    assert expected.archival is not None
    assert header == {
        "crops": list(expected.crops.shape),
        "preview": list(expected.preview.shape),
        "archival": len(expected.archival),
    }
    assert body == b"".join(
        [np.asarray(expected.crops).tobytes(), expected.preview.tobytes(), expected.archival]
    )
