"""Routes of the organisation's settings: the relay's fallback, classes of messages with a preview of each change, and its look."""

import json
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime

from starlette.responses import JSONResponse, Response

from portal.db.overview import Act
from portal.model.assurance import Assurance
from portal.model.colours import accents, read_colour
from portal.model.errors import BodyTooLarge, InputRefused, NotFound
from portal.model.ids import PolicyId
from portal.model.notice import check_words
from portal.model.policy import Policy, Scan
from portal.orgs.classes import KINDS
from portal.orgs.fallback import MOST_AT_ONCE, RECORD, Credential, fingerprint_of
from portal.orgs.recipe import Block, Names, postfix
from portal.web.forms import Multipart
from portal.web.languages import LANGUAGES
from portal.web.staff.signin import form, form_pairs, wrong
from portal.web.staff.site import StaffVisit

_LOGO_BYTES = 2 * 1024 * 1024
MODES = {
    "arbiter": "It brings whatever it could not send. The portal looks at each recipient's mail host and takes what belongs here.",
    "trust": "It brings only what belongs here: all of it is taken.",
    "explicit": "It brings what senders marked for the portal: other mail is refused.",
}
ROUTES = {
    "always": "always a portal message",
    "never": "never a portal message",
    "encrypt": "TLS is enough",
    "verify": "TLS with a trusted certificate",
}
_LEVELS = {1: "the mailbox alone", 2: "two channels", 3: "a passkey"}

# -- the fallback


async def fallback(visit: StaffVisit) -> Response:
    return await _fallback(visit)


async def _fallback(
    visit: StaffVisit, error: dict[str, str] | None = None, typed: dict[str, str] | None = None
) -> Response:
    organisation, person = await visit.organisation(), await visit.person()
    state = await visit.site.fallback(person.by).state(organisation)
    valid = {
        relay.id: [one for one in state.credentials if one.relay_id == relay.id and not one.disabled_at]
        for relay in state.relays
    }
    return visit.page(
        "fallback",
        status=422 if error else 200,
        state=state,
        valid=valid,
        record=RECORD,
        organisation=organisation,
        routes=await visit.site.routes.every(organisation.id),
        ways=ROUTES,
        modes=MODES,
        probing=visit.site.probing,
        typed=typed or {},
        done=visit.request.query_params.get("done", "") if visit.request.method == "GET" else "",
        error=error,
    )


async def claim(visit: StaffVisit) -> Response:
    fields, person = await form(visit), await visit.person()
    try:
        await visit.site.fallback(person.by).claim(await visit.organisation(), fields.get("domain", ""))
    except InputRefused as error:
        return await _fallback(visit, wrong("domain", error.say), fields)
    return visit.go("/staff/fallback?done=claimed")


async def prove(visit: StaffVisit) -> Response:
    await form(visit)
    person = await visit.person()
    try:
        await visit.site.fallback(person.by).prove(await visit.organisation(), visit.request.path_params["domain"])
    except InputRefused as error:
        return await _fallback(visit, wrong("claims", error.say))
    return visit.go("/staff/fallback?done=proved")


async def remove_domain(visit: StaffVisit) -> Response:
    await form(visit)
    person = await visit.person()
    try:
        await visit.site.fallback(person.by).remove_domain(
            await visit.organisation(), visit.request.path_params["domain"]
        )
    except InputRefused as error:
        return await _fallback(visit, wrong("domains", error.say))
    return visit.go("/staff/fallback?done=removed")


async def add_relay(visit: StaffVisit) -> Response:
    """The password is on this page, once."""
    fields, person = await form(visit), await visit.person()
    try:
        made = await visit.site.fallback(person.by).add_relay(
            await visit.organisation(), fields.get("name", ""), _pin(fields), fields.get("mode", "arbiter")
        )
    except InputRefused as error:
        return await _fallback(visit, wrong(error.field or "name", error.say), fields)
    return await _credential(visit, made, second=False)


def _pin(fields: dict[str, str]) -> str | None:
    """A fingerprint, or that of a pasted certificate; None for a password. Raises InputRefused."""
    text = fields.get("certificate", "").strip()
    if not text:
        return None
    return fingerprint_of(text) if "BEGIN" in text else text


async def _credential(visit: StaffVisit, made: Credential, *, second: bool) -> Response:
    blocks = await _recipe(visit, made.row.username, made.password)
    return visit.page("credential", made=made, second=second, blocks=blocks)


