from __future__ import annotations

from prometheus_client.parser import text_string_to_metric_families

from core.errors import BusyError
from core.serving.replica_metrics import merge_metrics
from core.serving.telemetry import Telemetry


def page(errors: int, waiting: int) -> bytes:
    telemetry = Telemetry()
    for _ in range(errors):
        telemetry.on_error(BusyError(1))
    telemetry.watch_queue(lambda: waiting, 8)
    return telemetry.text()


def samples(merged: bytes) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(merged.decode())
        for sample in family.samples
    }


def test_metrics_of_replicas_are_labelled_and_summed() -> None:
    found = samples(merge_metrics({"a": page(2, 1), "b": page(3, 4)}))
    assert found["tensight_errors_total", (("code", "busy"), ("replica", "a"))] == 2
    assert found["tensight_errors_total", (("code", "busy"), ("replica", "b"))] == 3
    assert found["tensight_cluster_errors_total", (("code", "busy"),)] == 5
    assert found["tensight_cluster_queue", ()] == 5
    assert found["tensight_cluster_queue_size", ()] == 16
    assert not [name for name, _ in found if name.endswith("_created")]


def test_metric_of_one_replica_alone_is_summed() -> None:
    found = samples(merge_metrics({"a": page(0, 0), "b": page(1, 0)}))
    assert found["tensight_cluster_errors_total", (("code", "busy"),)] == 1


def test_type_of_a_metric_is_kept() -> None:
    merged = merge_metrics({"a": page(1, 0)}).decode()
    assert "# TYPE tensight_errors_total counter" in merged
    assert "# TYPE tensight_cluster_errors_total counter" in merged
    assert "# TYPE tensight_cluster_queue gauge" in merged
