"""``python -m loadtest.http_parts.fastapi_peer PORT DIRECTORY PATH DIGEST``.

FastAPI at its best: uvicorn on uvloop and httptools, no access log, one asynchronous handler that
takes the request as it is (no pydantic model, which would cost it more), orjson both ways, the
frozen model called in place. It checks nothing and writes nothing down.
"""

from __future__ import annotations

import sys

import uvicorn
from fastapi import FastAPI, Request, Response

from loadtest.http_parts import model as parts

app = FastAPI()
model = parts.frozen(*sys.argv[2:5])


@app.post("/v2/models/{name}/infer")
async def infer(name: str, request: Request) -> Response:
    scores = model.score(parts.features(parts.matrix(await request.body())))
    return Response(parts.answer(scores), media_type="application/json")


if __name__ == "__main__":
    uvicorn.run(
        app,
        port=int(sys.argv[1]),
        loop="uvloop",
        http="httptools",
        access_log=False,
        log_level="error",
    )
