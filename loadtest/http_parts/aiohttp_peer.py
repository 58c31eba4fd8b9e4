"""``python -m loadtest.http_parts.aiohttp_peer PORT``: aiohttp on uvloop, orjson, and River's tree
asked row by row."""

from __future__ import annotations

import sys

import numpy as np
import uvloop
from aiohttp import web

from loadtest.http_parts import model as parts

uvloop.install()
tree = parts.trained()


async def infer(request: web.Request) -> web.Response:
    length = request.headers.get("Inference-Header-Content-Length")
    scores = parts.asked(tree, parts.matrix(await request.read(), length))
    body = parts.answer(np.array(scores).reshape(-1, 1))
    return web.Response(body=body, content_type="application/json")


if __name__ == "__main__":
    application = web.Application()
    application.router.add_post("/v2/models/{name}/infer", infer)
    web.run_app(
        application, host="127.0.0.1", port=int(sys.argv[1]), access_log=None, print=lambda *_: None
    )
