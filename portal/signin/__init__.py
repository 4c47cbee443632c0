"""From a link that proves nothing to a session that says what it proves."""
