"""Pages and letters from templates/: what recipients see and what the portal writes to them.

Promises: everything is escaped unless the sanitiser marked it safe; a name a template asks for and does not get is an
error, not a gap. One environment a language, made at start, so that a request only renders. Refuses: a static file
that does not exist, a language without a catalogue.
"""

import base64
import hashlib
import textwrap
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from urllib.parse import urlsplit

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from portal import paths
from portal.web.compiled import CompiledSentences
from portal.web.languages import LANGUAGES, catalogue, choose, direction
from portal.web.wording import FILTERS

__all__ = ["BODY_SCRIPT_HASH", "LANGUAGES", "Letter", "Letters", "Pages", "body_script_hash", "choose", "direction"]

_MAIL_COLUMNS = 72


class Pages:
    """The pages of the portal at `base_url`, in every language."""

    def __init__(self, base_url: str, now: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self._host = urlsplit(base_url).netloc
        self._now = now
        versions = _versions()
        self._environments = {lang: _environment(lang, autoescape=True) for lang in LANGUAGES}
        for environment in self._environments.values():
            environment.filters["static"] = (
                versions.__getitem__
            )  # a filter of a constant is worked out once, at compiling
            environment.globals["body_script"] = Markup(_body_script())  # noqa: S704 - our own file, pinned by its hash

    def render(self, name: str, lang: str, context: Mapping[str, object]) -> str:
        """The page `name` ("recipient/inbox.html"). `tz`, `now`, `nonce` and `base_host` have defaults."""
        defaults = {"lang": lang, "tz": "UTC", "now": self._now(), "nonce": "", "base_host": self._host}
        return self._environments[lang].get_template(name).render({**defaults, **context})

    def say(self, sentence: str, lang: str, **values: object) -> str:
        """A sentence of the catalogue in another language, for what is said outside templates."""
        return catalogue(lang).gettext(sentence) % values if values else catalogue(lang).gettext(sentence)


@dataclass(frozen=True)
class Letter:
    """A mail's words: the subject is one line, the text is wrapped, the HTML says the same."""

    subject: str
    text: str
    html: str


class Letters:
    """The mails of the portal, in every language. They take nothing from a message (security.md, Notices)."""

    def __init__(self) -> None:
        self._plain = {lang: _environment(lang, autoescape=False) for lang in LANGUAGES}
        self._html = {lang: _environment(lang, autoescape=True) for lang in LANGUAGES}

    def render(self, name: str, lang: str, context: Mapping[str, object]) -> Letter:
        """The letter `name` ("notice"). `tz` defaults to UTC."""
        given = {"lang": lang, "dir": direction(lang), "languages": LANGUAGES, "tz": "UTC", **context}
        plain, html = self._plain[lang], self._html[lang]
        return Letter(
            subject=" ".join(plain.get_template(f"mail/{name}/subject.txt").render(given).split()),
            text=_wrapped(plain.get_template(f"mail/{name}/body.txt").render(given)),
            html=html.get_template(f"mail/{name}/body.html").render(given),
        )

    def line(self, name: str, lang: str, context: Mapping[str, object]) -> str:
        """What is texted or read out, on one line."""
        given = {"lang": lang, "tz": "UTC", **context}
        return " ".join(self._plain[lang].get_template(f"text/{name}.txt").render(given).split())


def body_script_hash() -> str:
    """The CSP source ("sha256-...") of the one script in the framed message; put it in quotes in the header."""
    digest = hashlib.sha256(_body_script().encode()).digest()
    return "sha256-" + base64.b64encode(digest).decode("ascii")


BODY_SCRIPT_HASH = body_script_hash


@lru_cache
def _body_script() -> str:
    return (paths.templates() / "recipient" / "body.js").read_text(encoding="utf-8").strip()


def _environment(lang: str, *, autoescape: bool) -> Environment:
    environment = Environment(
        loader=FileSystemLoader(paths.templates()),
        autoescape=autoescape,  # noqa: S701 - False for text mails only
        undefined=StrictUndefined,
        trim_blocks=autoescape,  # in text mails the empty lines count
        lstrip_blocks=True,
        auto_reload=False,
        extensions=[CompiledSentences],
    )
    environment.extend(catalogue=catalogue(lang))
    environment.policies["ext.i18n.trimmed"] = True
    environment.install_gettext_translations(catalogue(lang), newstyle=True)  # type: ignore[attr-defined]
    environment.filters.update(FILTERS)
    return environment


def _versions() -> dict[str, str]:
    """Every static file's path -> its address with a version, so that browsers may keep it for ever."""
    root = paths.static()
    files = sorted(file for file in root.rglob("*") if file.is_file())
    return {
        (name := file.relative_to(root).as_posix()): f"/static/{name}?v={_version(file.read_bytes())}" for file in files
    }


def _version(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:8]


def _wrapped(text: str) -> str:
    """Paragraphs at 72 columns, one empty line between them; a link is never broken."""
    lines: list[str] = []
    for line in text.strip().splitlines():
        wrapped = textwrap.wrap(line, _MAIL_COLUMNS, break_long_words=False, break_on_hyphens=False) or [""]
        if wrapped != [""] or lines[-1:] != [""]:
            lines += wrapped
    return "\n".join(lines) + "\n"
