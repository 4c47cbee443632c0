"""The floor: the portal's HTTP server (uvicorn, Starlette) with nothing in it: a hello, and a file in the clear.

`python -m bench.hello FOLDER`: /file is FOLDER/plain, when it is there.
"""

import json
import socket
import sys
from pathlib import Path

import uvicorn
import uvloop
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import FileResponse, PlainTextResponse, Response
from starlette.routing import Route

HELLO = "hello"


def app(folder: Path) -> Starlette:
    async def hello(request: Request) -> Response:
        return PlainTextResponse(HELLO)

    async def file(request: Request) -> Response:
        return FileResponse(folder / "plain", media_type="text/plain")

    return Starlette(routes=[Route("/hello", hello), Route("/file", file)])


def main() -> None:
    listening = socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(
        app(Path(sys.argv[1])), log_config=None, access_log=False, server_header=False, lifespan="off"
    )
    print(json.dumps({"ports": {"http": listening.getsockname()[1]}}), flush=True)
    uvloop.run(uvicorn.Server(config).serve(sockets=[listening]))


if __name__ == "__main__":
    main()
