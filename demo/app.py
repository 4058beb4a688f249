"""Build the web page from its tabs, and serve it with everything that runs beside it."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import secrets
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
from core.serving.retention import Retention
from core.settings import Settings
from core.sockets import probe
from core.store.hash_key import load_hash_key
from core.store.store import Store
from core.system import on_stop_signal, wait_until_stopped
from demo import api
from demo.components import text_html
from demo.context import ClientRateLimiter, PageContext, Samples
from demo.failed_events import log_failed_events
from demo.guard import page_middleware
from demo.held_uploads import HeldUploads
from demo.hosts import TrustedHosts
from demo.live import LiveFrames
from demo.preview import PageHead
from demo.server import Endpoint, open_in_browser, page_routes, serve_page, share_page
from demo.sessions import store_only_state
from demo.tabs import about, batch, compare, data, models, predict, teach
from demo.teaching import PageTeaching, page_teaching
from demo.unread_events import UnreadEventLimiter
from demo.uploads import UploadFolder, upload_folder

__all__ = ["McpFactory", "build_page", "launch", "serve"]

McpFactory = Callable[[Predictor, ClientRateLimiter, TrustedHosts], Endpoint]
"""Creates the MCP endpoint of a page."""

# Interval between sweeps of the upload folder, maximum age of an upload, and total size of all.
_SWEEP_S = 60.0
_UPLOADS_KEPT_S = 300.0
_MAX_UPLOADS_BYTES = 4 * 2**30
_STYLE = Path(__file__).with_name("style.css")
_SCRIPT = Path(__file__).with_name("page.js")
_TEACH_SCRIPT = Path(__file__).with_name("teach.js")
# Texts of the page that its script shows.
_SCRIPT_TEXTS = (
    *("share_copied", "share_downloaded"),
    *("live_busy", "live_denied", "live_hidden", "live_insecure", "live_lost", "live_rate"),
)
# Maximum number of waiting events of all visitors; Gradio refuses more.
_EVENTS = 500
# Maximum number of concurrent photos of all batches; the predictor's other places stay free.
_OF_BATCHES = 8
# Default rate limit of a visitor: photos, and uploads, per minute.
_UPLOADS = 240
# Predictions that a visitor may rate in a day: most stored feedback does not tell visitors apart.
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
    report: Callable[[str], None],
    share: bool = False,
    samples: Samples | None = None,
    companions: Callable[[Predictor], AbstractContextManager[None]] | None = None,
    mcp: McpFactory | None = None,
) -> None:
    """Serve the page until the process receives a signal to stop, or its terminal is closed.

    Args:
        settings: Settings of models, predictor, limits and database.
        host: Address to bind to.
        port: Port to bind to.
        open_browser: Whether to open the page in the browser of this desktop.
        report: Receives one line as soon as the page responds.
        share: Whether to make the page public through Gradio's tunnel.
        samples: Returns sample images of the data set; None where it is not available.
        companions: Returns a context manager that runs other fronts, such as the bot, in this
            process while the page is served; they share its predictor.
        mcp: Creates the MCP endpoint; None for no endpoint.

    Raises:
        ModelNotFoundError: There is no model.
        BundleError: The default model is damaged.
        ListenError: The page cannot bind to the address.
    """
    stopped = threading.Event()
    on_stop_signal(stopped.set)
    with ExitStack() as stack:
        predictor = stack.enter_context(closing(connect(settings)))
        if not _wait_for(predictor, stopped, report):
            return
        store = _enter_store(stack, settings)
        uploads = stack.enter_context(_upload_folder())
        local = isinstance(predictor, LocalPredictor)
        photo_limiter = ClientRateLimiter(settings.photos_per_minute)
        page = build_page(
            predictor,
            store,
            photo_limiter=photo_limiter,
            feedback_limiter=ClientRateLimiter(_JUDGEMENTS, window_s=_DAY_S),
            unbundled=read_unbundled(settings.models) if local else [],
            samples=samples,
            share=share,
            mcp=mcp is not None,
            live=True,
            teaching=stack.enter_context(page_teaching(settings, predictor)),
            hash_key=None if store is None else _hash_key(settings),
        )
        uploads.exempt_existing_files()
        stack.enter_context(uploads.swept(_SWEEP_S))
        stack.callback(page.close, verbose=False)
        shared = launch(
            page,
            host=host,
            port=port,
            upload_limiter=ClientRateLimiter(settings.photos_per_minute),
            uploads=uploads,
            proxies=settings.proxies,
            open_browser=open_browser,
            share=share,
            mcp=None if mcp is None else partial(mcp, predictor, photo_limiter),
            live=LiveFrames(predictor),
        )
        if isinstance(predictor, LocalPredictor):
            predictor.warm()
            releases = stack.enter_context(closing(Releases(settings, store)))
            stack.enter_context(closing(HubSync(settings, releases)))
        if companions is not None:
            stack.enter_context(companions(predictor))
        report(f"TenSight answers on {page.local_url}")
        if shared:
            report(f"Public address, for anyone who has the link: {shared}")
        wait_until_stopped(stopped)


@contextmanager
def _upload_folder() -> Iterator[UploadFolder]:
    """Create a folder for this process's uploads, and configure Gradio to use it.

    Gradio names an upload by its content, so two processes that shared a folder would delete each
    other's uploads. It reads the variable when the page is built.
    """
    with upload_folder(max_age_s=_UPLOADS_KEPT_S, max_bytes=_MAX_UPLOADS_BYTES) as uploads:
        os.environ["GRADIO_TEMP_DIR"] = str(uploads.path)
        yield uploads


def _wait_for(
    predictor: Predictor, stopped: threading.Event, report: Callable[[str], None]
) -> bool:
    """Wait until a remote predictor is available; return False if stopped before."""
    told = False
    while not stopped.is_set():
        try:
            predictor.models()
        except PredictorError as error:
            if not told:
                report(f"{error} The page starts once it answers.")
                told = True
            stopped.wait(_RETRY_S)
        else:
            return True
    return False


def _enter_store(stack: ExitStack, settings: Settings) -> Store | None:
    """Open the database for as long as a stack is open, and delete from it what has expired."""
    store = _store(settings)
    if store is not None:
        stack.enter_context(closing(store))
        stack.enter_context(closing(Retention(settings, partial(Store.find, settings))))
    return store


def _store(settings: Settings) -> Store | None:
    """Open the store for feedback; return None where feedback cannot be kept."""
    # The disk of a Space is not persistent.
    if "SPACE_ID" in os.environ and settings.database_url is None:
        return None
    try:
        return Store.open(settings)
    except StoreError as error:
        logger.error("Feedback is disabled, since the database cannot be opened: %s", error)
        return None


def _hash_key(settings: Settings) -> bytes | None:
    """Return the key of the hashes that stand for visitors; None where there is none to use."""
    try:
        return load_hash_key(settings)
    except StoreError as error:
        logger.error("Visitors will not be recognised after a restart: %s", error)
        return None


def launch(
    page: gr.Blocks,
    *,
    host: str,
    port: int,
    upload_limiter: ClientRateLimiter | None = None,
    uploads: UploadFolder | None = None,
    proxies: int = 0,
    bodies: BodyLimits | None = None,
    open_browser: bool = False,
    share: bool = False,
    mcp: Callable[[TrustedHosts], Endpoint] | None = None,
    live: LiveFrames | None = None,
) -> str | None:
    """Start serving a page in the background.

    Args:
        page: Output of `build_page`.
        host: Address to bind to.
        port: Port to bind to.
        upload_limiter: Rate limiter of uploads, which are counted apart from predictions; None for
            240 a minute.
        uploads: Folder of the uploads; None for no limit on their total size.
        proxies: Number of trusted reverse proxies in front.
        bodies: Limits on request bodies; None for the defaults.
        open_browser: Whether to open the page in the browser of this desktop.
        share: Whether to make the page public through Gradio's tunnel.
        mcp: Creates the MCP endpoint; None for no endpoint.
        live: Classifies the frames of cameras; None for no live predictions.

    Returns:
        The public address if the page is shared, otherwise None.

    Raises:
        ListenError: The page cannot bind to the address.
    """
    host, appearance = host.strip("[]"), _gradio_options()
    middleware = page_middleware(
        page,
        upload_limiter=upload_limiter or ClientRateLimiter(_UPLOADS),
        uploads=uploads,
        unread_events=UnreadEventLimiter(page),
        proxies=proxies,
        bodies=bodies,
        mcp=mcp is not None,
    )
    hosts = TrustedHosts(host, proxies=proxies, shared=share)
    root_path = os.environ.get("GRADIO_ROOT_PATH", "")
    in_space = "SPACE_ID" in os.environ
    head = Middleware(PageHead, hosts=hosts, root_path=root_path, framed=in_space)
    endpoint = None if mcp is None else mcp(hosts)
    own = [] if live is None else [live.route]
    if uploads is not None:
        own.append(HeldUploads(uploads).route)
    if in_space:
        _launch_in_space(
            page, host, port, [*middleware, head], appearance, page_routes(endpoint, own), endpoint
        )
        return None
    serve_page(
        page,
        host=host,
        port=port,
        middleware=middleware,
        appearance=appearance,
        inner_middleware=[head],
        mcp=endpoint,
        own=own,
    )
    if open_browser:
        open_in_browser(page)
    if not share:
        return None
    with _reaching_gradio():
        return share_page(page)


def _gradio_options() -> dict[str, Any]:
    """Return Gradio's options for the looks and limits of the page."""
    return {
        "max_file_size": MAX_BYTES,
        "enable_monitoring": False,
        "run_history": False,
        "ssr_mode": False,
        "footer_links": ["api"],
        "i18n": _translations(),
        "theme": _theme(),
        "css_paths": _STYLE,
        "js": _script(),
    }


