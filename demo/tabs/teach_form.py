"""The form of the tab Teach as HTML: cards of the classes, and what teach.js shows in them."""

from __future__ import annotations

import html

from core import locale
from core.photos.decode import MAX_BYTES
from core.teaching.limits import MAX_CLASSES, MAX_NAME_LENGTH, MIN_PHOTOS
from demo.teaching import LIFETIME_S

__all__ = ["form_html"]

# Texts that teach.js shows, by their name there.
_SCRIPT_TEXTS = {
    "class": "teach_class",
    "count": "teach_count",
    "earlier": "teach_earlier",
    "remove": "teach_remove",
    "tooLarge": "teach_too_large",
    "unreadable": "teach_unreadable",
    "ignored": "teach_ignored",
    "removed": "teach_removed",
    "uploading": "teach_uploading",
    "failed": "teach_failed",
    "denied": "live_denied",
    "insecure": "live_insecure",
    "copied": "teach_copied",
    "confirmDelete": "teach_confirm_delete",
    "until": "teach_until",
}


def form_html(language: locale.Language) -> str:
    """Render the form, which teach.js fills."""
    texts = {key: html.escape(text) for key, text in locale.page_texts(language).items()}
    intro = texts["teach_intro"].format(least=MIN_PHOTOS, hours=round(LIFETIME_S / 3600))
    attributes = "".join(
        f' data-text-{_dashed(name)}="{texts[key]}"' for name, key in _SCRIPT_TEXTS.items()
    )
    return (
        f'<p id="teach-intro">{intro}</p>'
        f'<div id="teach-cards" data-max-bytes="{MAX_BYTES}" data-max-classes="{MAX_CLASSES}"'
        f"{attributes}></div>"
        f'<template id="teach-card">{_card_html(texts)}</template>'
        f'<button type="button" id="teach-add">+ {texts["teach_add"]}</button>'
        f'<label class="teach-field">{texts["teach_title"]}'
        f'<input id="teach-title" maxlength="{MAX_NAME_LENGTH}" autocomplete="off"'
        f' value="{texts["teach_untitled"]}"></label>'
        '<p class="refusal" id="teach-title-refusal" hidden></p>'
        f'<button type="button" id="teach-new" hidden>{texts["teach_new"]}</button>'
    )


def _card_html(texts: dict[str, str]) -> str:
    """Render the card of a class, of which teach.js makes copies."""
    return (
        '<section class="card"><div class="teach-head">'
        f'<input class="teach-name" maxlength="{MAX_NAME_LENGTH}" autocomplete="off">'
        f'<button type="button" class="teach-drop" title="{texts["teach_drop"]}"'
        f' aria-label="{texts["teach_drop"]}">✕</button></div>'
        '<p class="refusal" hidden></p>'
        f'<div class="teach-sources"><label class="folder">{texts["teach_add_photos"]}'
        '<input type="file" class="teach-files" accept="image/*,.heic,.heif" multiple></label>'
        f'<button type="button" class="teach-camera" aria-pressed="false">{texts["teach_camera"]}'
        "</button></div>"
        '<div class="teach-booth" hidden><video muted playsinline></video>'
        f'<button type="button" class="teach-shoot">{texts["teach_shoot"]}</button></div>'
        f'<p class="teach-hint">{texts["teach_hint"]}</p>'
        '<ul class="teach-photos"></ul>'
        '<p class="teach-count" role="status"></p></section>'
    )


def _dashed(name: str) -> str:
    """Return the name of a data attribute for one of JavaScript's `dataset`."""
    return "".join(f"-{each.lower()}" if each.isupper() else each for each in name)
