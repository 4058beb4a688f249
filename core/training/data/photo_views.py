"""Random views of rows and photos, as a `PhotoPlan` describes them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from core.photos.preprocess import InputSpec, resize
from core.training.data.augment import random_crops, random_resized_window
from core.training.photo_plan import PhotoPlan

__all__ = ["PhotoViews"]


class PhotoViews:
    """Random views of images, resized to the input of a network.

    Varying the sharpness of rows and photos keeps a network from telling classes by it.

    Args:
        plan: Fractions of images that are blurred, shrunk or sharpened.
        spec: Size of the views.
        crop_padding: Width in pixels of the reflected border that rows are cropped from.
    """

    def __init__(self, plan: PhotoPlan, spec: InputSpec, crop_padding: int) -> None:
        self._plan = plan
        self._spec = spec
        self._crop_padding = crop_padding

    def rows(self, images: NDArray[np.uint8], rng: np.random.Generator) -> list[NDArray[np.uint8]]:
        """Crop rows at random and enlarge them, some after shrinking, some with sharpening.

        Args:
            images: Rows, shape (n, h, w, 3).
            rng: Source of randomness.
        """
        views = []
        for image in random_crops(images, self._crop_padding, rng):
            choice, view = rng.random(), image
            if choice < self._plan.shrunk_fraction:
                side = int(rng.integers(len(image) * 3 // 4, len(image)))
                view = resize(image, self._square_spec(side))
            enlarged = resize(view, self._spec)
            sharpened_below = self._plan.shrunk_fraction + self._plan.sharpened_fraction
            if self._plan.shrunk_fraction <= choice < sharpened_below:
                unsharp_mask = ImageFilter.UnsharpMask(
                    radius=self._spec.height / len(image), percent=int(rng.integers(50, 151))
                )
                enlarged = np.asarray(Image.fromarray(enlarged).filter(unsharp_mask))
            views.append(enlarged)
        return views

    def photo(self, image: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
        """Crop a random window of a photo, and blur some by scaling them down and up again.

        Args:
            image: Photo, shape (h, w, 3).
            rng: Source of randomness.
        """
        window = random_resized_window(image, rng)
        if rng.random() < self._plan.blurred_fraction:
            low, high = np.log(self._plan.blurred_sides)
            window = resize(window, self._square_spec(int(np.exp(rng.uniform(low, high)))))
        return resize(window, self._spec)

    def _square_spec(self, side: int) -> InputSpec:
        return self._spec.model_copy(update={"height": side, "width": side})
