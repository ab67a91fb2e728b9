"""The commands for people of the portal: invite somebody, see who is there, let somebody in no more."""

from __future__ import annotations

import functools
from typing import Annotated, Any, cast

import typer

from verbund import commands
from verbund.commands import Home, Json, Region, settings_of
from verbund.output import WRONG_USE, fail, out, say_json

user_app = typer.Typer(help="Who may come into the portal.", no_args_is_help=True)
command = functools.partial(commands.command, on=user_app)


@command()
def invite(
    email: Annotated[str, typer.Argument(help="Whom.")],
    role: Annotated[str, typer.Option(help="clerk, lead, coordinator, engineer or observer.")] = "coordinator",
    supplier: Annotated[str, typer.Option(help="For clerks and leads: of whom.")] = "",
    name: Annotated[str, typer.Option(help="As the pages greet them.", show_default="the address")] = "",
    home: Home = None,
    region: Region = None,
    as_json: Json = False,
) -> None:
    """Make a link that lets somebody in once and choose a password; valid for 14 days, shown here only.

    Example: `verbund user invite k.muster@example.org --role coordinator`
    """
    from quality.configuration import load_region
    from storage.people import Role

    settings = settings_of(home, region)
    if supplier and supplier not in load_region(settings).suppliers:
        fail(f"there is no supplier {supplier!r} in this region", WRONG_USE, as_json=as_json)
    people = _people(settings)
    try:
        token = people.invite(email, name or email, cast(Role, role), supplier, by="command line")
    except ValueError as error:
        fail(str(error), WRONG_USE, as_json=as_json)
    finally:
        people.close()
    link = f"http://{settings.portal_host}:{settings.portal_port}/einladung/{token}"
    if as_json:
        say_json({"email": email, "role": role, "supplier": supplier, "link": link})
        return
    out.print(f"For {email} ({role}{', ' + supplier if supplier else ''}), once, for 14 days:", markup=False)
    out.print(link, markup=False, soft_wrap=True)


@command(name="list")
def everybody(home: Home = None, region: Region = None, as_json: Json = False) -> None:
    """Who may sign in, and as what.

    Example: `verbund user list`
    """
    people = _people(settings_of(home, region))
    found = [
        {"email": p.email, "name": p.name, "roles": [f"{role} {of}".strip() for role, of in sorted(p.roles)]}
        for p in people.everybody()
    ]
    people.close()
    if as_json:
        say_json({"people": found})
        return
    for person in found:
        out.print(f"{person['email']}  {person['name']}  {', '.join(person['roles'])}", markup=False)


@command()
def disable(
    email: Annotated[str, typer.Argument(help="Whom.")], home: Home = None, region: Region = None, as_json: Json = False
) -> None:
    """Let somebody in no more and end all their sessions; a new invitation lets them in again.

    Example: `verbund user disable k.muster@example.org`
    """
    people = _people(settings_of(home, region))
    there = people.disable(email)
    people.close()
    if not there:
        fail(f"there is no account {email!r}", WRONG_USE, as_json=as_json)
    if as_json:
        say_json({"email": email, "disabled": True})
    else:
        out.print(f"{email} cannot sign in any more", markup=False)


def _people(settings: Any) -> Any:
    from storage import database
    from storage.ledger.ledger import Ledger
    from storage.people import People

    settings.paths.create()
    if settings.is_server:
        database.prepare(settings)
    ledger = Ledger(settings.ledger_url)
    ledger.migrate()
    ledger.close()
    return People(settings.ledger_url)
