"""Artifacts as directories: ``MODEL/VERSION-DIGEST/{manifest.json,arrays.safetensors}``.

The manifest names the family, the attributes and the SHA-256 of every file; the artifact's digest
is the SHA-256 of the manifest's bytes, so it covers everything. The same content has the same
bytes. An artifact appears at once (written aside, synced, renamed) and is never changed.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import shutil
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError
from safetensors import numpy as safetensors

from driftloop.adapters.owned import own, sweep
from driftloop.kernel.errors import ArtifactError

MANIFEST = "manifest.json"
ARRAYS = "arrays.safetensors"
FORMAT = 1
MANIFEST_LIMIT = 64 * 2**20
"""Bytes."""
DEFAULT_LIMIT = 2**30
_ASIDE = ".put-"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,200}")
_DIGEST = re.compile(r"[0-9a-f]{64}")
_SUFFIX = 16
"""Digits of the digest in the path: two contents under one name do not meet."""


class DirectoryStore:
    """An artifact store on a directory that all processes share."""

    def __init__(self, root: Path, *, limit: int = DEFAULT_LIMIT) -> None:
        """``limit``: largest size of an artifact's arrays, bytes."""
        self._root = root
        self._limit = limit

    def put(
        self,
        model: str,
        version: str,
        family: str,
        arrays: Mapping[str, npt.NDArray[Any]],
        attributes: Mapping[str, Any],
    ) -> tuple[str, str]:
        """See ``ArtifactStore.put``."""
        for what, name in (("model", model), ("version", version)):
            if not _NAME.fullmatch(name):
                raise ArtifactError(
                    f"{what} {name!r:.200} cannot name a directory: use letters, digits, . _ -"
                )
        data = _pack(arrays)
        if len(data) > self._limit:
            raise ArtifactError(
                f"artifact {model}/{version} has {len(data)} bytes, at most {self._limit}: make "
                "the model smaller (fewer trees or leaves) or raise the store's limit"
            )
        manifest = _manifest(family, attributes, data)
        digest = hashlib.sha256(manifest).hexdigest()
        path = f"{model}/{version}-{digest[:_SUFFIX]}"
        try:
            self._write(path, digest, {ARRAYS: data, MANIFEST: manifest})
        except OSError as error:
            raise ArtifactError(
                f"artifact {path} cannot be written below {self._root}: {error}; "
                "check that the directory exists, has room, and may be written"
            ) from error
        return path, digest

    def get(
        self, path: str, digest: str
    ) -> tuple[str, dict[str, npt.NDArray[Any]], dict[str, Any]]:
        """See ``ArtifactStore.get``."""
        if not _DIGEST.fullmatch(digest):
            raise ArtifactError(f"artifact {path!r:.200}: {digest!r:.100} is no SHA-256 in hex")
        directory = self._directory(path)
        manifest = _read(path, directory / MANIFEST, MANIFEST_LIMIT)
        _check_digest(path, MANIFEST, manifest, digest)
        family, attributes, size, arrays_digest = _parse(path, manifest)
        if size > self._limit:
            raise ArtifactError(f"artifact {path}: {size} bytes of arrays, at most {self._limit}")
        data = _read(path, directory / ARRAYS, size)
        _check_digest(path, ARRAYS, data, arrays_digest)
        try:
            arrays = safetensors.load(data)
        except (SafetensorError, ValueError, TypeError, KeyError, OverflowError) as error:
            raise ArtifactError(f"artifact {path}: {ARRAYS} is malformed: {error!r}") from error
        return family, arrays, attributes

    def _directory(self, path: str) -> Path:
        parts = path.split("/")
        if len(parts) != 2 or not all(_NAME.fullmatch(part) for part in parts):
            raise ArtifactError(f"artifact path {path!r:.200} must be MODEL/VERSION-DIGEST")
        directory = self._root / parts[0] / parts[1]
        with contextlib.suppress(OSError):
            if not directory.resolve().is_relative_to(self._root.resolve()):
                raise ArtifactError(f"artifact {path} leads outside of {self._root}")
        return directory

    def _write(self, path: str, digest: str, files: Mapping[str, bytes]) -> None:
        target = self._directory(path)
        if target.exists():
            try:
                self.get(path, digest)
            except ArtifactError:
                # Damaged since it was written: what is about to be written is what it should be.
                shutil.rmtree(target)
            else:
                return
        target.parent.mkdir(parents=True, exist_ok=True)
        sweep(target.parent, _ASIDE)
        aside, held = own(target.parent, _ASIDE)
        try:
            for name, content in files.items():
                with (aside / name).open("wb") as file:
                    file.write(content)
                    file.flush()
                    os.fsync(file.fileno())
            aside.chmod(0o755)
            _sync(aside)
            try:
                aside.rename(target)
            except OSError:
                # Another process put it in the meantime: good if it is the same.
                if not target.exists():
                    raise
                self.get(path, digest)
            _sync(target.parent)
        finally:
            shutil.rmtree(aside, ignore_errors=True)
            os.close(held)


