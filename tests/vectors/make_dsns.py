"""Makes tests/vectors/dsn/: reports that a real Postfix and a real Exim write about mails of ours.

As root: `PYTHONPATH=. python tests/vectors/make_dsns.py`.

Each is what the portal would be given for `bounce+token@portal.example`; only addresses and ports of the machine that made them are
replaced.
"""

import re
import smtplib
import time
from contextlib import AbstractContextManager
from pathlib import Path
from typing import NamedTuple

from tests.scenarios.exim import Exim, exim
from tests.scenarios.mailhosts import MailHost, MailHosts, mail_hosts
from tests.scenarios.postfix import Postfix, postfix
from tests.servers import free_port

HERE = Path(__file__).parent / "dsn"
BACK = "bounce+token@portal.example"
_NOTICE = (
    b"From: portal@clinic.example\r\nSubject: A message for you\r\nMessage-ID: <1@portal.example>\r\n\r\nNotice\r\n"
)


def _configure(relay: Postfix, hosts: dict[str, int]) -> None:
    routes = "".join(f" {{ {domain} = smtp:[127.0.0.1]:{port} }}" for domain, port in hosts.items())
    relay.configure(
        f"transport_maps = inline:{{{routes} }}\nrelay_domains = portal.example\n"
        "delay_warning_time = 1s\nqueue_run_delay = 1s\nminimal_backoff_time = 1s\nmaximal_backoff_time = 1s\n"
        "notify_classes =\n",
        "",
    )


def _send(port: int, to: str, *options: str) -> None:
    with smtplib.SMTP("127.0.0.1", port, timeout=30) as client:
        client.ehlo()
        client.mail(BACK)
        assert client.rcpt(to, options)[0] == 250
        assert client.data(_NOTICE)[0] == 250


class Around(NamedTuple):
    """`back` takes what comes to the return path; `ports` by domain."""

    back: MailHost
    ports: dict[str, int]


def _around(hosts: MailHosts) -> Around:
    back, good, bad, slow = (hosts.open("127.0.0.1") for _ in range(4))
    names = {"portal.example": back, "good.example": good, "bad.example": bad, "slow.example": slow}
    bad.refuse_with("550 5.1.1 No such user here")
    slow.refuse_with("451 4.7.1 Greylisted, come again")
    return Around(back, {name: host.port for name, host in names.items()} | {"down.example": free_port()})


def by_postfix(relay: Postfix, around: Around) -> dict[str, bytes]:
    back = around.back
    _configure(relay, around.ports)
    relay.start()
    found = {}
    for name, to, options, said in (
        ("refused", "nobody@bad.example", (), "Action: failed"),
        ("relayed", "alice@good.example", ("NOTIFY=SUCCESS",), "Action: relayed"),
        ("delayed", "alice@slow.example", ("NOTIFY=DELAY,FAILURE",), "Action: delayed"),
    ):
        back.forget()
        _send(relay.port, to, *options)
        found[name] = back.await_mail(BACK, said, 30).raw
    relay.drop_all()
    relay.set("maximal_queue_lifetime = 0\nbounce_queue_lifetime = 0\ndelay_warning_time = 0")
    for name, to in (("expired", "late@slow.example"), ("unreachable", "alice@down.example")):
        _send(relay.port, to)
        found[name] = back.await_mail(BACK, f"{to}\nAction: failed".replace("\n", "\r\n"), 30).raw
    return found


_TRANSPORT = "out:\n  driver = smtp\n  allow_localhost\n"
_QUICK = "delay_warning = 1s : 1h\ndsn_advertise_hosts = *\n"


def _exim(around: Around, retry: str) -> AbstractContextManager[Exim]:
    routers = "".join(
        f"{name.partition('.')[0]}:\n  driver = manualroute\n  domains = {name}\n  transport = out\n"
        f"  route_list = * 127.0.0.1::{port}\n  self = send\n"
        for name, port in around.ports.items()
    )
    return exim("127.0.0.1", routers, _TRANSPORT, "", _QUICK, retry)


def by_exim(around: Around) -> dict[str, bytes]:
    back, found = around.back, {}
    with _exim(around, "* * F,1h,1s") as relay:
        for name, to, options, said in (
            ("refused", "nobody@bad.example", (), "Action: failed"),
            ("unrouteable", "alice@nowhere.example", (), "Action: failed"),
            ("relayed", "alice@good.example", ("NOTIFY=SUCCESS",), "Final-Recipient"),
        ):
            back.forget()
            _send(relay.port, to, *options)
            found[name] = back.await_mail(BACK, said, 30).raw
        back.forget()
        _send(relay.port, "alice@slow.example")
        time.sleep(2)
        relay.run("-qf")
        found["delayed"] = back.await_mail(BACK, "Action: delayed", 30).raw
    with _exim(around, "") as relay:  # without a rule nothing is tried again
        for name, to in (("expired", "late@slow.example"), ("unreachable", "alice@down.example")):
            back.forget()
            _send(relay.port, to)
            found[name] = back.await_mail(BACK, "Action: failed", 30).raw
    return found


def main() -> None:
    with mail_hosts() as hosts, postfix() as relay:
        around = _around(hosts)
        for kind, made in (("postfix", by_postfix(relay, around)), ("exim", by_exim(around))):
            for name, raw in made.items():
                text = re.sub(rb"127\.0\.0\.1(:\d+)?", b"192.0.2.1", raw)
                (HERE / f"{kind}_{name}.eml").write_bytes(re.sub(rb"(?<=:)\d{5}(?=[:\s])", b"25", text))


if __name__ == "__main__":
    main()
