"""Mails with parts that are more than files: calendars, cards, reports, what is signed or encrypted."""

import base64
from collections.abc import Iterable
from typing import Any

from tests.vectors.making import (
    ENVELOPED,
    OCTETS,
    PDF,
    PNG,
    SIGNED,
    TNEF,
    ZIP,
    Piece,
    Shown,
    Vector,
    calendar,
    enclosed,
    file,
    html,
    ics,
    multi,
    opaque,
    part,
    text,
    vector,
)

# -- calendars and cards


def calendars() -> Iterable[Vector]:
    topic, shown = "calendars", Shown("attachment-1.ics", OCTETS, "calendar")
    usual: dict[str, Any] = {"parts": (shown,), "told": 1}
    who = (
        "Blood test",
        "2026-12-04T10:30:00",
        "Europe/Berlin",
        "2026-12-04T11:00:00",
        "Room 4",
        "Jones, Carol <carol@clinic.example>",
        "Alice <alice@patients.example>",
    )
    yield vector(topic, "request", calendar(), says=(*who, "request"), **usual)
    yield vector(topic, "cancel", calendar(method="CANCEL"), says=("cancel", "Blood test"), **usual)
    yield vector(
        topic,
        "cancelled-by-status",
        calendar(ics("STATUS:CANCELLED", method="PUBLISH"), method="PUBLISH"),
        says=("cancel",),
        **usual,
    )
    reply = ics(method="REPLY").replace("NEEDS-ACTION", "DECLINED")
    yield vector(topic, "reply", calendar(reply, method="REPLY"), says=("reply", "declined"), **usual)
    yield vector(topic, "publish", calendar(method="PUBLISH"), says=("publish",), **usual)
    words = multi(
        "alternative",
        text("You are invited."),
        html("<p>You are <b>invited</b>.</p>", words="You are invited."),
        calendar(),
    )
    yield vector(topic, "outlook", words, html=True, says=("invited", *who), **usual)
    google = multi("mixed", words, file("invite.ics", ics().encode(), "application/ics"))
    yield vector(
        topic,
        "google",
        google,
        html=True,
        says=("invited", *who),
        parts=(Shown("invite.ics", OCTETS, "calendar"),),
        told=1,
    )
    twice = multi(
        "mixed",
        text("You are invited."),
        file("a.ics", ics().encode(), "text/calendar"),
        file("b.ics", ics().encode() + b" \r\n", "text/calendar"),
    )
    yield vector(
        topic,
        "said-once-in-two-files",
        twice,
        says=who,
        parts=(Shown("a.ics", OCTETS, "calendar"), Shown("b.ics", OCTETS, "calendar")),
        told=1,
    )
    yield vector(
        topic,
        "utc",
        calendar(ics(event=["SUMMARY:Call", "DTSTART:20261204T103000Z", "DURATION:PT45M"])),
        says=("UTC", "2026-12-04T11:15:00"),
        **usual,
    )
    yield vector(
        topic,
        "whole-day",
        calendar(ics(event=["SUMMARY:Fasting", "DTSTART;VALUE=DATE:20261204", "DTEND;VALUE=DATE:20261206"])),
        says=("2026-12-04T00:00:00", "2026-12-05T00:00:00"),
        **usual,
    )
    yield vector(
        topic,
        "floating",
        calendar(ics(event=["SUMMARY:Pill", "DTSTART:20261204T080000"])),
        says=("2026-12-04T08:00:00",),
        **usual,
    )
    yield vector(
        topic,
        "windows-zone",
        calendar(ics().replace("Europe/Berlin", '"(UTC+01:00) Amsterdam, Berlin"')),
        says=("(UTC+01:00) Amsterdam, Berlin",),
        **usual,
    )
    yield vector(topic, "repeats", calendar(ics("RRULE:FREQ=WEEKLY;COUNT=5")), says=("repeats",), **usual)
    yield vector(
        topic,
        "escapes-and-folds",
        calendar(ics("DESCRIPTION:Bring\\, please:\\n- your ca\r\n rd")),
        says=("Bring, please:", "- your card"),
        **usual,
    )
    yield vector(
        topic,
        "alarm-is-not-the-event",
        calendar(ics("BEGIN:VALARM", "DESCRIPTION:beep", "END:VALARM")),
        silent=("beep",),
        says=("Blood test",),
        **usual,
    )
    yield vector(topic, "lf-only", calendar(ics().replace("\r\n", "\n")), says=who, **usual)
    yield vector(
        topic,
        "task",
        calendar(ics(event=["SUMMARY:Bring forms", "DUE:20261204T103000Z"]).replace("VEVENT", "VTODO")),
        says=("Bring forms",),
        **usual,
    )
    two = (
        ics().replace("END:VCALENDAR\r\n", "")
        + "BEGIN:VEVENT\r\nSUMMARY:Second visit\r\nDTSTART:20261211T103000Z\r\nEND:VEVENT\r\nEND:VCALENDAR\r\n"
    )
    yield vector(topic, "two-events", calendar(two), says=("Blood test", "Second visit"), parts=(shown,), told=2)
    hostile: dict[str, Any] = {"parts": (shown,), "hostile": True}
    yield vector(
        topic, "no-event", calendar("BEGIN:VCALENDAR\r\nEND:VCALENDAR\r\n"), problems=("part-unread",), **hostile
    )
    yield vector(topic, "nonsense", calendar("this is no calendar"), problems=("part-unread",), **hostile)
    yield vector(
        topic,
        "broken-lines",
        calendar(ics("X;;;", ":", 'ATTENDEE;CN="never closed:mailto:x')),
        says=("Blood test",),
        told=1,
        **hostile,
    )
    yield vector(
        topic,
        "impossible-date",
        calendar(ics(event=["SUMMARY:Never", "DTSTART:20269999T990000Z"])),
        says=("Never",),
        told=1,
        **hostile,
    )
    yield vector(
        topic,
        "year-9999",
        calendar(ics(event=["SUMMARY:Late", "DTSTART:99991231T235959Z", "DURATION:P9999D"])),
        says=("Late",),
        told=1,
        **hostile,
    )
    yield vector(
        topic,
        "rule-without-end",
        calendar(ics("RRULE:FREQ=SECONDLY;BYSECOND=" + ",".join(map(str, range(60))))),
        says=("Blood test",),
        told=1,
        **hostile,
    )
    yield vector(
        topic,
        "zone-with-a-bomb",
        calendar(
            ics().replace(
                "BEGIN:VEVENT",
                "BEGIN:VTIMEZONE\r\nTZID:Europe/Berlin\r\n"
                + "BEGIN:STANDARD\r\nDTSTART:16010101T000000\r\nRRULE:FREQ=SECONDLY\r\n"
                "TZOFFSETFROM:+0000\r\nTZOFFSETTO:+0100\r\nEND:STANDARD\r\n" * 200 + "END:VTIMEZONE\r\nBEGIN:VEVENT",
            )
        ),
        says=("Blood test",),
        told=1,
        **hostile,
    )
    yield vector(
        topic, "too-large", calendar(ics("DESCRIPTION:" + "x" * 300_000)), problems=("part-unread",), **hostile
    )
    yield vector(
        topic,
        "thousand-guests",
        calendar(ics(*[f"ATTENDEE:mailto:a{n}@x.example" for n in range(1000)])),
        says=("a5@x.example", "…"),
        told=1,
        **hostile,
    )
    yield vector(
        topic,
        "name-passes-for-an-address",
        calendar(
            ics(
                event=[
                    "SUMMARY:Call",
                    'ORGANIZER;CN="bank@bank.example> <x":mailto:m@mallory.example',
                    "DTSTART:20261204T103000Z",
                ]
            )
        ),
        says=("<m@mallory.example>",),
        silent=("bank.example>",),
        told=1,
        **hostile,
    )
    yield vector(
        topic,
        "bidi-in-words",
        calendar(ics(event=["SUMMARY:pay\u202eyap", "DTSTART:20261204T103000Z"])),
        says=("pay yap",),
        told=1,
        **hostile,
    )


