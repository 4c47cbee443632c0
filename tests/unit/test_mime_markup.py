"""Light formatting: what was typed, with bold, slanted and lists, and nothing that leads anywhere."""

import re
from html import unescape

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portal.mime.formatted import harmless, load
from portal.mime.markup import formatted
from portal.model.errors import InputRefused

_TAG = re.compile(r"<[^>]*>")


def test_marks_become_formatting_and_points_keep_their_numbers() -> None:
    """Bold, slanted, line breaks and both kinds of list; a list that counts 3, 7 says 3, 7."""
    html = formatted("**Dear** *doctor*,\nthank you\n\n- one\n- two\n\n3. third\n7. seventh")
    assert html == (
        "<p><strong>Dear</strong> <em>doctor</em>,<br>\nthank you</p>\n<ul>\n<li>one</li>\n<li>two</li>\n</ul>\n"
        '<ol>\n<li value="3">third</li>\n<li value="7">seventh</li>\n</ol>'
    )


HOSTILE = [
    "[https://clinic.example](https://evil.example)",
    "[clinic.example]: https://evil.example\n\n[clinic.example]",
    "<https://evil.example>",
    "![x](https://evil.example/x.png)",
    "https://clinic.example@evil.example/",
    "<a href=https://evil.example>https://clinic.example</a>",
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "&lt;script&gt; &#60;b&#62;",
    "**<b onclick=x>**",
    "<p style='position:fixed'>over everything</p>",
    "```\n<iframe src=//evil.example>\n```",
    "# head\n\n> quoted\n\n---\n\n`code`",
    "\u202ehttps://gpj.elpmaxe",
]


@pytest.mark.parametrize("text", HOSTILE)
def test_no_words_can_hide_where_they_lead(text: str) -> None:
    """Links, pictures, entities and raw HTML stay the signs that were typed; there is no attribute but a point's number."""
    html = formatted(text)
    assert html is not None
    assert harmless(html)
    assert "href" not in _TAG.findall(html)
    assert all(re.fullmatch(r"</?(p|br|strong|em|ul|ol|li)>", tag) for tag in _TAG.findall(html))
    shown = unescape(_TAG.sub("", html))
    assert [sign for sign in shown if sign not in "*" and not sign.isspace()] == [
        sign for sign in text if sign not in "*" and not sign.isspace()
    ]


@given(st.text(alphabet=st.sampled_from("ab1*_-+.)( \n\t<>&[]!`#\\é"), max_size=200))
def test_whatever_is_typed_is_harmless_and_whole_or_refused(text: str) -> None:
    """No tag beside the few, and no word lost."""
    html = formatted(text)
    assert html is None or harmless(html)


def test_what_would_lose_words_is_refused() -> None:
    """Lists deeper than the library goes would drop what is in them."""
    assert formatted("- " * 30 + "5 mg") is None
    with pytest.raises(InputRefused):
        load(b"")


@pytest.mark.parametrize("html", ["<p onclick=x>", "<a>", "<p>a</p><", ">", '<li value="1" id="x">', "<P>", "<p\n>"])
def test_an_answer_that_is_no_light_formatting_is_not_believed(html: str) -> None:
    """Whatever took the process over can hand on these few tags and nothing else."""
    assert not harmless(html)
    with pytest.raises(ValueError, match="light formatting"):
        load(html.encode())
