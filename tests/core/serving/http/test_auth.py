"""API keys and rate limits of the service."""

from __future__ import annotations

import asyncio
from contextlib import closing

import httpx2
import pytest
from fastapi import Request
from pydantic import SecretStr

from core.errors import AccessError, PredictorError, RateError
from core.registry.catalog import Catalog
from core.serving.http.auth import Guard
from core.serving.remote import RemotePredictor
from core.settings import Settings
from tests.support.http_service import KEYS, MODELS, post, predict_remotely, serving

RIGHT, OTHER = "right-0123456789", "other-0123456789"


def request(key: str, address: str = "192.0.2.1") -> Request:
    headers = [(b"authorization", f"Bearer {key}".encode())]
    return Request({"type": "http", "headers": headers, "client": (address, 1)})


async def guess_until_slowed_down(guard: Guard) -> None:
    for i in range(20):
        with pytest.raises(AccessError):
            await guard(request(f"wrong-{i}"))


def test_guessing_address_is_slowed_down_and_others_are_not() -> None:
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


def test_valid_key_is_accepted_from_a_guessing_address() -> None:
    guard = Guard(Settings(api_keys=(SecretStr(RIGHT),)), guess_s=0.01)

    async def ask() -> None:
        await guess_until_slowed_down(guard)
        with pytest.raises(RateError):
            await guard(request("wrong"))
        await guard(request(RIGHT))

    asyncio.run(ask())


def test_trusted_key_names_its_clients_and_others_do_not() -> None:
    settings = Settings(api_keys=(SecretStr(OTHER),), trusted_keys=(SecretStr(RIGHT),))
    guard = Guard(settings)

    async def clients(key: str, *named: str) -> list[str]:
        found = []
        for name in named:
            asking = request(key)
            asking.scope["headers"].append((b"x-tensight-client", name.encode()))
            await guard(asking)
            found.append(asking.state.client)
        return found

    one, two, again = asyncio.run(clients(RIGHT, "1" * 64, "2" * 64, "1" * 64))
    assert one == again
    assert one != two
    same = asyncio.run(clients(OTHER, "1" * 64, "2" * 64))
    assert same[0] == same[1], "this key belongs to no front"
    odd = asyncio.run(clients(RIGHT, "", "no hash", "1" * 63, "1" * 65, "G" * 64))
    assert len(set(odd)) == 1
    assert RIGHT not in one


def test_rate_counts_for_each_client_of_a_trusted_front() -> None:
    settings = Settings(trusted_keys=(SecretStr(RIGHT),), rate_per_minute=1)
    guard = Guard(settings)

    async def ask(name: str, key: str = RIGHT) -> None:
        asking = request(key)
        asking.scope["headers"].append((b"x-tensight-client", name.encode()))
        await guard(asking)

    asyncio.run(ask("1" * 64))
    asyncio.run(ask("2" * 64))
    with pytest.raises(RateError):
        asyncio.run(ask("1" * 64))
    with pytest.raises(AccessError):
        asyncio.run(ask("3" * 64, OTHER))


def test_service_requires_a_valid_api_key(catalog: Catalog, jpeg: bytes) -> None:
    settings = Settings(models=MODELS, api_keys=tuple(map(SecretStr, KEYS)))
    with serving(settings, catalog) as url:
        basic = {"Authorization": f"Basic {KEYS[0]}"}
        for header in ({}, {"Authorization": "Bearer third"}, basic):
            answer = post(url, content=jpeg, headers=header)
            assert (answer.status_code, answer.json()["error"]["code"]) == (401, "no_access")
            assert answer.headers["WWW-Authenticate"] == "Bearer"
        for key in KEYS:
            given = post(url, content=jpeg, headers={"Authorization": f"Bearer {key}"})
            assert given.status_code == 200
        assert httpx2.get(f"{url}/v1/models").status_code == 401
        assert httpx2.get(f"{url}/healthz").status_code == 200
        with closing(RemotePredictor(url, key=KEYS[1])) as remote:
            assert remote.default_model() == catalog.default()
        with pytest.raises(PredictorError, match="TENSIGHT_PREDICTOR_KEY are correct"):
            predict_remotely(url, jpeg, key="third")


def test_rate_limit_returns_retry_after(catalog: Catalog, jpeg: bytes) -> None:
    with serving(Settings(models=MODELS, rate_per_minute=3), catalog) as url:
        statuses = [post(url, content=jpeg).status_code for _ in range(4)]
        assert statuses == [200, 200, 200, 429]
        answer = post(url, content=jpeg)
        assert answer.json()["error"]["code"] == "too_many_requests"
        assert 1 <= int(answer.headers["Retry-After"]) <= 60


def test_service_slows_down_an_address_that_guesses_keys(catalog: Catalog, jpeg: bytes) -> None:
    settings = Settings(models=MODELS, api_keys=(SecretStr(KEYS[0]),))
    with serving(settings, catalog) as url, httpx2.Client(base_url=url) as client:
        statuses = [
            client.get("/v1/models", headers={"Authorization": f"Bearer {i}"}).status_code
            for i in range(22)
        ]
        assert statuses == [401] * 20 + [429] * 2
        right = {"Authorization": f"Bearer {KEYS[0]}"}
        assert client.get("/v1/models", headers=right).status_code == 200


def test_rate_limit_counts_each_key_separately(catalog: Catalog) -> None:
    a, b = KEYS
    settings = Settings(models=MODELS, api_keys=tuple(map(SecretStr, KEYS)), rate_per_minute=1)
    with serving(settings, catalog) as url, httpx2.Client(base_url=url) as client:
        # Whoever says that he is another is not believed.
        for i, (key, status) in enumerate([(a, 200), (a, 429), (b, 200), (b, 429)]):
            headers = {"Authorization": f"Bearer {key}", "X-Forwarded-For": f"10.0.0.{i}"}
            assert client.get("/v1/models", headers=headers).status_code == status
