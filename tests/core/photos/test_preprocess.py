from __future__ import annotations

import numpy as np
import pytest

from core.photos.preprocess import InputSpec, crops, normalise, resize
from tests.support import drawings

SPEC = InputSpec(
    height=20,
    width=20,
    resize="squash",
    interpolation="bilinear",
    mean=(0.1, 0.2, 0.3),
    std=(0.5, 0.25, 0.2),
)


def test_resize_follows_the_configured_rule() -> None:
    wide = np.asarray(drawings.gradient(60, 20))
    squashed = resize(wide, SPEC)
    cropped = resize(wide, SPEC.model_copy(update={"resize": "center_crop"}))
    assert squashed.shape == cropped.shape == (20, 20, 3)
    assert np.ptp(squashed[..., 0].astype(int)) > 200, "the edges were cropped"
    assert np.array_equal(cropped, wide[:, 20:40]), "the center crop was resampled"
    small = np.asarray(drawings.gradient(20, 20))
    assert np.array_equal(resize(small, SPEC), small)


@pytest.mark.parametrize("turned", [False, True])
def test_three_crops_cover_both_ends_and_the_middle(turned: bool) -> None:
    spec = SPEC.model_copy(update={"resize": "three_crops"})
    wide = np.asarray(drawings.gradient(60, 20))
    ends = [wide[:, :20], wide[:, 20:40], wide[:, 40:]]
    photo = wide.transpose(1, 0, 2) if turned else wide
    expected = [end.transpose(1, 0, 2) if turned else end for end in ends]
    assert np.array_equal(crops(photo, spec), expected)
    assert np.array_equal(resize(photo, spec), expected[1])
    assert crops(np.asarray(drawings.gradient(50, 50)), spec).shape == (1, 20, 20, 3)
    for rule in ("squash", "center_crop"):
        other = spec.model_copy(update={"resize": rule})
        assert np.array_equal(crops(photo, other), resize(photo, other)[None])


def test_crops_accept_every_size() -> None:
    """Rounding must not put an edge of a crop outside the image."""
    for side in (224, 299):
        update = {"resize": "three_crops", "height": side, "width": side}
        spec = SPEC.model_copy(update=update)
        # 29, 58, 116 and 225 are among those whose scale to 224 and back is not exact.
        for size in range(20, 240):
            for shape in ((size, 240, 3), (240, size, 3)):
                assert crops(np.zeros(shape, np.uint8), spec).shape[1:] == (side, side, 3)


def test_normalise_scales_channels_in_the_order_of_the_model() -> None:
    red = np.zeros((2, 4, 4, 3), np.uint8)
    red[..., 0] = 255
    rgb = normalise(red, SPEC)
    assert rgb.dtype == np.float32
    assert rgb[0, 0, 0] == pytest.approx([1.8, -0.8, -1.5])
    bgr = normalise(red, SPEC.model_copy(update={"channels": "bgr"}))
    assert bgr[0, 0, 0] == pytest.approx([-0.2, -0.8, 3.5])


def test_input_spec_rejects_a_standard_deviation_of_zero() -> None:
    with pytest.raises(ValueError, match="std must be above 0"):
        InputSpec.model_validate(SPEC.model_dump() | {"std": (0.5, 0, 0.2)})
