"""How much of a mail is looked at: figures that are checked on the raw bytes, before any library sees them.

The standard library's parsers are quadratic or recursive on hostile input; inside these limits they are not. Going over
`MAX_HEADER_BYTES`, `MAX_FIELDS`, `MAX_FIELD_BYTES` or `MAX_PARAMETERS` anywhere makes the mail `Unparsable`: it is kept and not
displayed. Going over `MAX_PARTS` or `MAX_DEPTH` leaves the rest out and says so.
"""

MAX_RAW_BYTES = 160 * 1024 * 1024
MAX_HEADER_BYTES = 64 * 1024
MAX_FIELDS = 200
MAX_FIELD_BYTES = 8 * 1024
MAX_PARTS = 200
MAX_DEPTH = 20
MAX_PARAMETERS = 50
MAX_ADDRESSES = 100
MAX_REFERENCES = 50
MAX_HEADING_CHARS = 998
MAX_NAME_CHARS = 120
MAX_TEXT_CHARS = 2 * 1024 * 1024
MAX_HTML_CHARS = 2 * 1024 * 1024
MAX_HTML_DEPTH = 500
MAX_PICTURE_BYTES = 8 * 1024 * 1024


class Unparsable(Exception):
    """The mail goes beyond a limit that must hold before parsing: keep it, do not display it. Permanent."""
