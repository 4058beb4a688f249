"""Sources of real photos for training, and the licenses that they state."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from types import MappingProxyType

from core.bundle.config import PhotoSource
from core.training.data.real_photos import RealPhotos

__all__ = ["STATED_LICENSES", "count_sources"]

STATED_LICENSES: Mapping[str, str] = MappingProxyType(
    {
        "savannahfung/animal-image-classification": (
            'none stated (looks like the Kaggle "151 animals" set)'
        ),
        "MachineLearning2020/Homework2-Caltech101": "none stated (Caltech-101)",
        "rozanfa/IF4073-Tugas4-13520039-13520062-13520103": (
            "repo: none stated; its Roboflow sets (Vehicles-OpenImages, car-truck-buses): CC BY 4.0"
        ),
        "burakkurt07/Civil-and-Military-Aircraft-Identification-Data-Set": (
            'Apache-2.0 (repo); photos "collected from public/open sources"'
        ),
        "huaqingji/Natural-Images-Processing-And-Classification": (
            'none stated (Kaggle "Natural Images")'
        ),
        "chanakya2734/Image-classification-using-CNN": "none stated (Kaggle Dogs vs. Cats)",
        "yahyasarhan22/comparative-study-of-image-classification": "none stated",
        "SmartPracticeschool/llSPS-INT-2478-Ship-Classification-Using-an-Image-Dataset": (
            'none stated (ship photos, as in the "Game of Deep Learning" set)'
        ),
        "SrikanthVelpuri/Classification-of-Cats-Dogs-Horses-Humans": "none stated",
        "sambit-0007/Horse-Breed-Classification-deployed-in-Android": (
            "none stated (Kaggle horse breeds)"
        ),
        "402540052/frog-detection-yolo": "none stated (Google image search)",
        "AdvikMehta/Elk-Detection": "none stated",
        "BernieChen96/ImageClassification": "none stated (Pascal VOC photos)",
        "jabrayil-alizada/Animals-dataset": "none stated",
        "marcusklasson/GroceryStoreDataset": "MIT",
        "datitran/raccoon_dataset": "MIT",
        "experiencor/kangaroo": "none stated",
        "iamskydey/abc": "none stated",
        "Ezaaan/IF4073-Vehicle-Recognition": "none stated",
        "UgisarAB/Learn_p": "none stated",
        "saisai18429/cnn-model-on-the-cifar-10": "none stated",
        "jiahengxiong/CNN50": "none stated",
    }
)
"""License that each repository of the bundled models' real photos states, by name on GitHub.

The table in docs/TRAINING.md has the same rows.
"""


def count_sources(photos: RealPhotos) -> tuple[PhotoSource, ...]:
    """Count photos by source, most frequent first; ties are sorted by name.

    Args:
        photos: Any photos.

    Returns:
        The sources; the license is null for a source that is not in `STATED_LICENSES`.
    """
    counts = sorted(Counter(photos.sources.tolist()).items(), key=lambda each: (-each[1], each[0]))
    return tuple(
        PhotoSource(name=name, photos=n, license=STATED_LICENSES.get(name)) for name, n in counts
    )