def cards() -> Iterable[Vector]:
    topic, shown = "cards", Shown("carol.vcf", OCTETS, "contact")

    def card(*lines: str, media_type: str = "text/vcard", version: str = "3.0", encoding: str = "utf-8") -> Piece:
        body = "\r\n".join(["BEGIN:VCARD", f"VERSION:{version}", *lines, "END:VCARD", ""]).encode(encoding)
        return multi("mixed", text("My card."), file("carol.vcf", body, media_type))

    usual: dict[str, Any] = {"parts": (shown,), "told": 1}
    yield vector(
        topic,
        "version-3",
        card("FN:Carol Jönes", "ORG:Northside;Blood", "TEL;TYPE=WORK:+1 555 0100", "EMAIL:carol@clinic.example"),
        says=("Carol Jönes", "Northside, Blood", "+1 555 0100", "carol@clinic.example"),
        **usual,
    )
    yield vector(
        topic,
        "version-4",
        card("FN:Carol", "TEL;VALUE=uri:tel:+15550100", "ADR:;;14 Harbour Lane;Northside;;04101;", version="4.0"),
        says=("+15550100", "14 Harbour Lane, Northside, 04101"),
        **usual,
    )
    yield vector(
        topic,
        "version-2.1",
        card(
            "N;CHARSET=UTF-8;ENCODING=QUOTED-PRINTABLE:J=C3=B6nes;Ca=",
            "rol",
            "TEL;WORK;VOICE:555",
            version="2.1",
            media_type="text/x-vcard",
        ),
        says=("Jönes, Carol", "555"),
        **usual,
    )
    yield vector(
        topic, "groups-of-apple", card("FN:Carol", "item1.TEL:555", "item1.X-ABLabel:desk"), says=("555",), **usual
    )
    yield vector(
        topic,
        "photo-is-not-said",
        card("FN:Carol", "PHOTO;ENCODING=b;TYPE=PNG:" + base64.b64encode(PNG).decode()),
        silent=("iVBOR",),
        says=("Carol",),
        **usual,
    )
    yield vector(
        topic, "directory", card("FN:Carol", media_type="text/directory; profile=vcard"), says=("Carol",), **usual
    )
    yield vector(
        topic,
        "nonsense",
        multi("mixed", text("My card."), file("carol.vcf", b"no card", "text/vcard")),
        parts=(shown,),
        problems=("part-unread",),
        hostile=True,
    )
    yield vector(
        topic,
        "ten-thousand-lines",
        card(*["TEL:555"] * 10_000),
        parts=(shown,),
        problems=("part-unread",),
        hostile=True,
    )


