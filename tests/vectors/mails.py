"""A corpus of mails as programs, people and attackers write them, each made here, and what a reader must see of it.

`CORPUS` is a tuple of `Vector`s, the same at every import. Nothing is copied from anybody's mailbox. What must not be lost of a piece
(`Piece.kept`) is noted where it is made: words that have to be read somewhere, bytes that have to be an attachment or a picture
in the HTML.
"""

from tests.vectors.bombs import attacks
from tests.vectors.kinds import calendars, cards, reports, sealed
from tests.vectors.making import Kept, Vector
from tests.vectors.trees import boundaries, nested, pictures, trees
from tests.vectors.words import charsets, flowed, headers, letters, names, transfer

__all__ = ["CORPUS", "Kept", "Vector"]

_MAKERS = (
    letters, charsets, headers, names, transfer, flowed, boundaries, trees, pictures, nested, calendars, cards, reports,
    sealed, attacks,
)  # fmt: skip
CORPUS = tuple(one for maker in _MAKERS for one in maker())
