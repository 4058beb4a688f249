"""The web page: photos in, predictions in words, bars and heat maps; six tabs, one file each."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import gradio as gr
from starlette.middleware import Middleware
from starlette.routing import BaseRoute

from core import locale
from core.bundle.leaderboard import ModelInfo, read_unbundled
from core.errors import ImageError, PredictorError, SettingsError, StoreError
from core.network import broken_variable, on_loopback
from core.photos.decode import MAX_BYTES
from core.registry.releases import Releases
from core.registry.sync import HubSync
from core.serving.connect import connect
from core.serving.http.body_limit import BodyLimits
from core.serving.local import LocalPredictor
from core.serving.predictor import Predictor
from core.settings import Settings
from core.sockets import probe
from core.store.store import Store
from core.system import on_stop_signal
from demo import api
from demo.components import text_html
from demo.context import ClientRateLimiter, PageContext, Samples
from demo.guard import page_middleware
from demo.hosts import TrustedHosts
from demo.live import LiveFrames
from demo.preview import PageHead
from demo.server import Endpoint, open_in_browser, page_routes, serve_page, share_page
from demo.sessions import keep_little
from demo.tabs import about, batch, compare, data, models, predict
from demo.unheard import UnheardEvents
from demo.uploads import UploadFolder, upload_folder

__all__ = ["McpFactory", "build_page", "launch", "serve"]

McpFactory = Callable[[Predictor, ClientRateLimiter, TrustedHosts], Endpoint]
"""Makes the MCP endpoint of a page."""

# How often uploads are looked through, how old they may get, and how large all of them.
_SWEEP_S = 60.0
_UPLOADS_KEPT_S = 300.0
_MAX_UPLOADS_BYTES = 4 * 2**30
_STYLE = Path(__file__).with_name("style.css")
_SCRIPT = Path(__file__).with_name("page.js")
# Texts of the page that its script shows.
_SCRIPT_TEXTS = (
    *("share_copied", "share_downloaded"),
    *("live_busy", "live_denied", "live_hidden", "live_insecure", "live_lost", "live_rate"),
)
# Events of all visitors that may wait; Gradio refuses more.
_EVENTS = 500
# Photos of batches that are asked for at once: the predictor has places for others.
_OF_BATCHES = 8
# Photos, and uploads, that a visitor may send in a minute where nothing else is said.
_UPLOADS = 240
# Answers that one visitor may judge in a day: nobody is told from another in what is stored.
_JUDGEMENTS = 200
_DAY_S = 24 * 3600.0
_RETRY_S = 2.0

logger = logging.getLogger(__name__)


def serve(
    settings: Settings,
    *,
    host: str,
    port: int,
    open_browser: bool,
    say: Callable[[str], None],
    share: bool = False,
    samples: Samples | None = None,
    beside: Callable[[Predictor], AbstractContextManager[None]] | None = None,
    mcp: McpFactory | None = None,
) -> None:
    """Serve the page until the process is told to stop, by Ctrl-C, a signal or a closed terminal.

    Args:
        settings: Where the models are, and how much is answered at once.
        host: Address to listen on.
        port: Port to listen on.
        open_browser: Whether to open the page in the browser of this desktop.
        say: Gets one line, once the page answers.
        share: Also make it reachable for everybody, through Gradio's tunnel.
        samples: Gives some images of the data set, where it is here.
        beside: What else runs in this process, with the same predictor, as long as the page does.
        mcp: Makes the MCP endpoint; None: there is none.

    Raises:
        ModelNotFoundError: There is no model.
        BundleError: The default model is damaged.
        ListenError: The address cannot be listened on.
    """
    stopped = threading.Event()
    on_stop_signal(stopped.set)
    with ExitStack() as stack:
        predictor = stack.enter_context(closing(connect(settings)))
        if not _wait_for(predictor, stopped, say):
            return
        store = _store(settings)
        if store is not None:
            stack.enter_context(closing(store))
        uploads = stack.enter_context(_upload_folder())
        local = isinstance(predictor, LocalPredictor)
        visitors = ClientRateLimiter(settings.photos_per_minute)
        page = build_page(
            predictor,
            store,
            visitors=visitors,
            judges=ClientRateLimiter(_JUDGEMENTS, window_s=_DAY_S),
            unbundled=read_unbundled(settings.models) if local else [],
            samples=samples,
            share=share,
            mcp=mcp is not None,
            live=True,
        )
        uploads.keep_what_is_there()
        stack.enter_context(uploads.swept(_SWEEP_S))
        stack.callback(page.close, verbose=False)
        shared = launch(
            page,
            host=host,
            port=port,
            uploaders=ClientRateLimiter(settings.photos_per_minute),
            uploads=uploads,
            proxies=settings.proxies,
            open_browser=open_browser,
            share=share,
            mcp=None if mcp is None else partial(mcp, predictor, visitors),
            live=LiveFrames(predictor),
        )
        if isinstance(predictor, LocalPredictor):
            predictor.warm()
            releases = stack.enter_context(closing(Releases(settings, store)))
            stack.enter_context(closing(HubSync(settings, releases)))
        if beside is not None:
            stack.enter_context(beside(predictor))
        say(f"TenSight answers on {page.local_url}")
        if shared:
            say(f"Everybody who has this address can use it: {shared}")
        stopped.wait()


@contextmanager
def _upload_folder() -> Iterator[UploadFolder]:
    """Make a folder for this process's uploads, and tell Gradio to use it.

    Gradio names an upload by its content, so two processes that shared a folder would delete each
    other's uploads. It reads the variable when the page is built.
    """
    with upload_folder(max_age_s=_UPLOADS_KEPT_S, max_bytes=_MAX_UPLOADS_BYTES) as uploads:
        os.environ["GRADIO_TEMP_DIR"] = str(uploads.path)
        yield uploads


def _wait_for(predictor: Predictor, stopped: threading.Event, say: Callable[[str], None]) -> bool:
    """Wait until a predictor elsewhere is there; False where told to stop before."""
    told = False
    while not stopped.is_set():
        try:
            predictor.models()
        except PredictorError as error:
            if not told:
                say(f"{error} The page starts once it answers.")
                told = True
            stopped.wait(_RETRY_S)
        else:
            return True
    return False


def _store(settings: Settings) -> Store | None:
    """Open the store for feedback; return None where feedback would be lost or not be stored."""
    # A Space has no disk that lasts.
    if "SPACE_ID" in os.environ and settings.database_url is None:
        return None
    try:
        return Store.open(settings)
    except StoreError as error:
        logger.error("Visitors are not asked whether answers are right: %s", error)
        return None


def launch(
    page: gr.Blocks,
    *,
    host: str,
    port: int,
    uploaders: ClientRateLimiter | None = None,
    uploads: UploadFolder | None = None,
    proxies: int = 0,
    bodies: BodyLimits | None = None,
    open_browser: bool = False,
    share: bool = False,
    mcp: Callable[[TrustedHosts], Endpoint] | None = None,
    live: LiveFrames | None = None,
) -> str | None:
    """Start serving a page, and return.

    Args:
        page: As `build_page` gives it.
        host: Address to listen on.
        port: Port to listen on.
        uploaders: Counts the uploads of each visitor, apart from what is then asked of the photos;
            None: 240 a minute.
        uploads: Where uploads go; None: their bytes are not bounded in all.
        proxies: Number of trusted reverse proxies in context.
        bodies: Limits on the bodies of requests; None: the default ones.
        open_browser: Whether to open the page in the browser of this desktop.
        share: Also make it reachable for everybody, through Gradio's tunnel.
        mcp: Makes the MCP endpoint; None: there is none.
        live: Classifies the frames of cameras; None: there is no live prediction.

    Returns:
        Its address for everybody, where it is shared.

    Raises:
        ListenError: The address cannot be listened on.
    """
    host = host.strip("[]")
    look: dict[str, Any] = {
        "max_file_size": MAX_BYTES,
        "enable_monitoring": False,
        "run_history": False,
        "ssr_mode": False,
        "footer_links": ["api"],
        "i18n": _words(),
        "theme": _theme(),
        "css_paths": _STYLE,
        "js": _script(),
    }
    middleware = page_middleware(
        uploaders=uploaders or ClientRateLimiter(_UPLOADS),
        uploads=uploads,
        unheard=UnheardEvents(page),
        proxies=proxies,
        bodies=bodies,
        mcp=mcp is not None,
    )
    hosts = TrustedHosts(host, proxies=proxies, shared=share)
    root_path = os.environ.get("GRADIO_ROOT_PATH", "")
    head = Middleware(PageHead, hosts=hosts, root_path=root_path)
    endpoint = None if mcp is None else mcp(hosts)
    frames = None if live is None else live.route
    if "SPACE_ID" in os.environ:
        _launch_in_space(
            page, host, port, [*middleware, head], look, page_routes(endpoint, frames), endpoint
        )
        return None
    serve_page(
        page,
        host=host,
        port=port,
        middleware=middleware,
        look=look,
        inside=[head],
        mcp=endpoint,
        live=frames,
    )
    if open_browser:
        open_in_browser(page)
    if not share:
        return None
    with _reaching_gradio():
        return share_page(page)


def _launch_in_space(
    page: gr.Blocks,
    host: str,
    port: int,
    middleware: list[Middleware],
    look: dict[str, Any],
    routes: list[BaseRoute],
    mcp: Endpoint | None,
) -> None:
    """Let Gradio's own server serve the page, as ZeroGPU wants it; the Hub's proxy guards it."""
    # Gradio's own errors do not tell a taken port from a wrong address.
    probe(host, port)
    app: dict[str, Any] = {"middleware": middleware, "redirect_slashes": False}
    if mcp is not None:
        app["lifespan"] = mcp.lifespan
    # Else its uvicorn would believe X-Forwarded-For of whoever asks from this machine.
    os.environ["FORWARDED_ALLOW_IPS"] = ""
    with on_loopback():  # it asks the page itself whether it has started; no proxy leads there
        page.launch(
            server_name=f"[{host}]" if ":" in host else host,
            server_port=port,
            prevent_thread_lock=True,
            quiet=True,
            app_kwargs=app,
            **look,
        )
    keep_little(page, page.app)
    # Before Gradio's own, which answer every path.
    page.app.router.routes[:0] = routes


@contextmanager
def _reaching_gradio() -> Iterator[None]:
    """Reach Gradio's servers as the environment says, and the page itself directly.

    Raises:
        SettingsError: What the environment says cannot be used.
    """
    broken = broken_variable()
    if broken is not None:
        raise SettingsError(f"The page cannot be shared. {broken}")
    before = os.environ.get("NO_PROXY", os.environ.get("no_proxy"))
    direct = "localhost,127.0.0.1,::1"
    os.environ["NO_PROXY"] = f"{before},{direct}" if before else direct
    try:
        yield
    finally:
        if before is None:
            del os.environ["NO_PROXY"]
        else:
            os.environ["NO_PROXY"] = before


def build_page(
    predictor: Predictor,
    store: Store | None = None,
    *,
    visitors: ClientRateLimiter | None = None,
    judges: ClientRateLimiter | None = None,
    unbundled: Sequence[ModelInfo] = (),
    samples: Samples | None = None,
    share: bool = False,
    mcp: bool = False,
    live: bool = False,
) -> gr.Blocks:
    """Build the page without serving it.

    Args:
        predictor: Who answers.
        store: Where feedback goes; None: visitors are not asked for it.
        visitors: Counts what each sends; None: 240 photos a minute.
        judges: Counts the answers that each judges; None: 200 a day.
        unbundled: Figures of models whose weights are not kept.
        samples: Gives some images of the data set; None where it is not here.
        share: What `launch` will be told: the page says where photos go.
        mcp: Whether `launch` will be given an MCP endpoint: the page says how to reach it.
        live: Whether `launch` will be given live frames: the page offers them.

    Raises:
        ModelNotFoundError: The predictor has no model.
        BundleError: The default model is damaged.
    """
    context = PageContext(
        predictor,
        store,
        visitors or ClientRateLimiter(_UPLOADS),
        judges or ClientRateLimiter(_JUDGEMENTS, window_s=_DAY_S),
        asyncio.Semaphore(_OF_BATCHES),
        tuple(unbundled),
        samples,
    )
    # Gradio deletes what it was sent whole; the sweep of `serve` what broke off, too.
    page = gr.Blocks(
        title="TenSight",
        analytics_enabled=False,
        delete_cache=(int(_SWEEP_S), int(_UPLOADS_KEPT_S)),
    )
    with page:
        # First: a handler of a tab that is called the same would take an endpoint's name.
        api.build(context, page.GRADIO_CACHE)
        gr.HTML("<h1>TenSight</h1>", elem_id="title")
        text_html(context.words("intro"), elem_id="intro")
        _build_tabs(context, page, share=share, mcp=mcp, live=live)
    page.queue(max_size=_EVENTS)
    return page


def _build_tabs(
    context: PageContext, page: gr.Blocks, *, share: bool, mcp: bool, live: bool
) -> None:
    """Build the tabs; the texts and charts of all but the first come when one is opened."""
    words = context.words
    with gr.Tabs() as tabs:
        with gr.Tab(words("tab_predict"), id="predict"):
            first = predict.build(context, page, live=live)
        with gr.Tab(words("tab_compare"), id="compare") as tab:
            compared = compare.build(context, tab)
        with gr.Tab(words("tab_batch"), id="batch") as tab:
            batch.build(context, tab)
        with gr.Tab(words("tab_models"), id="models") as tab:
            models.build(context, tab)
        with gr.Tab(words("tab_data"), id="data") as tab:
            data.build(context, tab)
        with gr.Tab(words("tab_about"), id="about") as tab:
            about.build(context, tab, share=share, mcp=mcp)
    # The photo of the first tab is handed on to the second.
    first.compare.click(
        lambda photo: (gr.Tabs(selected="compare"), photo),
        first.photo,
        [tabs, compared],
        api_visibility="private",
        concurrency_limit=None,
        show_progress="hidden",
    )


def _words() -> gr.I18n:
    return gr.I18n(**{language: locale.page_texts(language) for language in locale.LANGUAGES})


def _script() -> str:
    """Return the script of the page, with its words in all languages."""
    too_large = ImageError("too_large", "")
    words = {}
    for each in locale.LANGUAGES:
        texts = locale.page_texts(each)
        words[each] = {key: texts[key] for key in _SCRIPT_TEXTS}
        words[each]["too_large"] = locale.format_error(too_large, each)
    return _SCRIPT.read_text("utf-8").replace("__WORDS__", json.dumps(words))


def _theme() -> gr.themes.Base:
    """Fonts of the visitor's own device: nothing is fetched from elsewhere."""
    theme = gr.themes.Soft(
        font=["system-ui", "sans-serif"], font_mono=["ui-monospace", "monospace"]
    )
    # Darker than the theme's own, which are too pale to read for many (WCAG 2, level AA).
    return theme.set(
        block_label_text_color="*primary_800",
        block_title_text_color="*primary_800",
        body_text_color_subdued="*neutral_600",
        body_text_color_subdued_dark="*neutral_300",
        checkbox_label_background_fill_selected="*primary_600",
        button_primary_background_fill="*primary_600",
        button_primary_background_fill_dark="*primary_600",
        button_primary_background_fill_hover="*primary_700",
        button_primary_background_fill_hover_dark="*primary_700",
        link_text_color="*primary_700",
        link_text_color_dark="*primary_300",
        color_accent="*primary_600",
        button_secondary_background_fill_hover_dark="*primary_600",
        # Edges that can be seen, too.
        block_border_width="1px",
        block_border_color="*neutral_300",
        checkbox_border_color="*neutral_500",
        checkbox_label_border_width="1px",
        checkbox_label_border_color="*neutral_400",
        input_border_width="1px",
        input_border_color="*neutral_400",
        button_border_width="1px",
        button_secondary_border_color="*neutral_400",
    )
