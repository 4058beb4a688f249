"""An event that is sent while the page's event stream closes is answered."""

from __future__ import annotations

import time
from pathlib import Path
from urllib.parse import urlsplit

from playwright.sync_api import Browser, expect

from tests.support.holding_proxy import HoldingProxy
from tests.support.servers import wait_for
from tests.support.visit import choose_model, new_page, upload_photo, visit


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
        asked = proxy.count(b"/queue/join")
        choose_model(page, "Airbench CNN")
        wait_for(lambda: proxy.count(b"/queue/join") > asked)
        time.sleep(1)  # The page gets the response to the event, unless the server holds it back.
        proxy.release.set()
        expect(page.locator("#timing")).to_contain_text("Airbench CNN · ")
        page.close()
