"""The parser of DATA against a slow and obvious one, on any content in any cuts; and the answers' map."""

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from portal.model import errors
from portal.model.errors import MessageMalformed, MessageTooLarge, StorageAway, SubmissionRefused
from portal.smtp import replies
from portal.smtp.data import ClientGone, DataParser, receive
from portal.smtp.replies import reply_to

pytestmark = pytest.mark.anyio


def reference(stream: bytes) -> tuple[bytes, bytes] | None:
    """Message and rest, byte by byte. None when the end was not seen; raises MessageMalformed before the end."""
    message = bytearray()
    line = bytearray()
    for at, octet in enumerate(stream):
        if octet == 0 or (octet == 10) != (bytes(line[-1:]) == b"\r"):
            raise MessageMalformed
        line.append(octet)
        if octet == 10:
            if line == b".\r\n":
                return bytes(message), stream[at + 1 :]
            message += line[1:] if line[:1] == b"." else line
            line.clear()
    return None


def cut(stream: bytes, cuts: list[int]) -> list[bytes]:
    """The stream in pieces, cut at each of `cuts` (taken modulo its length)."""
    places = sorted({place % (len(stream) + 1) for place in cuts})
    return [stream[a:b] for a, b in zip([0, *places], [*places, len(stream)], strict=True)]


def parsed(pieces: list[bytes]) -> tuple[bytes, bytes] | None:
    """What DataParser makes of the pieces, in the reference's terms."""
    parser = DataParser()
    message = b""
    for at, piece in enumerate(pieces):
        message += parser.feed(piece)
        if parser.done:
            return message, parser.rest + b"".join(pieces[at + 1 :])
    return None


def outcome(of: object, argument: object) -> object:
    """What a parser returns, or that it refused."""
    assert callable(of)
    try:
        return of(argument)
    except MessageMalformed:
        return "malformed"


TOKENS = [b"\r\n", b"\r\n", b"\r\n", b".", b"..", b".\r\n", b"\r\n.\r\n", b"a", b"Hello", b"\x80\xff"]
HOSTILE = [b"\r", b"\n", b"\0", b"\n.\n", b"\r.\r", b"\n.\r\n", b"\r\n.\n", b"\r\n.\r"]
WELL_FORMED = st.lists(st.sampled_from(TOKENS), max_size=40).map(b"".join)
ANY = st.lists(st.one_of(st.sampled_from(TOKENS + HOSTILE), st.binary(max_size=5)), max_size=40).map(b"".join)
CUTS = st.lists(st.integers(0, 400), max_size=30)


@given(stream=st.one_of(WELL_FORMED, ANY), cuts=CUTS)
@example(stream=b".\r\n", cuts=[])
@example(stream=b"\r\n.\r\n", cuts=[1, 2, 3, 4])
@example(stream=b"..\r\n.\r\nQUIT\r\n", cuts=[1])
@settings(max_examples=1500, deadline=None)
def test_parser_agrees_with_the_reference_on_any_cuts(stream: bytes, cuts: list[int]) -> None:
    """Any bytes in any cuts give the message, the rest or the refusal that reading byte by byte gives."""
    expected = outcome(reference, stream)
    found = outcome(parsed, cut(stream, cuts))
    if expected is None and found == "malformed":
        pytest.fail("refused what the reference takes")
    if expected == "malformed" and found is None:
        # a CR at the very end is not bare until the next byte shows it
        found = outcome(parsed, [*cut(stream, cuts), b"x"])
    assert found == expected


@given(message=st.lists(st.binary(max_size=90), max_size=30), cuts=CUTS)
@settings(max_examples=300, deadline=None)
def test_what_a_client_stuffs_comes_out_byte_exact(message: list[bytes], cuts: list[int]) -> None:
    """A message stuffed as RFC 5321 4.5.2 says comes out as it was."""
    lines = [line.translate(None, b"\r\n\0") for line in message]
    stuffed = b"".join((b"." if line[:1] == b"." else b"") + line + b"\r\n" for line in lines)
    whole = b"".join(line + b"\r\n" for line in lines)
    assert parsed(cut(stuffed + b".\r\nNOOP\r\n", cuts)) == (whole, b"NOOP\r\n")


