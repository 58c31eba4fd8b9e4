"""Measurements as Prometheus reads them."""

from __future__ import annotations

import threading

import numpy as np
import pytest
from prometheus_client.parser import text_string_to_metric_families

from driftloop.adapters.prometheus import PrometheusMeter
from driftloop.kernel import metrics
from driftloop.kernel.metrics import METRICS, MetricKind


def samples(meter: PrometheusMeter) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    """Sample name and labels to value, as a scrape parses them."""
    text = meter.exposition().decode()
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def value(meter: PrometheusMeter, name: str, **labels: str) -> float:
    return samples(meter)[name, frozenset({"service": "s", **labels}.items())]


@pytest.fixture
def meter() -> PrometheusMeter:
    return PrometheusMeter("s")


def test_versions_that_predict_no_more_do_not_pile_up(meter: PrometheusMeter) -> None:
    kept = metrics.PREDICTIONS.newest
    for version in range(100):
        meter.add(metrics.PREDICTIONS, 1, "a", str(version))
        meter.add(metrics.PREDICTIONS, 1, "a", "0")
        meter.add(metrics.PREDICTIONS, 1, "b", "1")
    found = samples(meter)
    versions = {
        dict(labels)["version"]: count
        for (name, labels), count in found.items()
        if name == metrics.PREDICTIONS.name and ("model", "a") in labels
    }
    assert versions == {"0": 101, **{str(version): 1 for version in range(101 - kept, 100)}}
    assert value(meter, metrics.PREDICTIONS.name, model="b", version="1") == 100


def test_a_counter_adds_up_by_labels(meter: PrometheusMeter) -> None:
    meter.add(metrics.CONSUMED, 3, "a")
    meter.add(metrics.CONSUMED, 4, "a")
    meter.add(metrics.CONSUMED, 1, "b")
    assert value(meter, metrics.CONSUMED.name, topic="a") == 7
    assert value(meter, metrics.CONSUMED.name, topic="b") == 1


def test_a_gauge_keeps_the_last_value(meter: PrometheusMeter) -> None:
    meter.set(metrics.SERVED_VERSION, 1, "m", "champion")
    meter.set(metrics.SERVED_VERSION, 2, "m", "champion")
    assert value(meter, metrics.SERVED_VERSION.name, model="m", role="champion") == 2


def test_a_series_can_be_forgotten(meter: PrometheusMeter) -> None:
    meter.set(metrics.OPEN_ALERTS, 1, "m", "stale", "open")
    meter.set(metrics.OPEN_ALERTS, 2, "m", "data_drift", "open")
    meter.forget(metrics.OPEN_ALERTS, "m", "stale", "open")
    kinds = {dict(labels).get("kind") for name, labels in samples(meter) if "open_alerts" in name}
    assert kinds == {"data_drift"}


def test_a_histogram_takes_whole_batches_and_counts_a_bound_into_its_bucket(
    meter: PrometheusMeter,
) -> None:
    meter.observe(metrics.BATCH_ROWS, np.array([1.0, 4.0, 5.0]))
    meter.observe(metrics.BATCH_ROWS, [1e9])
    name = metrics.BATCH_ROWS.name
    assert value(meter, f"{name}_bucket", le="1.0") == 1
    assert value(meter, f"{name}_bucket", le="4.0") == 2
    assert value(meter, f"{name}_bucket", le="16.0") == 3
    assert value(meter, f"{name}_bucket", le="+Inf") == 4
    assert value(meter, f"{name}_count") == 4
    assert value(meter, f"{name}_sum") == 10 + 1e9


def test_an_empty_batch_changes_nothing(meter: PrometheusMeter) -> None:
    meter.observe(metrics.LATENCY, np.zeros(0), "m")
    assert value(meter, f"{metrics.LATENCY.name}_count", model="m") == 0


def test_labels_that_do_not_fit_the_registry_are_refused(meter: PrometheusMeter) -> None:
    with pytest.raises(ValueError, match=metrics.CONSUMED.name):
        meter.add(metrics.CONSUMED, 1)
    with pytest.raises(ValueError, match=metrics.LATENCY.name):
        meter.observe(metrics.LATENCY, [1.0], "m", "n")


def test_text_from_outside_cannot_break_the_exposition(meter: PrometheusMeter) -> None:
    odd = 'a"b\\c\nd'
    meter.add(metrics.CONSUMED, 1, odd)
    assert value(meter, metrics.CONSUMED.name, topic=odd) == 1


def test_threads_may_measure_at_once(meter: PrometheusMeter) -> None:
    def work() -> None:
        for _ in range(500):
            meter.add(metrics.CONSUMED, 1, "a")
            meter.observe(metrics.BATCH_ROWS, [1.0])

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        meter.exposition()
    for thread in threads:
        thread.join()
    assert value(meter, metrics.CONSUMED.name, topic="a") == 2000
    assert value(meter, f"{metrics.BATCH_ROWS.name}_count") == 2000


def test_every_metric_of_the_registry_can_be_scraped(meter: PrometheusMeter) -> None:
    for metric in METRICS:
        labels = ["x"] * len(metric.labels)
        match metric.kind:
            case MetricKind.COUNTER:
                meter.add(metric, 1, *labels)
            case MetricKind.GAUGE:
                meter.set(metric, 1, *labels)
            case MetricKind.HISTOGRAM:
                meter.observe(metric, [1.0], *labels)
    found = {name for name, _ in samples(meter)}
    for metric in METRICS:
        histogram = metric.kind is MetricKind.HISTOGRAM
        assert (f"{metric.name}_count" if histogram else metric.name) in found


def test_names_follow_the_conventions() -> None:
    assert len({metric.name for metric in METRICS}) == len(METRICS)
    for metric in METRICS:
        assert metric.name.startswith("driftloop_")
        assert metric.name.endswith("_total") == (metric.kind is MetricKind.COUNTER)
        assert bool(metric.buckets) == (metric.kind is MetricKind.HISTOGRAM)
        assert list(metric.buckets) == sorted(metric.buckets)
