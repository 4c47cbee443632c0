"""Every recipient page with a realistic, made-up context, served on loopback under the headers the portal sends.

`python -m tests.browser.gallery FOLDER` takes screenshots; the tests open the same pages. Nothing here is a route: the
contexts are what the routes hand to the templates.
"""

import json
import re
import socket
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace as Thing
from urllib.parse import parse_qs, urlsplit

from markupsafe import Markup

from portal import paths
from portal.mime import Card, Event, Moment, Report
from portal.web.replies import file_name
from portal.web.static import packed
from portal.web.templating import LANGUAGES, Pages, body_script_hash, direction

NOW = datetime(2026, 11, 21, 10, 42, tzinfo=UTC)
LATER = datetime(2026, 12, 5, 23, 59, tzinfo=UTC)
CLINIC = Thing(
    name="Northside Clinic", address="14 Harbour Lane, Northside 04101", phone="+1 555 0100", look="", host=""
)
CHROMIUM = "/usr/bin/chromium"
CHROMIUM_ARGS = [
    "--no-sandbox",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
PORTAL_CSP = (
    "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; connect-src 'self'; frame-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'"
)
BODY_CSP = (
    "default-src 'none'; style-src 'unsafe-inline'; img-src data:; form-action 'none'; base-uri 'self'; "
    f"frame-ancestors 'self'; script-src '{body_script_hash()}'; "
    "sandbox allow-scripts allow-popups allow-popups-to-escape-sandbox"
)

HTML = Markup("""<p>Dear Ms Alvarez,</p>
<p>thank you for coming in on Tuesday. Your blood results are back, and they look good. The iron level has come up from
<b>9</b> to <b>14 µg/dL</b>, so the tablets are doing their work.</p>
<table cellpadding="6" style="border-collapse:collapse" width="560"><tr><th align="left">Test</th><th align="left">Result</th>
<th align="left">Usual range</th></tr><tr><td>Ferritin</td><td>38 ng/mL</td><td>15 - 150</td></tr><tr><td>Haemoglobin</td>
<td>12.9 g/dL</td><td>12.0 - 15.5</td></tr><tr><td>Thyroid (TSH)</td><td>2.1 mIU/L</td><td>0.4 - 4.0</td></tr></table>
<ul><li>Keep taking one tablet a day, with orange juice rather than coffee.</li><li>Come back in <b>three months</b>.</li></ul>
<p>The full report is attached. You can answer this message here if anything is unclear, or read more about
<a href="https://www.clinic.example/iron">iron and food</a>.</p><p>With kind regards<br>Dr Carol Reyes</p>""")
TEXT = "Dear Ms Alvarez,\n\nyour appointment is on Monday, 30 November at 9:15.\n\nBring your list of medicines.\n\nCarol Reyes"

EARLIER = "On Thu, 19 Nov 2026 at 08:12, Alice Alvarez <alice@patients.example> wrote:\n> When is my appointment?\n"


def item(subject: str, state: str = "opened", unread: bool = False, attachments: int = 0) -> Thing:
    return Thing(
        id="0198", href="/messages/0198", subject=subject, sender="Dr Carol Reyes", sent_at=NOW, expires_at=LATER,
        state=state, unread=unread, attachments=attachments,
    )  # fmt: skip


def part(name: str, media_type: str, size: int) -> Thing:
    return Thing(
        name=name,
        media_type=media_type,
        size=size,
        href="/messages/0198/parts/2",
        view_href="/messages/0198/parts/2/view",
        sha256="9f86d081" * 8,
    )


RESULTS = item("Your blood results from Tuesday", unread=True, attachments=2)
PARTS = [part("Blood results 17 November.pdf", "application/pdf", 245_120), part("chart.png", "image/png", 1_204_000)]
HEADING = Thing(
    subject=RESULTS.subject, sender="Dr Carol Reyes <carol@clinic.example>", to=["alice@patients.example"],
    cc=["bob@patients.example"], sent_at=NOW,
)  # fmt: skip
ACCEPTED = Thing(state="accepted", at=NOW, text="")
DELAYED = Thing(state="delayed", at=NOW, text="451 4.7.1 Greylisted, try again later", minutes=5)
WRITTEN = {
    "write_href": "/messages/0198/reply?new=yes",
    "written": [Thing(at=NOW, state=state, href="/w") for state in ("draft", "queued", "handed-over", "failed")],
}
NO_SEARCH: Mapping[str, object] = {"found": None, "typed": "", "error": None, "write_href": None, "written": []}
FOUND = Thing(unread=1, next_id="0191")
SIGN_IN = {"door": "d0or", "sent_to": "a•••e@patients.example"}
CODE = {**SIGN_IN, "code_reference": "QK7", "mail": ACCEPTED, "error": None, "typed": ""}
LINK = {**SIGN_IN, "state": "readable", "sent_at": NOW, "expires_at": LATER}
OTHERS = ("front-desk@clinic.example", "radiology.second-opinions.northside@imaging.clinic.example")
REPLY_SENT = Thing(
    at=NOW, text="Thank you, doctor.\nI will book for February.", parts=PARTS[:1], state="handed-over", html=None,
    to="Dr Carol Reyes <carol@clinic.example>", subject="Re: Your blood results from Tuesday", others=(), left_out=0, fresh=False,
)  # fmt: skip
REPLY_FORMATTED = Thing(
    **{
        **vars(REPLY_SENT),
        "html": Markup("<p>Thank <strong>you</strong>.</p>\n<ul>\n<li>one</li>\n<li>two</li>\n</ul>"),
        "others": OTHERS,
        "left_out": 1,
    }
)
SAID = Thing(events=[], cards=[], reports=[])
VISIT = Moment(datetime(2026, 12, 4, 10, 30), "Europe/Berlin", all_day=False)
SAID_ALL = Thing(
    events=[
        Event(
            "1", "request", "Blood test", VISIT, replace(VISIT, at=VISIT.at + timedelta(minutes=30)), True, "Room 4",
            "Carol Reyes <carol@clinic.example>", ("alice@patients.example",), "Please come without breakfast.", "",
        ),
        Event("1", "cancel", "Check-up", replace(VISIT, zone="UTC"), None, False, "", "", (), "", ""),
    ],
    cards=[Card("2", "Dr Carol Reyes", ("Northside Clinic", "+1 555 0100", "carol@clinic.example"))],
    reports=[Report("3", "bob@patients.example", "failed", "5.1.1", "smtp; 550 no such mailbox")],
)  # fmt: skip
WITHIN = Thing(heading=HEADING, kind="", text=TEXT, body_href="/framed", said=SAID, parts=PARTS)
MESSAGE: Mapping[str, object] = {
    "item": RESULTS, "heading": HEADING, "text": TEXT, "earlier": "", "body_href": "/framed", "parts": PARTS, "problems": [],
    "said": SAID, "enclosed": [],
    "replies": [], "drafts": [], "reply_href": "/messages/0198/reply", "print_href": "/print", "pdf_href": "/pdf",
    "original_href": "/original",
    "receipt": None,
    "history": [
        Thing(at=NOW, text="opened", name="", who="Miguel"), Thing(at=NOW, text="attachment", name="chart.png", who=""),
    ],
    "expires_at": LATER, "offer": True,
}  # fmt: skip
PROBLEMS = [
    "unparsable",
    "too-many-parts",
    "too-deep",
    "bad-encoding",
    "picture-left-out",
    "html-left-out",
    "remote-left-out",
    "other-program",
]
REPLY: Mapping[str, object] = {
    "item": RESULTS, "heading": HEADING, "action": "/messages/0198/reply", "text": "", "error": None,
    "draft": "dr4ft", "preview": None,
    "limits": Thing(max_bytes=25_000_000, max_files=10), "files": [], "draft_href": "/draft",
    "formatted": False, "version": "", "kept": True, "days": 7, "others": [], "to_all": False,
    "fresh": False, "typed_subject": "",
}  # fmt: skip


@dataclass(frozen=True)
class Page:
    """One picture of the gallery: a template and what it is given."""

    template: str
    context: Mapping[str, object] = field(default_factory=dict)
    signed_in: bool = False
    has_org: bool = True


def wrong(name: str, text: str) -> Thing:
    return Thing(field=name, text=text)


def recovery(state: str) -> Thing:
    return Thing(begun_at=NOW, effective_at=LATER, state=state)


STEP_UP: Mapping[str, object] = {
    "mode": "read", "needs": 2, "can": True, "methods": ["app", "sms", "voice", "access-code", "recovery-code"],
    "base": "/step-up/0198", "back_href": "/inbox", "hint": "The word on the fridge", "number": "+1… 42",
    "address": "a…e@patients.example", "sent": None, "delivery": "0198", "may_add_passkey": False,
    "add_href": "/account/passkey?for=0198", "ask_href": None, "asked_at": None, "error": None, "typed": "",
}  # fmt: skip
SENT = Thing(channel="sms", reference="QK7", mail=ACCEPTED)
PASSKEY = Thing(
    id="0198", name="My phone", made_at=NOW, used_at=NOW, synced=True, suspect=False, vouched=True
)  # fmt: skip
ACCOUNT: Mapping[str, object] = {
    "address": "alice@patients.example",
    "passkeys": [
        PASSKEY,
        Thing(
            **{**vars(PASSKEY), "name": "Old <tablet>", "suspect": True, "vouched": False, "synced": False, "used_at": None}
        ),
    ],
    "app": Thing(since=NOW), "codes_left": 9, "shared": True, "member": "Alice Alvarez", "may_change": True,
    "sessions": [
        Thing(ref="ab" * 32, agent="Firefox, Android", place="", started_at=NOW, seen_at=NOW, current=True, method="passkey"),
        Thing(ref="cd" * 32, agent="", place="Northside", started_at=NOW, seen_at=NOW, current=False, method="emailed-code"),
    ],
    "signals": None, "done": "passkey", "error": None,
}  # fmt: skip
APP: Mapping[str, object] = {
    "qr": Markup('<svg width="225" height="225" viewBox="0 0 45 45"><path fill="#fff" d="M0 0h45v45H0z"/></svg>'),
    "letters": "JBSW Y3DP EHPK 3PXP JBSW Y3DP EHPK 3PXP", "action": "/account/app/confirm", "error": None, "typed": "",
}  # fmt: skip
ADDRESS: Mapping[str, object] = {
    "address": "alice@patients.example", "step": "ask", "new_address": "", "change_id": "", "error": None, "typed": "",
}  # fmt: skip
WHO: Mapping[str, object] = {
    "members": [Thing(id="01", name="Alice Alvarez"), Thing(id="02", name="Miguel")], "to": "", "error": None, "typed": "",
}  # fmt: skip
RESUME: Mapping[str, object] = {
    "text": "Dear doctor,\n\nI still feel dizzy in the morning.", "draft": "dr4ft", "door": "d0or", "wanted": "0198",
    "address": "a…e@patients.example", "sent": True, "code_reference": "QK7", "mail": ACCEPTED, "error": None, "typed": "",
    "action": "/messages/0198/reply/resume", "files_note": False, "version": "", "formatted": False, "to_all": False, "fresh": False,
    "typed_subject": "",
}  # fmt: skip


PAGES: Mapping[str, Page] = {
    "front": Page("front", {"reference": "", "error": None}, has_org=False),
    "front-signed-in": Page("front", {"reference": "", "error": None}, signed_in=True),
    "front-error": Page(
        "front", {"reference": "K7QF", "error": wrong("reference", "Type all 10 letters and numbers.")}
    ),
    "link": Page("link", LINK),
    "link-expired": Page("link", {**LINK, "state": "expired"}),
    "link-revoked": Page("link", {**LINK, "state": "revoked"}),
    "link-disposed": Page("link", {**LINK, "state": "disposed"}),
    "code": Page("code", CODE),
    "code-error": Page(
        "code",
        {
            **CODE,
            "mail": DELAYED,
            "typed": "1234 567",
            "error": wrong("code", "The code has 8 digits, and this has 7."),
        },
    ),
    "code-by-reference": Page("code", {**CODE, "sent_to": ""}, has_org=False),
    "code-help": Page("code_help", {**CODE, "wait_minutes": None}),
    "code-help-wait": Page(
        "code_help", {**CODE, "mail": Thing(state="failed", at=None, text="550 5.1.1 unknown"), "wait_minutes": 3}
    ),
    "code-help-by-reference": Page("code_help", {**CODE, "sent_to": "", "wait_minutes": None}, has_org=False),
    "inbox": Page(
        "inbox",
        {
            "items": [
                RESULTS,
                item(
                    "Your appointment on 30 November: what to bring, where to park and how to find the new entrance",
                    "replied",
                ),
                item("Referral letter", attachments=1),
                item("Vaccination record", "expired"),
                item("Invoice", "revoked"),
            ],
            "next_href": "/inbox?before=0191",
            **NO_SEARCH,
            **WRITTEN,
        },
        signed_in=True,
    ),
    "inbox-empty": Page("inbox", {"items": [], "next_href": None, **NO_SEARCH}, signed_in=True),
    "inbox-found": Page(
        "inbox",
        {
            **NO_SEARCH,
            "items": [RESULTS, item("Referral letter")],
            "next_href": None,
            "found": FOUND,
            "typed": "results",
            "error": None,
        },
        signed_in=True,
    ),
    "inbox-search-error": Page(
        "inbox",
        {**NO_SEARCH, "items": [], "next_href": None, "error": wrong("words", "Type a word to look for.")},
        signed_in=True,
    ),
    "message": Page("message", MESSAGE, signed_in=True),
    "message-text": Page(
        "message",
        {
            **MESSAGE,
            "body_href": None,
            "earlier": EARLIER,
            "problems": PROBLEMS,
            "replies": [REPLY_SENT, REPLY_FORMATTED],
            "drafts": [Thing(at=NOW, href="/reply")],
            "parts": [],
            "history": [],
        },
        signed_in=True,
    ),
    "message-within": Page(
        "message",
        {
            **MESSAGE,
            "said": SAID_ALL,
            "enclosed": [
                Thing(heading=None, kind="smime-signed", text=TEXT, body_href=None, said=SAID, parts=[]),
                WITHIN,
            ],
        },
        signed_in=True,
    ),
    "ended-expired": Page(
        "ended", {"reason": "expired", "ask_href": "/ask", "asked_at": None, "subject": ""}, signed_in=True
    ),
    "ended-asked": Page(
        "ended", {"reason": "revoked", "ask_href": None, "asked_at": NOW, "subject": ""}, signed_in=True
    ),
    "ended-disposed": Page(
        "ended", {"reason": "disposed", "ask_href": None, "asked_at": None, "subject": ""}, signed_in=True
    ),
    "reply": Page("reply", REPLY, signed_in=True),
    "reply-error": Page(
        "reply",
        {
            **REPLY,
            "error": wrong("text", "Write your reply, or add a file."),
            "files": [Thing(name="insurance card.jpg", size=812_000, remove_href="/upload/7")],
        },
        signed_in=True,
    ),
    "write": Page("reply", {**REPLY, "fresh": True, "heading": None}, signed_in=True),
    "write-error": Page(
        "reply",
        {**REPLY, "fresh": True, "heading": None, "error": wrong("subject", "Say what your message is about.")},
        signed_in=True,
    ),
    "write-sent": Page(
        "reply_sent", {"reply": Thing(**{**vars(REPLY_SENT), "fresh": True}), "back_href": "/inbox"}, signed_in=True
    ),
    "reply-all": Page("reply", {**REPLY, "others": OTHERS, "to_all": True}, signed_in=True),
    "reply-preview": Page(
        "reply",
        {
            **REPLY,
            "text": "Thank **you**.\n\n- one\n- two",
            "formatted": True,
            "preview": Markup("<p>Thank <strong>you</strong>.</p>\n<ul>\n<li>one</li>\n<li>two</li>\n</ul>"),
        },
        signed_in=True,
    ),
    "reply-sent": Page("reply_sent", {"reply": REPLY_SENT, "back_href": "/messages/0198"}, signed_in=True),
    "reply-sent-formatted": Page(
        "reply_sent", {"reply": REPLY_FORMATTED, "back_href": "/messages/0198"}, signed_in=True
    ),
    "error": Page(
        "error",
        {
            "status": 503,
            "heading": "The messages can't be opened right now",
            "say": "This is our fault, and we are sorry. Nothing is lost. Try again in a few minutes.",
            "next_href": "/",
            "next_text": "Try again",
        },
    ),
    "not-found": Page("not_found"),
    "step-up": Page("step_up", STEP_UP, signed_in=True),
    "step-up-passkey": Page("step_up", {**STEP_UP, "methods": ["passkey", "access-code"]}, signed_in=True),
    "step-up-error": Page(
        "step_up",
        {
            **STEP_UP,
            "methods": ["access-code", "recovery-code"],
            "typed": "blue tractr",
            "error": wrong("access-code", "This is not the access code of this message."),
        },
        signed_in=True,
    ),
    "step-up-sent": Page("step_up", {**STEP_UP, "methods": ["sms", "voice"], "sent": SENT}, signed_in=True),
    "step-up-none": Page("step_up", {**STEP_UP, "methods": [], "can": False, "ask_href": "/ask"}, signed_in=True),
    "step-up-add": Page("step_up", {**STEP_UP, "methods": [], "may_add_passkey": True}, signed_in=True),
    "confirm": Page(
        "step_up",
        {
            **STEP_UP,
            "mode": "confirm",
            "base": "/confirm",
            "methods": ["passkey", "app", "emailed-code", "recovery-code"],
        },
        signed_in=True,
    ),
    "account": Page("account", ACCOUNT, signed_in=True),
    "account-new": Page(
        "account",
        {**ACCOUNT, "passkeys": [], "app": None, "codes_left": 0, "may_change": False, "shared": False, "done": ""},
        signed_in=True,
    ),
    "account-error": Page(
        "account", {**ACCOUNT, "done": "", "error": wrong("name", "Give the passkey a name.")}, signed_in=True
    ),
    "passkey": Page(
        "passkey",
        {"name": "Firefox, Android", "for_delivery": "", "not_now_href": "/account", "error": None},
        signed_in=True,
    ),
    "app": Page("app", APP, signed_in=True),
    "app-error": Page(
        "app", {**APP, "typed": "12345", "error": wrong("code", "The code of the app has 6 digits.")}, signed_in=True
    ),
    "recovery-codes": Page(
        "recovery_codes", {"codes": [f"{slot}K-7QF2-MPD9-TXYW" for slot in range(10)], "made_at": NOW}, signed_in=True
    ),
    "address": Page("address", ADDRESS, signed_in=True),
    "address-error": Page(
        "address", {**ADDRESS, "typed": "alice", "error": wrong("address", "This is no email address.")}, signed_in=True
    ),
    "address-code": Page(
        "address", {**ADDRESS, "step": "code", "new_address": "a…z@other.example", "change_id": "0198"}, signed_in=True
    ),
    "who": Page("who", WHO, signed_in=True),
    "who-error": Page("who", {**WHO, "error": wrong("name", "Choose your name, or type it.")}, signed_in=True),
    "resume": Page("resume", RESUME),
    "resume-error": Page("resume", {**RESUME, "files_note": True, "error": wrong("code", "This code does not match.")}),
    "stop-recovery": Page("stop_recovery", {"recovery": recovery("waiting"), "action": "/recovery/x", "error": None}),
    "stop-recovery-error": Page(
        "stop_recovery",
        {
            "recovery": recovery("waiting"),
            "action": "/recovery/x",
            "error": wrong("letters", "Type the three letters."),
        },
    ),
    "stop-recovery-stopped": Page(
        "stop_recovery", {"recovery": recovery("stopped"), "action": "/recovery/x", "error": None}
    ),
    "stop-recovery-applied": Page(
        "stop_recovery", {"recovery": recovery("applied"), "action": "/recovery/x", "error": None}
    ),
    "signed-out": Page("signed_out"),
    "help": Page("help"),
}


def draw(pages: Pages, name: str, lang: str = "en", theme: str = "", ways: str = "") -> str:
    """The gallery page `name` as HTML."""
    page = PAGES[name]
    common = {
        "dir": ways or direction(lang), "theme": theme, "org": CLINIC if page.has_org else None,
        "signed_in": page.signed_in, "csrf": "t0ken",
        "here": "", "languages": LANGUAGES,
        **({"ends_in": 900, "over_in": 3600} if page.signed_in else {}),
    }  # fmt: skip
    return pages.render(f"recipient/{page.template}.html", lang, {**common, **page.context})


def draw_body(pages: Pages, lang: str = "en", html: str = HTML, script: bool = True, easy: bool = False) -> str:
    """The framed message."""
    context = {
        "html": html,
        "earlier": Markup("<p>Earlier.</p>"),
        "rest": "",
        "subject": HEADING.subject,
        "script": script,
        "easy": easy,
    }
    return pages.render("recipient/body.html", lang, {"dir": direction(lang), **context})


def draw_print(pages: Pages, lang: str = "en", html: str | None = HTML) -> str:
    """The message for paper."""
    context = {
        "dir": direction(lang),
        "heading": HEADING,
        "html": html,
        "text": TEXT,
        "org": CLINIC,
        "parts": PARTS,
        "replies": [REPLY_SENT],
        "sent_at": NOW,
        "said": SAID,
        "enclosed": [WITHIN],
        "printed_at": NOW,
    }
    return pages.render("recipient/print.html", lang, context)


class _Handler(BaseHTTPRequestHandler):
    server: "Gallery"

    def do_GET(self) -> None:
        asked = urlsplit(self.path)
        options = {key: values[0] for key, values in parse_qs(asked.query).items()}
        name = asked.path.strip("/")
        lang = options.get("lang", "en")
        if name.startswith("static/"):
            self._static(name.removeprefix("static/"))
        elif name == "framed":
            body = draw_body(self.server.pages, lang, easy=options.get("view") == "easy")
            self._answer(200, body.encode(), "text/html; charset=utf-8", BODY_CSP)
        elif name == "print":
            self._answer(200, draw_print(self.server.pages, lang).encode(), "text/html; charset=utf-8", BODY_CSP)
        elif name in PAGES:
            page = draw(self.server.pages, name, lang, options.get("theme", ""), options.get("dir", ""))
            self._answer(200, page.encode(), "text/html; charset=utf-8")
        else:
            self._answer(404, b"", "text/plain")

    def do_PUT(self) -> None:
        assert not urlsplit(self.path).query
        name = file_name(self.headers["Content-Disposition"])
        size = int(self.headers["Upload-Length"])
        self.server.uploads.append(Sent(name, size, self.headers["X-CSRF-Token"]))
        status = 413 if name.startswith("refused") else 201
        self._answer(status, b"", "text/plain", location=f"/upload/{len(self.server.uploads)}")

    def do_HEAD(self) -> None:
        sent = self._sent()
        self._answer(204, b"", "text/plain", offset=sent.here, complete=sent.here == sent.size)

    def do_PATCH(self) -> None:
        """A file called "broken" loses its connection once, after a third of it."""
        sent, left = self._sent(), int(self.headers["Content-Length"])
        sent.offsets.append(int(self.headers["Upload-Offset"]))
        with self.server.lock:
            self.server.at_once += 1
            self.server.most_at_once = max(self.server.most_at_once, self.server.at_once)
        time.sleep(0.1)
        if sent.name.startswith("broken") and len(sent.offsets) == 1:
            sent.here += len(self.rfile.read(left // 3))
            self.connection.shutdown(socket.SHUT_RDWR)
            self.close_connection = True
        else:
            sent.here += len(self.rfile.read(left))
            self._answer(415 if sent.name.startswith("infected") else 201, b"", "text/plain", location=self.path)
        with self.server.lock:
            self.server.at_once -= 1

    def _sent(self) -> "Sent":
        return self.server.uploads[int(self.path.rsplit("/", 1)[1]) - 1]

    def do_DELETE(self) -> None:
        self.server.removed.append(self.path)
        self._answer(204, b"", "text/plain")

    def do_POST(self) -> None:
        if self.path.startswith("/draft") or re.match(r"/[0-9a-f]{8}-", self.path):
            body = self.rfile.read(int(self.headers["Content-Length"])).decode()
            self.server.saved.append((self.path, body))
            statuses = self.server.save_statuses
            status = statuses.pop(0) if statuses else 200
            self._answer(status, b'{"ends_in": 900, "over_in": 9000}', "application/json")
            return
        self.server.posted.append(self.rfile.read(int(self.headers["Content-Length"])).decode("latin-1"))
        self._answer(200, draw(self.server.pages, "reply-sent").encode(), "text/html; charset=utf-8")

    def _static(self, name: str) -> None:
        types = {".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
        file = paths.static() / name
        self._answer(200, packed(file), types.get(file.suffix, "text/plain"), encoding="gzip")

    def _answer(
        self,
        status: int,
        body: bytes,
        kind: str,
        csp: str = PORTAL_CSP,
        location: str | None = None,
        encoding: str = "identity",
        offset: int | None = None,
        complete: bool = False,
    ) -> None:
        self.send_response(status)
        headers = {"Content-Type": kind, "Content-Length": str(len(body)), "Content-Security-Policy": csp}
        headers["Content-Encoding"] = encoding
        headers |= {"X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer", "Cache-Control": "no-store"}
        for name, value in headers.items():
            self.send_header(name, value)
        if location:
            self.send_header("Location", location)
        if offset is not None:
            self.send_header("Upload-Offset", str(offset))
            self.send_header("Upload-Complete", "?1" if complete else "?0")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class named it
        """Say nothing: the tests judge what the browser saw."""


@dataclass
class Sent:
    """A file on its way in: where each request for it began, and how much is here."""

    name: str
    size: int
    token: str
    offsets: list[int] = field(default_factory=list)
    here: int = 0


class Gallery(ThreadingHTTPServer):
    """The pages on a free loopback port, and what the browser sent there."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.url = f"http://localhost:{self.server_port}"
        self.pages = Pages("https://portal.clinic.example", now=lambda: NOW)
        self.uploads: list[Sent] = []
        self.lock, self.at_once, self.most_at_once = threading.Lock(), 0, 0
        self.saved: list[tuple[str, str]] = []
        self.save_statuses: list[int] = []
        """What the next saves are answered; 200 behind them."""
        self.removed: list[str] = []
        self.posted: list[str] = []


@contextmanager
def served() -> Iterator[Gallery]:
    """A running gallery, shut down afterwards."""
    with Gallery() as gallery:
        thread = threading.Thread(target=gallery.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield gallery
        finally:
            gallery.shutdown()
            thread.join()


def photograph(folder: Path, only: str = "") -> None:
    """Take every page as a picture: desktop, dark, and at 320 px in Spanish and, mirrored, in Arabic."""
    from playwright.sync_api import sync_playwright

    folder.mkdir(parents=True, exist_ok=True)
    looks = {"wide": (1100, "en", "light"), "dark": (1100, "en", "dark"), "small": (320, "es", "light")}
    looks["mirrored"] = (320, "ar", "light")
    with served() as gallery, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=CHROMIUM_ARGS)
        for look, (width, lang, theme) in looks.items():
            tab = browser.new_page(viewport={"width": width, "height": 800})
            tab.on("console", lambda message: print(json.dumps(message.text)))
            for name in [*PAGES, "print"]:
                if only in name:
                    tab.set_viewport_size({"width": width, "height": 800})
                    tab.goto(f"{gallery.url}/{name}?lang={lang}&theme={theme}")
                    tab.wait_for_timeout(150)
                    height = int(tab.evaluate("document.documentElement.scrollHeight"))
                    tab.set_viewport_size({"width": width, "height": height})  # a full-page shot narrows frames
                    tab.screenshot(path=folder / f"{name}-{look}.png")
        browser.close()


if __name__ == "__main__":
    photograph(Path(sys.argv[1]), sys.argv[2] if len(sys.argv) > 2 else "")
