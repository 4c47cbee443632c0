"""What a page weighs and how many requests it takes, fetched as a browser would that has been here never before."""

import re
from dataclasses import dataclass
from pathlib import Path

from bench import house, processes
from bench.downloads import get
from bench.house import Prepared
from bench.lines import Line, Wrong
from bench.processes import Server

_FETCHED = re.compile(r'<(?:link|script|img|iframe)[^>]*?\s(?:href|src)="([^"]+)"')


@dataclass(frozen=True)
class _Page:
    html: int
    css: int
    mail: int
    total: int
    requests: list[str]


def page(made: Prepared, work: Path, quick: bool) -> list[Line]:
    """Uncompressed, as pages are sent (BREACH); headers aside."""
    with house.copy(made, work / "copy") as own, processes.portal(own.folder) as portal:
        person = own.people[0]
        message = f"/messages/{person.messages[0].delivery}"
        front, inbox = _looked(portal, "/", ""), _looked(portal, "/inbox", person.cookie)
        read = _looked(portal, message, person.cookie)
        again = _looked(portal, message, person.cookie)
    kept = [one for one in again.requests if "?v=" not in one]
    return [
        *_lines("page: sign-in", front, front.total, 20, ""),
        *_lines("page: inbox", inbox, inbox.total, 25, ""),
        *_lines("page: message", read, read.total - read.mail, 15, f" + the mail {read.mail / 1000:.1f} kB"),
        Line("page: message, seen before", f"{len(kept)} requests", "-", "-", "<= 4", len(kept) <= 4),
        Line("page: CSS", f"{front.css / 1000:.2f} kB", "-", "-", "<= 8 KB (8.19 kB)", front.css <= 8192),
    ]


def _lines(row: str, one: _Page, weight: int, most: int, more: str) -> list[Line]:
    figure = f"{weight / 1000:.1f} kB{more}"
    count = len(one.requests)
    return [
        Line(row, figure, "-", "-", f"<= {most} KB", weight <= most * 1024),
        Line(f"{row}, requests", f"{count}: {', '.join(map(_short, one.requests))}", "-", "-", "<= 4", count <= 4),
    ]


def _short(path: str) -> str:
    return path.partition("?")[0].rpartition("/")[2] if "static" in path or path.endswith("body") else "page"


def _looked(server: Server, path: str, cookie: str) -> _Page:
    html, _ = get(server, path, cookie)
    wanted = _FETCHED.findall(html.decode())
    foreign = [one for one in wanted if not one.startswith("/") or one.startswith("//")]
    if foreign:
        raise Wrong(f"{path} fetches from elsewhere: {foreign}")
    weights = {one: len(get(server, one, cookie)[0]) for one in wanted}
    css = sum(size for one, size in weights.items() if ".css" in one)
    mail = sum(size for one, size in weights.items() if one.endswith("/body"))
    return _Page(len(html), css, mail, len(html) + sum(weights.values()), [path, *wanted])
