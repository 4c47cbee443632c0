"""`portal`: set up, serve, look after. Heavy modules are imported by the command that needs them."""

import typer

from portal.cli import messages, organisations, people, record, scanner, serving, staff
from portal.cli.shared import refuse
from portal.model.errors import InputRefused, PortalError

app = typer.Typer(
    no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, help="Secure recipient portal."
)
app.add_typer(serving.app)
app.add_typer(serving.config_app, name="config", help="Settings.")
app.add_typer(organisations.org_app, name="org", help="Organisations.")
organisations.org_app.add_typer(organisations.domain_app, name="domain", help="Domains whose senders use the portal.")
app.add_typer(organisations.relay_app, name="relay", help="Relays that hand over mail.")
app.add_typer(organisations.route_app, name="route", help="Which mail goes out by TLS, and which comes here.")
app.add_typer(organisations.policy_app, name="policy", help="What an organisation asks for its messages.")
app.add_typer(organisations.keys_app, name="keys", help="Key-encryption keys.")
app.add_typer(messages.app)
app.add_typer(messages.message_app, name="message", help="Messages and their deliveries: metadata only.")
app.add_typer(scanner.app)
app.add_typer(people.person_app, name="person", help="How a recipient gets in: phone, sessions, recovery.")
app.add_typer(staff.staff_app, name="staff", help="Who works in the console.")
app.add_typer(staff.certificate_app, name="certificate", help="Certificates of what was destroyed.")
app.add_typer(record.audit_app, name="audit", help="The record of who saw what.")


def main() -> None:
    """Runs a command. What the portal refuses is said in one line, and the exit status is 1."""
    try:
        app()
    except InputRefused as error:
        refuse(error.say)
    except PortalError as error:
        refuse(str(error))
