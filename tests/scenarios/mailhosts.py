"""Mail hosts of recipients for tests that are not asynchronous themselves: sinks in a thread with a loop of its own."""

import asyncio
import ssl
import threading
import time
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from email import message_from_bytes, policy
from email.message import EmailMessage
from typing import Any, TypeVar

from portal.smtp.sink import Caught, Sink, open_sink
from tests.scenarios.authority import Pair

T = TypeVar("T")


class MailHost:
    """A sink. It says what came, and refuses what it is told to."""

    def __init__(
        self, sink: Sink, run: Callable[[Coroutine[Any, Any, Caught]], Caught], arriving: threading.Event
    ) -> None:
        self._sink, self._run = sink, run
        self.port = sink.port
        self.arriving = arriving  # set when a mail has come that may not be answered yet

    @property
    def messages(self) -> list[Caught]:
        return list(self._sink.messages)

    def refuse_with(self, reply: str) -> None:
        """Answers each RCPT so."""
        self._sink.refuse_with = reply

    def forget(self) -> None:
        """Drops what came, and takes mail again."""
        self._sink.messages.clear()
        self._sink.refuse_with = None

    def await_mail(self, to: str, saying: str = "", seconds: float = 20) -> Caught:
        """The newest mail to an address, waited for; with `saying`, one in which that stands."""
        text = saying.encode()
        return self._run(self._sink.wait_for(lambda one: to in one.rcpt_to and text in one.raw, seconds))


def read(caught: Caught) -> EmailMessage:
    mail = message_from_bytes(caught.raw, policy=policy.default)
    assert isinstance(mail, EmailMessage)
    return mail


class MailHosts:
    """Opens sinks. All of them end with the context."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._sinks: list[Sink] = []

    def open(self, address: str, tls: Pair | None = None, delay_seconds: float = 0, port: int = 0) -> MailHost:
        """A mail host at an address and a free port, or a given one; without `tls` it speaks in the clear only.

        It has each mail for `delay_seconds` before it says so to the sender.
        """
        context = None
        if tls is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(*tls)
        arriving = threading.Event()

        def taken(_: Caught) -> None:
            arriving.set()
            time.sleep(delay_seconds)

        sink = self.run(open_sink(address, port, tls=context, taken=taken))
        self._sinks.append(sink)
        return MailHost(sink, self.run, arriving)

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Runs something in the hosts' loop."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(60)

    def close(self) -> None:
        for sink in self._sinks:
            self.run(sink.close())


@contextmanager
def mail_hosts() -> Iterator[MailHosts]:
    """A loop in a thread, and the mail hosts in it."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    hosts = MailHosts(loop)
    try:
        yield hosts
    finally:
        hosts.close()
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)
        loop.close()
