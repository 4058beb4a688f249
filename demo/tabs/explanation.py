"""The explanation of a prediction: a heat map over the photo, and the model's input."""

from __future__ import annotations

import html

from PIL import Image

from core import locale
from core.bundle.leaderboard import ModelInfo
from core.photos.saliency import heat
from core.serving.predictor import PreviewedPrediction
from demo.components import data_url

__all__ = ["PREVIEW_SIDE", "explanation_html"]

PREVIEW_SIDE = 640
"""Longer side of the heat map in pixels."""


def explanation_html(
    previewed: PreviewedPrediction, result: ModelInfo, language: locale.Language
) -> str:
    """Render the heat map, which page.js lays over the photo, with a caption.

    Args:
        previewed: A prediction with its saliency map, where the model has one.
        result: The model that gave it.
        language: Language of the caption.
    """
    texts, spec, prediction = locale.page_texts(language), result.config.input, previewed.prediction
    values = {
        "label": html.escape(locale.label_name(prediction.label, language)),
        "title": html.escape(result.config.title),
        "width": spec.width,
        "height": spec.height,
        "infer": locale.decimal(prediction.timing_ms.infer, 1, language),
    }
    if prediction.saliency is None:
        overlay, caption = "", texts["why_not"].format(**values)
    else:
        height, width = previewed.preview.shape[:2]
        picture = data_url(heat(prediction.saliency, (width, height), spec))
        overlay = f'<img class="heat" src="{picture}" alt="{texts["why_alt"].format(**values)}">'
        caption = f"{texts['why_text'].format(**values)} {texts['why_time'].format(**values)}"
    seen = data_url(Image.fromarray(previewed.model_input))
    return (
        f'{overlay}<figure><img class="seen" src="{seen}" alt="{texts["seen_alt"]}">'
        f"<figcaption>{caption} {texts['seen_text'].format(**values)}</figcaption></figure>"
    )
