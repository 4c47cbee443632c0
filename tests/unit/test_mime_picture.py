"""A logo out of a stranger's picture: what comes in, how it comes out, and the sentence for what is not taken."""

import random
import struct
import zlib
from contextlib import suppress
from io import BytesIO

import pytest
from PIL import Image, ImageCms, PngImagePlugin

from portal.mime import Logo, logos
from portal.mime.logos import DAMAGED, EMPTY, NO_PICTURE, TOO_LARGE, TOO_WIDE
from portal.mime.picture import logo
from portal.model.errors import InputRefused

SIGNATURE = b"\x89PNG\r\n\x1a\n"
TEAL = (11, 80, 92)
ROTATED = 6
"""EXIF orientation: the camera was held upright, so the picture is turned by 90 degrees."""


def saved(image: Image.Image, kind: str, **options: object) -> bytes:
    target = BytesIO()
    image.save(target, kind, **options)
    return target.getvalue()


def plain(width: int = 60, height: int = 20, mode: str = "RGB") -> Image.Image:
    return Image.new("RGB", (width, height), TEAL).convert(mode)


def chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def png(width: int, height: int, *before: bytes, depth: int = 1, pixels: bytes | None = None) -> bytes:
    """A grey PNG of any declared size, with these chunks before its pixels."""
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, 0, 0, 0, 0))
    row = b"\0" * (1 + (width * depth + 7) // 8)
    body = zlib.compress(row * height if pixels is None else pixels)
    return SIGNATURE + header + b"".join(before) + chunk(b"IDAT", body) + chunk(b"IEND", b"")


def chunks(raw: bytes) -> set[bytes]:
    names, at = set(), len(SIGNATURE)
    while at < len(raw):
        (length,) = struct.unpack_from(">I", raw, at)
        names.add(raw[at + 4 : at + 8])
        at += length + 12
    return names


def seen(made: Logo) -> Image.Image:
    """The logo's pixels, after a look at what every logo keeps."""
    assert chunks(made.png) <= {b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND"}
    assert len(made.png) <= 100_000
    image = Image.open(BytesIO(made.png), formats=["PNG"])
    assert image.size == (made.width, made.height)
    assert 0 < made.width <= 480
    assert 0 < made.height <= 160
    assert not image.getexif()
    return image.convert("RGBA")


def said(raw: bytes) -> str:
    with pytest.raises(InputRefused) as refused:
        logo(raw)
    assert refused.value.field == "logo"
    return refused.value.say


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "GIF", "WEBP"])
def test_four_kinds_are_taken(kind: str) -> None:
    """Each comes out as a PNG of the same size and colour."""
    made = logo(saved(plain(), kind))
    assert (made.width, made.height) == (60, 20)
    pixel = seen(made).getpixel((30, 10))
    assert isinstance(pixel, tuple)
    assert all(abs(found - meant) <= 4 for found, meant in zip(pixel, (*TEAL, 255), strict=True))


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "I;16"])
def test_every_depth_of_png_is_taken(mode: str) -> None:
    """White on black stays white on black, with one bit or sixteen."""
    image = Image.new("L", (20, 20), 0)
    image.paste(255, (10, 0, 20, 20))
    if mode == "I;16":
        deep = Image.new("I;16", image.size)
        deep.paste(65535, (10, 0, 20, 20))
        image = deep
    else:
        image = image.convert(mode)
    shown = seen(logo(saved(image, "PNG")))
    assert [shown.getpixel((x, 10)) for x in (3, 17)] == [(0, 0, 0, 255), (255, 255, 255, 255)]


@pytest.mark.parametrize("mode", ["CMYK", "L"])
def test_jpeg_of_print_and_of_grey_are_taken(mode: str) -> None:
    """A JPEG need not be RGB."""
    assert seen(logo(saved(plain(mode=mode), "JPEG"))).size == (60, 20)


@pytest.mark.parametrize(
    ("size", "fitted"),
    [
        ((480, 160), (480, 160)),
        ((481, 160), (480, 160)),
        ((960, 160), (480, 80)),
        ((1000, 1000), (160, 160)),
        ((4000, 1), (480, 1)),
        ((1, 4000), (1, 160)),
        ((1, 1), (1, 1)),
    ],
)
def test_logo_fits_its_box(size: tuple[int, int], fitted: tuple[int, int]) -> None:
    """Larger pictures are scaled down in proportion, smaller ones are left as they are."""
    assert seen(logo(saved(plain(*size), "PNG"))).size == fitted


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
def test_camera_held_upright_is_turned(kind: str) -> None:
    """The orientation in the EXIF data is applied to the pixels, for there is no EXIF data afterwards."""
    image = Image.new("RGB", (300, 100), "white")
    image.paste(TEAL, (0, 0, 100, 100))
    exif = Image.Exif()
    exif[0x0112] = ROTATED
    shown = seen(logo(saved(image, kind, exif=exif)))
    assert shown.size == (53, 160)
    top, bottom = shown.getpixel((26, 20)), shown.getpixel((26, 140))
    assert isinstance(top, tuple)
    assert isinstance(bottom, tuple)
    assert (top[0] < 50, bottom[0] > 200) == (True, True)


