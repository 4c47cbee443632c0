"""What content leaves with: the exact headers of every endpoint that serves a stranger's bytes, and what may be shown."""

import re
import struct
import zlib
from dataclasses import replace
from typing import Any

import httpx2
import pytest

from portal.db import orgs
from portal.db.tables import deliveries
from portal.mime.names import as_text, preview_type
from portal.model.events import By, Who
from portal.web.templating import body_script_hash
from tests.story.seams import prepared, put, rows
from tests.story.test_replying import draft, send
from tests.world import Browser, World, letter

pytestmark = pytest.mark.anyio


def _chunk(name: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


PNG = (
    b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", struct.pack(">IIBBBBB", 1, 1, 8, 2, 0, 0, 0))
    + _chunk(b"IDAT", zlib.compress(b"\0\xff\0\0")) + _chunk(b"IEND", b"")
)  # fmt: skip
JPEG = b"\xff\xd8\xff\xe0\0\x10JFIF\0\1\1\0\0\1\0\1\0\0" + bytes(40) + b"\xff\xd9"
GIF = b"GIF89a\1\0\1\0\x80\0\0\0\0\0\xff\xff\xff!\xf9\4\1\0\0\0\0,\0\0\0\0\1\0\1\0\0\2\2D\1\0;"
WEBP = b"RIFF\x24\0\0\0WEBPVP8 " + bytes(24)
PDF = b"%PDF-1.7\n" + bytes(range(256)) * 8
TEXT = "Grüße, Ωmega\n"

EVERY = {
    "strict-transport-security": "max-age=63072000; includeSubDomains",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": (
        "accelerometer=(), autoplay=(), camera=(), display-capture=(), fullscreen=(), geolocation=(), gyroscope=(), hid=(), "
        "idle-detection=(), local-fonts=(), magnetometer=(), microphone=(), midi=(), payment=(), serial=(), usb=(), "
        "xr-spatial-tracking=(), publickey-credentials-get=(self), publickey-credentials-create=(self)"
    ),
    "x-robots-tag": "noindex, nofollow",
    "cache-control": "no-store",
}
_PAGE = (
    "default-src 'none'; script-src 'nonce-NONCE'; style-src 'self'; img-src 'self'; connect-src 'self'; frame-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'"
)
PAGE = {"content-type": "text/html; charset=utf-8", "content-security-policy": _PAGE, "content-length": "SIZE"}
_MAIL = (
    "default-src 'none'; style-src 'unsafe-inline'; img-src data:; form-action 'none'; base-uri 'none'; frame-ancestors 'self'; "
    "sandbox allow-popups allow-popups-to-escape-sandbox"
)
BYTES = {"content-security-policy": "default-src 'none'; sandbox", "accept-ranges": "bytes", "etag": '"TAG"'}


def file(kind: str, name: str, size: int, media_type: str, **more: str) -> dict[str, str]:
    ascii_name = re.sub(r"[^\w .()-]", "_", name, flags=re.ASCII)
    said = f"{kind}; filename=\"{ascii_name}\"; filename*=UTF-8''{name.replace(' ', '%20').replace('ü', '%C3%BC')}"
    return {"content-disposition": said, "content-type": media_type, "content-length": str(size), **more}


def attached(name: str, content: bytes, media_type: str = "application/octet-stream") -> dict[str, str]:
    return BYTES | file("attachment", name, len(content), media_type)


def shown(name: str, content: bytes, media_type: str) -> dict[str, str]:
    policy = "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'; sandbox"
    return file("inline", name, len(content), media_type) | {"content-security-policy": policy}


FILES = [
    ("scan für Sie.png", "image/png", PNG),
    ("a.jpg", "image/jpeg", JPEG),
    ("a.gif", "image/gif", GIF),
    ("a.webp", "image/webp", WEBP),
    ("results.pdf", "application/pdf", PDF),
    ("notes.txt", "text/plain", TEXT.encode()),
]
NOT_SHOWN = [
    ("page.html", "text/html", b"<script>alert(1)</script>"),
    ("picture.svg", "image/svg+xml", b"<svg xmlns='http://www.w3.org/2000/svg' onload='alert(1)'/>"),
    ("page.png", "image/png", b"<html><script>alert(1)</script>"),
    ("page.pdf", "application/pdf", b"<script>alert(1)</script>%PDF"),
    ("data.txt", "text/plain", b"MZ\0\1\2\3" + bytes(100)),
    ("files.zip", "application/zip", b"PK\3\4" + bytes(100)),
]


