"""Random views of a data set's rows and of photos, as a `PhotoPlan` has them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from core.photos.preprocess import InputSpec, resize
from core.training.data.augment import random_crops, random_window
from core.training.photo_plan import PhotoPlan

__all__ = ["PhotoViews"]


class PhotoViews:
    """Random views of images, of the size that a network takes.

    Args:
        plan: How many are blurred, shrunk or sharpened.
        spec: The size.
        crop_padding: Width of the reflected border that rows are cropped from, pixels.
    """

    def __init__(self, plan: PhotoPlan, spec: InputSpec, crop_padding: int) -> None:
        self._plan = plan
        self._spec = spec
        self._crop_padding = crop_padding

    def of_rows(
        self, images: NDArray[np.uint8], rng: np.random.Generator
    ) -> list[NDArray[np.uint8]]:
        """Crop rows at random and enlarge them, some from fewer pixels, some sharpened."""
        made = []
        for image in random_crops(images, self._crop_padding, rng):
            way, whole = rng.random(), image
            if way < self._plan.shrunk:
                side = int(rng.integers(len(image) * 3 // 4, len(image)))
                whole = resize(image, self._sized(side))
            large = resize(whole, self._spec)
            if self._plan.shrunk <= way < self._plan.shrunk + self._plan.sharpened:
                sharp = ImageFilter.UnsharpMask(
                    radius=self._spec.height / len(image), percent=int(rng.integers(50, 151))
                )
                large = np.asarray(Image.fromarray(large).filter(sharp))
            made.append(large)
        return made

    def of_photo(self, image: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
        """Take a random window of a photo, and scale some down and up again."""
        window = random_window(image, rng)
        if rng.random() < self._plan.blurred:
            low, high = np.log(self._plan.blurred_sides)
            window = resize(window, self._sized(int(np.exp(rng.uniform(low, high)))))
        return resize(window, self._spec)

    def _sized(self, side: int) -> InputSpec:
        return self._spec.model_copy(update={"height": side, "width": side})