# -- reports


def reports() -> Iterable[Vector]:
    topic, status = "reports", "Reporting-MTA: dns; mx.clinic.example\r\n\r\n"
    failed = (
        status + "Final-Recipient: rfc822; bob@patients.example\r\nAction: failed\r\nStatus: 5.1.1\r\n"
        "Diagnostic-Code: smtp; 550 no such mailbox\r\n"
    )
    human = text("Your mail could not be delivered.")
    shown, eml = Shown("attachment-1.txt", OCTETS, "report"), Shown("attachment-2.eml", OCTETS, "message")

    def report(fields: str, *more: Piece, kind: str = "delivery-status") -> Piece:
        return multi(
            "report", human, part(f"message/{kind}", fields.encode()), *more, parameters=f"; report-type={kind}"
        )

    yield vector(
        topic,
        "failed",
        report(failed),
        says=("could not be delivered", "bob@patients.example", "failed", "5.1.1", "550 no such mailbox"),
        parts=(shown,),
        told=1,
    )
    yield vector(
        topic,
        "failed-with-the-mail",
        report(failed, enclosed(text("the returned words"), "Returned")),
        says=("failed", "the returned words", "Returned"),
        parts=(shown, eml),
        told=1,
        nested=1,
    )
    yield vector(
        topic,
        "failed-with-headers",
        report(failed, part("text/rfc822-headers", b"Subject: Returned\r\n\r\n")),
        says=("failed",),
        parts=(shown, Shown("attachment-2.txt")),
        told=1,
    )
    yield vector(
        topic,
        "delayed",
        report(failed.replace("failed", "delayed").replace("5.1.1", "4.4.7")),
        says=("delayed", "4.4.7"),
        parts=(shown,),
        told=1,
    )
    yield vector(
        topic,
        "two-recipients",
        report(failed + "\r\n" + failed[len(status) :].replace("bob", "eve").replace("failed", "delivered")),
        says=("bob@patients.example", "eve@patients.example", "delivered"),
        parts=(shown,),
        told=2,
    )
    receipt = (
        "Reporting-UA: mail.example\r\nFinal-Recipient: rfc822;bob@patients.example\r\n"
        "Disposition: manual-action/MDN-sent-manually; displayed\r\n"
    )
    yield vector(
        topic,
        "read-receipt",
        report(receipt, kind="disposition-notification"),
        says=("displayed", "bob@patients.example"),
        parts=(shown,),
        told=1,
    )
    yield vector(topic, "no-recipient", report(status), parts=(shown,), problems=("part-unread",), hostile=True)
    yield vector(
        topic,
        "markup-in-the-reason",
        report(failed.replace("no such", "<script>alert(1)</script>")),
        says=("<script>alert(1)</script>",),
        parts=(shown,),
        told=1,
        hostile=True,
    )
    yield vector(
        topic,
        "thousand-recipients",
        report(status + (failed[len(status) :] + "\r\n") * 1000),
        parts=(shown,),
        told=1,
        hostile=True,
    )
    yield vector(
        topic, "blank-lines", report("\r\n" * 100_000), parts=(shown,), problems=("part-unread",), hostile=True
    )


