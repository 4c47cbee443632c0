"""Which revision the program works with."""

from alembic.config import Config
from alembic.script import ScriptDirectory

from portal import paths
from portal.db.revision import head


def test_the_newest_file_is_the_newest_revision() -> None:
    """It is told by the files alone, and is what the migration tool itself would say."""
    config = Config()
    config.set_main_option("script_location", str(paths.migrations()).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    assert head() == ScriptDirectory.from_config(config).get_current_head()
