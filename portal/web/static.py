"""Static files, compressed ahead of time: a phone on a slow line gets the style and the scripts in two fifths of their bytes.

Pages are never compressed, since they hold a token beside a sender's text (BREACH). What lies here is the same for everybody.
"""

import gzip
import mimetypes
import re
from functools import lru_cache
from pathlib import Path

from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

_TEXT = {".css", ".js", ".svg"}
_GZIP = re.compile(r"(?:^|,)\s*gzip\s*(?:,|$|;\s*q=(?:1|0\.0{0,2}[1-9]))", re.ASCII | re.IGNORECASE)


def takes_gzip(accept_encoding: str) -> bool:
    """RFC 9110 12.5.3: named, and not with a quality of 0."""
    return _GZIP.search(accept_encoding[:400]) is not None


@lru_cache
def packed(file: Path) -> bytes:
    """A file as it travels to browsers that take gzip (RFC 1952)."""
    return gzip.compress(file.read_bytes(), 9, mtime=0)


class Static(StaticFiles):
    """Files with a version in their address, which browsers may keep for ever (RFC 8246)."""

    def __init__(self, directory: Path) -> None:
        super().__init__(directory=directory)
        files = [file for file in directory.rglob("*") if file.suffix in _TEXT]
        self._packed = {file.relative_to(directory).as_posix(): packed(file) for file in files}

    async def get_response(self, path: str, scope: Scope) -> Response:
        response = await super().get_response(path, scope)
        if path in self._packed and response.status_code in (200, 206):
            if takes_gzip(Headers(scope=scope).get("accept-encoding", "")):
                short = {"content-encoding": "gzip"}  # always whole: nobody resumes 3 KB
                response = Response(self._packed[path], headers=short, media_type=mimetypes.guess_type(path)[0])
            response.headers["vary"] = "Accept-Encoding"
        if response.status_code == 200 and b"v=" in scope["query_string"]:
            response.headers["cache-control"] = "public, max-age=31536000, immutable"
        return response
