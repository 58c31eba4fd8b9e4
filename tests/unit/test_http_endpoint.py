"""The Open Inference Protocol over a real socket, on a log in memory."""

from __future__ import annotations

import http.client
import json
import math
import struct
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from typing_extensions import override

from driftloop.adapters.clock import SystemClock
from driftloop.adapters.http import ApplicationServer, Exchange, StatusPages
from driftloop.inference.core import Serving
from driftloop.kernel import metrics
from driftloop.kernel.declaration import Declaration, Task
from driftloop.models.constant import ConstantModel
from http_builders import MODEL, GatewayBench, Weighted, endpoint, infer_body, tensor

PATH = "/v2/models/m/infer"


class Served:
    def __init__(self, model: Declaration = MODEL) -> None:
        # Waiting is not what is looked at here: the gateway's own clock stands still, anywhere
        # before or after the server's.
        self.bench = GatewayBench(model, timeout_s=math.inf)
        clock = SystemClock()
        self.server = ApplicationServer(
            "127.0.0.1",
            0,
            StatusPages(metrics=lambda: b"", status=lambda: None, clock=clock),
            body_bytes=100_000,
        )
        self.server.start()
        self.server.mount(endpoint(self.bench))

    def ask(
        self, method: str, path: str, body: bytes | None = None, **headers: str
    ) -> tuple[int, dict[str, str], bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self.server.port, timeout=30)
        try:
            named = {name.replace("_", "-"): value for name, value in headers.items()}
            connection.request(method, path, body, named)
            answer = connection.getresponse()
            return answer.status, dict(answer.getheaders()), answer.read()
        finally:
            connection.close()

    def json(self, method: str, path: str, body: bytes | None = None) -> tuple[int, Any]:
        status, headers, found = self.ask(method, path, body)
        assert headers["Content-Type"] == "application/json"
        return status, json.loads(found)


@pytest.fixture
def served() -> Iterator[Served]:
    made = Served()
    yield made
    made.server.stop()


def test_the_server_says_what_it_is(served: Served) -> None:
    status, found = served.json("GET", "/v2")
    assert status == 200
    assert found["name"] == "driftloop"
    assert "binary_tensor_data" in found["extensions"]


def test_health(served: Served) -> None:
    assert served.json("GET", "/v2/health/live") == (200, {"live": True})
    assert served.json("GET", "/v2/health/ready") == (200, {"ready": True})


def test_the_model_names_its_tensors(served: Served) -> None:
    status, found = served.json("GET", "/v2/models/m")
    assert status == 200
    assert found["versions"] == ["0", "1", "2", "3", "4", "5"]
    assert found["inputs"] == [
        {"name": "x", "datatype": "FP64", "shape": [-1]},
        {"name": "y", "datatype": "FP64", "shape": [-1]},
        {"name": "kind", "datatype": "BYTES", "shape": [-1]},
    ]
    assert found["outputs"] == [
        {"name": "scores", "datatype": "FP64", "shape": [-1, 1]},
        {"name": "version", "datatype": "INT32", "shape": [-1]},
    ]


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/v2/models/m/ready", 200),
        ("/v2/models/m/versions/4/ready", 200),
        ("/v2/models/m/versions/4", 200),
        ("/v2/models/m/versions/2/ready", 400),
        ("/v2/models/m/versions/2", 200),
        ("/v2/models/m/versions/99/ready", 404),
        ("/v2/models/m/versions/99", 404),
        ("/v2/models/m/versions/x", 404),
        ("/v2/models/other", 404),
        ("/v2/models/other/ready", 404),
        ("/v2/models", 404),
        ("/v2/%ff", 400),
        ("/v2nonsense", 404),
        ("/v2/models/m/infer", 405),
        ("/v2/models/m/ready?verbose=1", 200),
        ("/v2/models/m?x=/ready", 200),
        ("/v2/models/other?x=1", 404),
    ],
)
def test_paths_and_their_codes(served: Served, path: str, status: int) -> None:
    found, body = served.json("GET", path)
    assert found == status
    assert ("error" in body) == (status != 200)


def test_of_a_model_that_is_not_loaded_too_only_published_versions_are_there(
    served: Served,
) -> None:
    served.bench.models.away = True
    assert served.json("GET", "/v2/models/m/versions/99")[0] == 404
    assert served.json("GET", "/v2/models/m/versions/2")[0] == 200


