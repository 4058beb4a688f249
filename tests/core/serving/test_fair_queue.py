from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import pytest

from core.serving.fair_queue import FairQueue, FullError, QueueLimits

LIMITS = QueueLimits(places=8, share=0.25, running=2, pixels=100)


@dataclass(eq=False)
class Job:
    client: str | None
    name: str = ""
    pixels: int = 1
    best_effort: bool = False


def queue(**limits: float) -> FairQueue[Job]:
    return FairQueue(QueueLimits(**LIMITS.__dict__ | limits))


def put(jobs: FairQueue[Job], *clients: str | None) -> list[Job]:
    put_in = [Job(client, f"{client}{i}") for i, client in enumerate(clients)]
    for job in put_in:
        jobs.put(job)
    return put_in


def taken(jobs: FairQueue[Job], count: int) -> list[str]:
    """Take and finish jobs one by one, and return their names."""
    names = []
    for _ in range(count):
        job = jobs.take()
        assert job is not None
        names.append(job.name)
        jobs.finish(job)
        jobs.leave(job)
    return names


def test_only_client_may_hold_all_places() -> None:
    jobs = queue()
    put(jobs, *"aaaaaaaa")
    assert jobs.taken == 8
    with pytest.raises(FullError):
        put(jobs, "a")


def test_client_is_limited_to_its_share_while_others_wait() -> None:
    jobs = queue()
    put(jobs, "b", "a", "a")
    with pytest.raises(FullError):
        put(jobs, "a")
    put(jobs, "b", "c")


def test_newest_job_beyond_a_share_is_evicted() -> None:
    jobs = queue()
    mine = put(jobs, *"aaaaaaaa")
    newest = jobs.put(Job("b", "first of b"))
    assert newest is mine[-1]
    jobs.leave(newest)
    assert jobs.taken == 8
    second = jobs.put(Job("b", "second of b"))
    assert second is mine[-2]
    jobs.leave(second)
    with pytest.raises(FullError):
        jobs.put(Job("b", "third of b"))
    assert taken(jobs, 4) == ["a0", "first of b", "a1", "second of b"]


def test_nothing_is_evicted_while_no_client_exceeds_its_share() -> None:
    jobs = queue()
    put(jobs, *"aabbccdd")
    with pytest.raises(FullError):
        put(jobs, "e")


def test_running_jobs_keep_their_places() -> None:
    jobs = queue(places=2, running=2)
    put(jobs, "a", "a")
    held = [jobs.take(), jobs.take()]
    with pytest.raises(FullError):
        put(jobs, "b")
    for job in held:
        assert job is not None
        jobs.finish(job)
        jobs.leave(job)
    put(jobs, "b")


def test_clients_take_turns() -> None:
    jobs = queue(share=1)
    put(jobs, *"aaaabb", "c")
    assert taken(jobs, 7) == ["a0", "b4", "c6", "a1", "b5", "a2", "a3"]


def test_running_jobs_of_a_client_are_limited() -> None:
    jobs = queue(share=1)
    put(jobs, *"aaab")
    first, second, third = jobs.take(), jobs.take(), jobs.take()
    assert [job and job.name for job in (first, second, third)] == ["a0", "b3", "a1"]
    with ThreadPoolExecutor(1) as threads:
        waiting = threads.submit(jobs.take)
        assert not waiting.done()
        assert first is not None
        jobs.finish(first)
        job = waiting.result(120)
    assert job is not None
    assert job.name == "a2"


def test_pixels_of_one_client_are_limited() -> None:
    jobs = queue(share=1)
    for job in (Job("a", "a0", 40), Job("a", "a1", 40), Job("b", "b0", 40)):
        jobs.put(job)
    first, second = jobs.take(), jobs.take()
    assert [job and job.name for job in (first, second)] == ["a0", "b0"]
    with ThreadPoolExecutor(1) as threads:
        waiting = threads.submit(jobs.take)
        jobs.put(Job("c", "c0", 20))
        third = waiting.result(120)
    assert third is not None
    assert third.name == "c0", "it is smaller than what is left, and a has its half"


def test_job_beyond_the_pixel_limit_runs_alone() -> None:
    jobs = queue()
    jobs.put(Job("a", "large", 1_000))
    jobs.put(Job("b", "small", 1))
    large = jobs.take()
    assert large is not None
    assert large.name == "large"
    with ThreadPoolExecutor(1) as threads:
        waiting = threads.submit(jobs.take)
        assert not waiting.done()
        jobs.finish(large)
        small = waiting.result(120)
    assert small is not None
    assert small.name == "small"


def test_leaving_job_is_removed_from_the_queue() -> None:
    jobs = queue()
    first, second = put(jobs, "a", "a")
    jobs.leave(first)
    assert jobs.taken == 1
    assert jobs.take() is second


def test_trusted_callers_have_no_share() -> None:
    jobs = queue()
    put(jobs, None, None, None, "a", None, None, None, None)
    with pytest.raises(FullError):
        put(jobs, "b")


def test_close_ends_waiting_workers() -> None:
    jobs = queue()
    taking = threading.Thread(target=jobs.take)
    taking.start()
    assert jobs.close() == []
    taking.join(120)
    assert not taking.is_alive()
    with pytest.raises(FullError):
        put(jobs, "a")
    full = queue()
    left = put(full, "a", "b")
    assert full.close() == left


def test_best_effort_job_is_accepted_while_a_worker_is_idle() -> None:
    jobs = queue(running=2)
    (photo,) = put(jobs, "a")
    frame = Job("b", "frame", best_effort=True)
    assert jobs.put(frame) is None
    with pytest.raises(FullError):
        jobs.put(Job("c", best_effort=True))
    assert taken(jobs, 2) == [photo.name, "frame"]
    jobs.put(Job("c", best_effort=True))


def test_best_effort_job_holds_no_place() -> None:
    jobs = queue(places=1)
    jobs.put(Job("a", best_effort=True))
    assert jobs.taken == 0
    put(jobs, "b")
    assert jobs.taken == 1


def test_best_effort_job_is_never_evicted_for_another() -> None:
    jobs = queue(places=2, share=0.5, running=8)
    put(jobs, "a", "a")
    frame = Job("a", best_effort=True)
    jobs.put(frame)
    with pytest.raises(FullError):
        put(jobs, "b")
    jobs.leave(frame)
    assert jobs.put(Job("b")) is not None
