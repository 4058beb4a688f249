"""The operators' command /evidence, with buttons that promote a candidate or end its rollout."""

from __future__ import annotations

import asyncio
from dataclasses import asdict

from telegram import Message, Update
from telegram.constants import ChatType

from bot import replies
from bot.chat_wording import reword_for_chat
from bot.confirmations import acknowledge, ask_to_confirm
from bot.evidence_chart import evidence_chart
from bot.evidence_text import evidence_text
from bot.sending import reply, reply_photo
from bot.state import BotContext, BotState
from core.bundle.folder import BUNDLED, Bundle
from core.errors import BundleError, ModelNotFoundError
from core.rollout.evidence import (
    CanaryEvidence,
    ShadowEvidence,
    canary_evidence,
    shadow_evidence,
)
from core.store.rollouts import Rollout

__all__ = ["on_rollout_button", "show_evidence"]


async def show_evidence(update: Update, context: BotContext) -> None:
    """Answer /evidence: show the evidence for and against the latest candidate of a model."""
    state, texts, language = context.bot_data, await context.texts(), await context.language()
    arguments, message = context.args or [], update.effective_message
    if len(arguments) != 1:
        await reply(message, texts["evidence_usage"])
        return
    (model,) = arguments
    rollout = await asyncio.to_thread(state.store.rollouts.latest, model)
    if rollout is None:
        await reply(message, texts["evidence_missing"].format(model=model))
        return
    try:
        evidence = await _collect(state, rollout)
    except ModelNotFoundError as error:
        await reply(message, texts["act_refused"].format(error=reword_for_chat(error)))
        return
    buttons = None
    if rollout.ended_at is None:
        buttons = replies.rollout_buttons(rollout, language)
    await reply(message, evidence_text(rollout, evidence, language), buttons)
    chart = evidence_chart(rollout, evidence, language)
    if chart is not None:
        picture = await asyncio.to_thread(state.charts.draw, chart)
        if picture is not None:
            await reply_photo(message, picture, chart.title)


async def on_rollout_button(update: Update, context: BotContext) -> None:
    """Ask to confirm that the shown candidate is promoted, or that its rollout ends."""
    query, state, chat = update.callback_query, context.bot_data, update.effective_chat
    if query is None or query.data is None:
        return
    if not context.is_operator or chat is None or chat.type != ChatType.PRIVATE:
        await acknowledge(query)
        return
    texts, language = await context.texts(), await context.language()
    if not isinstance(query.message, Message):
        await acknowledge(query, texts["expired"])
        return
    wish, _, text = query.data.partition(":")
    number = int(text) if text.isdecimal() else 0
    rollout = await asyncio.to_thread(state.store.rollouts.get, number)
    if rollout is None or rollout.ended_at is not None:
        model = "MODEL" if rollout is None else rollout.model
        await acknowledge(query, texts["rollout_over"].format(model=model))
        return
    await acknowledge(query)
    try:
        evidence = await _collect(state, rollout)
        revision = await asyncio.to_thread(_resolve_candidate, state, rollout)
    except (BundleError, ModelNotFoundError) as error:
        await reply(query.message, texts["act_refused"].format(error=reword_for_chat(error)))
        return
    if wish == "release":
        command = f"promote {rollout.model} {revision}"
        question = texts["promote_asked"].format(
            model=rollout.model, revision=revision, live=rollout.live
        )
    else:
        command = f"{rollout.kind} {rollout.model} stop"
        question = texts[f"{rollout.kind}_end_asked"].format(**asdict(rollout))
    above = evidence_text(rollout, evidence, language)
    expected = {"rollout": rollout.number}
    await ask_to_confirm(update, context, command, question, expected=expected, above=above)


def _resolve_candidate(state: BotState, rollout: Rollout) -> str:
    """Return the candidate as /promote takes it.

    Raises:
        BundleError: The candidate is damaged.
        ModelNotFoundError: It is no longer installed.
    """
    folder = state.settings.models / rollout.model
    if folder.is_dir() and Bundle.open(folder).revision == rollout.candidate:
        return BUNDLED
    return state.releases.resolve_revision(rollout.model, rollout.candidate)


async def _collect(state: BotState, rollout: Rollout) -> CanaryEvidence | ShadowEvidence:
    """Compute the evidence about a rollout.

    Raises:
        ModelNotFoundError: The model is no longer available.
    """
    table = state.store.rollout_evidence
    if rollout.kind == "shadow":
        return await asyncio.to_thread(shadow_evidence, table, rollout)
    labels = (await state.models.get(rollout.model)).config.labels
    return await asyncio.to_thread(canary_evidence, table, rollout, labels)
