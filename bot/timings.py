"""Intervals, timeouts and attempt limits of the bot."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Backoff", "Timings"]


@dataclass(frozen=True)
class Backoff:
    """Pauses between attempts, each twice as long as the one before.

    Attributes:
        first_s: First pause in seconds.
        longest_s: Longest pause in seconds.
    """

    first_s: float
    longest_s: float

    def next(self, pause_s: float) -> float:
        """Return the pause that follows another one, in seconds."""
        return min(2 * pause_s, self.longest_s)


@dataclass(frozen=True)
class Timings:
    """Intervals and timeouts in seconds, and attempt limits.

    Attributes:
        reconnect: Pauses while Telegram cannot be reached.
        retry: Pauses between attempts at an update that cannot be answered now.
        max_attempts: Attempts at an update that Telegram prevents while it serves other chats;
            with the default pauses they take about ten minutes.
        album_quiet_s: Silence after which an album is complete; Telegram marks no end.
        album_max_s: Longest wait for the items of an album.
        quarantine_s: Time after a start in which other updates wait for those that were being
            handled when the last process died.
        lease_s: Time after which a process that does not renew its lease counts as dead.
        claim_s: Interval in which a process renews its lease, and claims updates that no living
            process handles. With `lease_s`, it bounds the time until a dead process is replaced.
        stop_s: Time that running handlers get to finish when the bot stops.
        purge_every_s: Interval between deletions of expired data.
        read_timeout_s: Time after which a response of Telegram is requested again.
        conflict_grace_s: Age from which a poller outlasts a newly started one.
        webhook_check_s: Interval between checks that Telegram still sends updates here.
        database_alarm_s: Time that the database may fail before operators are notified.
        alarm_repeat_s: Interval after which an alarm of the same kind is sent again.
        confirm_s: Time that an operator has to confirm a command.
        digest_check_s: Interval in which counts of photos are stored and digests sent.
        digest_retry_s: Time after which a digest that could not be delivered is sent again.
        drift_check_s: Interval between comparisons of the last day's photos with the month's.
        rollout_check_s: Interval between checks for rollouts that ended without a command.
        lesson_minute_s: Length of the minute of the limit on photos of a lesson; shorter in tests.
        label_check_s: Interval between deletions of photos that are no longer to be labelled.
        label_settled_s: Time after which such a photo is deleted from an operator's chat.
    """

    reconnect: Backoff = Backoff(1.0, 60.0)
    retry: Backoff = Backoff(5.0, 60.0)
    max_attempts: int = 12
    album_quiet_s: float = 1.0
    album_max_s: float = 5.0
    quarantine_s: float = 10.0
    lease_s: float = 7.0
    claim_s: float = 1.0
    stop_s: float = 20.0
    purge_every_s: float = 3600.0
    read_timeout_s: float = 60.0
    conflict_grace_s: float = 60.0
    webhook_check_s: float = 300.0
    database_alarm_s: float = 60.0
    alarm_repeat_s: float = 3600.0
    confirm_s: float = 300.0
    digest_check_s: float = 60.0
    digest_retry_s: float = 3600.0
    drift_check_s: float = 1800.0
    rollout_check_s: float = 10.0
    lesson_minute_s: float = 60.0
    label_check_s: float = 10.0
    label_settled_s: float = 30.0
