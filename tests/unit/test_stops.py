"""What a service's successor knows of how it ended."""

from __future__ import annotations

from pathlib import Path

from driftloop.adapters.stops import Stops, free_bytes
from driftloop.kernel.errors import FencedError, NoRoomError
from driftloop.kernel.pauses import Pauses


def test_stops_are_counted_by_error_over_restarts(tmp_path: Path) -> None:
    path = tmp_path / "run" / "inference-0.stops"
    for error in (FencedError("taken over"), NoRoomError("full"), FencedError("again")):
        Stops(path).add(error)
    assert Stops(path).counts == {"Fenced": 2, "NoRoom": 1}


def test_a_file_that_is_none_counts_from_the_beginning(tmp_path: Path) -> None:
    path = tmp_path / "inference-0.stops"
    for spoilt in (b"", b"[1]", b'{"Fenced": "often"}', b"\xff\x00"):
        path.write_bytes(spoilt)
        assert Stops(path).counts == {}
    Stops(path).add(KeyError("x"))
    assert Stops(path).counts == {"Key": 1}


def test_a_stop_that_cannot_be_written_is_no_further_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    Stops(tmp_path / "file" / "inference-0.stops").add(NoRoomError("full"))


def test_room_is_told_of_a_directory_that_is_yet_to_be_made(tmp_path: Path) -> None:
    assert free_bytes(tmp_path / "state" / "deep") == free_bytes(tmp_path) > 0


def test_pauses_begin_anew_after_a_success() -> None:
    pauses = Pauses()
    assert [pauses.after_failure(0) for _ in range(3)] == [0.0, 0.1, 0.2]
    assert [pauses.after_failure(1) for _ in range(10)][-2:] == [10.0, 10.0]
    assert pauses.after_failure(2) == 0.0
