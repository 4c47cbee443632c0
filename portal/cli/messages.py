"""Messages and their deliveries: metadata only, and each look on record."""

from collections.abc import Callable, Coroutine
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Any

import typer

from portal.cli.shared import (
    Org,
    group,
    in_house,
    operator_name,
    out,
    show_table,
    utc,
)

if TYPE_CHECKING:
    from portal.assembly import House
    from portal.db.deliveries import Delivery

app, message_app = group(), group()


@message_app.command("list")
def message_list(
    org: Org,
    sender: Annotated[str | None, typer.Option(help="Exact address.")] = None,
    recipient: Annotated[str | None, typer.Option(help="Exact address.")] = None,
    state: Annotated[
        str | None,
        typer.Option(
            help="held, noticed, opened, replied, expired, revoked, disposed, quarantined, unscanned, graduated."
        ),
    ] = None,
    before: Annotated[str | None, typer.Option(help="Go on from the delivery with this id.")] = None,
    limit: int = 50,
) -> None:
    """List deliveries, newest first. The look is put on record."""

    async def work(house: "House") -> None:
        from portal.operator import Operator

        rows = await Operator(house, operator_name()).list_messages(org, sender, recipient, state, before, limit)
        show_table(
            ("message", "delivery", "accepted", "state", "recipient", "sender"),
            [
                (
                    one.delivery.message_id,
                    one.delivery.id,
                    utc(one.delivery.accepted_at),
                    one.delivery.state.value,
                    one.recipient,
                    one.sender,
                )
                for one in rows
            ],
        )

    in_house(work)


@message_app.command("show")
def message_show(message: str, org: Org) -> None:
    """Show what happened to a message, for each recipient. The look is put on record."""

    async def work(house: "House") -> None:
        from portal.operator import Operator

        for line in await Operator(house, operator_name()).show_message(org, message):
            out.print(line, markup=False, soft_wrap=True)

    in_house(work)


Message = Annotated[str, typer.Argument(help="The message's id, or with --delivery one of its deliveries only.")]
Reason = Annotated[str, typer.Option(help="Why, for the record.")]
One = Annotated[str | None, typer.Option("--delivery", help="One delivery's id; all recipients when not given.")]


@message_app.command("revoke")
def message_revoke(message: Message, org: Org, reason: Reason, delivery: One = None) -> None:
    """Take a message back: nobody reads it from now on; downloads under way end."""
    _each(org, message, delivery, lambda op, one: op.lifecycle.revoke(one, op.by, reason), "revoked")


@message_app.command("restore")
def message_restore(message: Message, org: Org, reason: Reason, delivery: One = None) -> None:
    """Give a revoked message back."""
    _each(org, message, delivery, lambda op, one: op.lifecycle.restore(one, op.by, reason), "restored")


@message_app.command("release")
def message_release(message: Message, org: Org, reason: Reason, delivery: One = None) -> None:
    """Let a message that waits for the virus scanner go on, unscanned: its notice goes out."""
    _each(org, message, delivery, lambda op, one: op.release.let_through(one, op.by, reason), "released")


@message_app.command("expire")
def message_expire(message: Message, org: Org, delivery: One = None) -> None:
    """End a message now, as if its time were up."""
    _each(org, message, delivery, lambda op, one: op.lifecycle.expire(one, op.by), "expired")


@message_app.command("extend")
def message_extend(
    message: Message, org: Org, days: Annotated[int, typer.Option(help="From now.")], delivery: One = None
) -> None:
    """Let a message be read for DAYS from now, also one that has expired."""
    until = datetime.now(UTC) + timedelta(days=days)
    _each(org, message, delivery, lambda op, one: op.lifecycle.extend(one, op.by, until), "extended")


@message_app.command("access-code")
def message_access_code(
    message: Message,
    org: Org,
    hint: Annotated[
        str,
        typer.Option(
            help="Shown before the code is typed, to whoever reads the mailbox: nothing about health, and not the code itself."
        ),
    ] = "",
    generate: Annotated[bool, typer.Option("--generate", help="Make a code and print it, once.")] = False,
    delivery: One = None,
) -> None:
    """Give a message an access code, or another one. Tell it to the recipient by phone, by letter or in person, not by mail."""
    import secrets

    from portal.model.links import letters

    code = (
        letters(secrets.token_bytes(16), 10).lower()
        if generate
        else typer.prompt("Access code", hide_input=True, confirmation_prompt=True)
    )

    async def work(house: "House") -> None:
        from portal.operator import Persons

        count = await Persons(house, operator_name()).set_access_code(org, message, delivery, code, hint)
        if generate:
            out.print(f"{code[:5]} {code[5:]}", markup=False)
        out.print(f"{count} deliveries have the access code.", markup=False)

    in_house(work)


def _each(
    org: str, message: str, delivery: str | None, act: "Callable[[Any, Delivery], Coroutine[Any, Any, bool]]", done: str
) -> None:
    async def work(house: "House") -> None:
        from portal.operator import Operator

        operator = Operator(house, operator_name())
        for line in await operator.each(org, message, delivery, lambda one: act(operator, one), done):
            out.print(line, markup=False)

    in_house(work)


@app.command()
def dispose(dry_run: Annotated[bool, typer.Option("--dry-run", help="List what would go.")] = False) -> None:
    """Destroy what retention has released: grants, then content. The worker does this by itself; this does it now."""

    async def work(house: "House") -> None:
        disposition = house.disposition()
        if dry_run:
            show_table(
                ("delivery", "message", "state"), [(d.id, d.message_id, d.state.value) for d in await disposition.due()]
            )
            return
        count = 0
        while turn := await disposition.run():
            count += turn
        out.print(f"{count} messages were disposed of.")

    in_house(work)