def test_of_paths_a_bounded_number_and_no_long_one_is_kept() -> None:
    made = endpoint(GatewayBench())
    codes: list[int] = []

    def ask(target: bytes) -> None:
        def send(exchange: Exchange) -> None:
            assert exchange.response is not None
            codes.append(exchange.response[0])

        made.handle(Exchange(b"GET", target, {}, b"", send))

    for number in range(3):
        ask(b"/v2/models/m?%d" % number + b"x" * 20_000)
    assert list(made._routes) == [b"/v2/models/m"]
    for name in (b"x" * 20_000, b"%78" * 5_000):
        ask(b"/v2/models/" + name)
    assert list(made._routes) == [b"/v2/models/m"]
    for number in range(10_000):
        ask(b"/v2/models/m/versions/%d?q" % number)
    assert 0 < len(made._routes) <= 4096
    assert codes == [200] * 3 + [404] * 2 + [200] * 6 + [404] * 9_994


def test_a_prediction_and_its_record(served: Served) -> None:
    status, found = served.json("POST", PATH, infer_body([2.0, None], id="r7"))
    assert status == 200
    assert found == {
        "model_name": "m",
        "model_version": "3",
        "id": "r7",
        "outputs": [
            {"name": "scores", "datatype": "FP64", "shape": [2, 1], "data": [2.0, 0.0]},
            {"name": "version", "datatype": "INT32", "shape": [2], "data": [3, 3]},
        ],
    }
    served.server.stop()
    assert [p.event_id for p in served.bench.outbox.predictions()] == ["r7/0", "r7/1"]


def test_several_classes_are_as_many_scores() -> None:
    shares = (0.2, 0.3, 0.5)
    served = Served(
        replace(MODEL, task=Task.MULTICLASS, classes=("red", "green", "blue"), prior=shares)
    )
    served.bench.models.now = Serving(-1, 0, ConstantModel(shares), -1, None)
    try:
        _, model = served.json("GET", "/v2/models/m")
        assert model["outputs"][0] == {"name": "scores", "datatype": "FP64", "shape": [-1, 3]}
        assert model["parameters"]["classes"] == ["red", "green", "blue"]
        status, answer = served.json("POST", PATH, infer_body([1.0, 2.0]))
    finally:
        served.server.stop()
    assert status == 200
    assert answer["outputs"][0]["shape"] == [2, 3]
    assert answer["outputs"][0]["data"] == [*shares, *shares]
    assert [p.scores for p in served.bench.outbox.predictions()] == [shares, shares]


def test_a_request_without_id_is_told_the_one_it_got(served: Served) -> None:
    assert served.json("POST", PATH, infer_body([2.0]))[1]["id"] == "made-0"
    served.server.stop()
    assert [p.event_id for p in served.bench.outbox.predictions()] == ["made-0"]


def test_a_version_can_be_asked_for(served: Served) -> None:
    status, found = served.json("POST", "/v2/models/m/versions/4/infer", infer_body([2.0]))
    assert (status, found["model_version"]) == (200, "4")
    assert found["outputs"][0]["data"] == [1.0]
    assert served.json("POST", "/v2/models/m/versions/5/infer", infer_body([2.0]))[0] == 503
    assert served.json("POST", "/v2/models/m/versions/77/infer", infer_body([2.0]))[0] == 404


def test_a_version_that_is_not_loaded_is_waited_for(served: Served) -> None:
    models = served.bench.models

    class Wanted(list[int]):
        @override
        def append(self, version: int) -> None:
            models.others[version] = Weighted(7.0)

    models.wanted = Wanted()
    # Looking at it does not load it.
    assert served.json("GET", "/v2/models/m/versions/1/ready")[0] == 400
    assert models.others == {}
    status, found = served.json("POST", "/v2/models/m/versions/1/infer", infer_body([2.0]))
    assert (status, found["model_version"], found["outputs"][0]["data"]) == (200, "1", [14.0])
    assert served.json("GET", "/v2/models/m/versions/1/ready")[0] == 200


def test_outputs_can_be_chosen(served: Served) -> None:
    _, found = served.json("POST", PATH, infer_body([2.0], outputs=[{"name": "version"}]))
    assert [output["name"] for output in found["outputs"]] == ["version"]
    status, found = served.json("POST", PATH, infer_body([2.0], outputs=[{"name": "nonsense"}]))
    assert (status, found["error"]) == (
        400, "there is no output 'nonsense'; there are scores, version",
    )  # fmt: skip