# -- signed and encrypted


def sealed() -> Iterable[Vector]:
    topic = "sealed"
    words, says = text("Dear Alice, fine."), ("Dear Alice, fine.",)
    p7s = file("smime.p7s", SIGNED, "application/pkcs7-signature")
    signature = Shown("smime.p7s", OCTETS, "signature")
    yield vector(
        topic,
        "smime-signed",
        multi("signed", words, p7s, parameters='; protocol="application/pkcs7-signature"; micalg=sha-256'),
        says=says,
        parts=(signature,),
    )
    yield vector(
        topic,
        "smime-signed-x-type",
        multi("signed", words, file("smime.p7s", SIGNED, "application/x-pkcs7-signature")),
        says=says,
        parts=(signature,),
    )
    yield vector(
        topic,
        "smime-signed-with-file",
        multi("signed", multi("mixed", words, file("r.pdf", PDF)), p7s),
        says=says,
        parts=(Shown("r.pdf", "application/pdf"), signature),
    )
    locked: dict[str, Any] = {"problems": ("other-program",)}
    yield vector(
        topic,
        "smime-opaque",
        file("smime.p7m", SIGNED, "application/pkcs7-mime; smime-type=signed-data"),
        parts=(Shown("smime.p7m", OCTETS, "smime-signed"),),
        **locked,
    )
    smime = "application/pkcs7-mime; smime-type=signed-data"
    inner = b"Content-Type: text/html; charset=utf-8\r\n\r\n<p>Dear <b>Alice</b>, it is fine.<script>x()</script>\r\n"
    p7m = Shown("smime.p7m", OCTETS, "smime-signed")
    yield vector(
        topic,
        "smime-opaque-words",
        file("smime.p7m", opaque(inner), smime),
        says=("Dear Alice, it is fine.",),
        silent=("x()",),
        parts=(p7m,),
        more=1,
    )
    mixed = (
        b"Content-Type: multipart/mixed; boundary=B\r\n\r\n--B\r\n\r\nWords inside.\r\n--B\r\nContent-Type: application/pdf\r\n"
        b"Content-Disposition: attachment; filename=r.pdf\r\n\r\n" + PDF + b"\r\n--B--\r\n"
    )
    yield vector(
        topic,
        "smime-opaque-with-file",
        multi("mixed", words, file("smime.p7m", opaque(mixed), "application/x-pkcs7-mime")),
        says=("Dear Alice, fine.", "Words inside."),
        parts=(p7m, Shown("r.pdf", "application/pdf")),
        more=1,
    )
    nested = b"hello"
    for _ in range(12):
        nested = b"Content-Type: application/pkcs7-mime\r\nContent-Transfer-Encoding: binary\r\n\r\n" + opaque(nested)
    yield vector(
        topic,
        "smime-opaque-in-opaque",
        file("smime.p7m", opaque(nested), smime),
        parts=(p7m, *[Shown(f"attachment-{n}.p7m", OCTETS, "smime-signed") for n in range(2, 6)]),
        more=4,
        problems=("other-program", "too-deep"),
        hostile=True,
    )
    for name, content in (
        ("certificates-only", opaque(b"")),
        ("of-something-else", opaque(b"words", "060b2a864886f70d0109100104")),
        ("cut-off", opaque(inner)[:-40]),
        ("with-a-tail", opaque(inner) + b"x"),
    ):
        yield vector(
            topic, f"smime-opaque-{name}", file("smime.p7m", content, smime), parts=(p7m,), hostile=True, **locked
        )
    yield vector(
        topic,
        "smime-enveloped",
        file("smime.p7m", ENVELOPED, "application/pkcs7-mime; smime-type=enveloped-data"),
        parts=(Shown("smime.p7m", OCTETS, "smime-encrypted", len(ENVELOPED)),),
        **locked,
    )
    yield vector(
        topic,
        "smime-says-signed-is-enveloped",
        file("smime.p7m", ENVELOPED, "application/x-pkcs7-mime; smime-type=signed-data"),
        parts=(Shown("smime.p7m", OCTETS, "smime-encrypted"),),
        hostile=True,
        **locked,
    )
    yield vector(
        topic,
        "smime-nameless",
        part("application/pkcs7-mime", ENVELOPED, encoding="base64"),
        parts=(Shown("attachment-1.p7m", OCTETS, "smime-encrypted"),),
        **locked,
    )
    armour = b"-----BEGIN PGP MESSAGE-----\r\n\r\nwcBMA0\r\n=abcd\r\n-----END PGP MESSAGE-----\r\n"
    pgp = multi(
        "encrypted",
        part("application/pgp-encrypted", b"Version: 1\r\n"),
        part(OCTETS, armour, 'Content-Disposition: inline; filename="encrypted.asc"'),
        parameters='; protocol="application/pgp-encrypted"',
    )
    yield vector(
        topic,
        "pgp-mime-encrypted",
        pgp,
        parts=(
            Shown("attachment-1.asc", OCTETS, "pgp-encrypted"),
            Shown("encrypted.asc", OCTETS, "pgp-encrypted", len(armour)),
        ),
        **locked,
    )
    sig = b"-----BEGIN PGP SIGNATURE-----\r\n\r\niQEz\r\n-----END PGP SIGNATURE-----\r\n"
    yield vector(
        topic,
        "pgp-mime-signed",
        multi("signed", words, part("application/pgp-signature; name=signature.asc", sig)),
        says=says,
        parts=(Shown("signature.asc", OCTETS, "signature"),),
    )
    yield vector(
        topic,
        "pgp-inline-encrypted",
        text(armour.decode()),
        says=("BEGIN PGP MESSAGE",),
        parts=(Shown("attachment-1.asc", OCTETS, "pgp-encrypted"),),
        **locked,
    )
    clear = "-----BEGIN PGP SIGNED MESSAGE-----\r\nHash: SHA256\r\n\r\nDear Alice, fine.\r\n" + sig.decode()
    yield vector(topic, "pgp-inline-signed", text(clear), says=("Dear Alice, fine.", "BEGIN PGP SIGNATURE"))
    yield vector(
        topic,
        "pgp-key",
        multi("mixed", words, part("application/pgp-keys; name=key.asc", b"-----BEGIN PGP PUBLIC KEY BLOCK-----\r\n")),
        says=says,
        parts=(Shown("key.asc", OCTETS, "key"),),
    )
    yield vector(
        topic,
        "pgp-file-by-its-bytes",
        multi("mixed", words, file("results.pdf.asc", armour)),
        says=says,
        parts=(Shown("results.pdf.asc", OCTETS, "pgp-encrypted"),),
        **locked,
    )
    claims = html('<p>Signature <b style="color:green">valid</b>, says Carol</p>', words="Signature valid, says Carol")
    yield vector(
        topic,
        "claims-to-be-signed",
        multi("signed", claims, part("application/pgp-signature", b"no signature")),
        html=True,
        says=("valid",),
        parts=(Shown("attachment-1.asc", OCTETS, "signature"),),
        hostile=True,
    )
    yield vector(
        topic,
        "tnef",
        multi("mixed", words, file("winmail.dat", TNEF, "application/ms-tnef")),
        says=says,
        parts=(Shown("winmail.dat", OCTETS, "outlook", len(TNEF)),),
    )
    yield vector(
        topic,
        "tnef-as-octets",
        multi("mixed", words, file("winmail.dat", TNEF)),
        says=says,
        parts=(Shown("winmail.dat", OCTETS, "outlook"),),
    )
    yield vector(
        topic,
        "zip-is-not-opened",
        multi("mixed", words, file("a.zip", ZIP, "application/zip")),
        says=says,
        parts=(Shown("a.zip", OCTETS, "", len(ZIP)),),
    )
