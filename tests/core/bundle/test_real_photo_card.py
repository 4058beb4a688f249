"""Tests of the section of model cards on real photos."""

from __future__ import annotations

from core.bundle.config import PhotoSource
from core.bundle.metrics import PhotoMisclassification
from core.bundle.real_photo_card import real_photo_section, training_photos
from tests.support.real_photo_metrics import real_photo_metrics


def _mistake(i: int) -> PhotoMisclassification:
    return PhotoMisclassification(
        source="a/photos", path=f"x/{i}_|.jpg", label="cat", answer="dog", confidence=0.75
    )


def test_section_is_empty_without_results() -> None:
    assert real_photo_section(None) == ""


def test_section_states_accuracy_and_rejection_with_intervals() -> None:
    section = real_photo_section(real_photo_metrics())
    assert "693 photos of known classes (real photos, valid): 0.9700 (0.9600 to 0.9800)" in section
    assert "257 photos of other objects: AUROC of the known score 0.9812, rejected 0.9300" in (
        section
    )
    assert "took no part in training and selection: AUROC of the known score 0.9711" in section
    assert "Misclassified" not in section


def test_section_shows_rejection_by_kind_and_results_by_source() -> None:
    section = real_photo_section(real_photo_metrics())
    assert "Share of other objects that is rejected" in section
    assert "cow 0.800 (n = 5)" in section
    assert "panda 0.900 (n = 74)" in section
    assert "| a/photos | 40 | 0.970 | 20 | 0.9876 |" in section
    assert "| b/others |  |  | 13 |  |" in section


def test_section_lists_misclassifiedreal_photo_metrics() -> None:
    section = real_photo_section(real_photo_metrics(mistakes=(_mistake(0),)))
    assert "Misclassified photos: 1. " in section
    row = next(line for line in section.splitlines() if "x/0" in line)
    assert row.count("|") - row.count(r"\|") == 6, "the bar in the name is escaped"
    assert row.endswith("| cat | dog | 0.750 |")


def test_section_lists_at_most_twenty_misclassifiedreal_photo_metrics() -> None:
    section = real_photo_section(real_photo_metrics(mistakes=tuple(map(_mistake, range(30)))))
    assert "Misclassified photos: 30, of which the 20 with the highest confidence" in section
    assert section.count("x/") == 20


def test_section_without_other_objects_states_accuracy_alone() -> None:
    section = real_photo_section(
        real_photo_metrics(
            auroc=None, rejected=None, auroc_kept_back=None, rejected_kept_back=None, sources=()
        )
    )
    assert "0.9700" in section
    assert "AUROC of the known score" not in section
    assert "| source |" not in section


def test_training_photos_are_listed_by_source_with_license() -> None:
    assert training_photos(()) == ""
    sources = (
        PhotoSource(name="a/pho|tos", photos=1_014, license="none stated (Pascal VOC)"),
        PhotoSource(name="b/others", photos=2),
    )
    text, _, _, _, first, second = training_photos(sources).splitlines()
    assert "cannot be redistributed, so this training cannot be reproduced exactly." in text
    assert first == "| a/pho\\|tos | 1,014 | none stated (Pascal VOC) |"
    assert second == "| b/others | 2 | not recorded |"


def test_training_photos_of_others_do_not_claim_a_license() -> None:
    text = training_photos((PhotoSource(name="my/folder", photos=5),))
    assert text.startswith("Real photos in the training data, by source.\n")
