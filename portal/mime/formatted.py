"""What comes of light formatting, checked without either library that makes it (portal/mime/markup.py)."""

import re

from portal.model.errors import InputRefused

MAX_BYTES = 4 * 1024 * 1024
"""Of the HTML that 100,000 signs may come to."""
ANY_TAG = re.compile(r'</?(?:p|br|strong|em|ul|ol|li)>|<li value="(\d{1,9})">')
"""Each tag there can be. Whatever else has an angle bracket is not what was meant."""
REFUSED = "This text can't be formatted. Send it without formatting."


def harmless(html: str) -> bool:
    return not re.search(r"[<>]", ANY_TAG.sub("", html))


def load(answer: bytes) -> str:
    """The HTML that the process made. Raises InputRefused where it made none, ValueError for what is no such HTML."""
    if not answer:
        raise InputRefused(REFUSED, "text")
    html = answer.decode()
    if not harmless(html):
        raise ValueError("not the HTML of light formatting")
    return html
