"""``python infra/grafana/build.py [check]``: write the dashboard of the whole loop, or compare it.

The dashboard is made from the registry of metrics, so a metric that is renamed cannot be left
behind on a panel. Its JSON is checked in, for Grafana reads files.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from grafana_foundation_sdk.builders import common, dashboard, prometheus, timeseries
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.common import LegendDisplayMode, TooltipDisplayMode
from grafana_foundation_sdk.models.common import LegendPlacement as Placement
from grafana_foundation_sdk.models.dashboard import DataSourceRef, VariableRefresh, VariableSort

from driftloop.kernel import metrics
from driftloop.kernel.metrics import Metric, MetricKind

OUTPUT = Path(__file__).resolve().parent / "dashboards" / "driftloop.json"
SOURCE = DataSourceRef(type_val="prometheus", uid="${datasource}")
MODEL = 'model=~"$model"'
QUANTILES = (0.5, 0.95, 0.99)
WIDTH, HEIGHT = 8, 8  # of Grafana's grid of 24 columns

# Of prometheus_client's process collector, which names them.
MEMORY = "process_resident_memory_bytes"
CPU = "process_cpu_seconds_total"


@dataclass(frozen=True, slots=True)
class Query:
    """PromQL and how its series are called."""

    expression: str
    legend: str


@dataclass(frozen=True, slots=True)
class Panel:
    """One chart. ``unit`` is one of Grafana's unit names."""

    title: str
    unit: str
    about: str
    queries: tuple[Query, ...]


def selector(metric: Metric) -> str:
    """The series of the chosen models, or all where the metric knows no model."""
    return f"{metric.name}{{{MODEL}}}" if "model" in metric.labels else metric.name


def level(metric: Metric, *by: str, how: str = "max") -> Query:
    """A gauge, one series for each value of the labels ``by``."""
    return Query(f"{how} by ({', '.join(by)}) ({selector(metric)})", legend(by))


def per_second(metric: Metric, *by: str) -> Query:
    """A counter's rate."""
    return Query(
        f"sum by ({', '.join(by)}) (rate({selector(metric)}[$__rate_interval]))", legend(by)
    )


def so_far(metric: Metric, *by: str) -> Query:
    """A counter's value: what happens now and then, where a rate would show next to nothing."""
    return Query(f"sum by ({', '.join(by)}) ({selector(metric)})", legend(by))


def rare(metric: Metric, *by: str) -> Query:
    """The same of what may never happen: such a counter has no series before its first time, and
    is shown as 0 until then."""
    query = so_far(metric, *by)
    return Query(
        f"{query.expression} or 0 * absent({selector(metric)})",
        f"{query.legend} {metric.help.lower()}",
    )


def quantiles(metric: Metric, *by: str) -> tuple[Query, ...]:
    """Of a histogram."""
    if metric.kind is not MetricKind.HISTOGRAM:
        raise ValueError(f"{metric.name} is no histogram")
    labels = ", ".join(("le", *by))
    # The suffix is part of the exposition format, not of the metric's name.
    buckets = selector(metric).replace(metric.name, f"{metric.name}_bucket", 1)
    return tuple(
        Query(
            f"histogram_quantile({q}, sum by ({labels}) (rate({buckets}[$__rate_interval])))",
            f"{legend(by)} p{q * 100:g}",
        )
        for q in QUANTILES
    )


def event_time_lag() -> Query:
    """How far the slower stream's closed windows are behind the newest event scored."""

    def newest(service: str, *by: str) -> str:
        name = metrics.EVENT_TIME.name
        return f'max by ({", ".join(by)}) ({name}{{{MODEL}, service="{service}"}})'

    windows = f"min by (model) ({newest('featurestats', 'model', 'stream')})"
    return Query(f"{newest('inference', 'model')} - {windows}", legend(("model",)))


def legend(labels: Sequence[str]) -> str:
    return " ".join(f"{{{{{label}}}}}" for label in labels)


def panel(title: str, unit: str, about: str, *queries: Query) -> Panel:
    return Panel(title, unit, about, queries)


