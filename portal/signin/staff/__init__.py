"""Staff get in: by a passkey that an invitation bound, by their organisation's identity provider, or as a sender by an emailed code.

Apart from recipients in everything: own rows, own cookie, own ceremonies. A session ends after 15 idle minutes and after 8 hours.
"""

from datetime import datetime

from portal.db.staff import StaffSession
from portal.model.events import Facts, Who
from portal.model.staff import Person
from portal.signin import Client


def facts_of(session: StaffSession, client: Client, at: datetime) -> Facts:
    """What an event says that a member of the staff causes by signing in, out or anew."""
    return person(session, client).by.facts(at, session.org_id)


def stranger(client: Client, at: datetime) -> Facts:
    """What an event says of somebody who has not signed in."""
    return Facts(
        at=at,
        who=Who.STRANGER,
        actor="",
        org_id=None,
        message_id=None,
        delivery_id=None,
        session=None,
        origin=client.origin,
    )


def person(session: StaffSession, client: Client) -> Person:
    """Who asks, as decisions want to know it."""
    ids = (session.staff_id, session.org_id, session.role, session.address_hash)
    return Person(*ids, session.ref, session.proved_at, client.origin)
