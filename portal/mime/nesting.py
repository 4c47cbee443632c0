"""How deep a document nests, told before the sanitiser sees it: its tree builder needs quadratic time on deep ones.

An estimate after the rules of HTML's tree construction (13.2.6), on the safe side for what real mails hold; what a hostile
one still slips through meets the time limit of the render process.
"""

import re


def _words(listed: str) -> frozenset[str]:
    return frozenset(listed.split())


_TAG = re.compile(r"<(/?)([a-zA-Z][a-zA-Z0-9]*)([^<>]*)")
_NAME = re.compile(r"<(/?[a-zA-Z][a-zA-Z0-9]*)")
_LEAF = re.compile(r"<(\w++)[^<>]*+>[^<>]*+</\1>")
_VOID = _words("area base br col embed hr img input link meta param source track wbr")
# They outlive the block they were opened in: each following one opens them anew (13.2.4.3, the list of active formatting elements).
_FORMATTING = _words("a b big code em font i nobr s small span strike strong tt u")
# Cells and their like end whatever was open in them, and no end tag of something else reaches beyond (13.2.4.2, scope).
_BARRIERS = _words("table td th caption applet marquee object template select svg math button")
_TABLE = _words("tr td th tbody thead tfoot caption")
# Opening one of these closes an open one of the same kind, up to the elements named second.
_CLOSES = {
    "p": (_words("p"), _BARRIERS | _words("div li ul ol dl blockquote center")),
    "li": (_words("li"), _BARRIERS | _words("ul ol")),
    **dict.fromkeys(_words("dt dd"), (_words("dt dd"), _BARRIERS | _words("dl"))),
    **dict.fromkeys(_words("td th"), (_words("td th"), _words("table"))),
    "tr": (_words("tr"), _words("table")),
    **dict.fromkeys(_words("tbody thead tfoot"), (_words("tbody thead tfoot"), _words("table"))),
}


def is_deep(html: str, enough: int) -> bool:
    """Whether elements nest `enough` deep."""
    return at_most(html) >= enough and bound(html) >= enough and deepest(html, enough) >= enough


def at_most(html: str) -> int:
    """A depth that `deepest` never exceeds, in no time: what is opened, but for what is closed before anything else comes."""
    return html.count("<") - html.count("</") - len(_LEAF.findall(html)) + 1


def deepest(html: str, enough: int) -> int:
    """The depth of the deepest element, or `enough` as soon as that is reached."""
    stack, depth = _Stack(), 0
    for closing, name, rest in _TAG.findall(html):
        name = name.lower()
        if closing:
            stack.close(name)
        elif name not in _VOID:
            stack.open(name, rest)
            depth = max(depth, len(stack.names))
            if depth >= enough:
                return enough
    return depth


def bound(html: str) -> int:
    """A depth that `deepest` never exceeds, in a tenth of its time: only an end tag of the innermost element ends anything."""
    opened: list[str] = []
    deepest = 0
    for tag in map(str.lower, _NAME.findall(html)):
        if tag[0] == "/":
            if opened and opened[-1] == tag:
                opened.pop()
        elif tag not in _VOID:
            opened.append("/" + tag)
            if len(opened) > deepest:
                deepest = len(opened)
    return deepest


class _Stack:
    """The open elements, outermost first: their names and, beside them, their attributes as written."""

    def __init__(self) -> None:
        self.names: list[str] = []
        self._rests: list[str] = []

    def open(self, name: str, rest: str) -> None:
        if name in _CLOSES:
            self._close_nearest(*_CLOSES[name])
        elif name in _FORMATTING:
            same = [at for at, one in enumerate(self._rests) if one == rest and self.names[at] == name]
            if len(same) >= 3:  # no more than three alike are opened anew ("Noah's Ark", 13.2.4.3)
                self._drop(same[0], same[0] + 1)
        self.names.append(name)
        self._rests.append(rest)

    def close(self, name: str) -> None:
        if name in _FORMATTING:
            # It ends alone; the blocks inside it stay open (the adoption agency, 13.2.6.4.7).
            if name in self.names:
                at = len(self.names) - 1 - self.names[::-1].index(name)
                self._drop(at, at + 1)
        elif name in self.names:
            self._close_nearest(frozenset({name}), _words("table") if name in _TABLE else _BARRIERS)

    def _close_nearest(self, wanted: frozenset[str], stops: frozenset[str]) -> None:
        for at in range(len(self.names) - 1, -1, -1):
            if self.names[at] in wanted:
                self._end(at)
                return
            if self.names[at] in stops:
                return

    def _end(self, at: int) -> None:
        """Ends the element at `at` and all within; formatting outlives it unless it is a cell or a table."""
        inner = (
            []
            if self.names[at] in _BARRIERS
            else [n for n in range(at, len(self.names)) if self.names[n] in _FORMATTING]
        )
        kept = [(self.names[n], self._rests[n]) for n in inner]
        self._drop(at, len(self.names))
        self.names += [name for name, _ in kept]
        self._rests += [rest for _, rest in kept]

    def _drop(self, start: int, end: int) -> None:
        del self.names[start:end]
        del self._rests[start:end]
