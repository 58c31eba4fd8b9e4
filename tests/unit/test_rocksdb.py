"""The store on RocksDB: what cannot be opened or read is rebuilt, what is in use is not."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from driftloop.adapters.rocksdb import RocksStore
from driftloop.kernel.errors import LogError, LogUnavailableError


def _filled(directory: Path) -> None:
    store = RocksStore(directory)
    store.write({b"a": b"1", b"b": b"2"})
    store.close()


def test_entries_survive_a_restart(tmp_path: Path) -> None:
    _filled(tmp_path / "state")
    store = RocksStore(tmp_path / "state")
    assert store.get_many([b"a", b"x", b"b"]) == [b"1", None, b"2"]
    assert list(store.scan(b"a", b"b")) == [(b"a", b"1")]
    store.close()


def test_a_scratch_store_begins_empty_and_leaves_nothing(tmp_path: Path) -> None:
    _filled(tmp_path / "state")
    (tmp_path / "state" / "SPOILT").touch()
    store = RocksStore(tmp_path / "state", scratch=True)
    assert list(store.scan(b"", b"\xff")) == []
    with pytest.raises(LogError, match="in use"):
        RocksStore(tmp_path / "state", scratch=True)
    store.write({b"c": b"3"})
    assert store.get_many([b"c"]) == [b"3"]
    assert not store.rebuilt
    store.close()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["state.lock"]
    RocksStore(tmp_path / "state", scratch=True).close()


def test_a_directory_in_use_is_refused_and_left_alone(tmp_path: Path) -> None:
    store = RocksStore(tmp_path / "state")
    with pytest.raises(LogError, match="in use"):
        RocksStore(tmp_path / "state")
    store.close()


@pytest.mark.parametrize("name", ["state", "lockstep-state"])
def test_a_corrupt_directory_is_put_aside(tmp_path: Path, name: str) -> None:
    _filled(tmp_path / name)
    for file in (tmp_path / name).glob("MANIFEST*"):
        file.write_bytes(b"garbage" * 100)
    store = RocksStore(tmp_path / name)
    assert store.get_many([b"a"]) == [None]
    assert (tmp_path / f"{name}.corrupt").is_dir()
    store.close()


def test_what_is_found_corrupt_while_in_use_is_put_aside_at_the_next_start(tmp_path: Path) -> None:
    class Broken:
        def __getitem__(self, keys: object) -> object:
            raise OSError("Corruption: block checksum mismatch")

        def close(self) -> None:
            """As the real one."""

    _filled(tmp_path / "state")
    store = RocksStore(tmp_path / "state")
    store.close()
    store._db = Broken()
    with pytest.raises(LogUnavailableError, match="next start"):
        store.get_many([b"a"])
    again = RocksStore(tmp_path / "state")
    assert again.get_many([b"a"]) == [None]
    again.close()


def test_a_scan_over_a_corrupt_block_does_not_end_as_if_there_were_no_more(tmp_path: Path) -> None:
    keys = [b"k%06d" % number for number in range(2_000)]
    store = RocksStore(tmp_path / "state")
    store.write({key: os.urandom(100) for key in keys})
    assert [key for key, _ in store.scan(b"k", b"l")] == keys
    store.close()
    for table in (tmp_path / "state").glob("*.sst"):
        data = bytearray(table.read_bytes())
        data[len(data) // 2 : len(data) // 2 + 100] = os.urandom(100)
        table.write_bytes(data)
    store = RocksStore(tmp_path / "state")
    assert next(store.scan(b"k", b"l"))[0] == keys[0]
    with pytest.raises(LogUnavailableError, match="next start"):
        list(store.scan(b"k", b"l"))
    store.close()
    again = RocksStore(tmp_path / "state")
    assert again.rebuilt
    assert list(again.scan(b"k", b"l")) == []
    again.close()


def test_a_full_disk_spoils_nothing(tmp_path: Path) -> None:
    class Full:
        def write(self, *arguments: object) -> None:
            raise OSError("IO error: No space left on device: While appending to file")

        def close(self) -> None:
            raise OSError("IO error: No space left on device")

    _filled(tmp_path / "state")
    store = RocksStore(tmp_path / "state")
    real, store._db = store._db, Full()
    with pytest.raises(LogUnavailableError, match="make room"):
        store.write({b"c": b"3"})
    store.close()
    real.close()
    again = RocksStore(tmp_path / "state")
    assert again.get_many([b"a"]) == [b"1"]
    assert not (tmp_path / "state.corrupt").exists()
    again.close()