def same(answer: httpx2.Response, status: int, expected: dict[str, str]) -> None:
    """The headers, all of them and none besides; what each request has of its own is taken out first."""
    found = {name.lower(): value for name, value in answer.headers.items()}
    assert len(answer.headers.multi_items()) == len(found), "a header twice"
    found.pop("set-cookie", None)
    found["content-security-policy"] = re.sub(r"nonce-[\w-]{22}", "nonce-NONCE", found["content-security-policy"])
    if "etag" in found:
        found["etag"] = re.sub(r"\A\"[0-9a-f]{16}\"\Z", '"TAG"', found["etag"])
    if expected.get("content-length") == "SIZE":
        found["content-length"] = "SIZE" if found.get("content-length") == str(len(answer.content)) else "wrong"
    assert (answer.status_code, found) == (status, EVERY | expected), str(answer.url)


async def alices(world: World, mail: bytes) -> tuple[Browser, str]:
    token = await world.announce(mail)
    await prepared(world)
    alice = world.browser()
    return alice, await alice.sign_in(token)


async def test_the_headers_of_everything_that_serves_content(world: World) -> None:
    """Exact strings (security.md, Hostile mail): page, framed body, print, attachments, previews, original, a reply's file."""
    files = FILES + NOT_SHOWN
    mail = letter(html="<p>Well.</p>", attachments=[(name, kind, content) for name, kind, content in files])
    alice, message = await alices(world, mail)
    get: Any = alice.http.get
    same(await get(message), 200, PAGE)
    framed = f"{_MAIL} allow-scripts; script-src '{body_script_hash()}'"
    body = {**PAGE, "content-security-policy": framed, "cross-origin-opener-policy": "unsafe-none"}
    same(await get(f"{message}/body", headers={"sec-fetch-dest": "iframe"}), 200, body)
    same(await get(f"{message}/body"), 200, {**body, "content-security-policy": f"{_MAIL} allow-modals"})
    same(await get(f"{message}/print"), 200, {**PAGE, "content-security-policy": f"{_MAIL} allow-modals"})
    page = await alice.get(message)
    links = re.findall(r'href="(/messages/[^"]+/parts/\d+)"', page.text)
    views = re.findall(r'href="(/messages/[^"]+/parts/\d+/view)"', page.text)
    assert len(links) == len(files)
    # data.txt says that it is text: its bytes are looked at when it is asked for, not before.
    assert views == [f"{link}/view" for link, (name, _, _) in zip(links, files, strict=True) if name in _LINKED]
    types = {name: kind if kind != "text/plain" else "application/octet-stream" for name, kind, _ in FILES}
    for link, (name, _, content) in zip(links, files, strict=True):
        expected = attached(name, content, types.get(name, "application/octet-stream"))
        answer = await get(link)
        same(answer, 200, expected)
        assert answer.content == content
        same(await alice.http.head(link), 200, expected)
        part = await get(link, headers={"range": "bytes=2-4"})
        same(part, 206, {**expected, "content-length": "3", "content-range": f"bytes 2-4/{len(content)}"})
        assert part.content == content[2:5]
        beyond = await get(link, headers={"range": f"bytes={len(content)}-"})
        refused = {name: value for name, value in expected.items() if name != "content-type"}
        same(beyond, 416, {**refused, "content-length": "0", "content-range": f"bytes */{len(content)}"})
    for link, (name, kind, content) in zip(links, files, strict=True):
        answer = await get(f"{link}/view", headers={"range": "bytes=2-4"})  # shown whole: one look is one event
        if name not in types:
            same(answer, 404, PAGE)
            continue
        kind = "text/plain; charset=utf-8" if kind == "text/plain" else kind
        same(answer, 200, shown(name, content, kind))
        assert answer.content == content
        same(await alice.http.head(f"{link}/view"), 200, shown(name, content, kind))
    eml = await get(f"{message}/original.eml")
    same(eml, 200, attached("message.eml", mail, "message/rfc822"))
    assert eml.content == mail
    await alice.get(message)
    assert (await send(alice, message, await draft(alice, message), files=[("my.pdf", PDF)])).status_code == 303
    (own,) = re.findall(r'href="(/messages/[^"]+/replies/[^"]+/files/[^"]+)"', (await alice.get(message)).text)
    same(await get(own), 200, attached("my.pdf", PDF, "application/pdf"))
    for path in ("/parts/99", "/parts/99/view", "/parts/x", "/parts/x/view", "/nothing"):
        same(await get(message + path), 404, PAGE)


