"""Artifacts on a directory: same bytes, nothing taken on trust."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from driftloop.adapters.artifacts.directory import ARRAYS, MANIFEST, DirectoryStore
from driftloop.kernel.errors import ArtifactError
from driftloop.models.ports import ArtifactStore

CONTENT: dict[str, Any] = {
    "weights": np.array([1.5, -2.0]),
    "codes": np.array([1, 2, 3], dtype=np.int32),
    "empty": np.zeros(0, dtype=np.uint32),
}
ATTRIBUTES = {"vocabularies": [["ä", "b"]], "sigmoid": 0.1}


@pytest.fixture
def store(tmp_path: Path) -> DirectoryStore:
    return DirectoryStore(tmp_path / "artifacts")


def put(store: ArtifactStore, version: str = "1") -> tuple[str, str]:
    return store.put("flights", version, "linear", CONTENT, ATTRIBUTES)


def test_gives_back_what_was_put(store: DirectoryStore) -> None:
    family, arrays, attributes = store.get(*put(store))
    assert (family, attributes) == ("linear", ATTRIBUTES)
    assert set(arrays) == set(CONTENT)
    for name, value in CONTENT.items():
        assert arrays[name].dtype == value.dtype
        np.testing.assert_array_equal(arrays[name], value)


def test_same_content_has_same_path_and_digest_in_any_order(
    store: DirectoryStore, tmp_path: Path
) -> None:
    first = put(store)
    backwards = {name: CONTENT[name] for name in reversed(CONTENT)}
    other = DirectoryStore(tmp_path / "elsewhere")
    turned = dict(reversed(ATTRIBUTES.items()))
    assert other.put("flights", "1", "linear", backwards, turned) == first
    assert put(store) == first


def test_other_content_under_the_same_version_lies_apart(store: DirectoryStore) -> None:
    path, digest = put(store)
    other_path, other_digest = store.put("flights", "1", "linear", CONTENT, {"sigmoid": 2})
    assert path != other_path
    assert digest != other_digest
    assert store.get(path, digest)[2] == ATTRIBUTES


def test_digest_is_that_of_the_manifest(store: DirectoryStore, tmp_path: Path) -> None:
    path, digest = put(store)
    manifest = (tmp_path / "artifacts" / path / MANIFEST).read_bytes()
    assert hashlib.sha256(manifest).hexdigest() == digest


def test_leaves_nothing_else_behind(store: DirectoryStore, tmp_path: Path) -> None:
    path, _ = put(store)
    put(store)
    files = {p.relative_to(tmp_path) for p in tmp_path.rglob("*") if p.is_file()}
    assert files == {Path("artifacts") / path / name for name in (MANIFEST, ARRAYS)}


@pytest.mark.parametrize("name", [MANIFEST, ARRAYS])
def test_a_changed_byte_is_noticed(store: DirectoryStore, tmp_path: Path, name: str) -> None:
    path, digest = put(store)
    file = tmp_path / "artifacts" / path / name
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    with pytest.raises(ArtifactError, match=rf"{path}: {name} has digest"):
        store.get(path, digest)


def test_a_damaged_artifact_is_replaced_by_putting_it_again(
    store: DirectoryStore, tmp_path: Path
) -> None:
    path, digest = put(store)
    (tmp_path / "artifacts" / path / ARRAYS).write_bytes(b"")
    assert put(store) == (path, digest)
    assert store.get(path, digest)[0] == "linear"


@pytest.mark.parametrize("name", [MANIFEST, ARRAYS])
def test_a_missing_file_says_what_to_do(store: DirectoryStore, tmp_path: Path, name: str) -> None:
    path, digest = put(store)
    (tmp_path / "artifacts" / path / name).unlink()
    with pytest.raises(ArtifactError, match=rf"{name} is missing; .*driftloop retrain"):
        store.get(path, digest)


def test_another_digest_is_refused(store: DirectoryStore) -> None:
    path, _ = put(store)
    with pytest.raises(ArtifactError, match="expected 0000"):
        store.get(path, "0" * 64)


@pytest.mark.parametrize("digest", ["", "0" * 63, "G" * 64, "../../etc/passwd"])
def test_a_malformed_digest_is_refused(store: DirectoryStore, digest: str) -> None:
    path, _ = put(store)
    with pytest.raises(ArtifactError, match="no SHA-256"):
        store.get(path, digest)


@pytest.mark.parametrize(
    "path", ["", "..", "../x", "flights/..", "/etc/passwd", "a/b/c", "flights/.put-x", "a\0/b"]
)
def test_a_path_outside_the_root_is_refused(store: DirectoryStore, path: str) -> None:
    with pytest.raises(ArtifactError, match="must be MODEL/VERSION"):
        store.get(path, "0" * 64)


@pytest.mark.parametrize("name", ["", "..", "a/b", ".hidden", "a" * 300])
def test_a_name_that_is_no_directory_is_refused(store: DirectoryStore, name: str) -> None:
    with pytest.raises(ArtifactError, match="cannot name a directory"):
        store.put(name, "1", "linear", CONTENT, {})
    with pytest.raises(ArtifactError, match="cannot name a directory"):
        store.put("flights", name, "linear", CONTENT, {})


def test_a_link_out_of_the_root_is_refused(store: DirectoryStore, tmp_path: Path) -> None:
    path, digest = put(store)
    target = tmp_path / "artifacts" / path
    target.rename(tmp_path / "outside")
    target.symlink_to(tmp_path / "outside")
    with pytest.raises(ArtifactError, match="leads outside"):
        store.get(path, digest)


def test_a_pipe_in_place_of_a_file_does_not_block(store: DirectoryStore, tmp_path: Path) -> None:
    path, digest = put(store)
    file = tmp_path / "artifacts" / path / ARRAYS
    file.unlink()
    os.mkfifo(file)
    with pytest.raises(ArtifactError, match="no regular file"):
        store.get(path, digest)


def test_arrays_over_the_limit_are_neither_written_nor_read(tmp_path: Path) -> None:
    small = DirectoryStore(tmp_path, limit=100)
    with pytest.raises(ArtifactError, match="at most 100"):
        put(small)
    path, digest = put(DirectoryStore(tmp_path))
    with pytest.raises(ArtifactError, match="at most 100"):
        small.get(path, digest)


def test_values_that_are_no_json_are_refused(store: DirectoryStore) -> None:
    for attributes in ({"x": float("nan")}, {"x": object()}):
        with pytest.raises(ArtifactError, match="no JSON"):
            store.put("flights", "1", "linear", CONTENT, attributes)


def test_objects_in_arrays_are_refused(store: DirectoryStore) -> None:
    with pytest.raises(ArtifactError, match="cannot be kept"):
        store.put("flights", "1", "linear", {"x": np.array([object()])}, {})


GOOD = {"bytes": 0, "sha256": "0" * 64}
MANIFESTS: list[Any] = [
    b"",
    b"\xff\xfe",
    b"[" * 100_000,
    b"null",
    b"[]",
    b'{"format": NaN}',
    {"format": 1},
    {"format": 2, "family": "linear", "attributes": {}, "files": {ARRAYS: GOOD}},
    {"format": 1, "family": 7, "attributes": {}, "files": {ARRAYS: GOOD}},
    {"format": 1, "family": "linear", "attributes": [], "files": {ARRAYS: GOOD}},
    {"format": 1, "family": "linear", "attributes": {}, "files": {}},
    {"format": 1, "family": "linear", "attributes": {}, "files": {"../x": GOOD}},
    {"format": 1, "family": "linear", "attributes": {}, "files": {ARRAYS: {**GOOD, "bytes": -1}}},
    {"format": 1, "family": "linear", "attributes": {}, "files": {ARRAYS: {**GOOD, "bytes": "1"}}},
    {
        "format": 1,
        "family": "linear",
        "attributes": {},
        "files": {ARRAYS: {**GOOD, "bytes": 2**70}},
    },
    {"format": 1, "family": "linear", "attributes": {}, "files": {ARRAYS: {"bytes": 0}}},
]


@pytest.mark.parametrize("manifest", MANIFESTS)
def test_a_hostile_manifest_with_its_right_digest_is_refused(
    store: DirectoryStore, tmp_path: Path, manifest: Any
) -> None:
    content = manifest if isinstance(manifest, bytes) else json.dumps(manifest).encode()
    directory = tmp_path / "artifacts" / "m" / "1"
    directory.mkdir(parents=True)
    (directory / MANIFEST).write_bytes(content)
    (directory / ARRAYS).write_bytes(b"")
    with pytest.raises(ArtifactError, match="m/1"):
        store.get("m/1", hashlib.sha256(content).hexdigest())


HEADERS = [
    b"",
    b"\0" * 8,
    b"\xff" * 8,
    (2).to_bytes(8, "little") + b"{}" + b"left over",
    (4).to_bytes(8, "little") + b"null",
    b'{"x":{"dtype":"F64","shape":[9],"data_offsets":[0,8]}}',
    b'{"x":{"dtype":"F64","shape":[1],"data_offsets":[0,99]}}',
    b'{"x":{"dtype":"F64","shape":[4294967296,4294967296],"data_offsets":[0,8]}}',
    b'{"x":{"dtype":"BF16","shape":[4],"data_offsets":[0,8]}}',
    b'{"x":{"dtype":"object","shape":[1],"data_offsets":[0,8]}}',
]


@pytest.mark.parametrize("data", HEADERS)
def test_hostile_arrays_with_their_right_digest_are_refused(
    store: DirectoryStore, tmp_path: Path, data: bytes
) -> None:
    if data.startswith(b"{"):
        data = len(data).to_bytes(8, "little") + data + b"\0" * 8
    entry = {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    content = json.dumps(
        {"format": 1, "family": "linear", "attributes": {}, "files": {ARRAYS: entry}}
    ).encode()
    directory = tmp_path / "artifacts" / "m" / "1"
    directory.mkdir(parents=True)
    (directory / MANIFEST).write_bytes(content)
    (directory / ARRAYS).write_bytes(data)
    with pytest.raises(ArtifactError, match="malformed"):
        store.get("m/1", hashlib.sha256(content).hexdigest())


def test_what_a_killed_process_left_is_removed_and_what_is_being_written_stays(
    store: DirectoryStore, tmp_path: Path
) -> None:
    path, digest = put(store)
    model = (tmp_path / "artifacts" / path).parent
    left, writing = (model / f".put-{name}" for name in ("left", "writing"))
    for aside in (left, writing):
        aside.mkdir()
        (aside / ARRAYS).write_bytes(b"half")
    held = os.open(writing, os.O_RDONLY)
    fcntl.flock(held, fcntl.LOCK_EX)
    put(store, "2")
    os.close(held)
    assert list(model.glob(".*")) == [writing]
    assert store.get(path, digest)[2] == ATTRIBUTES
