"""The shared library inside the confluent-kafka wheel, with the functions used, typed."""

from __future__ import annotations

import ctypes
import ctypes.util
from collections.abc import Mapping
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

import confluent_kafka  # noqa: F401 - loads the library that is looked for

from driftloop.kernel.errors import ConfigurationError, LogError
from driftloop.kernel.ports import TopicPartition

POINTER = ctypes.c_void_p
_SIZE = ctypes.c_size_t
_INT = ctypes.c_int
_TEXT = ctypes.c_char_p
_ERROR_ROOM = 512

PRODUCER, CONSUMER = 0, 1
QUEUE_FULL = -184
PURGE_ALL = 3
"""Of ``rd_kafka_purge``: what is queued and what is under way."""
PARTITION_EOF = -191
AUTO_OFFSET_RESET = -140
"""The log has no record at the offset, and the reader is not to begin elsewhere by itself."""


class Partition(ctypes.Structure):
    """``rd_kafka_topic_partition_t``."""

    _fields_ = (
        ("topic", _TEXT),
        ("partition", ctypes.c_int32),
        ("offset", ctypes.c_int64),
        ("metadata", POINTER),
        ("metadata_size", _SIZE),
        ("opaque", POINTER),
        ("err", _INT),
        ("private", POINTER),
    )


_FUNCTIONS: Mapping[str, tuple[Any, tuple[Any, ...]]] = {
    "conf_new": (POINTER, ()),
    "conf_destroy": (None, (POINTER,)),
    "conf_set": (_INT, (POINTER, _TEXT, _TEXT, _TEXT, _SIZE)),
    "conf_set_log_cb": (None, (POINTER, POINTER)),
    "new": (POINTER, (_INT, POINTER, _TEXT, _SIZE)),
    "destroy": (None, (POINTER,)),
    "err2str": (_TEXT, (_INT,)),
    "topic_partition_list_new": (POINTER, (_INT,)),
    "topic_partition_list_add": (ctypes.POINTER(Partition), (POINTER, _TEXT, ctypes.c_int32)),
    "topic_partition_list_destroy": (None, (POINTER,)),
    "incremental_assign": (POINTER, (POINTER, POINTER)),
    "incremental_unassign": (POINTER, (POINTER, POINTER)),
    "consumer_close": (_INT, (POINTER,)),
    "queue_get_consumer": (POINTER, (POINTER,)),
    "queue_destroy": (None, (POINTER,)),
    "consume_batch_queue": (ctypes.c_ssize_t, (POINTER, _INT, POINTER, _SIZE)),
    "topic_new": (POINTER, (POINTER, _TEXT, POINTER)),
    "topic_name": (_TEXT, (POINTER,)),
    "topic_destroy": (None, (POINTER,)),
    "produce_batch": (_INT, (POINTER, ctypes.c_int32, _INT, POINTER, _INT)),
    "produce": (
        _INT,
        (POINTER, ctypes.c_int32, _INT, POINTER, _SIZE, POINTER, _SIZE, POINTER),
    ),
    "last_error": (_INT, ()),
    "poll": (_INT, (POINTER, _INT)),
    "outq_len": (_INT, (POINTER,)),
    "flush": (_INT, (POINTER, _INT)),
    "purge": (_INT, (POINTER, _INT)),
    "fatal_error": (_INT, (POINTER, _TEXT, _SIZE)),
    "conf_set_dr_msg_cb": (None, (POINTER, POINTER)),
    "conf_set_opaque": (None, (POINTER, POINTER)),
    "init_transactions": (POINTER, (POINTER, _INT)),
    "begin_transaction": (POINTER, (POINTER,)),
    "commit_transaction": (POINTER, (POINTER, _INT)),
    "abort_transaction": (POINTER, (POINTER, _INT)),
    "send_offsets_to_transaction": (POINTER, (POINTER, POINTER, POINTER, _INT)),
    "consumer_group_metadata_read": (POINTER, (ctypes.POINTER(POINTER), _TEXT, _SIZE)),
    "consumer_group_metadata_destroy": (None, (POINTER,)),
    "error_code": (_INT, (POINTER,)),
    "error_string": (_TEXT, (POINTER,)),
    "error_is_fatal": (_INT, (POINTER,)),
    "error_is_retriable": (_INT, (POINTER,)),
    "error_txn_requires_abort": (_INT, (POINTER,)),
    "error_destroy": (None, (POINTER,)),
}
_BY_ADDRESS = (
    "message_timestamp",
    "message_headers",
    "message_destroy",
    "header_cnt",
    "header_get_all",
    "produceva",
)
"""Called from compiled loops."""