async def _recipe(visit: StaffVisit, username: str | None, password: str | None = None) -> list[Block]:
    """The relay's configuration with this portal's and this organisation's names in it."""
    organisation, person, site = await visit.organisation(), await visit.person(), visit.site
    state = await site.fallback(person.by).state(organisation)
    domains = tuple(one.domain for one in state.domains) or ("clinic.example",)
    names = Names(
        site.smtp_host,
        site.smtp_port,
        site.return_domain,
        organisation.mail_from,
        domains,
        username or "USERNAME",
        password or "PASSWORD",
    )
    return postfix(names)


async def relay(visit: StaffVisit) -> Response:
    return await _relay(visit)


async def _relay(visit: StaffVisit, error: dict[str, str] | None = None, typed: str = "") -> Response:
    organisation, person = await visit.organisation(), await visit.person()
    chapter, wanted = visit.site.fallback(person.by), visit.request.path_params["relay"]
    try:
        found, credentials = await chapter.relay(organisation, wanted)
    except InputRefused:
        return visit.page(
            "error", status=404, heading="There is no such relay", say="It is not one of yours.", back="/staff/fallback"
        )
    state = await chapter.state(organisation)
    valid = [one for one in credentials if not one.disabled_at]
    return visit.page(
        "relay",
        status=422 if error else 200,
        relay=found,
        credentials=credentials,
        valid=valid,
        may_rotate=not found.disabled_at and len(valid) < MOST_AT_ONCE,
        modes=MODES,
        domains=[one.domain for one in state.domains],
        bound=state.bound.get(found.id, []),
        lately=[_lately(one) for one in await chapter.lately(organisation, wanted)],
        typed=typed,
        blocks=await _recipe(visit, next((one.username for one in reversed(valid) if one.username), None)),
        done=visit.request.query_params.get("done", "") if visit.request.method == "GET" else "",
        error=error,
    )


_WHY = {
    "SenderNotYours": "the sender's domain is not one that this relay may hand over",
    "RecipientRefused": "the recipient's address can't be served",
    "RecipientIsYours": "the recipient is in a sender domain of the portal",
    "RelayUnknown": "the credential is disabled",
    "MailLoop": "the portal's own mail came back, or went in circles",
    "MessageTooLarge": "larger than the portal takes",
    "MessageMalformed": "bytes or headers that mail may not have",
    "TooManyRecipients": "too many recipients at once",
    "RecipientApart": "recipients with and without need of a mark in one mail; the relay sends to some of them again",
    "ClassUnknown": "no class of the name that the mail asked for",
    "AskedMalformed": "an X-Portal header that is not understood",
    "RecipientOutOfReach": "a recipient can't sign in strongly enough for the class",
    "NoTexts": "a phone number, and this portal sends no texts",
    "LeftToRelay": "not yet, or not at all, a case for the portal; the relay keeps the mail and sends it itself",
    "NobodyThere": "there is no such domain, or it takes no mail",
    "NeverHere": "the recipient is on your list of those who get no portal messages",
    "NotMarked": "nothing in the mail marks it for the portal",
}


def _lately(one: Act) -> dict[str, object]:
    """What a relay did, in words."""
    detail = json.loads(one.detail)
    if one.kind == "MessageAccepted":
        count = len(detail["deliveries"])
        text, good = f"Taken in for {count} recipient{'' if count == 1 else 's'}, class {detail['policy']}", True
    elif one.kind != "SubmissionRefused":  # what came to a path of the portal's: a report, or an answer
        text, good = "Brought back what became of a mail of the portal's", True
    else:
        text, good = f"Refused: {_WHY.get(detail.get('reason', ''), detail.get('reason', one.kind))}", False
    if detail.get("unsaid"):
        text += f" ({detail['unsaid']} times before, too, since the last such line)"
    return {"at": one.at, "shown": shown_time(one.at), "text": text, "good": good, "origin": one.origin}


async def live(visit: StaffVisit) -> Response:
    """What the relay's page shows, as JSON for its script."""
    person = await visit.person()
    try:
        found = await visit.site.fallback(person.by).lately(
            await visit.organisation(), visit.request.path_params["relay"]
        )
    except InputRefused:
        found = []
    lines = [_lately(one) for one in found]
    shown = [{**one, "at": at.isoformat()} for one in lines if isinstance(at := one["at"], datetime)]
    return visit.settled(JSONResponse({"lately": shown}))


def shown_time(at: datetime) -> str:
    """As the pages write moments, in UTC."""
    return at.astimezone(UTC).strftime("%-d %b %Y, %H:%M:%S")


