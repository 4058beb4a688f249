"""Who guesses keys is slowed down; who has the right one is not kept out."""

from __future__ import annotations

import asyncio

import pytest
from fastapi import Request
from pydantic import SecretStr

from core.errors import AccessError, RateError
from core.serving.http.auth import Guard
from core.settings import Settings

RIGHT, OTHER = "right-0123456789", "other-0123456789"


def request(key: str, address: str = "192.0.2.1") -> Request:
    headers = [(b"authorization", f"Bearer {key}".encode())]
    return Request({"type": "http", "headers": headers, "client": (address, 1)})


async def guess_until_slowed_down(guard: Guard) -> None:
    for i in range(20):
        with pytest.raises(AccessError):
            await guard(request(f"wrong-{i}"))


def test_address_that_guesses_is_slowed_down_and_others_are_not() -> None:
    settings = Settings(api_keys=(SecretStr(RIGHT), SecretStr(OTHER)))
    guard = Guard(settings, guess_s=3600)

    async def ask() -> None:
        await guard(request(RIGHT))
        await guess_until_slowed_down(guard)
        await guard(request(RIGHT))  # known from here
        await guard(request(OTHER, "192.0.2.2"))
        waiting = [asyncio.create_task(guard(request(f"wrong-{i}"))) for i in range(8)]
        waiting.append(asyncio.create_task(guard(request(OTHER))))
        await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        done = [task for task in waiting if task.done()]
        assert [type(task.exception()) for task in done] == [RateError], "only so many wait"
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
        assert guard._guessing == {}, "who leaves holds no place"

    asyncio.run(ask())


def test_right_key_is_found_behind_an_address_that_guesses() -> None:
    guard = Guard(Settings(api_keys=(SecretStr(RIGHT),)), guess_s=0.01)

    async def ask() -> None:
        await guess_until_slowed_down(guard)
        with pytest.raises(RateError):
            await guard(request("wrong"))
        await guard(request(RIGHT))

    asyncio.run(ask())
