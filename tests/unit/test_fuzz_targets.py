"""The fuzz targets hold for their seeds and for simple mutations of them; `make fuzz` goes on from there."""

import pytest

from tests.fuzz.targets import TARGETS


@pytest.mark.parametrize("name", TARGETS)
def test_seeds_and_mutations_hold(name: str) -> None:
    """Nothing raises, and what each target promises of its output is so."""
    one = TARGETS[name]
    for data in (*one.seeds, *one.mutations(300)):
        one.run(data)
