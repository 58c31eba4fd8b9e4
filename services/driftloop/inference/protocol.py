"""Requests and answers of the Open Inference Protocol v2 as documents. Pure.

Bodies are JSON, or with the header ``Inference-Header-Content-Length`` JSON of that length and then
the tensors' bytes (the binary tensor data extension).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import orjson

from driftloop.inference.heads import Heads
from driftloop.inference.tensors import BYTES, ProtocolError, shown
from driftloop.kernel.codec.blocks import F64
from driftloop.kernel.codec.faults import LONGEST_ID
from driftloop.kernel.declaration import Declaration

EXTENSIONS = ("binary_tensor_data",)
SCORES, VERSION = "scores", "version"
OUTPUTS = {SCORES: "FP64", VERSION: "INT32"}
"""What a model answers, and their datatypes."""
PLATFORM = "driftloop"


@dataclass(slots=True)
class InferRequest:
    """A request for predictions, as far as it can be read without knowing the model."""

    id: str
    """Empty where none is given."""
    parameters: Mapping[str, Any]
    inputs: Sequence[Any]
    """Objects, not looked into yet."""
    binary: memoryview | None
    """The bytes behind the JSON, which inputs take in their order."""
    outputs: tuple[tuple[str, bool], ...] | None
    """Names, and whether in bytes; None: all, in JSON."""
    known: dict[Any, Any]
    """What readers have found out about ``inputs``; kept where these come again and again."""


class Answer(NamedTuple):
    """A body, and how long its JSON is where bytes follow (else -1)."""

    body: bytes
    json_length: int = -1


def parse_request(
    body: bytes, json_length: bytes | None, heads: Heads | None = None
) -> InferRequest:
    """``json_length``: the header's value. Raises :class:`ProtocolError`."""
    known: dict[Any, Any] = {}
    binary: memoryview | None = None
    if json_length is not None:
        # Twelve digits are more than any body has.
        if not json_length.isdigit() or len(json_length) > 12 or int(json_length) > len(body):
            text = json_length.decode("latin-1")
            raise ProtocolError(
                400,
                f"Inference-Header-Content-Length is {text!r}: it is the length of the body's"
                f" JSON, at most the body's {len(body)} bytes",
            )
        length = int(json_length)
        binary = memoryview(body)[length:]
        body = body[:length]
    try:
        if binary is None or heads is None:
            document = orjson.loads(body)
        else:
            document, known = heads.parse(body)
    except orjson.JSONDecodeError as error:
        raise ProtocolError(400, f"the body is not JSON: {error}") from error
    if type(document) is not dict:
        raise ProtocolError(400, f'the body is {shown(document)}; it is {{"inputs": [...]}}')
    get = document.get
    inputs = get("inputs")
    if type(inputs) is not list or not inputs:
        raise ProtocolError(400, '"inputs" is a list of at least one tensor')
    id, parameters, outputs = get("id"), get("parameters"), get("outputs")
    if id is None:
        id = ""
    elif type(id) is not str or not id:
        raise ProtocolError(400, f'"id" is {shown(id)}; it is a string, or left out')
    elif len(id.encode()) > LONGEST_ID:
        raise ProtocolError(400, f'"id" has more than {LONGEST_ID} bytes')
    if parameters is None:
        parameters = {}
    elif type(parameters) is not dict:
        raise ProtocolError(400, f'"parameters" is {shown(parameters)}; it is an object')
    return InferRequest(id, parameters, inputs, binary, _outputs(outputs, parameters), known)


def _outputs(outputs: Any, parameters: Mapping[str, Any]) -> tuple[tuple[str, bool], ...] | None:
    usual = parameters.get("binary_data_output", False)
    if type(usual) is not bool:
        raise ProtocolError(400, f'"binary_data_output" is {shown(usual)}; it is true or false')
    if outputs is None or outputs == []:
        return tuple((name, True) for name in OUTPUTS) if usual else None
    if type(outputs) is not list:
        raise ProtocolError(400, f'"outputs" is {shown(outputs)}; it is a list')
    wanted: dict[str, bool] = {}
    for output in outputs:
        name = output.get("name") if type(output) is dict else None
        if type(name) is not str or name not in OUTPUTS:
            raise ProtocolError(
                400, f"there is no output {shown(name)}; there are {', '.join(OUTPUTS)}"
            )
        if name in wanted:
            raise ProtocolError(400, f"output {name!r} is asked for twice")
        own = output.get("parameters") or {}
        binary = own.get("binary_data", usual) if type(own) is dict else None
        if type(binary) is not bool:
            raise ProtocolError(400, f'output {name!r}: "binary_data" is true or false')
        wanted[name] = binary
    return tuple(wanted.items())


def encode_answer(request: InferRequest, id: str, model: str, version: int, scores: F64) -> Answer:
    """``scores`` of shape (n, C)."""
    rows, width = scores.shape
    if request.outputs is None:
        return Answer(
            b'{"model_name":"%s","model_version":"%d","id":%s,"outputs":['
            b'{"name":"scores","datatype":"FP64","shape":[%d,%d],"data":%s},'
            b'{"name":"version","datatype":"INT32","shape":[%d],"data":%s}]}'
            % (
                model.encode(),  # at most letters, digits, - and _
                version,
                orjson.dumps(id),
                rows,
                width,
                orjson.dumps(scores.reshape(-1), option=orjson.OPT_SERIALIZE_NUMPY),
                rows,
                b"[%s]" % (b"%d," % version * rows)[:-1],
            )
        )
    document: dict[str, Any] = {"model_name": model, "model_version": str(version), "id": id}
    blobs: list[bytes] = []
    outputs: list[dict[str, Any]] = []
    for name, binary in request.outputs:
        output: dict[str, Any] = {"name": name, "datatype": OUTPUTS[name]}
        values = scores.ravel() if name == SCORES else np.full(rows, version, "<i4")
        output["shape"] = [rows, width] if name == SCORES else [rows]
        if binary:
            blob = values.tobytes()
            blobs.append(blob)
            output["parameters"] = {"binary_data_size": len(blob)}
        else:
            output["data"] = values.tolist()
        outputs.append(output)
    document["outputs"] = outputs
    head = orjson.dumps(document)
    return Answer(b"".join((head, *blobs)), len(head)) if blobs else Answer(head)


def encode_error(message: str) -> bytes:
    """As the protocol has errors."""
    return orjson.dumps({"error": message})


def server_document(version: str) -> bytes:
    """Of ``GET /v2``."""
    return orjson.dumps({"name": "driftloop", "version": version, "extensions": EXTENSIONS})


def model_document(model: Declaration, versions: Sequence[int]) -> bytes:
    """Of ``GET /v2/models/NAME``; ``versions`` that can be asked for now."""
    inputs = [{"name": f.name, "datatype": "FP64", "shape": [-1]} for f in model.numeric]
    inputs += [{"name": f.name, "datatype": BYTES, "shape": [-1]} for f in model.categorical]
    return orjson.dumps(
        {
            "name": model.name,
            "versions": [str(version) for version in versions],
            "platform": PLATFORM,
            "inputs": inputs,
            "outputs": [
                {"name": SCORES, "datatype": OUTPUTS[SCORES], "shape": [-1, model.scores]},
                {"name": VERSION, "datatype": OUTPUTS[VERSION], "shape": [-1]},
            ],
            "parameters": {
                "task": model.task.value,
                **({"classes": model.classes} if model.classes else {}),
                "id_input": model.events.id,
                "time_input": model.events.time,
                "strict": model.http.strict,
            },
        }
    )