ROWS: tuple[tuple[str, tuple[Panel, ...]], ...] = (
    (
        "Is all well",
        (
            panel("Ready", "none", "1: assigned, caught up, loaded, and steps end.",
                  level(metrics.READY, "service", "instance", how="min")),
            panel("Alerts", "none", "Drift, quality, versions not loaded. Open ones wait for "
                  "somebody; the others are acknowledged or snoozed.",
                  level(metrics.OPEN_ALERTS, "model", "kind", "state", how="sum")),
            panel("Dead letters by reason", "none", "Records rejected so far; they are kept.",
                  rare(metrics.DEAD_LETTERS, "topic", "reason")),
            panel("Lag, rows", "none", "Records written and not read yet.",
                  level(metrics.LAG_ROWS, "service", "topic", how="sum")),
            panel("Lag, seconds", "s", "Age of the newest record read.",
                  level(metrics.LAG_SECONDS, "service", "topic")),
            panel("Faults", "none", "Aborted transactions, records deleted before they were read, "
                  "unreadable control records, versions that did not load, services that stopped, "
                  "state built anew; a few aborts belong to rebalances.",
                  rare(metrics.ABORTS, "service"), rare(metrics.SKIPPED, "service", "topic"),
                  rare(metrics.BAD_CONTROL, "service", "topic"),
                  rare(metrics.LOAD_FAILURES, "model"), rare(metrics.NOT_LOADED, "model"),
                  rare(metrics.STOPS, "service", "error"),
                  rare(metrics.STATE_REBUILT, "service", "reason")),
            panel("Since the last step", "s", "A service whose steps do not end does nothing.",
                  level(metrics.STEP_AGE, "service", "instance")),
            panel("Room on disks", "bytes", "For state and artifacts.",
                  level(metrics.DISK_FREE, "service", "directory", how="min")),
        ),
    ),
    (
        "Flow",
        (
            panel("Read, per topic", "cps", "Records a second.",
                  per_second(metrics.CONSUMED, "service", "topic")),
            panel("Committed, per topic", "cps", "Records a second.",
                  per_second(metrics.PRODUCED, "service", "topic")),
            panel("Predictions", "cps", "Events scored a second, by the version that did.",
                  per_second(metrics.PREDICTIONS, "model", "version")),
            panel("Latency, event to prediction", "s",
                  "From the event's Kafka timestamp to its committed prediction.",
                  *quantiles(metrics.LATENCY, "model")),
            panel("Batch rows", "none", "Records taken at once.",
                  *quantiles(metrics.BATCH_ROWS, "service")),
            panel("Step time", "s", "From a batch read to its outputs committed.",
                  *quantiles(metrics.STEP_SECONDS, "service")),
            panel("Commit time", "s", "Of one transaction.",
                  *quantiles(metrics.COMMIT_SECONDS, "service")),
            panel("Event time", "dateTimeAsIso", "The highest seen.",
                  Query(f"1000 * {level(metrics.EVENT_TIME, 'model', 'stream').expression}",
                        legend(("model", "stream")))),
            panel("Lag in event time", "s", "Windows behind the newest event scored.",
                  event_time_lag()),
        ),
    ),
    (
        "Predictions over HTTP",
        (
            panel("Requests by code", "reqps", "Answered a second.",
                  per_second(metrics.HTTP_REQUESTS, "model", "code")),
            panel("Latency of a request", "s", "From its first byte to its answer.",
                  *quantiles(metrics.HTTP_SECONDS, "model")),
            panel("Rows", "cps", "Scored a second.", per_second(metrics.HTTP_ROWS, "model")),
            panel("Rows scored together", "none", "Of requests that waited at the same time.",
                  *quantiles(metrics.HTTP_BATCH_ROWS, "model")),
            panel("Waiting", "none", "Rows to be scored or acknowledged, and predictions that "
                  "Kafka has not taken yet.",
                  Query(level(metrics.HTTP_QUEUE_ROWS, "instance", how="sum").expression,
                        "{{instance}} rows"),
                  Query(level(metrics.HTTP_UNACKNOWLEDGED, "instance", how="sum").expression,
                        "{{instance}} records")),
            panel("Not logged", "none", "Predictions answered, so far, that Kafka did not take, or "
                  "that were written down without their shadow's.",
                  rare(metrics.HTTP_NOT_LOGGED, "model"), rare(metrics.HTTP_NOT_COMPARED, "model")),
        ),
    ),
    (
        "Windows and labels",
        (
            panel("Windows", "none", "Written so far, anew and revised.",
                  so_far(metrics.WINDOWS, "model", "stream", "revised")),
            panel("Rows of closed windows", "cps", "A second.",
                  per_second(metrics.WINDOW_ROWS, "model", "stream")),
            panel("Late rows", "none", "So far; too late rows came after a window's retention.",
                  rare(metrics.LATE_ROWS, "model", "stream"),
                  rare(metrics.TOO_LATE_ROWS, "model", "stream")),
            panel("Partials", "cps", "Written a second.",
                  per_second(metrics.PARTIALS, "model", "stream")),
            panel("Outcomes", "cps", "Predictions that found their label, a second.",
                  per_second(metrics.OUTCOMES, "model")),
            panel("Waiting for the other half", "none", "Predictions without label, and labels "
                  "without prediction.",
                  Query(level(metrics.OPEN_PREDICTIONS, "model", how="sum").expression,
                        "{{model}} predictions"),
                  Query(level(metrics.OPEN_LABELS, "model", how="sum").expression,
                        "{{model}} labels")),
            panel("Joined badly or never", "none", "So far.",
                  rare(metrics.DUPLICATE_LABELS, "model"),
                  rare(metrics.DUPLICATE_PREDICTIONS, "model"),
                  rare(metrics.UNLABELLED, "model"), rare(metrics.ORPHANED, "model")),
        ),
    ),
    (
        "Drift",
        (
            panel("Effect per feature", "none",
                  "Over the least that is worth an alert; alerts need 1 and the evidence.",
                  level(metrics.DRIFT_EFFECT, "model", "kind", "subject", "segment")),
            panel("Evidence against its threshold", "none",
                  "Difference of natural logarithms; an alert needs more than 0.",
                  level(metrics.DRIFT_EVIDENCE, "model", "kind", "subject", "segment")),
            panel("Performance by the scores", "none",
                  "Of the newest window, before its labels come. Blind to concept drift.",
                  level(metrics.ESTIMATED, "model", "metric", "value")),
            panel("Performance by the labels", "none",
                  "Of the newest window of outcomes by its labels, and what its scores alone said "
                  "(estimate: blind to concept drift, which shows where the two part).",
                  level(metrics.REALISED, "model", "metric", "value")),
            panel("Alert records", "none", "Opened, updated and resolved so far.",
                  so_far(metrics.ALERTS, "model", "kind", "status")),
        ),
    ),
    (
        "Versions",
        (
            panel("Versions served", "none", "By inference; -1 for none.",
                  level(metrics.SERVED_VERSION, "model", "role", "instance")),
            panel("Versions deployed and newest", "none",
                  "What the deployer wants served; -1 for none.",
                  level(metrics.DEPLOYED_VERSION, "model", "role"),
                  Query(level(metrics.LATEST_VERSION, "model").expression, "{{model}} newest")),
            panel("Champion and shadow loss", "none",
                  "Mean bounded loss in the newest window of outcomes.",
                  level(metrics.WINDOW_LOSS, "model", "role")),
            panel("Errors", "percentunit",
                  "Share of rows in the newest window of outcomes whose most probable class is not "
                  "the label.",
                  level(metrics.WINDOW_ERRORS, "model")),
            panel("Metrics of the newest version", "none",
                  "On rows held out from its training; which, depends on the task.",
                  level(metrics.VERSION_METRIC, "model", "metric")),
            panel("Evidence for the shadow", "none",
                  "Paired test of the shadow against the champion, natural logarithm.",
                  level(metrics.PAIRED_EVIDENCE, "model")),
            panel("Training runs", "none", "Started, succeeded, failed so far; under way now.",
                  so_far(metrics.RUNS, "model", "status"),
                  Query(level(metrics.ACTIVE_RUNS, "model", how="sum").expression,
                        "{{model}} under way")),
            panel("Training time", "s", "Wall time of the runs so far.",
                  Query(f"sum by (model) ({metrics.RUN_SECONDS.name}_sum{{{MODEL}}}) / "
                        f"sum by (model) ({metrics.RUN_SECONDS.name}_count{{{MODEL}}})",
                        "{{model}} mean")),
            panel("Deployments", "none", "So far, by what led to them.",
                  so_far(metrics.DEPLOYMENTS, "model", "reason")),
            panel("Loading a version", "s", "Mean so far, off the hot path.",
                  Query(f"sum by (instance) ({metrics.LOAD_SECONDS.name}_sum) / "
                        f"sum by (instance) ({metrics.LOAD_SECONDS.name}_count)",
                        "{{instance}}")),
            panel("Models that left memory", "none", "Of those that share topics, for ones used "
                  "more recently; many of them mean that DRIFTLOOP_MODEL_BYTES is too small.",
                  rare(metrics.EVICTED, "instance")),
        ),
    ),
    (
        "Processes",
        (
            panel("Memory", "bytes", "Resident.", Query(f"sum by (job, instance) ({MEMORY})",
                  "{{instance}}")),
            panel("CPU", "percentunit", "1 is one core.",
                  Query(f"sum by (job, instance) (rate({CPU}[$__rate_interval]))",
                        "{{instance}}")),
            panel("Targets up", "none", "Whether Prometheus reaches them.",
                  Query("min by (job, instance) (up)", "{{job}} {{instance}}")),
        ),
    ),
)  # fmt: skip


