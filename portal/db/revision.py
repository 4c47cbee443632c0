"""The schema's revision that this program works with: the name of the newest migration.

Told by the files alone, so that serving loads no migration tool (10 MB of memory, a fifth of a second to start).
"""

from portal import paths
from portal.model.errors import RefusesToStart


def head() -> str:
    """Raises RefusesToStart when there are no migrations."""
    names = sorted(path.stem for path in (paths.migrations() / "versions").glob("[0-9]*.py"))
    if not names:
        raise RefusesToStart(f"there are no migrations in {paths.migrations()}; install the portal again")
    return names[-1]
