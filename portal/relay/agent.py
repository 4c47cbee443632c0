#!/usr/bin/env python3
"""Takes mail that Postfix can't send by TLS to the portal. One file, Python 3.9 or later, nothing but its standard library.

Postfix enforces TLS (smtp_tls_security_level = encrypt, verify or dane-only) and has no smtp_fallback_relay. What it can't send so
waits in its deferred queue, with Postfix's own words for the reason. Every few seconds this program reads the queue
(`postqueue -j`), and for each recipient that waits for want of TLS puts the recipient's domain into a transport map: for an hour
that domain's mail goes to the portal. Then it asks Postfix to try those mails again (`postqueue -i`): they keep their queue ids, by
which the portal knows a mail that comes twice. No probe is made: the verdict is the relay's own.

    agent.py --map lmdb:/var/lib/portal-agent/transport --to 'portal:[portal.example]:2526'

    main.cf:  transport_maps = inline:{ ...own domains first... }, lmdb:/var/lib/portal-agent/transport

Only texts that Postfix itself writes count, from their beginning: what another host says stands behind "host ... said:" and moves
nothing. Only plain domain names are written into the map. With `lmdb:` or `hash:` the map is built by postmap, and Postfix sees the
change within ten seconds; with `texthash:` it is read as it is, and Postfix is reloaded when it changed (as root). The
file is replaced by renaming. Should this program stop, entries stay until it runs again, and other mail waits in the queue.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from typing import IO

# src/smtp/smtp_proto.c and smtp_connect.c of Postfix 3.4 to 3.10. "our TLS engine is unavailable" and "TLSA lookup error" are not
# among them: these are this host's own troubles, and pass.
NO_TLS = re.compile(
    r"TLS is required, but was not offered by host |"
    r"TLS is required, but host \S+ refused to start TLS: |"
    r"Cannot start TLS: handshake failure|"
    r"Server certificate not (?:trusted|verified)|"
    r"non DNSSEC destination|no TLSA records found|TLSA records unusable"
)
DOMAIN = re.compile(r"(?=.{1,253}\Z)(?:(?!-)[a-z0-9_-]{1,63}(?<!-)\.)+(?!-)[a-z0-9-]{1,63}(?<!-)\Z")
TRANSPORT = re.compile(r"[a-z][a-z0-9_-]*:\[?[A-Za-z0-9.:-]+\]?(?::\d{1,5})?\Z")
QUEUE_ID = re.compile(r"[0-9A-Za-z]{6,40}\Z")
ENTRY = re.compile(r"# until (\d{1,12})\n")

MOST_DOMAINS = 10_000
MOST_AT_ONCE = 500  # mails tried again in one round
MOST_LINE = 1_000_000  # characters of one mail in postqueue's output
POSTMAP_SEEN = 11  # trivial-rewrite(8) looks every ten seconds whether a map changed


class Failed(Exception):
    """A command of Postfix's did not do what was asked."""


