"""What a part is for, where its media type says nothing to people: a word that the page puts into a language.

`message`, `calendar`, `contact`, `report`; `smime-signed`, `smime-encrypted`, `pgp-encrypted`, `signature`, `key`, `outlook`
(winmail.dat). Nothing here checks a signature, so no word says that one is good. What the bytes are goes before what the mail claims.
"""

from portal.mime.structure import MESSAGES, PKCS7, Entity

CALENDARS = frozenset({"text/calendar", "application/ics", "text/x-vcalendar"})
CARDS = frozenset({"text/vcard", "text/x-vcard", "text/directory"})
REPORTS = frozenset({"message/delivery-status", "message/disposition-notification", "message/global-delivery-status"})
LOCKED = frozenset({"smime-signed", "smime-encrypted", "pgp-encrypted"})
"""Kinds that hold words which another program has to take out."""

PGP_MESSAGE = "-----BEGIN PGP MESSAGE-----"

_BY_TYPE = (
    dict.fromkeys(MESSAGES, "message")
    | dict.fromkeys(CALENDARS, "calendar")
    | dict.fromkeys(CARDS, "contact")
    | dict.fromkeys(REPORTS, "report")
    | {
        "application/pkcs7-signature": "signature",
        "application/x-pkcs7-signature": "signature",
        "application/pgp-signature": "signature",
        "application/pgp-encrypted": "pgp-encrypted",
        "application/pgp-keys": "key",
        "application/ms-tnef": "outlook",
        "application/vnd.ms-tnef": "outlook",
    }
)
_BY_BEGINNING = (
    (PGP_MESSAGE.encode(), "pgp-encrypted"),
    (b"-----BEGIN PGP SIGNATURE-----", "signature"),
    (b"-----BEGIN PGP PUBLIC KEY BLOCK-----", "key"),
    (b"\x78\x9f\x3e\x22", "outlook"),  # TNEF_SIGNATURE, MS-OXTNEF 2.1.3.1
)
# The content type of CMS (RFC 5652 3): an object identifier right at the beginning. AuthEnvelopedData is RFC 5083.
_CMS = bytes.fromhex("2a864886f70d0107")
_CMS_SIGNED = _CMS + b"\x02"
_CMS_ENCRYPTED = (_CMS + b"\x03", bytes.fromhex("2a864886f70d0109100117"))
_SMIME_SIGNED = ("signed-data", "certs-only")


def kind_of(entity: Entity, content: bytes) -> str:
    """The word, or nothing."""
    beginning = content[:128].lstrip()
    for mark, kind in _BY_BEGINNING:
        if beginning.startswith(mark):
            return kind
    if entity.media_type in PKCS7:
        return _cms(entity, beginning)
    if entity.media_type == "application/octet-stream" and entity.file_name.lower() == "winmail.dat":
        return "outlook"
    return _BY_TYPE.get(entity.media_type, "")


def _cms(entity: Entity, beginning: bytes) -> str:
    if any(mark in beginning for mark in _CMS_ENCRYPTED):
        return "smime-encrypted"
    if _CMS_SIGNED in beginning:
        return "smime-signed"
    return "smime-signed" if entity.parameter("smime-type").lower() in _SMIME_SIGNED else "smime-encrypted"