@pytest.mark.parametrize(
    "end",
    [
        b"\n.\n",
        b"\n.\r\n",
        b"\r\n.\n",
        b"\r.\r",
        b"\r.\r\n",
        b"\r\n.\r",
        b"\r\n\0.\r\n",
        b"\r\n.\0\r\n",
        b"\n\n.\r\n\r\n",
    ],
)
@pytest.mark.parametrize("size", [1, 2, 3, 7, 1000])
def test_nothing_but_crlf_dot_crlf_ends_a_message(end: bytes, size: int) -> None:
    """Each known way to smuggle a second message in is refused, however it is cut."""
    stream = b"Subject: one\r\n\r\nhello" + end + b"MAIL FROM:<mallory@clinic.example>\r\n.\r\n"
    with pytest.raises(MessageMalformed):
        parsed([stream[at : at + size] for at in range(0, len(stream), size)])


def test_a_line_of_a_megabyte_passes() -> None:
    """Lines have no limit of their own."""
    assert parsed([b"x" * 1_000_000, b"\r\n.\r\n"]) == (b"x" * 1_000_000 + b"\r\n", b"")


class Wired:
    """A client that sends `pieces` and then leaves, and a sink that keeps what it is given."""

    def __init__(self, *pieces: bytes) -> None:
        self.pieces = list(pieces)
        self.written: list[bytes] = []
        self.error: Exception | None = None

    async def read(self) -> bytes:
        return self.pieces.pop(0) if self.pieces else b""

    async def write(self, piece: bytes) -> None:
        if self.error:
            raise self.error
        self.written.append(piece)


async def test_the_size_limit_is_exact() -> None:
    """A message of just the limit is taken, one byte more is refused after its end."""
    taken = await receive((wired := Wired(b"12345678\r\n.\r\n")).read, wired.write, max_bytes=10)
    refused = await receive((wired := Wired(b"123456789\r\n.\r\nQUIT\r\n")).read, wired.write, max_bytes=10)
    assert (taken.refusal, taken.ended) == (None, True)
    assert isinstance(refused.refusal, MessageTooLarge)
    assert (refused.ended, refused.rest, wired.written) == (True, b"QUIT\r\n", [])


async def test_reading_on_after_a_refusal_has_a_bound() -> None:
    """A client that never ends is not listened to for ever."""
    wired = Wired(*[b"x" * 10] * 50)
    received = await receive(wired.read, wired.write, max_bytes=100)
    assert isinstance(received.refusal, MessageTooLarge)
    assert not received.ended
    assert 450 > len(wired.pieces) * 10 > 200


async def test_a_failing_sink_gets_nothing_more_and_the_end_is_read() -> None:
    """After the sink failed the message is read to its end, and the failure is what is told."""
    wired = Wired(b"one\r\n", b"two\r\n", b".\r\nQUIT\r\n")
    wired.error = StorageAway("no answer")
    received = await receive(wired.read, wired.write, max_bytes=100)
    assert received.refusal is wired.error
    assert (received.ended, received.rest) == (True, b"QUIT\r\n")


async def test_half_a_message_is_none() -> None:
    """A connection that ends before the message gives ClientGone, also just before the last byte."""
    wired = Wired(b"Subject: one\r\n\r\nhello\r\n.\r")
    with pytest.raises(ClientGone):
        await receive(wired.read, wired.write, max_bytes=100)


def test_every_refusal_of_a_submission_has_its_own_answer() -> None:
    """No SubmissionRefused is left to a general answer."""
    for kind in SubmissionRefused.__subclasses__():
        assert kind in replies._CODES, kind


@pytest.mark.parametrize(
    ("error", "answer"),
    [
        (errors.StorageFull(), "452 4.3.1"),
        (errors.StorageAway(), "451 4.3.0"),
        (errors.KeysAway(), "451 4.3.0"),
        (errors.MessageTooLarge(), "552 5.3.4"),
        (errors.MessageMalformed(), "550 5.6.11"),
        (errors.TooManyRecipients(), "452 4.5.3"),
        (errors.SenderNotYours(), "550 5.7.1"),
        (errors.RecipientRefused(), "550 5.1.1"),
        (errors.RecipientIsYours(), "550 5.7.1"),
        (errors.MailLoop(), "554 5.4.6"),
        (errors.RelayUnknown(), "535 5.7.8"),
        (RuntimeError("Alice Example, born 1980"), "451 4.3.0"),
    ],
)
def test_each_error_has_its_code(error: Exception, answer: str) -> None:
    """Each error is answered by its own code, and by nothing of its text."""
    reply = str(reply_to(error))
    assert reply.startswith(f"{answer} ")
    assert "Alice" not in reply


def test_transient_errors_have_transient_codes() -> None:
    """What an error says about trying again, its code says too."""
    for kind, (code, status) in replies._CODES.items():
        assert kind.transient == (code < 500)
        assert status[0] == str(code)[0]
