"""Whether schemas can read one another's data, and whether a published one was edited.

Rules: Avro 1.11, "Schema Resolution". FULL compatibility of two schemas means that data written
with either is readable with the other; it is demanded of every pair of versions of a record, for
topics keep records of all of them and services of several releases run side by side.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import combinations
from typing import Any

from driftloop.kernel.errors import SchemaError

_FILE = re.compile(r"^([a-z][a-z-]*)\.([1-9][0-9]*)\.avsc$")
_PRIMITIVES = frozenset({"null", "boolean", "int", "long", "float", "double", "bytes", "string"})
_PROMOTIONS = frozenset(
    {
        ("int", "long"), ("int", "float"), ("int", "double"), ("long", "float"),
        ("long", "double"), ("float", "double"), ("string", "bytes"), ("bytes", "string"),
    }
)  # fmt: skip
_WHOLE = {"int": 31, "long": 63}


def full_problems(older: Any, newer: Any) -> list[str]:
    """Why two schemas (parsed JSON) are not FULL compatible; empty when they are.

    Raises :class:`SchemaError` for what is no Avro schema.
    """
    forward = [f"new readers of old data: {text}" for text in reading_problems(newer, older)]
    backward = [f"old readers of new data: {text}" for text in reading_problems(older, newer)]
    return forward + backward


def reading_problems(reader: Any, writer: Any) -> list[str]:
    """Why data written with ``writer`` cannot always be read with ``reader``."""
    resolution = _Resolution(_named_types(reader), _named_types(writer))
    return list(resolution.problems(reader, writer, ""))


def default_problems(schema: Any) -> list[str]:
    """Defaults of fields that are no values of their field's type (of a union, its first)."""
    names = _named_types(schema)
    return [
        f"{node['name']}.{item['name']}: {item['default']!r} is no default of its type"
        for node in names.values()
        for item in node.get("fields", ())
        if "default" in item and not _is_default(item["type"], item["default"], names)
    ]


def digest(content: bytes) -> str:
    """SHA-256 of a schema file, as ``sha256sum`` shows it."""
    return hashlib.sha256(content).hexdigest()


def version_problems(files: Mapping[str, bytes], published: Mapping[str, str]) -> list[str]:
    """Everything wrong with a folder of schemas (file name to content).

    ``published`` is file name to digest of the versions that were given out: they may not change.
    """
    problems = list(_publication_problems(files, published))
    schemas: dict[str, dict[int, Any]] = {}
    for name in sorted(files):
        match = _FILE.match(name)
        if match is None:
            problems.append(f"{name}: a schema's file is named NAME.VERSION.avsc")
            continue
        try:
            parsed = json.loads(files[name])
            problems += [f"{name}: {text}" for text in default_problems(parsed)]
        except (ValueError, SchemaError) as error:
            problems.append(f"{name}: {error}")
            continue
        schemas.setdefault(match[1], {})[int(match[2])] = parsed
    for name, versions in schemas.items():
        if sorted(versions) != list(range(1, len(versions) + 1)):
            problems.append(f"{name}: versions {sorted(versions)} do not count up from 1")
        for older, newer in combinations(sorted(versions), 2):
            problems += [
                f"{name}.{newer}.avsc against {name}.{older}.avsc: {text}"
                for text in full_problems(versions[older], versions[newer])
            ]
    return problems


def _publication_problems(
    files: Mapping[str, bytes], published: Mapping[str, str]
) -> Iterator[str]:
    for name, known in sorted(published.items()):
        if name not in files:
            yield f"{name}: a published version is gone; topics hold its records, so it must stay"
        elif digest(files[name]) != known:
            match = _FILE.match(name)
            following = f"{match[1]}.{int(match[2]) + 1}.avsc" if match else "a new version"
            yield (
                f"{name}: a published version was edited in place; undo that and add the change "
                f"as {following}"
            )
    for name in sorted(set(files) - set(published)):
        if _FILE.match(name):
            yield f"{name}: not recorded as published yet"


def _named_types(schema: Any) -> dict[str, Any]:
    """Unqualified name to definition, of every record, enum and fixed inside."""
    found: dict[str, Any] = {}

    def visit(node: Any) -> None:
        if isinstance(node, list):
            for branch in node:
                visit(branch)
            return
        if not isinstance(node, Mapping):
            return
        kind = node.get("type")
        if kind in ("record", "enum", "fixed"):
            if "name" not in node:
                raise SchemaError(f"a {kind} has no name")
            found[_short(node["name"])] = node
        for item in node.get("fields", ()):
            visit(item["type"])
        for part in ("items", "values"):
            if part in node:
                visit(node[part])
        if isinstance(kind, list | Mapping):
            visit(kind)

    visit(schema)
    return found


def _short(name: str) -> str:
    return name.rpartition(".")[2]


