"""What each benchmark is to reach, what its keys say, and what holds those that do not."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Wanted:
    """One key of a result."""

    key: str
    says: str
    least: float | None = None
    most: float | None = None

    def met(self, value: float) -> bool:
        return (self.least is None or value >= self.least) and (
            self.most is None or value <= self.most
        )

    @property
    def bound(self) -> str:
        if self.least is not None:
            return f">= {self.least:,g}"
        return f"<= {self.most:,g}" if self.most else "0"


@dataclass(frozen=True, slots=True)
class Detail:
    """What a result says besides its wanted keys: a table, and a plot of it."""

    says: str
    keys: tuple[str, ...]
    """Of the result. One that holds more than a number is a table of its own; several are the rows
    of one."""
    unit: str = ""
    plot: str = ""
    """The plot's name, after the benchmark's; none without."""
    column: str = ""
    """What is plotted, where the table has several columns."""
    logarithmic: bool = False


@dataclass(frozen=True, slots=True)
class Benchmark:
    """One NAME of ``make bench NAME=...``."""

    title: str
    wanted: tuple[Wanted, ...]
    details: tuple[Detail, ...] = ()


_REQUEST = "cpu_us_per_request"

BENCHMARKS: Mapping[str, Benchmark] = {
    "statistics": Benchmark(
        "Window statistics",
        (
            Wanted("vs_faust", "the same statistics in a Faust agent, CPU", least=75),
            Wanted("vs_confluent", "confluent-kafka, fastavro, event by event, CPU", least=7),
            Wanted("of_consume_only", "of the speed of only taking the bytes", least=0.70),
        ),
        (
            Detail("CPU per event", ("us_per_event",), "us", "cost", logarithmic=True),
            Detail("Ours by thread, per event", ("us_per_event_by_thread",), "us"),
        ),
    ),
    "inference": Benchmark(
        "Inference over Kafka",
        (
            Wanted("vs_faust_river", "the same tree in River, in a Faust agent, CPU", least=200),
            Wanted("vs_confluent_river", "the same with confluent-kafka, CPU", least=12),
        ),
        (
            Detail("CPU per event", ("us_per_event",), "us", "cost", logarithmic=True),
            Detail("Ours by thread, per event", ("us_per_event_by_thread",), "us"),
        ),
    ),
    "models": Benchmark(
        "Frozen models",
        (
            Wanted("tree", "Hoeffding tree against River, batch 1024", least=300),
            Wanted("forest", "adaptive random forest against River", least=100),
            Wanted("linear", "logistic regression against River", least=400),
            Wanted("gbdt", "against LightGBM on one thread, batch 1024", least=1.5),
            Wanted("gbdt_single_row", "against LightGBM, one row", least=20),
        ),
        (Detail("CPU per row", ("us_per_event",), "us", "cost", logarithmic=True),),
    ),
    "http": Benchmark(
        "Predictions over HTTP",
        (
            Wanted("vs_fastapi", "single row, same model, CPU", least=2),
            Wanted("vs_mlserver", "single row, same model, CPU", least=5),
            Wanted("rows64_vs_aiohttp_river", "64 rows a request, CPU", least=10),
        ),
        (
            Detail("A request of one row", ("single_row",), plot="row", column=_REQUEST),
            Detail("64 rows, as bytes", ("rows64",), plot="rows64", column=_REQUEST),
            Detail("64 rows, as JSON", ("rows64_json",)),
        ),
    ),
    "swap": Benchmark(
        "Hot swap under load",
        (
            Wanted("failed", "events without a prediction", most=0),
            Wanted("misversioned", "predictions of another version than they name", most=0),
            Wanted("p99_ratio", "99th percentile during swaps against before", most=1.2),
        ),
        (
            Detail("Event to prediction, 99th percentile", ("p99_ms",), "ms", "wait"),
            Detail("What was done", ("swaps", "events", "rate", "rounds")),
        ),
    ),
    "train": Benchmark(
        "Training",
        (
            Wanted("linear", "against River's learn_one", least=80),
            Wanted("max_weight_difference", "of the weights", most=1e-12),
        ),
        (Detail("CPU per row", ("us_per_row",), "us", "cost", logarithmic=True),),
    ),
    "many": Benchmark(
        "A thousand models",
        (
            Wanted("cost_ratio", "CPU per event with 1,000 models against one", most=1.5),
            Wanted("joined_cost_ratio", "with labels, joined and counted too", most=1.5),
        ),
        (
            Detail("CPU per event", ("us_per_event",), "us", "cost"),
            Detail(
                "CPU per event of all services on the way of events, each event with its label",
                ("us_per_event_joined",),
                "us",
            ),
            Detail("Resident memory", ("resident_mb",), "MB"),
        ),
    ),
    "loop": Benchmark(
        "The whole loop",
        (
            Wanted("events_per_s", "each with its label, through all six services", least=40_000),
            Wanted("p99_ms", "event to prediction at half that rate", most=250),
        ),
        (
            Detail("CPU per event", ("cpu_us_per_event",), "us"),
            Detail("Share of CPU", ("cpu_share",), "of all", "share"),
            Detail(
                "Event to prediction",
                ("latency_rate", "p50_ms", "p99_ms", "lone_rate", "lone_p50_ms", "lone_p99_ms"),
            ),
        ),
    ),
    "scale": Benchmark(
        "Scale",
        (Wanted("linear_or_better", "cost per feature, byte and process (1: yes)", least=1),),
        (
            Detail("CPU per event", ("points",), "us"),
            Detail("Linear or better", ("curves",)),
        ),
    ),
    "codec": Benchmark(
        "Codec",
        (Wanted("vs_fastavro", "decoding flights, record by record", least=1),),
        (Detail("CPU per event", ("us_per_event",), "us", "cost", logarithmic=True),),
    ),
    "detection": Benchmark(
        "Concept drift",
        (
            Wanted("fa_per_100k_p05", "false alarms per 100,000 labels, error rate .05", most=1),
            Wanted("fa_per_100k_p20", "false alarms per 100,000 labels, error rate .20", most=1),
            Wanted("delay_20_30", "labels until .20 to .30 is found", most=300),
            Wanted("delay_20_40", "labels until .20 to .40 is found", most=95),
            Wanted("missed", "changes not found", most=0),
            Wanted("worst_vs_adwin", "delay against ADWIN(.03), the worst change", most=1.15),
            Wanted("fa_autocorrelated", "per 100,000 labels, neighbours' correlation .3", most=1.5),
            Wanted(
                "fa_after_better",
                "per 100,000 labels after a better model is as on its held-out rows again, the "
                "worst kind",
                most=1,
            ),
            Wanted(
                "fa_small_reference",
                "per 100,000 rows in windows larger than the reference, no floors, the worst kind",
                most=1,
            ),
            Wanted("missed_first_window", "changes not found in a larger first window", most=0),
            Wanted("core_share_1000_models", "of a core, a window a minute", most=0.05),
        ),
        (
            Detail(
                "Labels until a change is found",
                ("delay_by_detector",),
                plot="delay",
                logarithmic=True,
            ),
            Detail("Share of changes not found", ("missed_by_detector",)),
            Detail("False alarms per 100,000 labels", ("fa_per_100k_by_detector",)),
            Detail(
                "False alarms per 100,000 labels after a model was better for a while, by held-out "
                "rows and the lower rate of errors in percent",
                ("fa_after_better_by_way",),
            ),
            Detail(
                "False alarms per 100,000 rows in windows of so many rows, larger than the "
                "reference; without floors",
                ("fa_small_reference_by_way",),
            ),
            Detail("CPU per window", ("cpu_us_per_window",), "us"),
        ),
    ),
    "features": Benchmark(
        "Data drift over many features",
        (
            Wanted("p_any_false", "chance of any false alert in 100,000 rows", most=0.05),
            Wanted("fa_per_100k_clumped", "false alarms where rows come in clumps", most=1),
            Wanted("fa_per_100k_clumped_scale", "where windows differ in spread", most=1),
            Wanted("fa_per_100k_sampled", "where one row in ten was trained on", most=1),
            Wanted("fa_per_100k_first_400", "clumps, against first weeks of 400 windows", most=1),
            Wanted("fa_per_100k_first_120", "against first weeks of 120 windows", most=1),
            Wanted("fa_per_100k_first_14", "against first weeks of 14 windows", most=1),
            Wanted("fa_per_100k_trained_40", "clumps, trained on 40 windows, the worst", most=1),
            Wanted("fa_per_100k_trained_20", "trained on 20 windows", most=1),
            Wanted("fa_per_100k_trained_10", "trained on 10 windows", most=1),
            Wanted("fa_per_100k_rare_flags", "false alarms of flags that few rows have", most=1),
            Wanted("alerts_of_one_cause", "two features that move at one moment", most=1.1),
            Wanted("delay_quarter_sigma", "rows, one of 20 features moves by .25", most=650),
            Wanted("alerts_tiny_shift", "a shift of .02, 200,000 rows", most=0),
            Wanted("missed_new_category_1pct", "a new category, one row in 100", most=0),
            Wanted("alerts_500_levels", "500 levels without drift", most=0),
        ),
        (
            Detail("Chance of a false alert in 100,000 rows", ("p_any_false_of_peers",)),
            Detail("Rows until it is found, on average where it was", ("delay_by_way",)),
            Detail("Share of changes not found in 20,000 rows", ("missed_by_way",)),
            Detail("Share of streams", ("streams_by_way",)),
            Detail(
                "False alarms per 100,000 rows where rows come in clumps, against the training "
                "profile, and against first weeks of so many windows",
                (
                    "fa_per_100k_clumped", "fa_per_100k_first_400", "fa_per_100k_first_120",
                    "fa_per_100k_first_14",
                ),
            ),
            Detail(
                "False alarms per 100,000 rows where windows differ in spread: lasting or brief, "
                "against the training profile, or against first weeks; without and with floors",
                ("fa_per_100k_clumped_scale_by_way",),
            ),
            Detail(
                "False alarms per 100,000 rows where windows have so many rows, alike in pairs, of "
                "which training saw one in ten; without and with floors",
                ("fa_per_100k_sampled_by_way",),
            ),
            Detail(
                "False alarms per 100,000 rows where rows come in clumps and the version was "
                "trained on 10, 20 or 40 windows; without and with floors",
                (
                    "fa_per_100k_trained_10_by_way", "fa_per_100k_trained_20_by_way",
                    "fa_per_100k_trained_40_by_way",
                ),
            ),
            Detail("CPU per window, by features", ("cpu_us_per_window",), "us"),
        ),
    ),
    "categories": Benchmark(
        "Data drift of categories",
        (
            Wanted("fa_per_100k_alike_levels", "false alarms where all levels vary", most=1),
            Wanted("fa_per_100k_burst", "where one category comes in bursts", most=1),
            Wanted("fa_per_100k_long_tail", "where categories are many", most=1),
            Wanted("missed_10_levels_half_have_a_third", "a mixture of 10 levels changes", most=0),
            Wanted("missed_50_levels_half_have_a_third", "of 50 levels", most=0),
            Wanted("missed_500_levels_half_have_a_third", "of 500 levels", most=0),
        ),
        (
            Detail(
                "Rows until a mixture of even levels is found to be another", ("delay_by_levels",)
            ),
            Detail(
                "False alarms per 100,000 rows where windows' shares differ in so many levels, "
                "lasting or not, trained on 600, 20 or 40 windows; without and with floors",
                ("fa_per_100k_alike_levels_by_way",),
            ),
            Detail(
                "False alarms per 100,000 rows where one category comes in bursts, in windows of "
                "so many rows; without and with floors",
                ("fa_per_100k_burst_by_way",),
            ),
        ),
    ),
    "labelfree": Benchmark(
        "Accuracy without labels",
        (
            Wanted("mae_points", "error of the estimated accuracy under covariate shift", most=1.0),
            Wanted(
                "coverage_gap_points", "share of intervals that hold, against the claim", most=2.0
            ),
        ),
        (
            Detail(
                "Of all windows; what is wanted is of synthetic and flights, the law of the label "
                "is another for concept only; alone: one feature shifts; blind: one that errors at "
                "a score hang on",
                ("summary",),
            ),
            Detail(
                "Error of the accuracy told of a window, points; held out: of every window what "
                "the held-out rows had, own word: the mean of its rows' larger score, pape: from "
                "rows, which windows are not",
                ("mae_points_by_way",),
            ),
            Detail(
                "Share of windows said to have lost two points of accuracy, of those that have "
                "(found) and the others (false), by the estimate and by windowed tests of the "
                "score; windows of more than one shifted feature, but concept",
                ("falls_by_way",),
            ),
        ),
    ),
    "chaos": Benchmark(
        "Chaos",
        (
            Wanted("kills", "SIGKILLs over all services", least=100),
            Wanted("broker_restarts", "one of them by SIGKILL", least=3),
            Wanted("lost", "events without prediction, labels in time without outcome", most=0),
            Wanted("duplicated", "", most=0),
            Wanted("misversioned", "", most=0),
            Wanted("mismatched", "windows unlike their recomputation", most=0),
            Wanted("labels_unaccounted", "neither joined nor told nor repeats", most=0),
        ),
        (
            Detail("Kills", ("killed",), plot="kills"),
            Detail(
                "What was in the log",
                (
                    "events", "labels", "predictions", "outcomes", "labels_joined",
                    "labels_waited", "labels_too_late", "labels_told_too_late",
                    "labels_told_by_place", "labels_repeated",
                    "labels_without_event", "labels_told_broken", "poison",
                    "dead_letters", "late_rows", "windows", "revisions", "alerts", "runs",
                    "versions", "deployments", "swaps", "commands", "leaves", "crashes", "seconds",
                ),
            ),
        ),
    ),
}  # fmt: skip
