"""Mail scanners, imitated: what fetches the links of a notice before its reader does, and what it gets.

`run` lets each loose on a link, one after another, and says whether it got in. Plain ones (`plain.py`) speak HTTP; the others
(`browsers.py`) drive Chromium and need the extra `scanner`. They ask nothing but the link's origin, and stop after a number of requests
and a minute each. None can read a mailbox or make a passkey gesture: what they type is made up, or stands on the page.
"""

from collections.abc import Collection, Iterator

from portal.scanner.browsers import BROWSERS, visits
from portal.scanner.findings import Findings
from portal.scanner.plain import PLAIN
from portal.scanner.target import target_of

NAMES: tuple[str, ...] = (*(one.name for one in PLAIN), *(one.name for one in BROWSERS))
CHROMIUM = "/usr/bin/chromium"

__all__ = ["CHROMIUM", "NAMES", "Findings", "run"]


def run(
    url: str, names: Collection[str] = NAMES, *, chromium: str = CHROMIUM, insecure_localhost: bool = False
) -> Iterator[Findings]:
    """Lets each of these loose on a link. `insecure_localhost` takes any certificate of this machine's own name.

    Raises InputRefused for what is no link, and when nothing answers there.
    """
    target = target_of(url, insecure_localhost=insecure_localhost)
    for one in PLAIN:
        if one.name in names:
            yield one.visit(target)
    yield from visits(target, [one for one in BROWSERS if one.name in names], chromium)