def _defined(node: Any, names: Mapping[str, Any]) -> Any:
    """A primitive's name, a list of branches, or a definition with its ``type``."""
    if isinstance(node, Mapping) and (
        isinstance(node["type"], list | Mapping)
        or node["type"] in _PRIMITIVES
        or _short(node["type"]) in names
    ):
        return _defined(node["type"], names)
    if isinstance(node, str) and node not in _PRIMITIVES:
        try:
            return names[_short(node)]
        except KeyError:
            raise SchemaError(f"type {node!r} is defined nowhere in the schema") from None
    return node


def _kind(node: Any) -> str:
    if isinstance(node, list):
        return "union"
    return str(node if isinstance(node, str) else node["type"])


@dataclass(slots=True)
class _Resolution:
    reader_names: Mapping[str, Any]
    writer_names: Mapping[str, Any]
    seen: set[tuple[str, str]] = field(default_factory=set)
    """Pairs of named types under way or done: a schema may name itself."""
    unfit: set[tuple[int, int]] = field(default_factory=set)
    """Pairs of nodes, by identity, of which it is known that one does not read the other."""

    def problems(self, reader: Any, writer: Any, path: str) -> Iterator[str]:
        reader = _defined(reader, self.reader_names)
        writer = _defined(writer, self.writer_names)
        reads, wrote = _kind(reader), _kind(writer)
        if wrote == "union":
            for branch in writer:
                yield from self.problems(reader, branch, path)
        elif reads == "union":
            if not any(self._fits(branch, writer) for branch in reader):
                yield f"{path or 'the schema'}: {_shown(writer)} is in no branch of the union"
        elif reads != wrote:
            if (wrote, reads) not in _PROMOTIONS:
                yield f"{path or 'the schema'}: {_shown(writer)} cannot be read as {_shown(reader)}"
        elif reads == "array":
            yield from self.problems(reader["items"], writer["items"], f"{path}[]")
        elif reads == "map":
            yield from self.problems(reader["values"], writer["values"], f"{path}{{}}")
        elif reads in ("record", "enum", "fixed"):
            yield from self._named(reader, writer, path or _short(reader["name"]))

    def _fits(self, reader: Any, writer: Any) -> bool:
        pair = (id(reader), id(writer))
        if pair in self.unfit:
            return False
        # On a copy of ``seen``: a branch that does not fit must leave no trace. What is gone
        # through is not gone through again, though: names could double the work at every level.
        trial = _Resolution(self.reader_names, self.writer_names, set(self.seen), self.unfit)
        if next(trial.problems(reader, writer, ""), None) is not None:
            self.unfit.add(pair)
            return False
        self.seen |= trial.seen
        return True

    def _named(self, reader: Any, writer: Any, path: str) -> Iterator[str]:
        pair = (_short(reader["name"]), _short(writer["name"]))
        names = {pair[0], *map(_short, reader.get("aliases", ()))}
        if pair[1] not in names:
            yield f"{path}: {_shown(writer)} cannot be read as {_shown(reader)}"
            return
        if pair in self.seen:
            return
        self.seen.add(pair)
        if reader["type"] == "fixed":
            if reader["size"] != writer["size"]:
                yield f"{path}: {writer['size']} bytes cannot be read as {reader['size']}"
        elif reader["type"] == "enum":
            unknown = [s for s in writer["symbols"] if s not in reader["symbols"]]
            if unknown and "default" not in reader:
                yield f"{path}: the reader knows no {unknown} and has no default symbol"
        else:
            written = {item["name"]: item for item in writer["fields"]}
            for item in reader["fields"]:
                sources = [n for n in (item["name"], *item.get("aliases", ())) if n in written]
                inner = f"{path}.{item['name']}"
                if sources:
                    yield from self.problems(item["type"], written[sources[0]]["type"], inner)
                elif "default" not in item:
                    yield f"{inner}: absent from the data and without a default"


def _shown(node: Any) -> str:
    kind = _kind(node)
    return f"{kind} {_short(node['name'])}" if kind in ("record", "enum", "fixed") else kind


def _is_default(node: Any, value: Any, names: Mapping[str, Any]) -> bool:
    node = _defined(node, names)
    match _kind(node):
        case "union":
            return bool(node) and _is_default(node[0], value, names)
        case "null":
            return value is None
        case "boolean":
            return isinstance(value, bool)
        case "int" | "long" as kind:
            top = 2 ** _WHOLE[kind]
            return isinstance(value, int) and not isinstance(value, bool) and -top <= value < top
        case "float" | "double":
            return isinstance(value, int | float) and not isinstance(value, bool)
        case "string" | "bytes" | "fixed":
            return isinstance(value, str)
        case "enum":
            return value in node["symbols"]
        case "array":
            return isinstance(value, list) and all(
                _is_default(node["items"], item, names) for item in value
            )
        case "map":
            return isinstance(value, dict) and all(
                _is_default(node["values"], item, names) for item in value.values()
            )
        case _:
            return isinstance(value, dict) and all(
                _is_default(item["type"], value[item["name"]], names)
                if item["name"] in value
                else "default" in item
                for item in node["fields"]
            )