class Agent:
    """One queue and one map."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.config = ["-c", options.config] if options.config else []
        self.kind, _, self.path = options.map.partition(":")
        self.to, self.seconds = options.to, options.hold
        self.without = {one.lower().rstrip(".") for one in options.without}
        self.again: dict[str, float] = {}

    def round(self) -> int:
        """One look at the queue. Gives how many mails were tried again."""
        now = time.time()
        domains, mails = self.waiting()
        known = self.load()
        latest = int(now + self.seconds)  # a clock that was set back keeps nothing for longer
        until = {name: min(end, latest) for name, end in known.items() if end > now}
        new = [name for name in domains if name not in until]
        for name in new[: max(0, MOST_DOMAINS - len(until))]:
            until[name] = latest
        if until != known:
            self.store(until)
            say(f"{len(until)} domains go to the portal, {len(new)} of them new")
            if new and self.kind != "texthash":
                time.sleep(POSTMAP_SEEN)
        return self.try_again([mail for mail, name in mails.items() if name in until], now)

    def waiting(self) -> tuple[list[str], dict[str, str]]:
        """Domains to which mail waits for want of TLS, and for each such mail one of them."""
        domains: dict[str, None] = {}
        mails: dict[str, str] = {}
        command = ["postqueue", *self.config, "-j"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, encoding="utf-8", errors="replace") as queue:
            assert queue.stdout is not None
            watchdog = threading.Timer(120, queue.kill)
            watchdog.start()
            try:
                for line in lines(queue.stdout):
                    queue_id, names = read(line)
                    for name in names:
                        if name not in self.without and len(domains) < MOST_DOMAINS:
                            domains[name] = None
                            mails.setdefault(queue_id, name)
            finally:
                watchdog.cancel()
        if queue.returncode:
            raise Failed(f"postqueue -j ended with {queue.returncode}")
        return list(domains), mails

    def try_again(self, mails: list[str], now: float) -> int:
        """Asks Postfix to send mails at once. One that waits anew is left alone for a minute."""
        self.again = {mail: at for mail, at in self.again.items() if at > now - 60}
        due = [mail for mail in mails if mail not in self.again][:MOST_AT_ONCE]
        for mail in due:
            run("postqueue", *self.config, "-i", mail)
            self.again[mail] = now
        return len(due)

    def load(self) -> dict[str, int]:
        """Domain -> when it leaves the map (seconds of the epoch). What somebody else wrote into the file is not kept."""
        known: dict[str, int] = {}
        end = 0
        try:
            with open(self.path, encoding="ascii", errors="replace") as file:
                for line in file:
                    entry = ENTRY.match(line)
                    name = line.partition(" ")[0]
                    if entry:
                        end = int(entry.group(1))
                    elif DOMAIN.match(name):
                        known[name] = end
        except FileNotFoundError:
            pass
        return known

    def store(self, until: dict[str, int]) -> None:
        """Replaces the map: never half a file, never a mix of two."""
        folder = os.path.dirname(os.path.abspath(self.path))
        handle, name = tempfile.mkstemp(dir=folder, prefix=".transport-")
        try:
            with os.fdopen(handle, "w", encoding="ascii") as file:
                file.write("# Written by the portal's queue agent; changes are lost.\n")
                for domain, end in sorted(until.items()):
                    file.write(f"# until {end}\n{domain} {self.to}\n")
                file.flush()
                os.fsync(file.fileno())
            os.chmod(name, 0o644)
            os.replace(name, self.path)
        except BaseException:
            if os.path.exists(name):
                os.unlink(name)
            raise
        if self.kind == "texthash":
            run("postfix", *self.config, "reload")
        else:
            run("postmap", *self.config, f"{self.kind}:{self.path}")


def read(line: str) -> tuple[str, list[str]]:
    """The queue id of a mail in postqueue's JSON, and the domains that it waits for; none for what is not such a line."""
    try:
        mail = json.loads(line)
        queue_id, kind, recipients = mail["queue_id"], mail["queue_name"], mail["recipients"]
        if kind != "deferred" or not QUEUE_ID.match(queue_id):
            return "", []
        waiting = [one["address"] for one in recipients if NO_TLS.match(one.get("delay_reason", ""))]
        names = [address.rpartition("@")[2].lower().rstrip(".") for address in waiting]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return "", []
    return queue_id, [name for name in map(ascii_name, names) if DOMAIN.match(name)]


def ascii_name(name: str) -> str:
    """The domain as Postfix looks it up; '' when there is none."""
    try:
        return name if name.isascii() else name.encode("idna").decode("ascii")
    except UnicodeError:
        return ""


def lines(stream: IO[str]) -> Iterator[str]:
    """Lines of at most MOST_LINE characters; longer ones are dropped whole."""
    while True:
        line = stream.readline(MOST_LINE)
        if not line:
            return
        if line.endswith("\n"):
            yield line
            continue
        while line and not line.endswith("\n"):
            line = stream.readline(MOST_LINE)


def run(*command: str) -> None:
    """Raises Failed."""
    try:
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=120)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Failed(f"{command[0]}: {error}") from None
    if done.returncode:
        said = done.stdout.decode(errors="replace").strip()
        raise Failed(f"{' '.join(command)} ended with {done.returncode}: {said}")


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def options(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Takes mail that Postfix can't send by TLS to the portal.")
    parser.add_argument("--map", required=True, help="lmdb:/path, hash:/path or texthash:/path, as in transport_maps")
    parser.add_argument("--to", required=True, help="transport and next hop, such as portal:[portal.example]:2526")
    parser.add_argument("--config", default="", help="Postfix's configuration folder, where it is another")
    parser.add_argument("--without", action="append", default=[], metavar="DOMAIN", help="never to the portal")
    parser.add_argument("--hold", type=int, default=3600, help="seconds that a domain stays in the map")
    parser.add_argument("--every", type=float, default=3, help="seconds between two looks")
    parser.add_argument("--once", action="store_true", help="look once and end")
    given = parser.parse_args(arguments)
    if not re.match(r"(?:lmdb|hash|texthash):/[^\s,{}]+\Z", given.map):
        parser.error("--map is lmdb:/path, hash:/path or texthash:/path")
    if not TRANSPORT.match(given.to):
        parser.error("--to is a transport and a next hop, such as portal:[portal.example]:2526")
    if given.hold < 60 or given.every <= 0:
        parser.error("--hold is 60 or more, --every above 0")
    return given


def main() -> int:
    given = options()
    agent = Agent(given)
    if given.map.startswith(("lmdb:", "hash:")) or not os.path.exists(agent.path):
        agent.store(agent.load())  # Postfix does not start without the map
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    while True:
        try:
            agent.round()
        except (Failed, OSError) as error:
            say(str(error))
            if given.once:
                return 1
        if given.once:
            return 0
        time.sleep(given.every)


if __name__ == "__main__":
    sys.exit(main())
