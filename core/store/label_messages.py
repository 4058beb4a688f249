"""The messages that show operators photos to label, so that no photo stays in their chats."""

from __future__ import annotations

from typing import NamedTuple

import sqlalchemy as sa

from core.store.database import Database
from core.store.dialects import clock, insert
from core.store.feedback import WAITS_FOR_LABEL
from core.store.tables import ANSWERS, LABEL_MESSAGES

__all__ = ["LabelMessage", "LabelMessageTable"]

# Telegram lets bots delete messages of up to 48 hours.
_MAX_SHOWN_S = 24 * 3600.0


class LabelMessage(NamedTuple):
    """A message with a photo to label: the private chat of an operator, and its id there."""

    chat: int
    message: int


class LabelMessageTable:
    """The table of the messages of bots that show a photo to label.

    Args:
        database: The database.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def show(self, bot: int, message: LabelMessage, key: str | None) -> None:
        """Record that a message shows a photo from now on, the first one or another.

        Args:
            bot: Id of the bot that sent the message.
            message: The message.
            key: Key of the answer to the photo; None if the message is to be deleted.
        """
        row = {"bot": bot, **message._asdict()}
        with self._database.write() as connection:
            values = {"key": key, "changed_at": clock(connection)}
            first = insert(connection, LABEL_MESSAGES).on_conflict_do_nothing()
            connection.execute(first.values(row | values | {"sent_at": clock(connection)}))
            connection.execute(sa.update(LABEL_MESSAGES).where(_is(bot, message)).values(values))

    def touch(self, bot: int, message: LabelMessage) -> None:
        """Record that a button of a message was pressed, so that it is about to change."""
        own = sa.update(LABEL_MESSAGES).where(_is(bot, message))
        with self._database.write() as connection:
            connection.execute(own.values(changed_at=clock(connection)))

    def of_chat(self, bot: int, chat: int) -> list[LabelMessage]:
        """Return the messages in a chat that show a photo."""
        return self._select((LABEL_MESSAGES.c.bot == bot) & (LABEL_MESSAGES.c.chat == chat))

    def outdated(self, bot: int, settled_s: float) -> list[LabelMessage]:
        """Return the messages whose photo has left the queue, or was shown for 24 hours.

        Args:
            bot: Id of the bot that sent them.
            settled_s: Seconds for which a message must not have changed, as the photo of one that
                is just being labelled has left the queue, too.
        """
        columns = LABEL_MESSAGES.c
        waits = sa.exists().where(ANSWERS.c.key == columns.key, WAITS_FOR_LABEL)
        with self._database.read() as connection:
            settled = columns.changed_at <= clock(connection, -settled_s)
            is_old = columns.sent_at <= clock(connection, -_MAX_SHOWN_S)
        return self._select((columns.bot == bot) & settled & (is_old | ~waits))

    def remove(self, bot: int, message: LabelMessage) -> None:
        """Forget a message that was deleted."""
        with self._database.write() as connection:
            connection.execute(sa.delete(LABEL_MESSAGES).where(_is(bot, message)))

    def _select(self, which: sa.ColumnElement[bool]) -> list[LabelMessage]:
        columns = LABEL_MESSAGES.c.chat, LABEL_MESSAGES.c.message
        select = sa.select(*columns).where(which).order_by(*columns)
        with self._database.read() as connection:
            return [LabelMessage(*row) for row in connection.execute(select)]


def _is(bot: int, message: LabelMessage) -> sa.ColumnElement[bool]:
    columns = LABEL_MESSAGES.c
    own = columns.bot == bot, columns.chat == message.chat, columns.message == message.message
    return sa.and_(*own)
