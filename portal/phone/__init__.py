"""Texts and calls: a small provider protocol, and its contract.

`webhook.py` asks a provider by signed requests; `memory.py` keeps what would have been sent, for tests and trials.
"""

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol


class Channel(StrEnum):
    SMS = "sms"
    VOICE = "voice"


@dataclass(frozen=True)
class Spoken:
    """What is to be texted or read out. `number` is E.164; `reference` is the same for the same message sent again."""

    channel: Channel
    number: str = field(repr=False)
    text: str = field(repr=False)
    language: str
    reference: str


@dataclass(frozen=True)
class Sent:
    """Who took it, and what it said: one printable line, without the number or the text, for it goes on record."""

    provider: str
    answer: str


class Texter(Protocol):
    async def send(self, message: Spoken) -> Sent:
        """Returns once the provider has it. Raises SubmissionFailed: `transient` when trying again can help, `unclear` when its
        answer was lost. No error and no log holds the number or the text.
        """