async def rotate(visit: StaffVisit) -> Response:
    """The password is on this page, once."""
    fields, person = await form(visit), await visit.person()
    try:
        made = await visit.site.fallback(person.by).rotate(
            await visit.organisation(), visit.request.path_params["relay"], _pin(fields)
        )
    except InputRefused as error:
        return await _relay(visit, wrong(error.field or "credentials", error.say), fields.get("certificate", ""))
    return await _credential(visit, made, second=True)


async def bind(visit: StaffVisit) -> Response:
    pairs, person = await form_pairs(visit), await visit.person()
    wanted = visit.request.path_params["relay"]
    domains = [value for name, value in pairs if name == "domain"]
    try:
        await visit.site.fallback(person.by).bind(await visit.organisation(), wanted, domains)
    except InputRefused as error:
        return await _relay(visit, wrong("domains", error.say))
    return visit.go(f"/staff/fallback/relays/{wanted}?done=bound")


async def set_mode(visit: StaffVisit) -> Response:
    fields, person = await form(visit), await visit.person()
    wanted = visit.request.path_params["relay"]
    try:
        await visit.site.fallback(person.by).set_mode(await visit.organisation(), wanted, fields.get("mode", ""))
    except InputRefused as error:
        return await _relay(visit, wrong("mode", error.say))
    return visit.go(f"/staff/fallback/relays/{wanted}?done=mode")


async def set_level(visit: StaffVisit) -> Response:
    fields, person = await form(visit), await visit.person()
    hours = fields.get("hours", "").strip()
    try:
        if hours and not (hours.isascii() and hours.isdigit() and len(hours) < 4):
            raise InputRefused("Give a whole number of hours, or leave it empty.", "hours")
        wanted = int(hours) if hours else None
        await visit.site.routes.set_transport(person.org_id, fields.get("level", ""), wanted, person.by)
    except InputRefused as error:
        return await _fallback(visit, wrong(error.field or "level", error.say), fields)
    return visit.go("/staff/fallback?done=level")


async def set_route(visit: StaffVisit) -> Response:
    fields, person = await form(visit), await visit.person()
    try:
        await visit.site.routes.set(person.org_id, fields.get("value", ""), fields.get("route", ""), person.by)
    except InputRefused as error:
        return await _fallback(visit, wrong(error.field or "value", error.say), fields)
    return visit.go("/staff/fallback?done=route")


async def remove_route(visit: StaffVisit) -> Response:
    await form(visit)
    person = await visit.person()
    try:
        await visit.site.routes.remove(person.org_id, visit.request.path_params["route"], person.by)
    except InputRefused as error:
        return await _fallback(visit, wrong("routes", error.say))
    return visit.go("/staff/fallback?done=unrouted")


async def disable_relay(visit: StaffVisit) -> Response:
    await form(visit)
    person, wanted = await visit.person(), visit.request.path_params["relay"]
    try:
        await visit.site.fallback(person.by).disable_relay(await visit.organisation(), wanted)
    except InputRefused as error:
        return await _relay(visit, wrong("credentials", error.say))
    return visit.go("/staff/fallback?done=disabled")


async def disable_credential(visit: StaffVisit) -> Response:
    await form(visit)
    person, wanted = await visit.person(), visit.request.path_params["relay"]
    try:
        await visit.site.fallback(person.by).disable_credential(
            await visit.organisation(), wanted, visit.request.path_params["credential"]
        )
    except InputRefused as error:
        return await _relay(visit, wrong("credentials", error.say))
    return visit.go(f"/staff/fallback/relays/{wanted}?done=credential")


# -- classes


async def classes(visit: StaffVisit) -> Response:
    return await _classes(visit)


async def _classes(
    visit: StaffVisit, error: dict[str, str] | None = None, typed: dict[str, str] | None = None
) -> Response:
    person = await visit.person()
    return visit.page(
        "classes",
        status=422 if error else 200,
        classes=await visit.site.classes(person.by).every(person.org_id),
        rules=await visit.site.rules.every(person.org_id),
        kinds=KINDS,
        levels=_LEVELS,
        typed=typed or {},
        done=visit.request.query_params.get("done", "") if visit.request.method == "GET" else "",
        error=error,
    )


async def policy(visit: StaffVisit) -> Response:
    person, name = await visit.person(), visit.request.path_params["name"]
    versions = await visit.site.classes(person.by).versions(person.org_id, name)
    base = versions[0][0] if versions else Policy(PolicyId(""), person.org_id, name if name != "new" else "", 0)
    return await _policy(visit, base, base.version)