def _launch_in_space(
    page: gr.Blocks,
    host: str,
    port: int,
    middleware: list[Middleware],
    appearance: dict[str, Any],
    routes: list[BaseRoute],
    mcp: Endpoint | None,
) -> None:
    """Serve the page with Gradio's own server, as ZeroGPU requires, behind the Hub's proxy."""
    # Gradio's own errors do not distinguish a port in use from an invalid address.
    probe(host, port)
    app: dict[str, Any] = {"middleware": middleware, "redirect_slashes": False}
    if mcp is not None:
        app["lifespan"] = mcp.lifespan
    # By default uvicorn trusts X-Forwarded-For of every client on this machine.
    os.environ["FORWARDED_ALLOW_IPS"] = ""
    with on_loopback():  # Gradio polls the page until it responds, which no proxy could reach
        page.launch(
            server_name=f"[{host}]" if ":" in host else host,
            server_port=port,
            prevent_thread_lock=True,
            quiet=True,
            app_kwargs=app,
            **appearance,
        )
    store_only_state(page, page.app)
    # They go before Gradio's routes, which match every path.
    page.app.router.routes[:0] = routes


@contextmanager
def _reaching_gradio() -> Iterator[None]:
    """Use the proxies of the environment for Gradio's servers, but not for the page itself.

    Raises:
        SettingsError: The environment variables of the proxies are invalid.
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
    photo_limiter: ClientRateLimiter | None = None,
    feedback_limiter: ClientRateLimiter | None = None,
    unbundled: Sequence[ModelInfo] = (),
    samples: Samples | None = None,
    share: bool = False,
    mcp: bool = False,
    live: bool = False,
    teaching: PageTeaching | None = None,
    hash_key: bytes | None = None,
) -> gr.Blocks:
    """Build the page without serving it.

    Args:
        predictor: Predictor that classifies the photos.
        store: Database for feedback; None to show no feedback form.
        photo_limiter: Rate limiter of photos; None for 240 a minute.
        feedback_limiter: Rate limiter of feedback; None for 200 predictions a day.
        unbundled: Models whose weights are not stored, for their metrics.
        samples: Returns sample images of the data set; None where it is not available.
        share: Whether `launch` will share the page, which the page then mentions.
        mcp: Whether `launch` will serve an MCP endpoint, which the page then describes.
        live: Whether `launch` will serve live predictions, which the page then offers.
        teaching: Teaches classifiers for visitors; None to offer no teaching.
        hash_key: Key of the hashes that stand for visitors in the database; None for a random one.

    Raises:
        ModelNotFoundError: The predictor has no model.
        BundleError: The default model is damaged.
    """
    context = PageContext(
        predictor,
        store,
        photo_limiter or ClientRateLimiter(_UPLOADS),
        feedback_limiter or ClientRateLimiter(_JUDGEMENTS, window_s=_DAY_S),
        asyncio.Semaphore(_OF_BATCHES),
        tuple(unbundled),
        samples,
        hash_key or secrets.token_bytes(32),
    )
    # Gradio deletes complete uploads only; the sweep of `serve` also deletes incomplete ones.
    page = gr.Blocks(
        title="TenSight",
        analytics_enabled=False,
        delete_cache=(int(_SWEEP_S), int(_UPLOADS_KEPT_S)),
    )
    with page:
        # The endpoints go first: a tab's handler of the same name would take an endpoint's name.
        api.build(context, page.GRADIO_CACHE)
        with gr.Row(elem_id="head"):
            gr.HTML("<h1>TenSight</h1>", elem_id="title")
            text_html(context.translate("intro"), elem_id="intro")
        _build_tabs(context, page, teaching, share=share, mcp=mcp, live=live)
    page.queue(max_size=_EVENTS, api_open=False)
    log_failed_events(page)
    return page


def _build_tabs(
    context: PageContext,
    page: gr.Blocks,
    teaching: PageTeaching | None,
    *,
    share: bool,
    mcp: bool,
    live: bool,
) -> None:
    """Build the tabs; all but the first load their texts and charts when they are opened."""
    translate = context.translate
    # A row that scrolls (see demo.preview) is easier to find than a menu of what does not fit.
    with gr.Tabs(overflow_behavior="wrap") as tabs:
        with gr.Tab(translate("tab_predict"), id="predict"):
            first = predict.build(context, page, live=live)
        with gr.Tab(translate("tab_compare"), id="compare") as tab:
            compared = compare.build(context, tab, teaching)
        with gr.Tab(translate("tab_batch"), id="batch") as tab:
            batch.build(context, tab)
        if teaching is not None:
            with gr.Tab(translate("tab_teach"), id="teach") as tab:
                teach.build(context, teaching, tab, live=live)
        with gr.Tab(translate("tab_models"), id="models") as tab:
            models.build(context, tab)
        with gr.Tab(translate("tab_data"), id="data") as tab:
            data.build(context, tab)
        with gr.Tab(translate("tab_about"), id="about") as tab:
            about.build(context, tab, share=share, mcp=mcp)
    # The button Compare of the first tab opens the second one with the same photo.
    first.compare.click(
        lambda photo: (gr.Tabs(selected="compare"), photo),
        first.photo,
        [tabs, compared],
        api_visibility="private",
        concurrency_limit=None,
        show_progress="hidden",
    )


def _translations() -> gr.I18n:
    return gr.I18n(**{language: locale.page_texts(language) for language in locale.LANGUAGES})


def _script() -> str:
    """Return the scripts of the page, with their texts in all languages."""
    too_large = ImageError("too_large", "")
    texts_of = {}
    for each in locale.LANGUAGES:
        texts = locale.page_texts(each)
        texts_of[each] = {key: texts[key] for key in _SCRIPT_TEXTS}
        texts_of[each]["too_large"] = locale.format_error(too_large, each)
    page = _SCRIPT.read_text("utf-8").replace("__WORDS__", json.dumps(texts_of))
    return f"() => {{ ({page})(); ({_TEACH_SCRIPT.read_text('utf-8')})(); }}"


def _theme() -> gr.themes.Base:
    """Return the theme, with system fonts, so that no font is loaded from another site."""
    theme = gr.themes.Soft(
        font=["system-ui", "sans-serif"], font_mono=["ui-monospace", "monospace"]
    )
    # The theme's own colours have too little contrast (WCAG 2, level AA).
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
        # The same holds for its borders.
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
