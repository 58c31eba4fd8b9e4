"""Measurements for Prometheus (the only module that imports prometheus_client).

Counts whole batches at once: a histogram takes an array. Any thread may measure.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric as Family
from prometheus_client.registry import Collector
from typing_extensions import override

from driftloop.kernel.metrics import Metric, MetricKind

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class _Histogram:
    def __init__(self, bounds: tuple[float, ...]) -> None:
        self.bounds = np.asarray(bounds, dtype=np.float64)
        self.counts = np.zeros(len(bounds) + 1, dtype=np.int64)
        self.sum = 0.0

    def observe(self, values: Iterable[float]) -> None:
        array = np.asarray(values if isinstance(values, np.ndarray) else list(values), np.float64)
        slots = np.searchsorted(self.bounds, array, side="left")
        self.counts += np.bincount(slots, minlength=len(self.counts))
        self.sum += float(array.sum())

    def buckets(self) -> list[tuple[str, float]]:
        names = [repr(float(bound)) for bound in self.bounds] + ["+Inf"]
        return list(zip(names, np.cumsum(self.counts).astype(float).tolist(), strict=True))


class PrometheusMeter(Collector):
    """See :class:`driftloop.kernel.metrics.Meter`. ``service`` labels every series."""

    def __init__(self, service: str) -> None:
        self._service = service
        self._lock = threading.Lock()
        self._values: dict[Metric, dict[tuple[str, ...], float]] = {}
        self._newest: dict[tuple[Metric, tuple[str, ...]], dict[tuple[str, ...], None]] = {}
        """Of metrics that keep their newest series: those that differ in the last label alone, the
        one added to last at the end."""
        self._histograms: dict[Metric, dict[tuple[str, ...], _Histogram]] = {}
        self._registry = CollectorRegistry()
        self._registry.register(self)
        ProcessCollector(registry=self._registry)

    def add(self, metric: Metric, amount: float = 1.0, *labels: str) -> None:
        with self._lock:
            series = self._series(metric, labels)
            series[labels] = series.get(labels, 0.0) + amount
            if metric.newest:
                self._keep_newest(metric, series, labels)

    def set(self, metric: Metric, value: float, *labels: str) -> None:
        with self._lock:
            series = self._values.get(metric)
            if series is None or labels not in series:
                series = self._series(metric, labels)
            series[labels] = value

    def set_all(
        self, metric: Metric, series: Sequence[tuple[str, ...]], values: Sequence[float]
    ) -> None:
        with self._lock:
            known = self._values.setdefault(metric, {})
            for labels in series:
                if labels not in known:
                    self._check(metric, labels)
            known.update(zip(series, values, strict=True))

    def observe(self, metric: Metric, values: Iterable[float], *labels: str) -> None:
        with self._lock:
            self._check(metric, labels)
            series = self._histograms.setdefault(metric, {})
            if labels not in series:
                series[labels] = _Histogram(metric.buckets)
            series[labels].observe(values)

    def forget(self, metric: Metric, *labels: str) -> None:
        with self._lock:
            self._values.get(metric, {}).pop(labels, None)

    def exposition(self) -> bytes:
        """The text a scrape gets."""
        return bytes(generate_latest(self._registry))

    @override
    def collect(self) -> Iterator[Family]:
        with self._lock:
            families = [self._family(m, dict(s)) for m, s in self._values.items()]
            families += [self._histogram_family(m, s) for m, s in self._histograms.items()]
        yield from families

    def _family(self, metric: Metric, series: dict[tuple[str, ...], float]) -> Family:
        kind = CounterMetricFamily if metric.kind is MetricKind.COUNTER else GaugeMetricFamily
        family = kind(metric.name, metric.help, labels=("service", *metric.labels))
        for labels, value in series.items():
            family.add_metric((self._service, *labels), value)
        return family

    def _histogram_family(
        self, metric: Metric, series: dict[tuple[str, ...], _Histogram]
    ) -> Family:
        family = HistogramMetricFamily(metric.name, metric.help, labels=("service", *metric.labels))
        for labels, histogram in series.items():
            family.add_metric((self._service, *labels), histogram.buckets(), histogram.sum)
        return family

    def _keep_newest(
        self, metric: Metric, series: dict[tuple[str, ...], float], labels: tuple[str, ...]
    ) -> None:
        alike = self._newest.setdefault((metric, labels[:-1]), {})
        alike.pop(labels, None)
        alike[labels] = None
        if len(alike) > metric.newest:
            oldest = next(iter(alike))
            del alike[oldest], series[oldest]

    def _series(self, metric: Metric, labels: tuple[str, ...]) -> dict[tuple[str, ...], float]:
        self._check(metric, labels)
        return self._values.setdefault(metric, {})

    @staticmethod
    def _check(metric: Metric, labels: tuple[str, ...]) -> None:
        if len(labels) != len(metric.labels):
            raise ValueError(f"{metric.name} takes the labels {metric.labels}, not {labels}")
