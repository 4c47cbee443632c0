"""What staff and operators look at: deliveries and how far each got, and reports. Metadata only, and each look is on record."""

from dataclasses import dataclass

from portal.model.errors import NotFound
from portal.model.events import By
from portal.model.ids import OrgId
from portal.model.staff import Person, Scope, Verb


@dataclass(frozen=True)
class View:
    """How far somebody sees: an organisation, or with `own` only what that sender's address sent."""

    org_id: OrgId
    by: By
    own: bytes | None = None


def view(asker: Person, verb: Verb) -> View:
    """Raises NotFound for what her role does not allow: it never existed."""
    scope = asker.reach(verb)
    if scope is Scope.NONE:
        raise NotFound(f"{asker.role} may not {verb}")
    return View(asker.org_id, asker.by, asker.address_hash if scope is Scope.OWN else None)
