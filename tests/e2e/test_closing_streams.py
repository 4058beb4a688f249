"""An event that is sent while the page's event stream closes is answered."""

from __future__ import annotations

import json
from pathlib import Path
from urllib.parse import urlsplit

from playwright.sync_api import Browser, expect

from tests.support.holding_proxy import HoldingProxy
from tests.support.servers import wait_for
from tests.support.visit import choose_model, new_page, upload_photo, visit

_SEND = """async ([url, body]) => {
    const headers = {'Content-Type': 'application/json'};
    const response = await fetch(url, {method: 'POST', headers, body});
    await response.text();
    return response.status;
}"""


def test_event_sent_while_its_stream_closes_is_answered(
    browser: Browser, url: str, photo: Path
) -> None:
    port = urlsplit(url).port
    assert port is not None
    proxy = HoldingProxy(port, b'"msg":"close_stream"')
    with proxy.running() as address:
        page = new_page(browser)
        visit(page, address)
        upload_photo(page, photo)
        expect(page.locator("#timing")).to_contain_text("Classic CNN · ")
        wait_for(lambda: proxy.passed == proxy.count(b"/queue/data"))
        proxy.armed.set()
        choose_model(page, "EfficientNet-Lite2")
        expect(page.locator("#timing")).to_contain_text("EfficientNet-Lite2 · ")
        proxy.held.wait()
        with page.expect_request("**/queue/join*") as event:
            choose_model(page, "Airbench CNN")
        # Once the same event of another session is answered, so is this one, unless the server
        # holds its response back.
        other = json.loads(event.value.post_data or "") | {"session_hash": "other"}
        assert page.evaluate(_SEND, [event.value.url, json.dumps(other)]) == 200
        proxy.release.set()
        expect(page.locator("#timing")).to_contain_text("Airbench CNN · ")
        page.close()
