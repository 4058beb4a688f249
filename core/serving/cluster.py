"""Replicas of the HTTP service on one or more machines, run by Ray Serve (extra `cluster`).

A replica is the application of core/serving/http over a local predictor. Ray Serve starts and
replaces replicas and distributes requests. Ray is imported in this module alone, and inside
functions, because its import is slow and reads the environment.
"""

from __future__ import annotations

import importlib.util
import logging
import os
import secrets
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from importlib.metadata import version
from io import BytesIO
from typing import TYPE_CHECKING, Any

from typing_extensions import override

from core.errors import BusyError, MissingExtraError, OutputError, UnavailableError
from core.logs import configure_logging
from core.network import is_loopback
from core.output import PRIVATE_FILE, private_folder, replacing
from core.photos.decode import configure_pillow_limits
from core.redaction import masked_value, without_credentials
from core.registry.catalog import Catalog
from core.registry.probe import check_scores, probe_photo
from core.registry.releases import Releases
from core.registry.sync import HubSync, Timings
from core.serving.cluster_files import REQUEST_TIMEOUT_S
from core.serving.connect import find_store, local_predictor
from core.serving.http.app import build_service
from core.serving.replica_metrics import merge_metrics
from core.serving.replicas import (
    APPLICATION,
    DEPLOYMENT,
    LOGGING,
    PROCESSORS_PER_REPLICA,
    Replicas,
    deployment_options,
)
from core.serving.retention import Retention
from core.serving.telemetry import Telemetry
from core.settings import Settings, processors
from core.sockets import format_address, probe
from core.system import on_stop_signal, wait_until_stopped

if TYPE_CHECKING:
    from fastapi import FastAPI

__all__ = [
    "ServiceReplica",
    "application",
    "check_serve_config",
    "ray_version",
    "require_ray",
    "serve_cluster",
]

# Ray's store for large values; a photo passes it on its way from the proxy to a replica.
_OBJECT_STORE_BYTES = 512 * 2**20
# Read by Ray when it is imported. Without a token, anyone who reaches its ports can run programs.
_ENVIRONMENT = {"RAY_AUTH_MODE": "token", "RAY_USAGE_STATS_ENABLED": "0"}
_LOCAL_ENVIRONMENT = {
    # Ray's name for: bind to the loopback address, and to no other.
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
    # By default, other programs of the machine would take precedence over replicas.
    "RAY_worker_niceness": "0",
    # On a busy machine, Ray's agents take longer to start than they may by default.
    "RAY_agent_register_timeout_ms": "120000",
}
_GATHER_S = 5.0
# A machine with many processors has many replicas, or runs other programs.
_DECODERS = 2
# Starting Ray, or a replica, fails for good after this many attempts.
_STARTS = 3

logger = logging.getLogger(__name__)


class ServiceReplica:
    """One replica: the HTTP service and its predictor, as Ray Serve constructs and calls them.

    The settings come from the environment of the node, so that no secret passes the cluster.
    """

    def __init__(self) -> None:
        from ray import serve

        configure_pillow_limits()
        settings = Settings.read()
        if "threads" not in settings.model_fields_set:
            settings = settings.model_copy(update={"threads": PROCESSORS_PER_REPLICA})
        configure_logging(settings)
        context = serve.get_replica_context()
        self._name = str(context.replica_id.unique_id)
        self._settings = settings
        self._telemetry = _ClusterTelemetry(self._name)
        self._predictor = local_predictor(settings, self._telemetry, decoders=_DECODERS)
        self._telemetry.watch_queue(lambda: self._predictor.waiting, settings.queue_size)
        self._telemetry.watch_models(self._predictor.models)
        self._releases = Releases(settings)
        # A promotion reaches other nodes as soon as they have the model's files.
        self._sync = HubSync(settings, self._releases, Timings(poll_s=1.0))
        self._retention = Retention(settings, partial(find_store, settings))
        probe_file = BytesIO()
        probe_photo().save(probe_file, "PNG")
        self._probe = probe_file.getvalue()
        self._predictor.warm()

    def __serve_build_asgi_app__(self) -> FastAPI:  # the name that Ray calls
        """Return the HTTP service; Ray Serve calls this once, after the constructor."""
        return build_service(self._predictor, self._settings, self._telemetry, lambda: True)

    async def check_health(self) -> None:
        """Classify the probe photo; Ray Serve replaces a replica where this fails repeatedly.

        Raises:
            BundleError: The default model returns invalid scores.
            PredictorError: The photo was not classified.
        """
        try:
            prediction = await self._predictor.check(self._probe)
        except BusyError:
            return  # it works on the photos of others, which have a deadline
        check_scores(prediction, prediction.model)

    def metrics(self) -> tuple[str, bytes]:
        """Return the name of this replica, and its metrics in Prometheus' text format."""
        return self._name, self._telemetry.own_text()

    def __del__(self) -> None:
        # Ray calls this once running requests are finished, and where the constructor failed.
        for part in ("_retention", "_sync", "_releases", "_predictor"):
            if hasattr(self, part):
                getattr(self, part).close()


