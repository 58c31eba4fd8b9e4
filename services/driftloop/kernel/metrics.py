"""The registry of metrics. No metric is named anywhere else.

Names follow the Prometheus conventions: base units, ``_total`` for counters.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol


class MetricKind(enum.Enum):
    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


@dataclass(frozen=True, slots=True, eq=False)
class Metric:
    """One metric: its name, kind, help text and labels."""

    name: str
    kind: MetricKind
    help: str
    labels: tuple[str, ...] = ()
    buckets: tuple[float, ...] = ()
    newest: int = 0
    """Of a counter: of series that differ in the last label alone so many are kept, those added to
    last; 0: all."""


class Meter(Protocol):
    """Where measurements go."""

    def add(self, metric: Metric, amount: float = 1.0, *labels: str) -> None:
        """Count up."""
        ...

    def set(self, metric: Metric, value: float, *labels: str) -> None:
        """Set a gauge."""
        ...

    def set_all(
        self, metric: Metric, series: Sequence[tuple[str, ...]], values: Sequence[float]
    ) -> None:
        """Set a gauge of many labelled series."""
        ...

    def observe(self, metric: Metric, values: Iterable[float], *labels: str) -> None:
        """Put values into a histogram."""
        ...

    def forget(self, metric: Metric, *labels: str) -> None:
        """Drop one labelled series."""
        ...


class NullMeter:
    """Measures nothing."""

    def add(self, metric: Metric, amount: float = 1.0, *labels: str) -> None: ...

    def set(self, metric: Metric, value: float, *labels: str) -> None: ...

    def set_all(
        self, metric: Metric, series: Sequence[tuple[str, ...]], values: Sequence[float]
    ) -> None: ...

    def observe(self, metric: Metric, values: Iterable[float], *labels: str) -> None: ...

    def forget(self, metric: Metric, *labels: str) -> None: ...


_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
_ROWS = (1, 4, 16, 64, 256, 1024, 4096, 16384)
_C, _G, _H = MetricKind.COUNTER, MetricKind.GAUGE, MetricKind.HISTOGRAM

# Every service
CONSUMED = Metric("driftloop_consumed_records_total", _C, "Records read", ("topic",))
SKIPPED = Metric(
    "driftloop_skipped_records_total", _C, "Offsets deleted before they were read", ("topic",)
)
PRODUCED = Metric("driftloop_produced_records_total", _C, "Records committed", ("topic",))
BATCH_ROWS = Metric("driftloop_batch_rows", _H, "Records per batch", (), _ROWS)
STEP_SECONDS = Metric("driftloop_step_seconds", _H, "Time of a step that had rows", (), _SECONDS)
COMMIT_SECONDS = Metric(
    "driftloop_commit_seconds", _H, "Time of a transaction's commit", (), _SECONDS
)
ABORTS = Metric("driftloop_aborted_transactions_total", _C, "Transactions aborted")
LAG_ROWS = Metric("driftloop_lag_rows", _G, "Records not read yet", ("topic", "partition"))
LAG_SECONDS = Metric(
    "driftloop_lag_seconds",
    _G,
    "Age of the newest record read while others wait, by Kafka timestamps; 0 when none waits",
    ("topic",),
)
EVENT_TIME = Metric(
    "driftloop_event_time_seconds", _G, "Highest event time seen, Unix time", ("model", "stream")
)
DEAD_LETTERS = Metric("driftloop_dead_letters_total", _C, "Records rejected", ("topic", "reason"))
READY = Metric("driftloop_ready", _G, "1 when assigned, caught up, loaded, and steps end")
STEP_AGE = Metric("driftloop_step_age_seconds", _G, "Since the last step ended")
STOPS = Metric(
    "driftloop_stops_total",
    _C,
    "Times this service stopped by itself, by error; goes on counting after a restart",
    ("error",),
)
DISK_FREE = Metric(
    "driftloop_disk_free_bytes",
    _G,
    "Room for what the service keeps in files",
    ("directory",),
)
BAD_CONTROL = Metric(
    "driftloop_bad_control_records_total", _C, "Control records that could not be read", ("topic",)
)

# inference
PREDICTIONS = Metric(
    "driftloop_predictions_total",
    _C,
    "Predictions made, by the eight versions that made some last",
    ("model", "version"),
    newest=8,
)
LATENCY = Metric(
    "driftloop_prediction_latency_seconds",
    _H,
    "From the event's Kafka timestamp to its committed prediction; of models that share topics "
    "under their events' topic",
    ("model",),
    _SECONDS,
)
SERVED_VERSION = Metric(
    "driftloop_served_version", _G, "Version that scores; -1 for none", ("model", "role")
)
LOAD_SECONDS = Metric("driftloop_model_load_seconds", _H, "Loading a version", (), _SECONDS)
EVICTED = Metric(
    "driftloop_models_evicted_total", _C, "Models that left memory for ones used more recently", ()
)
LOAD_FAILURES = Metric(
    "driftloop_model_load_failures_total", _C, "Versions that could not be loaded", ("model",)
)
NOT_LOADED = Metric(
    "driftloop_not_loaded",
    _G,
    "1 while a version that should serve cannot be loaded; the one before serves on",
    ("model",),
)
HTTP_REQUESTS = Metric(
    "driftloop_http_requests_total",
    _C,
    "Requests for predictions over HTTP, answered",
    ("model", "code"),
)
HTTP_SECONDS = Metric(
    "driftloop_http_request_seconds",
    _H,
    "From a request's first byte to its answer",
    ("model",),
    (0.0005, *_SECONDS),
)
HTTP_ROWS = Metric("driftloop_http_rows_total", _C, "Rows scored over HTTP", ("model",))
HTTP_BATCH_ROWS = Metric(
    "driftloop_http_batch_rows", _H, "Rows of requests scored together", ("model",), _ROWS
)
HTTP_QUEUE_ROWS = Metric(
    "driftloop_http_queue_rows", _G, "Rows over HTTP that wait to be scored or acknowledged"
)
HTTP_UNACKNOWLEDGED = Metric(
    "driftloop_http_unacknowledged_records", _G, "Predictions over HTTP not yet taken by Kafka"
)
HTTP_NOT_LOGGED = Metric(
    "driftloop_http_not_logged_total",
    _C,
    "Predictions over HTTP that Kafka did not take",
    ("model",),
)
HTTP_NOT_COMPARED = Metric(
    "driftloop_http_not_compared_total",
    _C,
    "Predictions over HTTP written down without their shadow's, which failed",
    ("model",),
)

# featurestats
PARTIALS = Metric("driftloop_partials_total", _C, "Partials written", ("model", "stream"))
WINDOWS = Metric("driftloop_windows_total", _C, "Windows written", ("model", "stream", "revised"))
WINDOW_ROWS = Metric(
    "driftloop_window_rows_total", _C, "Rows of closed windows", ("model", "stream")
)
LATE_ROWS = Metric(
    "driftloop_late_rows_total",
    _C,
    "Rows that came after their window's lateness",
    ("model", "stream"),
)
TOO_LATE_ROWS = Metric(
    "driftloop_too_late_rows_total",
    _C,
    "Rows in no window: after its retention",
    ("model", "stream"),
)

# outcomes
OUTCOMES = Metric("driftloop_outcomes_total", _C, "Predictions joined with their label", ("model",))
OPEN_PREDICTIONS = Metric(
    "driftloop_open_predictions", _G, "Predictions that wait for their label", ("model",)
)
OPEN_LABELS = Metric(
    "driftloop_open_labels", _G, "Labels that wait for their prediction", ("model",)
)
DUPLICATE_LABELS = Metric("driftloop_duplicate_labels_total", _C, "Labels given again", ("model",))
DUPLICATE_PREDICTIONS = Metric(
    "driftloop_duplicate_predictions_total",
    _C,
    "Predictions of an event id seen before",
    ("model",),
)
UNLABELLED = Metric(
    "driftloop_unlabelled_predictions_total", _C, "Predictions whose label never came", ("model",)
)
ORPHANED = Metric(
    "driftloop_orphaned_labels_total", _C, "Labels that never found a prediction", ("model",)
)
STATE_REBUILT = Metric(
    "driftloop_state_rebuilt_total",
    _C,
    "Times the label join's files could not be used and were built anew from the log",
    ("reason",),
)

# drift
DRIFT_EFFECT = Metric(
    "driftloop_drift_effect",
    _G,
    "Effect of the newest rows over the least that is worth an alert",
    ("model", "kind", "subject", "segment"),
)
DRIFT_EVIDENCE = Metric(
    "driftloop_drift_evidence",
    _G,
    "Detector's value over its threshold, difference of natural logarithms",
    ("model", "kind", "subject", "segment"),
)
ESTIMATED = Metric(
    "driftloop_estimated_performance",
    _G,
    "Accuracy or loss of the newest window by its scores, without labels; blind to concept drift",
    ("model", "metric", "value"),
)
REALISED = Metric(
    "driftloop_realised_performance",
    _G,
    "Accuracy or loss of the newest window of outcomes: by its labels, and by its scores alone "
    "(estimate, blind to concept drift)",
    ("model", "metric", "value"),
)
OPEN_ALERTS = Metric(
    "driftloop_open_alerts",
    _G,
    "Alerts not resolved, by whether somebody looks after them: open, acknowledged, snoozed",
    ("model", "kind", "state"),
)
ALERTS = Metric("driftloop_alerts_total", _C, "Alert records", ("model", "kind", "status"))
WINDOW_LOSS = Metric(
    "driftloop_window_loss", _G, "Mean bounded loss in the newest outcome window", ("model", "role")
)

WINDOW_ERRORS = Metric(
    "driftloop_window_errors",
    _G,
    "Share of rows in the newest outcome window whose most probable class is not the label",
    ("model",),
)

# trainer
RUNS = Metric("driftloop_runs_total", _C, "Training runs ended or started", ("model", "status"))
ACTIVE_RUNS = Metric("driftloop_active_runs", _G, "Training runs under way", ("model",))
RUN_SECONDS = Metric(
    "driftloop_run_seconds",
    _H,
    "Wall time of a training run",
    ("model",),
    (1, 2, 5, 10, 30, 60, 300, 1800),
)
LATEST_VERSION = Metric("driftloop_latest_version", _G, "Newest version published", ("model",))

VERSION_METRIC = Metric(
    "driftloop_version_metric",
    _G,
    "Metrics of the newest version on rows held out from its training; which, depends on the task",
    ("model", "metric"),
)

# deployer
DEPLOYMENTS = Metric("driftloop_deployments_total", _C, "Deployment records", ("model", "reason"))
PAIRED_EVIDENCE = Metric(
    "driftloop_paired_evidence", _G, "Paired test, natural logarithm of its e-value", ("model",)
)
DEPLOYED_VERSION = Metric(
    "driftloop_deployed_version", _G, "Version that should serve; -1 for none", ("model", "role")
)

METRICS = tuple(value for value in dict(globals()).values() if isinstance(value, Metric))
