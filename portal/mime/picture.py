"""A stranger's picture made a logo: decoded, set upright, scaled down, and written anew as a PNG that holds pixels alone.

The only module that imports Pillow, and only a process that can be killed imports this one (portal/mime/worker.py). Four decoders are
let near the bytes (`Image.open(formats=...)`): SVG, ICO, TIFF, PSD, EPS and whatever else Pillow reads is refused unopened.
"""

import warnings
from io import BytesIO

from PIL import (
    GifImagePlugin,
    Image,
    ImageOps,
    JpegImagePlugin,
    PngImagePlugin,
    UnidentifiedImageError,
    WebPImagePlugin,
)

from portal.mime import Logo
from portal.mime.logos import (
    DAMAGED,
    EMPTY,
    HEIGHT,
    MAX_BYTES,
    MAX_PNG_BYTES,
    MAX_SIDE,
    NO_PICTURE,
    TOO_HEAVY,
    TOO_LARGE,
    TOO_WIDE,
    WIDTH,
    measured,
    refused,
)
from portal.model.errors import InputRefused

# Named here because Pillow imports every plug-in it has when it is asked for a format that nobody imported.
_PLUGINS = (
    PngImagePlugin.PngImageFile,
    JpegImagePlugin.JpegImageFile,
    GifImagePlugin.GifImageFile,
    WebPImagePlugin.WebPImageFile,
)
_FORMATS = [plugin.format for plugin in _PLUGINS]


def logo(raw: bytes) -> Logo:
    """The first frame of a PNG, JPEG, GIF or WebP as a PNG of at most 480 x 160 pixels and 100 kB.

    Raises InputRefused, in a sentence that says what to do, for any other file, for more than 2 MiB or 4,000 pixels a side (before
    anything is decoded), and for what is empty, damaged or cut short.
    """
    if not raw:
        raise refused(EMPTY)
    if len(raw) > MAX_BYTES:
        raise refused(TOO_LARGE)
    Image.MAX_IMAGE_PIXELS = MAX_SIDE * MAX_SIDE
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # oddities in metadata, which goes nowhere
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            return measured(_written(_fitted(_decoded(raw))))
    except InputRefused:
        raise
    except (Image.DecompressionBombWarning, Image.DecompressionBombError) as error:
        raise refused(TOO_WIDE) from error
    except UnidentifiedImageError as error:
        raise refused(NO_PICTURE) from error
    except MemoryError as error:
        raise refused(TOO_HEAVY) from error
    except Exception as error:  # Pillow's decoders raise nearly anything for a file that was made to hurt them
        raise refused(DAMAGED) from error


def _decoded(raw: bytes) -> Image.Image:
    """The first frame, upright, with its colours before its opacity: what was rubbed out is not hidden in it any more."""
    with Image.open(BytesIO(raw), formats=_FORMATS) as image:
        if max(image.size) > MAX_SIDE:
            raise refused(TOO_WIDE)
        if min(image.size) < 1:
            raise refused(DAMAGED)
        image.load()
        upright = ImageOps.exif_transpose(image)
    if upright.mode.startswith("I"):  # 16 bits of grey, which `convert` would cut off at 255
        upright.info.pop("transparency", None)
        upright = upright.convert("I").point([value >> 8 for value in range(65536)], "L")
    return upright.convert("RGBA").convert("RGBa")


def _fitted(image: Image.Image) -> Image.Image:
    """Scaled down into the box, with nothing but pixels, and without an alpha channel when nothing shines through."""
    image.thumbnail((WIDTH, HEIGHT), Image.Resampling.LANCZOS)
    fitted = image.convert("RGBA")
    if fitted.getchannel("A").getextrema() == (255, 255):
        fitted = fitted.convert("RGB")
    fitted.info = {}
    return fitted


def _written(image: Image.Image) -> bytes:
    """As a PNG; with 256 colours when that is too large. One byte a pixel is 77 kB for the whole box, so that always fits."""
    png = _png(image)
    if len(png) > MAX_PNG_BYTES:
        octree = image.mode == "RGBA"  # the one method for colours with opacity; the other is kinder to photographs
        png = _png(image.quantize(256, Image.Quantize.FASTOCTREE if octree else Image.Quantize.MEDIANCUT))
    return png


def _png(image: Image.Image) -> bytes:
    target = BytesIO()
    image.save(target, "PNG", optimize=True)
    return target.getvalue()