class _ClusterTelemetry(Telemetry):
    """Metrics of a replica, whose page shows those of all replicas.

    Args:
        replica: Name of this replica.
    """

    def __init__(self, replica: str) -> None:
        super().__init__()
        self._replica = replica
        self._handle: Any = None

    def own_text(self) -> bytes:
        """Render the metrics of this replica alone."""
        return super().text()

    @override
    def text(self) -> bytes:
        """Render the metrics of all running replicas, and their sums."""
        pages = {self._replica: self.own_text()}
        try:
            if self._handle is None:
                from ray import serve

                self._handle = serve.get_deployment_handle(DEPLOYMENT, APPLICATION)
            results = self._handle.broadcast("metrics").results(
                timeout_s=_GATHER_S, return_exceptions=True
            )
            pages |= dict(each for each in results if not isinstance(each, BaseException))
        except Exception as error:  # noqa: BLE001  # Ray raises errors of many kinds
            logger.warning("The metrics of other replicas cannot be read: %s", error)
        return merge_metrics(pages)


def application(_args: dict[str, str] | None = None) -> Any:
    """Build the Ray Serve application; configuration files name this function and set options.

    Returns:
        A `ray.serve.Application`.
    """
    return _application({})


def _application(options: Mapping[str, Any]) -> Any:
    from ray import serve

    deployment = serve.deployment(serve.ingress()(ServiceReplica)).options(
        name=DEPLOYMENT, max_constructor_retry_count=_STARTS, **options
    )
    return deployment.bind()


def serve_cluster(
    settings: Settings, *, host: str, port: int, replicas: str, say: Callable[[str], None]
) -> None:
    """Serve with Ray until the process receives a stop signal, or deploy to a running cluster.

    Without RAY_ADDRESS, a cluster of this machine is started, and stopped at the end. With it, the
    application is deployed to that cluster and stays there; if it was there before, its replicas
    are replaced one after the other, without interruption.

    Args:
        settings: As for the HTTP service; replicas on other nodes read their own.
        host: Address that Ray's proxies bind to.
        port: Port that Ray's proxies bind to.
        replicas: A number, a range or `auto`, as for `Replicas.parse`.
        say: Receives one line once the service is ready.

    Raises:
        MissingExtraError: Ray is not installed.
        SettingsError: `replicas` is invalid.
        ModelNotFoundError: There is no model.
        ListenError: The address cannot be bound.
        UnavailableError: The cluster cannot be reached, or the replicas do not start.
    """
    require_ray("`--engine ray`")
    wanted = Replicas.parse(replicas, processors())
    address = os.environ.get("RAY_ADDRESS", "")
    _set_defaults(_ENVIRONMENT)
    if not address or is_loopback(f"ray://{address}"):
        _set_defaults(_LOCAL_ENVIRONMENT)
    if address:
        with _joined_cluster(settings):
            _deploy(settings, wanted, host, port)
            say(f"TenSight was deployed to the cluster, and answers on port {port} of its nodes")
        return
    Catalog(settings).default()
    probe(host, port)
    stopped = threading.Event()
    with _local_cluster(settings, wanted):
        on_stop_signal(stopped.set)  # now, since Ray has set handlers of its own
        _deploy(settings, wanted, host, port)
        say(f"TenSight answers on http://{format_address(host, port)}")
        wait_until_stopped(stopped)
        _withdraw()