def test_tensors_in_bytes_both_ways(served: Served) -> None:
    inputs = [
        {"name": "x", "datatype": "FP32", "shape": [2], "parameters": {"binary_data_size": 8}},
        tensor("y", "FP64", [1, 1]),
        {"name": "kind", "datatype": "BYTES", "shape": [2], "parameters": {"binary_data_size": 11}},
    ]
    outputs = [
        {"name": "scores", "parameters": {"binary_data": True}},
        {"name": "version", "parameters": {"binary_data": False}},
    ]
    head = json.dumps({"inputs": inputs, "outputs": outputs}).encode()
    body = head + struct.pack("<ff", 0.5, 4.0) + b"\1\0\0\0a" + b"\2\0\0\0bc"
    status, headers, found = served.ask(
        "POST", PATH, body, Inference_Header_Content_Length=str(len(head))
    )
    assert status == 200
    assert headers["Content-Type"] == "application/octet-stream"
    length = int(headers["Inference-Header-Content-Length"])
    document = json.loads(found[:length])
    assert document["outputs"][0]["parameters"] == {"binary_data_size": 16}
    assert document["outputs"][1]["data"] == [3, 3]
    assert struct.unpack("<dd", found[length:]) == (0.5, 4.0)


def test_all_outputs_in_bytes(served: Served) -> None:
    body = infer_body([0.5], parameters={"binary_data_output": True})
    _, headers, found = served.ask("POST", PATH, body)
    length = int(headers["Inference-Header-Content-Length"])
    assert struct.unpack("<di", found[length:]) == (0.5, 3)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"", "not JSON"),
        (b"[]", "the body is a list"),
        (b"{}", '"inputs"'),
        (b'{"inputs": []}', '"inputs"'),
        (infer_body([1.0], id=5), '"id" is 5'),
        (infer_body([1.0], id="x" * 1025), '"id" has more than 1024 bytes'),
        (infer_body([1.0], parameters=5), '"parameters" is 5'),
        (infer_body([1.0], outputs=5), '"outputs" is 5'),
        (infer_body([1.0], parameters={"binary_data_output": 1}), "true or false"),
        (infer_body([1e10]), "outside [-1000000000.0, 1000000000.0]"),
        (infer_body([1.0], parameters={"event_time": 1 << 41}), "event time"),
    ],
)
def test_bad_requests_are_told_why(served: Served, body: bytes, message: str) -> None:
    status, found = served.json("POST", PATH, body)
    assert status == 400
    assert message in found["error"]


def test_a_body_in_an_encoding_is_415(served: Served) -> None:
    status, _, body = served.ask("POST", PATH, infer_body([1.0]), Content_Encoding="gzip")
    assert (status, "Content-Encoding" in json.loads(body)["error"]) == (415, True)


def test_a_body_that_is_too_large_is_413(served: Served) -> None:
    assert served.json("POST", PATH, b" " * 100_001)[0] == 413


def test_the_methods_of_a_path_are_named(served: Served) -> None:
    status, headers, _ = served.ask("PUT", PATH, b"")
    assert (status, headers["Allow"]) == (405, "POST")
    status, headers, _ = served.ask("POST", "/v2", b"")
    assert (status, headers["Allow"]) == (405, "GET, HEAD")


def test_requests_are_counted_by_model_and_code(served: Served) -> None:
    served.json("POST", PATH, infer_body([1.0, 2.0]))
    served.json("POST", PATH, b"nonsense")
    served.json("POST", "/v2/models/nonsense/infer", b"")
    served.server.stop()
    counts = served.bench.meter.counts
    name = metrics.HTTP_REQUESTS.name
    assert {k[1:]: v for k, v in counts.items() if k[0] == name} == {
        ("m", "200"): 1.0, ("m", "400"): 1.0, ("unknown", "404"): 1.0,
    }  # fmt: skip
    assert counts[metrics.HTTP_ROWS.name, "m"] == 2


def test_a_changed_declaration_counts_from_the_next_request_on(served: Served) -> None:
    from dataclasses import replace

    assert served.json("POST", PATH, infer_body([2.0]))[0] == 200
    narrow = replace(MODEL, numeric=(replace(MODEL.numeric[0], highest=1.0), MODEL.numeric[1]))
    served.bench.models.model = narrow
    assert served.json("POST", PATH, infer_body([2.0]))[0] == 400


def test_the_other_pages_are_there_beside_it(served: Served) -> None:
    assert served.ask("GET", "/healthz")[0] == 200
    assert served.ask("GET", "/metrics")[0] == 200
