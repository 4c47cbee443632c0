"""One range of bytes of a download, so that one that broke off goes on where it stopped (RFC 9110, 14).

Only a single range is served; several, or what is no range, are answered with the whole. `If-Range` must be the download's own tag.
"""

import re

_RANGE = re.compile(r"bytes=(\d{0,18})-(\d{0,18})", re.ASCII)


class Unsatisfiable(Exception):
    """The range lies beyond the end: 416."""


def wanted(header: str | None, if_range: str | None, tag: str, size: int) -> tuple[int, int] | None:
    """The bytes to send, from the first up to behind the last; None for the whole. Raises Unsatisfiable."""
    found = _RANGE.fullmatch((header or "").replace(" ", ""))
    if found is None or (if_range is not None and if_range.strip() != f'"{tag}"'):
        return None
    first, last = found[1], found[2]
    if not first:  # the last so many bytes
        if not last or not int(last) or not size:
            raise Unsatisfiable
        return max(0, size - int(last)), size
    if last and int(last) < int(first):
        return None  # RFC 9110 14.1.1: no valid range
    if int(first) >= size:
        raise Unsatisfiable
    return int(first), min(int(last) + 1, size) if last else size
