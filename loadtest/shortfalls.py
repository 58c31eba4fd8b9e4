"""What holds a figure back that is short of what is wanted: read off profiles."""

from __future__ import annotations

from collections.abc import Mapping

HELD_BY: Mapping[tuple[str, str], str] = {
    ("statistics", "vs_faust"): (
        "The peer that counts is the quickest way Faust offers, an agent that takes batches. What "
        "it takes differs from run to run on this machine by more than ours: 67 to 117 us an event "
        "where ours took 1.28 to 1.47 (the other end is a ratio of 82). Of ours nine tenths are as "
        "much as only taking the bytes costs."
    ),
    ("statistics", "of_consume_only"): (
        "Above taking the bytes over, decoding an event of 20 features takes a quarter of a "
        "microsecond, counting its values and adding them up exactly as much again (11.6 ns per "
        "value), putting it into its window a twentieth. Rounds differ by more than what is short."
    ),
    ("inference", "vs_faust_river"): (
        "Scoring is a twentieth of ours. The broker threads of librdkafka, which read, compress "
        "and checksum, take half (a quarter to a third of that is LZ4, on doubles that do not "
        "compress), transactions a tenth; encoding, decoding and taking the records over take "
        "most of the rest. 200 would be half of that: little more than only taking the events' "
        "bytes costs (`consume only` of `statistics`), with nothing written."
    ),
    ("many", "joined_cost_ratio"): (
        "Each of a thousand models has windows and open predictions of its own on four partitions. "
        "What comes is spread over them in runs of one or two rows, each of which costs the join "
        "and the statistics some 50 us, and partials are written and merged by the clock, however "
        "few rows are in them: they are half of the statistics. Inference alone, on a backlog, is "
        "the ratio above."
    ),
    ("models", "gbdt_single_row"): (
        "A twentieth of LightGBM's single row is about what a call from Python with one row takes "
        "before any tree is looked at (a linear model's single row, in the table). Most of the "
        "rest is the compiled function: 16 kB of masks and some 200 leaves are read for a row, "
        "from the second cache."
    ),
    ("scale", "linear_or_better"): (
        "Seven of eight are. With two processes inference takes 2.05 us for an event of one "
        "feature and 2.02 for one of four, and from there on .08 for each feature more: the first "
        "few are lost in what an event costs anyway, and the curve bends there by 1.5% more than "
        "a tenth. A process more costs nothing (.96 and .99 of one). What grows most with features "
        "is librdkafka's broker thread (.8 to 4.4 us of 2.1 to 7.5), by the threads' own accounts."
    ),
    ("http", "rows64_vs_aiohttp_river"): (
        "Half of ours is librdkafka's broker threads, and a sixth encoding and handing over (`make "
        "bench NAME=http ARGS=--profile`): every one of the 64 predictions is written to Kafka, "
        "some 1 us each, which the peer does not do. Reading requests, scoring and answering take "
        "the remaining third."
    ),
}
"""For a key that falls short: what a profile says holds it."""
