"""Opens what a person may read, once that is on record."""