def test_nothing_but_pixels_is_left() -> None:
    """Where it was taken, who drew it, its profile and its comments stay behind."""
    exif = Image.Exif()
    exif[0x010E] = "canary"
    exif.get_ifd(0x8825)[1] = "canary"
    text = PngImagePlugin.PngInfo()
    text.add_text("Author", "canary")
    text.add_itxt("XML:com.adobe.xmp", "<x>canary</x>", zip=True)
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    pictures = [
        saved(plain(), "PNG", exif=exif, pnginfo=text, icc_profile=profile, dpi=(300, 300)),
        saved(plain(), "JPEG", exif=exif, comment=b"canary", icc_profile=profile, xmp=b"canary"),
        saved(plain(), "GIF", comment=b"canary"),
        saved(plain(), "WEBP", exif=exif, icc_profile=profile, xmp=b"canary"),
    ]
    for raw in pictures:
        made = logo(raw)
        seen(made)
        assert b"canary" not in made.png


@pytest.mark.parametrize("kind", ["PNG", "GIF", "WEBP"])
def test_opacity_is_kept(kind: str) -> None:
    """What was clear stays clear, and what was rubbed out can't be brought back from under it."""
    image = plain().convert("RGBA")
    image.paste((200, 10, 10, 0), (0, 0, 30, 20))
    shown = seen(logo(saved(image, kind, **({"exact": True, "lossless": True} if kind == "WEBP" else {}))))
    assert shown.getpixel((3, 10)) == (0, 0, 0, 0)
    assert shown.getpixel((50, 10)) == (*TEAL, 255)


@pytest.mark.parametrize("kind", ["PNG", "GIF", "WEBP"])
def test_first_frame_is_the_logo(kind: str) -> None:
    """A moving picture stands still at its first frame."""
    frames = [Image.new("RGB", (20, 20), colour) for colour in (TEAL, (250, 0, 0), (0, 250, 0))]
    raw = saved(
        frames[0], kind, save_all=True, append_images=frames[1:], **({"lossless": True} if kind == "WEBP" else {})
    )
    assert seen(logo(raw)).getpixel((10, 10)) == (*TEAL, 255)


@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
def test_noise_fits_too(mode: str) -> None:
    """The picture that compresses worst is still at most 100 kB."""
    chance = random.Random(1)
    raw = saved(Image.frombytes(mode, (480, 160), chance.randbytes(480 * 160 * len(mode))), "PNG")
    assert len(raw) > 200_000
    assert seen(logo(raw)).size == (480, 160)


@pytest.mark.parametrize(
    "kind", ["ICO", "TIFF", "EPS", "BMP", "PPM", "TGA", "PCX", "ICNS", "JPEG2000", "AVIF", "PDF", "DDS"]
)
def test_other_pictures_are_refused(kind: str) -> None:
    """What Pillow could read, and is no picture of the web, is not read."""
    assert said(saved(plain(64, 64), kind)) == NO_PICTURE


@pytest.mark.parametrize(
    "raw",
    [
        b'<svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>',
        b'<?xml version="1.0"?><!DOCTYPE svg [<!ENTITY a SYSTEM "file:///etc/passwd">]><svg>&a;</svg>',
        b"8BPS\0\1" + bytes(200),
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n",
        b"#define x_width 8\n#define x_height 8\nstatic char x_bits[] = {0};",
        b"<html>" + saved(plain(), "PNG"),
        b"RIFF\x24\0\0\0WAVEfmt " + bytes(40),
        b"a",
        bytes(1000),
    ],
)
def test_what_is_no_picture_is_refused(raw: bytes) -> None:
    """Drawings, programs, pages with a picture behind them, and nothing in particular."""
    assert said(raw) == NO_PICTURE


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "GIF", "WEBP"])
def test_picture_cut_short_is_refused(kind: str) -> None:
    """Wherever the file ends too early, nothing half is shown."""
    noise = Image.frombytes("RGB", (90, 90), random.Random(2).randbytes(90 * 90 * 3))
    raw = saved(noise, kind)
    for share in (0.01, 0.1, 0.5, 0.9):
        assert said(raw[: int(len(raw) * share)]) in (DAMAGED, NO_PICTURE)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "GIF", "WEBP"])
