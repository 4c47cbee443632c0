"""Forms as they are sent: small ones whole, those with files as a stream of which nothing is spooled.

The framework's own form parser writes files over 1 MiB to disk in clear; so files go from the request straight to who
takes them, piece by piece.
"""

from collections.abc import AsyncIterator, Awaitable, Callable
from urllib.parse import parse_qsl

from python_multipart import MultipartParser
from python_multipart.exceptions import MultipartParseError
from python_multipart.multipart import parse_options_header
from starlette.requests import ClientDisconnect, Request

from portal.model.errors import BodyTooLarge, InputRefused

_SMALL_BYTES = 64 * 1024
_FIELDS_BYTES = 1024 * 1024
_MAX_FIELDS = 100
Take = Callable[[str, str, str, AsyncIterator[bytes]], Awaitable[None]]
"""Takes a file: the form field's name, the file's name, its declared type, its pieces."""


async def read_form(request: Request) -> dict[str, str]:
    """The fields of a small form; the last one of a name counts. Raises BodyTooLarge, InputRefused."""
    return dict(await read_fields(request))


async def read_fields(request: Request, most: int = _MAX_FIELDS) -> list[tuple[str, str]]:
    """The fields of a small form, in their order: a name may come several times. Raises BodyTooLarge, InputRefused."""
    body = b""
    async for piece in request.stream():
        body += piece
        if len(body) > _SMALL_BYTES:
            raise BodyTooLarge("That was too much at once.")
    try:
        return parse_qsl(body.decode("utf-8"), keep_blank_values=True, max_num_fields=most)
    except (UnicodeDecodeError, ValueError):
        raise InputRefused("The form could not be read. Load the page again and repeat what you did.") from None


class Multipart:
    """A multipart form, read as it comes (RFC 7578). `fields` fills up; each file is handed to `take` when it begins.

    The whole request is read whatever `take` does with a file, so that the browser sees the answer.
    """

    def __init__(self, request: Request) -> None:
        self.fields: dict[str, str] = {}
        self._request = request
        self._events: list[tuple[str, bytes]] = []
        _, options = parse_options_header(request.headers.get("content-type", ""))
        boundary = options.get(b"boundary")
        if not boundary:
            raise InputRefused("The form could not be read. Load the page again and repeat what you did.")
        self._parser = MultipartParser(boundary, self._callbacks())  # type: ignore[arg-type]

    def _callbacks(self) -> dict[str, Callable[..., None]]:
        def with_data(name: str) -> Callable[[bytes, int, int], None]:
            return lambda data, start, end: self._events.append((name, data[start:end]))

        def alone(name: str) -> Callable[[], None]:
            return lambda: self._events.append((name, b""))

        data = {f"on_{name}": with_data(name) for name in ("header_field", "header_value", "part_data")}
        return {
            **data,
            **{
                f"on_{name}": alone(name)
                for name in ("part_begin", "header_end", "headers_finished", "part_end", "end")
            },
        }

    async def read(self, take: Take) -> None:
        """Reads to the end. Raises what `take` raises, once all is read; InputRefused for what is no form."""
        failure: Exception | None = None
        source = self._each_event()
        async for name, _ in source:
            if name != "part_begin":
                continue
            field, filename, declared = await self._headers(source)
            if filename is None:
                self.fields[field] = await self._value(source)
                self._check_size()
                continue
            pieces = self._pieces(source)
            try:
                if filename and failure is None:
                    await take(field, filename, declared, pieces)
            except ClientDisconnect:
                raise
            except Exception as error:
                failure = error
            async for _piece in pieces:  # what was not taken is passed over
                pass
        if failure:
            raise failure

    async def _each_event(self) -> AsyncIterator[tuple[str, bytes]]:
        async for chunk in self._request.stream():
            if not chunk:
                break
            try:
                self._parser.write(chunk)
            except MultipartParseError:
                raise InputRefused("The form could not be read. Load the page again and repeat what you did.") from None
            events, self._events = self._events, []
            for event in events:
                yield event

    async def _headers(self, source: AsyncIterator[tuple[str, bytes]]) -> tuple[str, str | None, str]:
        headers: dict[bytes, bytes] = {}
        name = value = b""
        async for event, data in source:
            if event == "header_field":
                name += data
            elif event == "header_value":
                value += data
            elif event == "header_end":
                headers[name.lower()], name, value = value, b"", b""
            elif event == "headers_finished":
                break
            if len(name) + len(value) > 8192 or len(headers) > 16:
                raise InputRefused("The form could not be read. Load the page again and repeat what you did.")
        _, options = parse_options_header(headers.get(b"content-disposition", b""))
        field = options.get(b"name", b"").decode("utf-8", "replace")
        filename = options.get(b"filename")
        declared = headers.get(b"content-type", b"application/octet-stream").decode("latin-1")[:200]
        return field, None if filename is None else filename.decode("utf-8", "replace"), declared

    async def _value(self, source: AsyncIterator[tuple[str, bytes]]) -> str:
        value = b""
        async for piece in self._pieces(source):
            value += piece
            if len(value) > _FIELDS_BYTES:
                raise BodyTooLarge("The text is too long. Shorten it, or add it as a file.", "text")
        return value.decode("utf-8", "replace")

    def _check_size(self) -> None:
        """Fields are held in memory: there are few, and they are small together."""
        if len(self.fields) > _MAX_FIELDS or sum(map(len, self.fields.values())) > _FIELDS_BYTES:
            raise BodyTooLarge("The text is too long. Shorten it, or add it as a file.", "text")

    async def _pieces(self, source: AsyncIterator[tuple[str, bytes]]) -> AsyncIterator[bytes]:
        async for event, data in source:
            if event == "part_data":
                yield data
            elif event == "part_end":
                return
