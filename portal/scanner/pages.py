"""What a program without a browser finds in a page: links, forms and what stands in their fields."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from html.parser import HTMLParser
from urllib.parse import urlsplit

from portal.scanner.findings import SIGN_OUT

_DIGITS = re.compile(r"\b\d{4}[ -]?\d{4}\b|\b\d{6,8}\b")
_NOT_TYPED = ("hidden", "submit", "button", "image", "reset", "file")
_TICKED = ("checkbox", "radio")
MADE_UP = "00000000"


@dataclass
class Button:
    name: str
    value: str
    action: str


@dataclass
class Form:
    """`fields` is what goes when nobody types; `typed` are the fields that a person fills in."""

    action: str
    method: str
    fields: dict[str, str] = field(default_factory=dict)
    typed: list[str] = field(default_factory=list)
    buttons: list[Button] = field(default_factory=list)

    def submissions(self) -> Iterator[tuple[str, dict[str, str]]]:
        """Where it goes and with what, once for each of its buttons."""
        for button in self.buttons or [Button("", "", "")]:
            pressed = {button.name: button.value} if button.name else {}
            yield button.action or self.action, self.fields | pressed


class Page(HTMLParser):
    """Links, forms and text of a page, hostile or broken as it may be."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.links: list[str] = []
        self.forms: list[Form] = []
        self.text: list[str] = []
        self._form: Form | None = None
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        said = {name: value or "" for name, value in attrs}
        if tag == "a" and said.get("href"):
            self.links.append(said["href"])
        elif tag == "form":
            self._form = Form(said.get("action", ""), said.get("method", "get").lower())
            self.forms.append(self._form)
        elif self._form is not None and tag in ("input", "textarea", "select", "button"):
            _take(self._form, tag, said)

    def handle_endtag(self, tag: str) -> None:
        if tag == "form":
            self._form = None

    def handle_data(self, data: str) -> None:
        self.text.append(data)

    def guesses(self) -> list[str]:
        """What could be a code: digits that stand on the page, and made-up ones."""
        return [*dict.fromkeys(_DIGITS.findall(" ".join(self.text))), MADE_UP]

    def signed_in(self) -> bool:
        """Whether somebody who is signed in is shown this."""
        return any(urlsplit(one.action).path.endswith(SIGN_OUT) for one in self.forms)


def _take(form: Form, tag: str, said: dict[str, str]) -> None:
    name, value, kind = said.get("name", ""), said.get("value", ""), said.get("type", "").lower()
    if (tag == "button" and kind in ("", "submit")) or kind in ("submit", "image"):
        form.buttons.append(Button(name, value, said.get("formaction", "")))
    elif not name or tag == "button" or kind in ("button", "reset", "file"):
        return
    elif kind in _TICKED:
        if "checked" in said:
            form.fields[name] = value or "on"
    else:
        form.fields[name] = value
        if kind not in _NOT_TYPED and tag != "select":
            form.typed.append(name)