def _pack(arrays: Mapping[str, npt.NDArray[Any]]) -> bytes:
    """safetensors orders by type and name, so the order of insertion does not show."""
    try:
        packed = safetensors.save({n: np.ascontiguousarray(arrays[n]) for n in sorted(arrays)})
    except (SafetensorError, ValueError, TypeError, KeyError) as error:
        raise ArtifactError(f"the arrays cannot be kept: {error!r}") from error
    return bytes(packed)


def _manifest(family: str, attributes: Mapping[str, Any], data: bytes) -> bytes:
    content = {
        "format": FORMAT,
        "family": family,
        "attributes": dict(attributes),
        "files": {ARRAYS: {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}},
    }
    try:
        text = json.dumps(content, sort_keys=True, separators=(",", ":"), allow_nan=False)
    except (TypeError, ValueError) as error:
        raise ArtifactError(f"the attributes are no JSON: {error}") from error
    return text.encode("ascii")


def _parse(path: str, manifest: bytes) -> tuple[str, dict[str, Any], int, str]:
    """Family, attributes, size and digest of the arrays."""
    try:
        content = json.loads(manifest, parse_constant=_no_constant)
        if content["format"] != FORMAT:
            raise ArtifactError(
                f"artifact {path} has format {content['format']!r:.50}, this driftloop reads "
                f"{FORMAT}: upgrade driftloop, or retrain the model"
            )
        if set(content["files"]) != {ARRAYS}:
            raise ValueError(f"files must be {ARRAYS}")
        entry = content["files"][ARRAYS]
        family, attributes, size = content["family"], content["attributes"], entry["bytes"]
        fits = isinstance(family, str) and isinstance(attributes, dict)
        if not fits or type(size) is not int or size < 0:
            raise ValueError("family, attributes or bytes has the wrong type")
        if not isinstance(entry["sha256"], str):
            raise ValueError("sha256 must be a string")
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise ArtifactError(f"artifact {path}: {MANIFEST} is malformed: {error!r}") from error
    return family, attributes, size, entry["sha256"]


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON")


def _read(path: str, file: Path, limit: int) -> bytes:
    """A whole regular file; a pipe or device in its place would block or never end."""
    try:
        descriptor = os.open(file, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(descriptor, "rb") as stream:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode):
                raise ArtifactError(f"artifact {path}: {file.name} is no regular file")
            if status.st_size > limit:
                raise ArtifactError(
                    f"artifact {path}: {file.name} has {status.st_size} bytes, at most {limit}"
                )
            return stream.read(limit + 1)
    except FileNotFoundError as error:
        raise ArtifactError(
            f"artifact {path}: {file} is missing; check that this process sees the directory the "
            "trainer writes to, or train a new version: driftloop retrain"
        ) from error
    except OSError as error:
        raise ArtifactError(f"artifact {path}: {file} cannot be read: {error}") from error


def _check_digest(path: str, name: str, content: bytes, expected: str) -> None:
    found = hashlib.sha256(content).hexdigest()
    if found != expected:
        raise ArtifactError(
            f"artifact {path}: {name} has digest {found[:16]}..., expected {expected[:16]}...: "
            "the file is damaged or was exchanged; train a new version: driftloop retrain"
        )


def _sync(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