def test_damaged_picture_is_refused_or_shown(kind: str) -> None:
    """Whatever was changed in a file, the outcome is a logo or a sentence."""
    chance = random.Random(3)
    raw = saved(Image.frombytes("RGB", (40, 40), chance.randbytes(40 * 40 * 3)), kind)
    for _ in range(60):
        spoiled = bytearray(raw)
        for _ in range(chance.randint(1, 8)):
            spoiled[chance.randrange(len(raw))] = chance.randrange(256)
        with suppress(InputRefused):
            seen(logo(bytes(spoiled)))


def test_empty_and_large_files_are_refused() -> None:
    """No bytes, and one byte over 2 MiB, are not looked at."""
    whole = saved(plain(), "PNG")
    assert said(b"") == EMPTY
    assert logo(whole + bytes(2 * 1024 * 1024 - len(whole)))
    assert said(whole + bytes(2 * 1024 * 1024 + 1 - len(whole))) == TOO_LARGE


@pytest.mark.parametrize(
    "size", [(4001, 1), (1, 4001), (4001, 4001), (20_000, 20_000), (60_000, 60_000), (2**31 - 1, 1)]
)
def test_size_is_looked_at_before_the_pixels(size: tuple[int, int]) -> None:
    """A picture that says it is too large is refused, though it has not a pixel."""
    assert said(png(*size, pixels=b"")) == TOO_WIDE


@pytest.mark.parametrize("size", [(0, 0), (0, 10), (10, 0)])
def test_picture_without_size_is_refused(size: tuple[int, int]) -> None:
    """Nothing to see is nothing to show."""
    assert said(png(*size, pixels=b"")) in (DAMAGED, NO_PICTURE)
    gif = bytearray(saved(plain(), "GIF"))
    gif[6:10] = struct.pack("<HH", *size)
    at = gif.index(b"\x2c")
    gif[at + 5 : at + 9] = struct.pack("<HH", *size)
    assert said(bytes(gif)) in (DAMAGED, NO_PICTURE)


def test_frame_larger_than_its_picture_is_measured() -> None:
    """A GIF of one pixel whose frame is 60,000 wide has the size of the frame."""
    gif = bytearray(saved(plain(), "GIF"))
    gif[6:10] = struct.pack("<HH", 1, 1)
    at = gif.index(b"\x2c")
    gif[at + 5 : at + 9] = struct.pack("<HH", 60_000, 60_000)
    assert said(bytes(gif)) == TOO_WIDE


@pytest.mark.parametrize("name", [b"zTXt", b"iTXt", b"iCCP"])
def test_chunk_that_unpacks_to_much_is_refused(name: bytes) -> None:
    """100 MB of text or profile in 100 kB are not unpacked."""
    packed = zlib.compress(bytes(100_000_000), 9)
    data = b"a\0\1\0\0\0" + packed if name == b"iTXt" else b"a\0\0" + packed
    assert said(png(8, 8, chunk(name, data))) == DAMAGED


def test_many_chunks_that_unpack_to_much_are_refused() -> None:
    """A hundred texts of a megabyte each are too many."""
    text = chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(1_000_000), 9))
    assert said(png(8, 8, *[text] * 100)) == DAMAGED


def test_what_follows_the_picture_stays_behind() -> None:
    """A picture that is a page, an archive or a script too is only a picture afterwards."""
    for kind in ("PNG", "JPEG", "GIF", "WEBP"):
        made = logo(saved(plain(), kind) + b"<html><script>canary()</script>PK\x03\x04")
        seen(made)
        assert b"canary" not in made.png


def test_answer_is_a_logo_or_a_known_sentence() -> None:
    """What the process says is read back; whatever else it might say is not believed."""
    made = logo(saved(plain(), "PNG"))
    assert logos.load(logos.dump(made)) == made
    for say in logos.SENTENCES:
        with pytest.raises(InputRefused, match=say[:20]):
            logos.load(logos.dump(InputRefused(say)))
    body = made.png[len(SIGNATURE) :]
    for answer in (
        b"",
        b"Call 555 0100 and say your password.",
        b"\xff\xfe",
        b"<svg></svg>",
        made.png + b"<html>",
        made.png[:-1],
        made.png[:-12],
        SIGNATURE,
        SIGNATURE + body[25:],
        SIGNATURE + chunk(b"tEXt", b"a\0b") + body,
        SIGNATURE + body[:25] + chunk(b"tEXt", b"a\0b") + body[25:],
        png(481, 1),
        png(1, 161),
        png(0, 1),
        png(10, 10, *[chunk(b"IDAT", bytes(60_000))] * 2),
        SIGNATURE + chunk(b"IHDR", b"") + chunk(b"IDAT", b"") + chunk(b"IEND", b""),
    ):
        with pytest.raises(ValueError, match=r"."):
            logos.load(answer)
