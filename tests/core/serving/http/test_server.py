from __future__ import annotations

import re
import shutil
import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx2
import pytest

from core.registry.catalog import Catalog
from core.settings import Settings
from core.sockets import listen
from tests.support.catalogs import SlowCatalog
from tests.support.command_line import start_service
from tests.support.forks import Fork
from tests.support.held_program import Hold
from tests.support.http_service import MODELS, PATIENCE_S, post, serving
from tests.support.servers import free_port, wait_for


def test_server_finishes_running_requests_before_it_stops(jpeg: bytes) -> None:
    slow = SlowCatalog()
    answers: list[httpx2.Response] = []
    with serving(Settings(models=MODELS), slow) as url:
        running = threading.Thread(target=lambda: answers.append(post(url, content=jpeg)))
        running.start()
        slow.wait_until_asked(1)
        threading.Timer(0.3, slow.go.set).start()
    running.join(PATIENCE_S)
    assert [answer.status_code for answer in answers] == [200]


@pytest.mark.parametrize("stop", [signal.SIGTERM, signal.SIGINT])
def test_serve_answers_and_exits_on_a_stop_signal(stop: signal.Signals, jpeg: bytes) -> None:
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    with start_service("--port", str(port)) as process:
        assert process.stderr is not None
        lines = iter(process.stderr.readline, "")
        assert any(re.fullmatch(rf"TenSight answers on {url}\n", line) for line in lines)
        assert httpx2.get(f"{url}/readyz").status_code == 200
        assert post(url, content=jpeg).status_code == 200
        process.send_signal(stop)
        assert process.wait(PATIENCE_S) == 0


@contextmanager
def paused_server(at: str, folder: Path) -> Iterator[tuple[str, Fork, Hold]]:
    """Run a `tensight serve` that is held up at a method: its address, process and hold."""
    models = folder / "models"
    shutil.copytree(MODELS / "classic", models / "classic")
    hold, port = Hold(folder), free_port()
    program = ("tests.support.held_program", at, str(hold.path))
    with start_service(
        "--port", str(port), program=program, TENSIGHT_MODELS=str(models)
    ) as process:
        try:
            yield f"http://127.0.0.1:{port}", process, hold
        finally:
            hold.release()
            process.kill()


def test_process_is_ready_once_its_default_model_is_loaded(tmp_path: Path, jpeg: bytes) -> None:
    with paused_server("core.inference.engine:Engine.__init__", tmp_path) as (url, process, hold):
        hold.wait()
        for _ in range(2):
            early = httpx2.get(f"{url}/readyz", timeout=PATIENCE_S)
            told = {"status": "loading the default model"}
            assert (early.status_code, early.json()) == (503, told)
            assert httpx2.get(f"{url}/healthz").json() == {"status": "ok"}
        hold.release()
        wait_for(lambda: httpx2.get(f"{url}/readyz").status_code == 200)
        assert httpx2.get(f"{url}/readyz").json() == {"status": "ready"}
        assert post(url, content=jpeg).status_code == 200
        process.terminate()
        assert process.wait(PATIENCE_S) == 0


def test_process_answers_pending_photos_before_it_exits(
    tmp_path: Path, jpeg: bytes, catalog: Catalog
) -> None:
    def is_refused(port: int) -> bool:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_S).close()
        except ConnectionRefusedError:
            return True
        return False

    answers: list[httpx2.Response] = []
    with paused_server("core.photos.pool:PhotoPool.prepare", tmp_path) as (url, process, hold):
        port = int(url.rpartition(":")[2])
        wait_for(lambda: process.poll() is not None or not is_refused(port))
        asking = threading.Thread(target=lambda: answers.append(post(url, content=jpeg)))
        asking.start()
        hold.wait()
        process.send_signal(signal.SIGTERM)
        wait_for(lambda: is_refused(port))
        assert answers == []
        assert process.poll() is None, "it waits for who waits for it"
        hold.release()
        asking.join(PATIENCE_S)
        assert process.wait(PATIENCE_S) == 0
    (answer,) = answers
    assert answer.status_code == 200
    assert answer.json()["scores"] == catalog.load("classic").predict(jpeg).scores


def test_serve_names_a_port_in_use() -> None:
    with listen("127.0.0.1", 0) as taken:
        taken.listen()
        port = taken.getsockname()[1]
        with start_service("--port", str(port)) as process:
            _, said = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 1
    assert (
        f"Cannot bind to 127.0.0.1:{port}: address already in use. Choose another with --port."
        in said
    )


def test_serve_without_models_fails_with_a_message(tmp_path: Path) -> None:
    with start_service("--port", str(free_port()), TENSIGHT_MODELS=str(tmp_path)) as process:
        _, said = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 2
    assert "There is no usable model in" in said
