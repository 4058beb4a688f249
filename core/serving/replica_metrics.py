"""Metrics of several replicas as one page for Prometheus."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from prometheus_client import CollectorRegistry, Metric, generate_latest
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector

__all__ = ["merge_metrics"]

_PREFIX = "tensight_"
_SUM_PREFIX = "tensight_cluster_"
# Times at which counters were created have no meaningful sum.
_CREATED = "_created"


def merge_metrics(pages: Mapping[str, bytes]) -> bytes:
    """Merge the metrics of replicas.

    Each metric keeps its name and gets the label `replica`; its sum over the replicas is called
    `tensight_cluster_…` instead of `tensight_…`.

    Args:
        pages: Metrics in Prometheus' text format by the name of the replica.
    """
    registry = CollectorRegistry()
    registry.register(_Merged(pages))
    return generate_latest(registry)


class _Merged(Collector):
    def __init__(self, pages: Mapping[str, bytes]) -> None:
        self._pages = pages

    def collect(self) -> Iterator[Metric]:
        families: dict[str, Metric] = {}
        sums: dict[str, dict[tuple[str, tuple[tuple[str, str], ...]], float]] = {}
        for replica, page in sorted(self._pages.items()):
            for read in text_string_to_metric_families(page.decode()):
                if read.name.endswith(_CREATED):
                    continue
                family = families.setdefault(
                    read.name, Metric(read.name, read.documentation, read.type)
                )
                total = sums.setdefault(read.name, {})
                for sample in read.samples:
                    family.add_sample(
                        sample.name, sample.labels | {"replica": replica}, sample.value
                    )
                    key = sample.name, tuple(sample.labels.items())
                    total[key] = total.get(key, 0.0) + sample.value
        for name, family in families.items():
            yield family
            summed = Metric(_sum_name(name), f"{family.documentation} All replicas.", family.type)
            for (sample_name, labels), value in sums[name].items():
                summed.add_sample(_sum_name(sample_name), dict(labels), value)
            yield summed


def _sum_name(name: str) -> str:
    return _SUM_PREFIX + name.removeprefix(_PREFIX)