def chart(described: Panel) -> timeseries.Panel:
    built = (
        timeseries.Panel()
        .title(described.title)
        .description(described.about)
        .unit(described.unit)
        .datasource(SOURCE)
        .span(WIDTH)
        .height(HEIGHT)
        .fill_opacity(8)
        .legend(
            common.VizLegendOptions()
            .display_mode(LegendDisplayMode.LIST)
            .placement(Placement.BOTTOM)
            .show_legend(True)
        )
        .tooltip(common.VizTooltipOptions().mode(TooltipDisplayMode.MULTI))
    )
    for number, query in enumerate(described.queries):
        built.with_target(
            prometheus.Dataquery()
            .expr(query.expression)
            .legend_format(query.legend)
            .ref_id(chr(ord("A") + number))
            .range()
        )
    return built


def build() -> str:
    """The dashboard as JSON."""
    made = (
        dashboard.Dashboard("driftloop")
        .uid("driftloop")
        .description("The whole loop: events to predictions, windows, drift, versions.")
        .tags(["driftloop"])
        .refresh("10s")
        .time("now-30m", "now")
        .timezone("browser")
        .readonly()
        .with_variable(dashboard.DatasourceVariable("datasource").label("Data").type("prometheus"))
        .with_variable(
            dashboard.QueryVariable("model")
            .label("Model")
            .datasource(SOURCE)
            .query(f"label_values({metrics.SERVED_VERSION.name}, model)")
            .refresh(VariableRefresh.ON_TIME_RANGE_CHANGED)
            .sort(VariableSort.ALPHABETICAL_ASC)
            .multi(True)
            .include_all(True)
            .all_value(".*")
        )
    )
    for title, panels in ROWS:
        made.with_row(dashboard.Row(title))
        for described in panels:
            made.with_panel(chart(described))
    return f"{JSONEncoder(sort_keys=True, indent=2).encode(made.build())}\n"


def main(arguments: list[str]) -> int:
    """Exit code 0, 1 where the file differs, 2 for an unknown word."""
    match arguments:
        case []:
            OUTPUT.write_text(build(), encoding="utf-8")
            print(f"wrote {OUTPUT}")
            return 0
        case ["check"]:
            if OUTPUT.is_file() and OUTPUT.read_text(encoding="utf-8") == build():
                return 0
            print(f"{OUTPUT} is not what {Path(__file__).name} makes: run it", file=sys.stderr)
            return 1
        case _:
            print(__doc__, file=sys.stderr)
            return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