class LibraryError(LogError):
    """What the library says of a call that failed."""

    def __init__(
        self,
        code: int,
        text: str,
        *,
        fatal: bool = False,
        retriable: bool = False,
        requires_abort: bool = False,
    ) -> None:
        super().__init__(text)
        self.code = code
        self.text = text
        self.fatal = fatal
        self.retriable = retriable
        self.requires_abort = requires_abort


class Library:
    """librdkafka's functions as attributes without prefix; ``addresses`` for compiled code."""

    def __init__(self, path: str) -> None:
        loaded = ctypes.CDLL(path)
        for name, (result, arguments) in _FUNCTIONS.items():
            function = getattr(loaded, f"rd_kafka_{name}")
            function.restype = result
            function.argtypes = arguments
            setattr(self, name, function)
        self.addresses = {
            name: int(ctypes.cast(getattr(loaded, f"rd_kafka_{name}"), POINTER).value or 0)
            for name in _BY_ADDRESS
        }

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(name)

    def client(
        self, kind: int, options: Mapping[str, Any], reported: tuple[int, int] | None = None
    ) -> int:
        """A new client's handle. ``reported``: addresses of a C function that is called with each
        delivery report, from whoever polls, and of what it is given. Raises
        :class:`ConfigurationError` naming the option."""
        conf = self.conf_new()
        reason = ctypes.create_string_buffer(_ERROR_ROOM)
        # What the clients have to say of brokers and connections, those of the Python client say.
        self.conf_set_log_cb(conf, None)
        if reported is not None:
            self.conf_set_dr_msg_cb(conf, reported[0])
            self.conf_set_opaque(conf, reported[1])
        for name, value in options.items():
            if name == "logger":
                continue
            text = str(value).lower() if isinstance(value, bool) else str(value)
            if self.conf_set(conf, name.encode(), text.encode(), reason, _ERROR_ROOM):
                self.conf_destroy(conf)
                raise ConfigurationError(f"Kafka option {name!r}: {_text(reason.value)}")
        handle = self.new(kind, conf, reason, _ERROR_ROOM)
        if not handle:
            self.conf_destroy(conf)
            raise ConfigurationError(f"no Kafka client can be made: {_text(reason.value)}")
        return int(handle)

    def check(self, error: int | None) -> None:
        """Raises :class:`LibraryError` for an ``rd_kafka_error_t`` that is one, and frees it."""
        if not error:
            return
        found = LibraryError(
            self.error_code(error),
            _text(self.error_string(error)),
            fatal=bool(self.error_is_fatal(error)),
            retriable=bool(self.error_is_retriable(error)),
            requires_abort=bool(self.error_txn_requires_abort(error)),
        )
        self.error_destroy(error)
        raise found

    def text_of(self, code: int) -> str:
        """An error code in words."""
        return _text(self.err2str(code))

    def partition_list(self, partitions: Mapping[TopicPartition, int]) -> int:
        """An ``rd_kafka_topic_partition_list_t`` of partitions and offsets; the caller frees it."""
        made = self.topic_partition_list_new(len(partitions))
        for (topic, partition), offset in partitions.items():
            entry = self.topic_partition_list_add(made, topic.encode(), partition)
            entry.contents.offset = offset
        return int(made)


@cache
def library() -> Library:
    """The library that the Python client runs on. Raises :class:`ConfigurationError`."""
    for path in _candidates():
        try:
            return Library(path)
        except (OSError, AttributeError):
            continue
    raise ConfigurationError(
        "librdkafka was not found: install confluent-kafka as a wheel, or the system's librdkafka "
        "2.x where it was built from source"
    )


def _candidates() -> list[str]:
    files = metadata.files("confluent-kafka") or []
    inside = [str(Path(str(f.locate()))) for f in files if f.name.startswith("librdkafka")]
    system = ctypes.util.find_library("rdkafka")
    return [path for path in [*inside, system] if path and Path(path).suffix != ".py"]


def _text(raw: bytes | None) -> str:
    return (raw or b"").decode(errors="replace")
