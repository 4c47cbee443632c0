"""How an organisation looks: a stylesheet with its corrected colour, and its logo. Named anew at each change, so kept for ever."""

from starlette.responses import Response

from portal.model.colours import Accent, accents, read_colour
from portal.model.errors import NotFound
from portal.web.site import Visit

_FOREVER = {"cache-control": "public, max-age=31536000, immutable"}


async def stylesheet(visit: Visit) -> Response:
    """Raises NotFound."""
    accent, _ = await visit.site.setup.look(visit.request.path_params["look"])
    colour = read_colour(accent) if accent else None
    if colour is None:
        raise NotFound("a look without a colour")
    made = accents(colour)
    light, dark = _rules(made.light), _rules(made.dark)
    css = (
        f":root{{{light}}}\n"
        f"@media screen and (prefers-color-scheme:dark){{:root:not([data-theme=light]){{{dark}}}}}\n"
        f"@media screen{{[data-theme=dark]{{{dark}}}}}\n"
    )
    return Response(css, media_type="text/css", headers=_FOREVER)


def _rules(accent: Accent) -> str:
    return f"--pine:{accent.button};--deep:{accent.button};--on:{accent.on};--link:{accent.link};--clay:{accent.link}"


async def logo(visit: Visit) -> Response:
    """Raises NotFound."""
    _, picture = await visit.site.setup.look(visit.request.path_params["look"])
    if picture is None:
        raise NotFound("a look without a logo")
    return Response(picture, media_type="image/png", headers=_FOREVER)