_LINKED = {name for name, _, _ in FILES} | {"data.txt"}


async def test_a_preview_is_a_view_of_its_own(world: World) -> None:
    """On record as an attachment that was looked at, and shown so to staff; a class that forbids it shows no link and no preview."""
    alice, message = await alices(world, letter(attachments=[("a.png", "image/png", PNG)]))
    (link,) = re.findall(r'href="(/messages/[^"]+/parts/\d+)"', (await alice.get(message)).text)
    before = len(await world.events("AttachmentOpened"))
    assert (await alice.http.get(f"{link}/view")).status_code == 200
    assert (await alice.http.get(link)).status_code == 200
    seen = (await world.events("AttachmentOpened"))[before:]
    assert [one.detail["way"] for one in seen] == ["preview", "download"]
    await put(world, deliveries, {"previews": False})
    assert "/view" not in (await alice.get(message)).text
    assert (await alice.http.get(f"{link}/view")).status_code == 404
    assert (await alice.http.get(link)).status_code == 200
    assert len(await world.events("AttachmentOpened")) == before + 3


async def test_the_class_of_the_message_allows_previews_or_not(world: World) -> None:
    """As it was when the message came; a stricter class later takes them away, never gives them."""
    found = await orgs.policy_in_force(world.house.db, world.northside.id, "default")
    assert found is not None
    classes = world.house.classes(By(Who.OPERATOR, "dora"))
    await world.deliver()
    await classes.set(world.northside.id, replace(found[0], previews=False))
    await world.deliver(letter(message_id="<2@clinic.example>"))
    assert [row["previews"] for row in await rows(world, deliveries)] == [True, False]


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (b"", ""),
        (b"plain\r\n\tand\x0cmore", "plain\r\n\tand\x0cmore"),
        ("Grüße".encode(), "Grüße"),
        (b"\xef\xbb\xbfmarked", "marked"),
        ("Grüße".encode("cp1252"), "Grüße"),
        ("Grüße".encode("utf-16"), "Grüße"),
        (b"\xff\xfeodd", "\u646f\ufffd"),
        (b"a\0b", None),
        (b"\x1b[31mred", "\x1b[31mred"),
        (b"\x7fELF\2\1", None),
    ],
)
async def test_text_is_what_has_no_signs_but_those_of_text(content: bytes, text: str | None) -> None:
    """By byte order mark, UTF-8 or windows-1252; a NUL or another control sign makes it none."""
    assert as_text(content) == text


async def test_only_what_is_known_by_its_signature_is_shown() -> None:
    """What a sender declares counts for plain text alone, and not for what is large or something else."""
    assert preview_type("image/png", "text/html", 9**9) == "image/png"
    assert preview_type("application/octet-stream", "text/plain", 1024 * 1024) == "text/plain"
    for media_type, declared, size in (
        ("application/octet-stream", "text/plain", 1024 * 1024 + 1),
        ("application/octet-stream", "text/html", 10),
        ("application/octet-stream", "image/png", 10),
        ("text/html", "text/plain", 10),
        ("image/svg+xml", "text/plain", 10),
    ):
        assert preview_type(media_type, declared, size) is None
