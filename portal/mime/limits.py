"""How much of a mail is looked at: figures that are checked on the raw bytes, before any library sees them.

The standard library's parsers are quadratic or recursive on hostile input; inside these limits they are not. Going over
`MAX_HEADER_BYTES`, `MAX_FIELDS`, `MAX_FIELD_BYTES` or `MAX_PARAMETERS` anywhere makes the mail `Unparsable`: it is kept and not
displayed. Going over any other leaves the rest out, or closed in its attachment, and says so.
"""

MAX_RAW_BYTES = 160 * 1024 * 1024
MAX_HEADER_BYTES = 64 * 1024
MAX_FIELDS = 200
MAX_FIELD_BYTES = 8 * 1024
MAX_PARTS = 200
MAX_DEPTH = 20
MAX_ENCLOSED = 30
MAX_ENCLOSED_DEPTH = 4
"""Messages in the message, in all and inside one another. Each is kept whole beside its parts."""
MAX_TWICE_KEPT_BYTES = 1024 * 1024
"""And twice the mail's own size: so much of messages in the message is opened, that no mail is kept more than four times over."""
MAX_OPENED_BYTES = 16 * 1024 * 1024
"""Of a message or multipart that is encoded though it must not be (RFC 2045 6.4)."""
MAX_PARAMETERS = 50
MAX_ADDRESSES = 100
MAX_REFERENCES = 50
MAX_HEADING_CHARS = 998
MAX_NAME_CHARS = 120
MAX_TEXT_CHARS = 2 * 1024 * 1024
MAX_HTML_CHARS = 2 * 1024 * 1024
MAX_HTML_DEPTH = 500
MAX_DOCUMENTS_CHARS = 4 * 1024 * 1024
"""Of HTML, and of text, in all documents of a mail together."""
MAX_SHOWN_CHARS = 24 * 1024 * 1024
"""Of all clean HTML together, with the pictures in it."""
MAX_PICTURE_BYTES = 8 * 1024 * 1024
MAX_LINES_BYTES = 256 * 1024
"""Of a calendar or a card that is put into words."""
MAX_LINES = 4000
MAX_LINE_CHARS = 8 * 1024
MAX_TOLD = 50
MAX_PEOPLE = 100
MAX_NOTES_CHARS = 10_000


class Unparsable(Exception):
    """The mail goes beyond a limit that must hold before parsing: keep it, do not display it. Permanent."""