def require_ray(purpose: str) -> None:
    """Check that the extra `cluster` is installed.

    Args:
        purpose: What needs it, as the beginning of a sentence.

    Raises:
        MissingExtraError: It is not.
    """
    if importlib.util.find_spec("ray") is None:
        raise MissingExtraError("cluster", purpose)


def ray_version() -> str:
    """Return the version of Ray that is installed."""
    return version("ray")


def check_serve_config(config: dict[str, Any]) -> None:
    """Check a configuration against the schema of the installed Ray Serve.

    Raises:
        ValueError: It does not match.
    """
    from ray.serve.schema import ServeDeploySchema

    ServeDeploySchema.model_validate(config)


@contextmanager
def _joined_cluster(settings: Settings) -> Iterator[None]:
    """Connect to the cluster of RAY_ADDRESS."""
    import ray

    try:
        ray.init(logging_level=settings.log_level)
    except Exception as error:
        raise UnavailableError(
            f"The cluster at {masked_value(os.environ['RAY_ADDRESS'])} cannot be joined. Check "
            f"RAY_ADDRESS, and RAY_AUTH_TOKEN or RAY_AUTH_TOKEN_PATH. Ray says: "
            f"{without_credentials(str(error))}"
        ) from error
    try:
        yield
    finally:
        ray.shutdown()


@contextmanager
def _local_cluster(settings: Settings, replicas: Replicas) -> Iterator[None]:
    """Run a cluster of this machine alone, on loopback addresses."""
    _use_token_of(settings)
    import ray

    for attempt in range(_STARTS):
        try:
            ray.init(
                address="local",
                # Ray reserves processors by counting: there may be more replicas than processors.
                num_cpus=max(processors(), replicas.maximum * PROCESSORS_PER_REPLICA),
                object_store_memory=_OBJECT_STORE_BYTES,
                include_dashboard=False,
                logging_level=settings.log_level,
            )
            break
        except Exception as error:  # Ray raises plain exceptions, too
            ray.shutdown()
            # Its agents have 15 s to start, which may not do on a busy machine.
            logger.warning("Ray has not started: %s", error)
            if attempt == _STARTS - 1:
                raise UnavailableError(
                    "Ray cannot be started; its logs are in /tmp/ray/session_latest/logs. Ray "
                    f"says: {error}"
                ) from error
    try:
        yield
    finally:
        ray.shutdown()


def _deploy(settings: Settings, replicas: Replicas, host: str, port: int) -> None:
    """Deploy the application, and wait until all replicas are ready.

    Raises:
        UnavailableError: A replica does not start.
    """
    from ray import serve

    try:
        serve.start(
            http_options={"host": host, "port": port, "request_timeout_s": REQUEST_TIMEOUT_S},
            logging_config=LOGGING,
        )
        options = deployment_options(replicas, settings)
        serve.run(_application(options), name=APPLICATION, route_prefix="/")
    except Exception as error:
        raise UnavailableError(f"The replicas cannot be started. Ray says: {error}") from error


def _withdraw() -> None:
    """Remove the application, once its running requests are finished."""
    from ray import serve

    serve.delete(APPLICATION)


def _set_defaults(defaults: Mapping[str, str]) -> None:
    """Set variables of the environment that are not set."""
    for name, value in defaults.items():
        os.environ.setdefault(name, value)


def _use_token_of(settings: Settings) -> None:
    """Name a file with a secret token for Ray, unless the environment has one.

    Ray would write one into the user's home folder, readable for everybody.

    Raises:
        OutputError: The file cannot be written.
    """
    if "RAY_AUTH_TOKEN" in os.environ or "RAY_AUTH_TOKEN_PATH" in os.environ:
        return
    path = settings.home / "ray-token"
    try:
        private_folder(settings.home)
        if not path.exists():
            with replacing(path) as new:
                new.touch(mode=PRIVATE_FILE)
                new.write_text(secrets.token_hex(32), "ascii")
    except OSError as error:
        raise OutputError(
            f"The token for Ray cannot be written to {path}: {error.strerror or error}. Give this "
            "user permission to write there, or set RAY_AUTH_TOKEN_PATH."
        ) from error
    os.environ["RAY_AUTH_TOKEN_PATH"] = str(path)