async def _policy(
    visit: StaffVisit,
    wanted: Policy,
    base: int,
    *,
    preview: object = None,
    error: dict[str, str] | None = None,
    raw: dict[str, str] | None = None,
) -> Response:
    person = await visit.person()
    versions = await visit.site.classes(person.by).versions(person.org_id, wanted.name) if wanted.name else []
    typed = {
        "name": wanted.name,
        "life_days": str(wanted.life_days),
        "retention_days": str(wanted.retention_days),
        "reminder_days": str(wanted.reminder_days or ""),
        "warn_days": str(wanted.warn_days or ""),
        "assurance": str(int(wanted.assurance)),
        "reply": "yes" if wanted.reply_allowed else "no",
        "notice_language": wanted.notice_language or "",
        "unverified": "yes" if wanted.unverified_notice else "no",
        "scan": wanted.scan.value,
        "previews": "yes" if wanted.previews else "no",
        "receipts": "yes" if wanted.receipts else "no",
        "reply_all": "yes" if wanted.reply_all else "no",
        "graduate": "yes" if wanted.graduate else "no",
        **(raw or {}),
    }
    return visit.page(
        "class",
        status=422 if error else 200,
        typed=typed,
        base=base,
        is_new=base == 0,
        versions=versions,
        preview=preview,
        languages=LANGUAGES,
        levels=_LEVELS,
        labels=_LABELS,
        error=error,
    )


_LABELS = {
    "life_days": "Readable for (days)",
    "retention_days": "Kept for (days)",
    "reminder_days": "Reminder before the end (days)",
    "warn_days": "Sender told before the end (days)",
    "assurance": "Sign-in needed",
    "reply_allowed": "Answers allowed",
    "notice_language": "Language of notices",
    "unverified_notice": "Notice over unverified hops",
    "scan": "Virus scan",
    "previews": "Previews of attachments",
    "receipts": "Read receipts",
    "reply_all": "Answers to all",
    "graduate": "Sent on once the mailbox is safe",
}


async def set_policy(visit: StaffVisit) -> Response:
    """First shows what a change would do; a second press, on that page, makes it."""
    fields, person = await form(visit), await visit.person()
    chapter, name = visit.site.classes(person.by), visit.request.path_params["name"]
    start = Policy(PolicyId(""), person.org_id, (fields.get("name", "") if name == "new" else name).strip().lower(), 0)
    seen = fields.get("base", "")
    base = int(seen) if seen.isascii() and seen.isdigit() and len(seen) < 6 else 0
    try:
        wanted = _read(start, fields)
        if name == "new" and any(one.name == wanted.name for one in await chapter.every(person.org_id)):
            raise InputRefused("There is a class of that name. Change that one, or choose another name.", "name")
        if fields.get("sure") == "yes":
            await chapter.set(person.org_id, wanted, base)
            return visit.go(f"/staff/classes?done={wanted.name}")
        preview = await chapter.preview(person.org_id, wanted)
        if not preview.differences:
            raise InputRefused("Nothing would change.")
    except InputRefused as error:
        return await _policy(visit, start, base, error=wrong(error.field or "main", error.say), raw=fields)
    return await _policy(visit, wanted, preview.base, preview=preview)


def _read(start: Policy, fields: dict[str, str]) -> Policy:
    """Raises InputRefused."""
    level = _days(fields, "assurance") or 0
    if level not in tuple(Assurance):
        raise InputRefused("Choose what a sign-in must prove.", "assurance")
    language = fields.get("notice_language") or None
    if language not in (None, *LANGUAGES):
        raise InputRefused("Choose one of the languages.", "notice_language")
    scan = fields.get("scan", "")
    if scan not in tuple(Scan):
        raise InputRefused("Choose what the virus scanner is asked.", "scan")
    return replace(
        start,
        life_days=_days(fields, "life_days") or 0,
        retention_days=_days(fields, "retention_days") or 0,
        reminder_days=_days(fields, "reminder_days"),
        warn_days=_days(fields, "warn_days"),
        assurance=Assurance(level),
        reply_allowed=fields.get("reply") == "yes",
        notice_language=language,
        unverified_notice=fields.get("unverified") == "yes",
        scan=Scan(scan),
        previews=fields.get("previews") == "yes",
        receipts=fields.get("receipts") == "yes",
        reply_all=fields.get("reply_all") == "yes",
        graduate=fields.get("graduate") == "yes",
    )


def _days(fields: dict[str, str], name: str) -> int | None:
    text = fields.get(name, "").strip()
    if not text:
        return None
    if not (text.isascii() and text.isdigit() and len(text) < 6):
        raise InputRefused("Write a whole number of days.", name)
    return int(text)


