"""`portal serve` with recording off, for the row audit_tax only: what a view costs without its event.

Lives here and not in the portal, where there is no way to turn recording off.
"""

from portal import assembly
from portal.cli import main
from portal.db.engine import Database
from portal.db.tx import Change
from portal.model.events import Event


class Unrecorded(Database):
    """Reads as ever; what the hot path would commit, event and all, is dropped."""

    async def commit(self, change: Change[Event]) -> None:
        return None


if __name__ == "__main__":
    vars(assembly)["Database"] = Unrecorded
    main()
