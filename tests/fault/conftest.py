"""The short form, which `make test` runs, and the long one of `make fault` (FAULT_LONG=1)."""

import os

import pytest


@pytest.fixture(scope="session")
def long_form() -> bool:
    """Whether the long form was asked for."""
    return os.environ.get("FAULT_LONG") == "1"