async def add_rule(visit: StaffVisit) -> Response:
    fields, person = await form(visit), await visit.person()
    try:
        kind, value = fields.get("kind", ""), fields.get("value", "")
        await visit.site.rules.set(person.org_id, kind, value, fields.get("policy_name", ""), person.by)
    except InputRefused as error:
        return await _classes(visit, wrong(error.field or "value", error.say), fields)
    return visit.go("/staff/classes?done=rule")


async def remove_rule(visit: StaffVisit) -> Response:
    await form(visit)
    person = await visit.person()
    try:
        await visit.site.rules.remove(person.org_id, visit.request.path_params["rule"], person.by)
    except InputRefused as error:
        return await _classes(visit, wrong("value", error.say))
    return visit.go("/staff/classes?done=rule-removed")


# -- look


async def look(visit: StaffVisit) -> Response:
    return await _look(visit)


async def _look(
    visit: StaffVisit, error: dict[str, str] | None = None, typed: dict[str, str] | None = None
) -> Response:
    organisation = await visit.organisation()
    colour = read_colour(organisation.accent) if organisation.accent else None
    values = {
        "name": organisation.name,
        "address": organisation.address,
        "phone": organisation.phone,
        "language": organisation.language,
        "accent": organisation.accent or "",
        "device_bound": "yes" if organisation.device_bound else "no",
        "notice_words": organisation.notice_words or "",
        "contact": organisation.contact or "",
        **(typed or {}),
    }
    return visit.page(
        "look",
        status=422 if error else 200,
        typed=values,
        has_logo=organisation.logo is not None,
        accents=accents(colour) if colour else None,
        languages=LANGUAGES,
        done=visit.request.query_params.get("done", "") if visit.request.method == "GET" else "",
        error=error,
    )


async def logo(visit: StaffVisit) -> Response:
    """Raises NotFound when there is none."""
    picture = (await visit.organisation()).logo
    if picture is None:
        raise NotFound("no logo")
    return visit.settled(Response(picture, media_type="image/png"))


async def set_look(visit: StaffVisit) -> Response:
    fields, person = await form(visit), await visit.person()
    organisation = await visit.organisation()
    try:
        values = _look_values(fields)
        changed = {name: value for name, value in values.items() if getattr(organisation, name) != value}
        if changed:
            await visit.site.setup(person.by).present(organisation, changed)
    except InputRefused as error:
        return await _look(visit, wrong(error.field or "name", error.say), fields)
    return visit.go("/staff/look?done=look")


def _look_values(fields: dict[str, str]) -> dict[str, object]:
    """Raises InputRefused."""
    said = {name: " ".join(fields.get(name, "").split()) for name in ("name", "address", "phone")}
    for name, most in (("name", 200), ("address", 400), ("phone", 60)):
        if len(said[name]) > most or not said[name].isprintable():
            raise InputRefused(f"At most {most} characters, on one line.", name)
    if not said["name"]:
        raise InputRefused("Patients must see whose messages these are: give the name.", "name")
    if fields.get("language") not in LANGUAGES:
        raise InputRefused("Choose one of the languages.", "language")
    accent = None
    if text := fields.get("accent", "").strip():
        colour = read_colour(text)
        if colour is None:
            raise InputRefused("Write a colour as # and six hexadecimal digits, such as #0b505c.", "accent")
        accent = str(colour)
    words = " ".join(fields.get("notice_words", "").split())
    check_words(words)
    return {
        **said,
        "language": fields["language"],
        "accent": accent,
        "device_bound": fields.get("device_bound") == "yes",
        "notice_words": words or None,
        "contact": fields.get("contact", "").strip() or None,
    }


async def set_logo(visit: StaffVisit) -> Response:
    """A picture is read by a process of its own and drawn anew; nothing of the file itself is kept."""
    parts, raw = Multipart(visit.request), bytearray()

    async def take(field: str, name: str, declared: str, pieces: AsyncIterator[bytes]) -> None:
        async for piece in pieces:
            if len(raw) + len(piece) > _LOGO_BYTES:
                raise BodyTooLarge("The picture is larger than 2 MB. Save it smaller.", "logo")
            raw.extend(piece)

    person, organisation = await visit.person(), await visit.organisation()
    try:
        await parts.read(take)
        visit.check(parts.fields.get("csrf", ""))
        png = (await visit.site.renderer.logo(bytes(raw))).png if raw else None
        if png is None and parts.fields.get("remove") != "yes":
            raise InputRefused("Choose a picture first.", "logo")
    except InputRefused as error:
        return await _look(visit, wrong("logo", error.say))
    await visit.site.setup(person.by).present(organisation, {"logo": png})
    return visit.go("/staff/look?done=logo")
