"""Why a record becomes a dead letter: the closed list, used in records and as a metric label."""

from __future__ import annotations

import enum


class Reason(enum.StrEnum):
    """One word per cause."""

    EMPTY = "empty"
    """No value (a tombstone) where a record was expected."""
    TRUNCATED = "truncated"
    """Ends before the schema does."""
    TRAILING_BYTES = "trailing_bytes"
    """Goes on after the schema ends."""
    NOT_AVRO = "not_avro"
    """Starts with neither framing, or with one that needs a registry where none is set."""
    WRONG_SCHEMA = "wrong_schema"
    """Names a schema that the expected one cannot read."""
    UNKNOWN_SCHEMA = "unknown_schema"
    """Names an id that the schema registry does not know."""
    MALFORMED = "malformed"
    """A length, union index or number that cannot be."""
    NOT_UTF8 = "not_utf8"
    NOT_JSON = "not_json"
    MISSING_FIELD = "missing_field"
    WRONG_TYPE = "wrong_type"
    WRONG_LENGTH = "wrong_length"
    """An array of more or fewer numbers than are declared."""
    OUT_OF_LIMITS = "out_of_limits"
    """A value outside the limits that the declaration sets, or, in JSON, outside its type."""
    WRONG_PARTITION = "wrong_partition"
    """A label that does not lie where its key belongs (murmur2, Java's default partitioner)."""
    UNKNOWN_MODEL = "unknown_model"
    """Names a model that is not declared; in a topic that models share, the header does, or it is
    missing."""
    UNKNOWN_VERSION = "unknown_version"
    """Names a version that was never published."""
    LABEL_TOO_LATE = "label_too_late"
    """A label observed later than the declared horizon after its event."""
