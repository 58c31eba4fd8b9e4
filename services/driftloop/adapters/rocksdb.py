"""The key-value store on RocksDB (the only module that imports rocksdict)."""

from __future__ import annotations

import contextlib
import fcntl
import logging
import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

from rocksdict import (
    BlockBasedOptions,
    Cache,
    Options,
    Rdict,
    ReadOptions,
    WriteBatch,
    WriteOptions,
)

from driftloop.kernel.errors import LogError, LogUnavailableError, NoRoomError

_log = logging.getLogger(__name__)

_HELD = re.compile(r"lock hold by current process|/LOCK: Resource temporarily unavailable")
"""What RocksDB says when another process, or this one, has the directory open."""
_FULL = re.compile(r"No space left on device|Disk quota exceeded|File too large|Space limit")
"""What it says when it cannot write, though nothing is wrong with what is there."""
_BUFFER_BYTES = 32 << 20
"""Of what was written and is not in a file yet; there are two of them."""
_CACHE_BYTES = 32 << 20
"""Of what was read, the files' indices included: without a bound these grow with what is stored."""
_SPOILT = "SPOILT"
"""A file that marks a directory found corrupt while it was in use."""


class RocksStore:
    """See :class:`driftloop.kernel.stores.KeyValueStore`.

    The log is the truth: a directory that cannot be opened is put aside (``.corrupt``) and the
    state built anew. Writes do not wait for the disk, for the same reason.
    """

    def __init__(self, directory: Path, *, scratch: bool = False) -> None:
        """``scratch``: without what an earlier process left there, and for as long as this one
        lives.

        Raises :class:`LogError` where another process uses the directory, and what follows from a
        disk that is full or cannot be written."""
        directory.parent.mkdir(parents=True, exist_ok=True)
        self._directory = directory
        self._held = _hold(directory.with_name(f"{directory.name}.lock")) if scratch else None
        if scratch:
            shutil.rmtree(directory, ignore_errors=True)
        self.rebuilt = False
        """Whether what was there could not be used and was put aside."""
        self._db: Any = self._open(directory)
        self._lazily: Any = WriteOptions()
        self._lazily.sync = False
        # What is read in passing is not read again, and would only fill the cache.
        self._passing: Any = ReadOptions()
        self._passing.fill_cache(False)

    def _open(self, directory: Path) -> Any:
        options = Options(raw_mode=True)
        options.create_if_missing(True)
        options.set_write_buffer_size(_BUFFER_BYTES)
        options.set_max_write_buffer_number(2)
        tables = BlockBasedOptions()
        tables.set_block_cache(Cache(_CACHE_BYTES))
        tables.set_cache_index_and_filter_blocks(True)
        tables.set_pin_l0_filter_and_index_blocks_in_cache(True)
        options.set_block_based_table_factory(tables)
        options.set_keep_log_file_num(2)
        try:
            if (directory / _SPOILT).exists():
                raise ValueError("it was found corrupt when it was last used")
            return Rdict(str(directory), options)
        except Exception as error:
            if _HELD.search(str(error)):
                raise LogError(
                    f"{directory} is in use by another process: give each its own state directory"
                ) from error
            if _FULL.search(str(error)):
                raise _full(directory, error) from error
            _log.warning(
                "%s cannot be opened (%s): state is rebuilt from the log", directory, error
            )
            aside = directory.with_name(directory.name + ".corrupt")
            shutil.rmtree(aside, ignore_errors=True)
            if directory.exists():
                directory.rename(aside)
            self.rebuilt = True
        try:
            return Rdict(str(directory), options)
        except Exception as error:
            raise LogUnavailableError(
                f"{directory} cannot be made ({error}): check that it may be written and has room"
            ) from error

    def get_many(self, keys: Sequence[bytes]) -> Sequence[bytes | None]:
        try:
            found: Sequence[bytes | None] = self._db[list(keys)] if keys else []
        except Exception as error:
            raise self._spoilt(error) from error
        return found

    def write(self, changes: Mapping[bytes, bytes | None]) -> None:
        batch: Any = WriteBatch(raw_mode=True)
        for key, value in changes.items():
            if value is None:
                batch.delete(key)
            else:
                batch.put(key, value)
        try:
            self._db.write(batch, self._lazily)
        except Exception as error:
            raise self._spoilt(error) from error

    def scan(self, start: bytes, end: bytes) -> Iterator[tuple[bytes, bytes]]:
        last = start
        try:
            for key, value in self._db.items(from_key=start, read_opt=self._passing):
                if key >= end:
                    return
                last = key
                yield key, value
            # It ends in silence where a block cannot be read, as it does behind the last key.
            behind = self._db.iter()
            behind.seek(last)
            if behind.valid():
                behind.next()
            behind.status()
        except Exception as error:
            raise self._spoilt(error) from error

    def _spoilt(self, error: Exception) -> LogError:
        """Mark the directory, so that the next start builds it anew; but not for a full disk, which
        spoils nothing."""
        if _FULL.search(str(error)):
            return _full(self._directory, error)
        with contextlib.suppress(OSError):
            (self._directory / _SPOILT).touch()
        return LogUnavailableError(
            f"{self._directory} cannot be used ({error}): the next start rebuilds it from the log"
        )

    def close(self) -> None:
        try:
            self._db.close()
        except Exception as error:
            # What it could not write lies in the log.
            _log.warning("closing %s: %s", self._directory, error)
        if self._held is not None:
            shutil.rmtree(self._directory, ignore_errors=True)
            self._held.close()


def _hold(path: Path) -> IO[bytes]:
    """A file that no other process holds until it is closed, or this one ends. Raises
    :class:`LogError`."""
    file = path.open("ab")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        file.close()
        raise LogError(
            f"{path.with_suffix('')} is in use by another process: give each its own state "
            "directory"
        ) from error
    return file


def _full(directory: Path, error: Exception) -> NoRoomError:
    return NoRoomError(
        f"{directory} cannot be written ({error}): make room; what the state lacks is read from "
        "the log when the service is started again"
    )
