"""Operators' commands that test revisions before their release: /shadow and /canary."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import closing
from dataclasses import asdict
from typing import Literal

from telegram import Update

from bot.chat_wording import reword_for_chat
from bot.confirmations import ask_to_confirm
from bot.outcome import Outcome
from bot.sending import reply
from bot.state import BotContext, BotState
from bot.tasks import run_in_daemon_thread
from core.bundle.folder import BUNDLED
from core.errors import BundleError, ChangedError, ModelNotFoundError
from core.registry.catalog import Catalog
from core.rollout.control import begin_rollout, end_rollout, format_share, parse_share
from core.serving.local import LocalPredictor
from core.store.confirmations import PendingCommand
from core.store.rollouts import Rollout
from core.store.store import Store

__all__ = ["HANDLERS", "changed_outcome", "run_confirmed"]

_STOP = "stop"
_DEFAULT_SHARES: Mapping[str, str] = {"shadow": "100%", "canary": "10%"}


async def _shadow(update: Update, context: BotContext) -> None:
    """Answer /shadow: ask to confirm that a shadow begins or ends, or list the active ones."""
    await _rollout(update, context, "shadow")


async def _canary(update: Update, context: BotContext) -> None:
    """Answer /canary: ask to confirm that a canary begins or ends, or list the active ones."""
    await _rollout(update, context, "canary")


async def _rollout(update: Update, context: BotContext, kind: Literal["shadow", "canary"]) -> None:
    match context.args or []:
        case []:
            await _list_active(update, context, kind)
        case [model, "stop"]:
            await _ask_to_end(update, context, kind, model)
        case [model, revision]:
            await _ask_to_begin(update, context, kind, model, revision, _DEFAULT_SHARES[kind])
        case [model, revision, share]:
            await _ask_to_begin(update, context, kind, model, revision, share)
        case _:
            await reply(update.effective_message, (await context.texts())[f"{kind}_usage"])


async def _list_active(
    update: Update, context: BotContext, kind: Literal["shadow", "canary"]
) -> None:
    texts = await context.texts()
    active = await asyncio.to_thread(context.bot_data.store.rollouts.active)
    lines = [
        texts["rollout_row"].format(
            model=each.model,
            candidate=each.candidate,
            live=each.live,
            share=format_share(each.share),
            since=f"{each.began_at:%Y-%m-%d %H:%M} UTC",
        )
        for each in active
        if each.kind == kind
    ]
    lines.append(texts[f"{kind}_usage"])
    await reply(update.effective_message, "\n".join(lines))


async def _ask_to_begin(
    update: Update,
    context: BotContext,
    kind: Literal["shadow", "canary"],
    model: str,
    prefix: str,
    share: str,
) -> None:
    state, texts = context.bot_data, await context.texts()

    def resolve() -> str:
        return state.releases.resolve_revision(model, prefix)

    try:
        parsed = parse_share(share, kind)
    except ValueError:
        await reply(update.effective_message, texts[f"{kind}_usage"])
        return
    try:
        revision = await run_in_daemon_thread(resolve)
    except (BundleError, ModelNotFoundError) as error:
        await reply(
            update.effective_message, texts["act_refused"].format(error=reword_for_chat(error))
        )
        return
    row = (await asyncio.to_thread(state.store.live.all)).get(model)
    live = row.revision if row is not None else BUNDLED
    command = f"{kind} {model} {revision} {format_share(parsed)}"
    question = texts[f"{kind}_asked"].format(
        model=model, candidate=revision, share=format_share(parsed), live=live
    )
    await ask_to_confirm(update, context, command, question, expected={"live": live})


async def _ask_to_end(
    update: Update, context: BotContext, kind: Literal["shadow", "canary"], model: str
) -> None:
    texts = await context.texts()
    rollout = await asyncio.to_thread(_find_active, context.bot_data.store, model, kind)
    if rollout is None:
        await reply(update.effective_message, texts[f"{kind}_none"].format(model=model))
        return
    command = f"{kind} {model} {_STOP}"
    question = texts[f"{kind}_end_asked"].format(**asdict(rollout))
    await ask_to_confirm(update, context, command, question, expected={"rollout": rollout.number})


def changed_outcome(store: Store, pending: PendingCommand) -> Outcome:
    """Build the outcome of a command that depended on what has changed since it was asked for.

    Args:
        store: The database.
        pending: The command; what the operator was shown is a rollout, or the live revision.
    """
    model, number = pending.act.split()[1], pending.expected.get("rollout")
    other = _find_active(store, model)
    if number is None or (other is not None and other.number == number):
        row = store.live.all().get(model)
        live = BUNDLED if row is None else row.revision
        return Outcome("live_changed", {"model": model, "live": live})
    if other is None:
        return Outcome("rollout_over", {"model": model})
    values = {"model": model, "candidate": other.candidate}
    return Outcome(f"{other.kind}_instead", values)


def run_confirmed(state: BotState, pending: PendingCommand) -> Outcome:
    """Begin or end a rollout, as an operator confirmed.

    Raises:
        ChangedError: Another revision is live than was shown, or the rollout has ended.
        ModelNotFoundError, BundleError, StoreError: As in `begin_rollout` and `end_rollout`.
    """
    name, model, *arguments = pending.act.split()
    kind: Literal["shadow", "canary"] = "shadow" if name == "shadow" else "canary"
    if arguments == [_STOP]:
        number = pending.expected.get("rollout")
        ended = end_rollout(state.store, model, kind, number=number)
        values = {"model": model, "candidate": ended.candidate, "live": ended.live}
        return Outcome(f"{kind}_ended", values)
    revision, share = arguments
    row, shown = state.store.live.all().get(model), pending.expected.get("live")
    if shown not in (None, BUNDLED if row is None else row.revision):
        raise ChangedError(f"Another revision of {model} than {shown} is live now.")
    with closing(Catalog(state.settings)) as catalog:
        begun = begin_rollout(
            state.store,
            catalog,
            state.releases,
            model=model,
            revision=revision,
            kind=kind,
            share=parse_share(share, kind),
        )
    note = None if isinstance(state.predictor, LocalPredictor) else "live_elsewhere"
    values = {"model": model, "candidate": begun.candidate, "share": format_share(begun.share)}
    return Outcome(f"{kind}_begun", values, note)


def _find_active(
    store: Store, model: str, kind: Literal["shadow", "canary"] | None = None
) -> Rollout | None:
    """Return the active rollout of a model, of one kind or of any."""
    mine = (each for each in store.rollouts.active() if each.model == model)
    return next((each for each in mine if kind in (None, each.kind)), None)


HANDLERS = {"shadow": _shadow, "canary": _canary}
"""Handlers of the commands by name."""
