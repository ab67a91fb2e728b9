"""The commands of the server profile's operator: making what it stands on, suppliers' keys, readers' logins.

They take what the administrator may do from VERBUND_ADMIN_DATABASE_URL, VERBUND_ADMIN_S3_ENDPOINT, VERBUND_ADMIN_S3_ACCESS_KEY and
VERBUND_ADMIN_S3_SECRET_KEY, or from files named like them (docs/operators.md).
"""

from __future__ import annotations

import functools
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TextIO

import typer

from verbund import commands
from verbund.commands import Home, Json, Region, settings_of
from verbund.output import REJECTED, WRONG_USE, fail, out, say_json, table

if TYPE_CHECKING:
    from storage.settings import Settings

server_app = typer.Typer(help="The server profile: set it up, give and take access.", no_args_is_help=True)
command = functools.partial(commands.command, on=server_app)
To = Annotated[
    Path | None,
    typer.Option("--to", help="Write the secret into this new file, for its owner alone, and show it nowhere."),
]


@command()
def init(home: Home = None, region: Region = None, as_json: Json = False) -> None:
    """Make what is missing: database, roles, schemas, buckets, locks, policies, users, notifications. May be repeated.

    Example: `verbund server init`
    """
    from dataclasses import asdict

    from quality.configuration import load_region
    from quality.release import readable_files
    from storage.provision import provision

    settings = _server(home, region, as_json)
    steps = provision(settings, sorted(load_region(settings).suppliers), readable_files(settings))
    if as_json:
        say_json([asdict(step) for step in steps])
    else:
        table(
            ["", "what", "found", "remedy"],
            [["ok" if s.well else "NOT OK", *map(commands.cell, (s.what, s.found, s.remedy))] for s in steps],
        )
    if not all(step.well for step in steps):
        raise typer.Exit(REJECTED)


@command()
def key(
    supplier: Annotated[str, typer.Argument(help="Whose key.")],
    overlap: Annotated[int, typer.Option(help="Days its earlier keys go on; 0 ends them at once.", min=0, max=90)] = 14,
    again: Annotated[bool, typer.Option("--again", help="Also where access was revoked.")] = False,
    to: To = None,
    home: Home = None,
    region: Region = None,
    as_json: Json = False,
) -> None:
    """Give a supplier a new key for the object store; its earlier ones go on for a while, so that nothing is interrupted.

    Example: `verbund server key stadtwerke-x --to stadtwerke-x.env`
    """
    from storage import stores
    from storage.accounts import accounts_of
    from storage.accounts.base import End

    settings = _server(home, region, as_json)
    bucket = stores.buckets(settings)[0]
    with _secret_file(to, as_json) as file:
        made = accounts_of(settings).new_key(supplier, overlap=timedelta(days=overlap), again=again)
        told = {
            "supplier": supplier,
            "inbox": f"s3://{bucket}/inbox/{supplier}/",
            "receipts": f"s3://{bucket}/receipts/{supplier}/",
            "earlier_keys": {
                name: str(end) if isinstance(end, End) else end.isoformat() for name, end in made.ends.items()
            },
        }
        if staying := [name for name, end in made.ends.items() if end is End.NOT_BY_ITSELF]:
            # this store knows no end of a key
            told["to_end_it"] = f"verbund server revoke {supplier} --key {staying[0]}"
        _hand_over(_store(settings, made.access_key, made.secret_key), told, file, as_json)


@command()
def revoke(
    supplier: Annotated[str, typer.Argument(help="Whose access.")],
    only: Annotated[str | None, typer.Option("--key", help="End this one key; the others go on.")] = None,
    home: Home = None,
    region: Region = None,
    as_json: Json = False,
) -> None:
    """End a supplier's access to the object store at once: its user, all keys, and sessions made with them; or one key.

    Example: `verbund server revoke stadtwerke-x`
    """
    from storage.accounts import accounts_of

    accounts = accounts_of(_server(home, region, as_json))
    if only is not None:
        accounts.end_key(supplier, only)
        keys = 1
    else:
        keys = accounts.revoke(supplier)
    if as_json:
        say_json({"supplier": supplier, "keys_ended": keys})
    elif only is not None:
        out.print(f"{supplier}: the key {only} is ended, its others go on.", markup=False)
    else:
        out.print(f"{supplier}: no access any more, {keys} keys ended. What was delivered stays.", markup=False)


@command()
def reader(
    name: Annotated[str, typer.Argument(help="Of the login: a-z, 0-9 and _.")],
    level: Annotated[
        str, typer.Option(help="open: what anybody may see. region: what the region's own people may.")
    ] = "open",
    remove: Annotated[bool, typer.Option("--remove", help="Take the login away.")] = False,
    to: To = None,
    home: Home = None,
    region: Region = None,
    as_json: Json = False,
) -> None:
    """Give a BI tool a login that reads what releases serve, in the database and as files, or new passwords.

    Example: `verbund server reader dashboard --level region --to dashboard.env`
    """
    from quality.release import readable_files
    from storage import database, stores
    from storage.accounts import accounts_of
    from storage.accounts.base import NoAdministration
    from storage.logins import make_reader, remove_reader

    settings = _server(home, region, as_json)
    accounts = accounts_of(settings)
    if remove:
        with suppress(NoAdministration):
            accounts.remove_reader(name)
        remove_reader(settings, name)
        say_json({"reader": name, "level": None}) if as_json else out.print(f"{name}: no login any more", markup=False)
        return
    wanted: Literal["open", "region"]
    if level == "open":
        wanted = "open"
    elif level == "region":
        wanted = "region"
    else:
        fail(f"expected --level open or region, found {level!r}", WRONG_USE, as_json=as_json)
    with _secret_file(to, as_json) as file:
        password = make_reader(settings, name, wanted)
        of = {"PGDATABASE": database.names(settings)[0], "PGUSER": name, "PGPASSWORD": password}
        secret: dict[str, str | None] = {**database.server(settings), **of}
        told = {"reader": name, "level": level}
        try:
            secret |= _store(settings, *accounts.make_reader(name, wanted, readable_files(settings)))
            told["files"] = f"s3://{stores.buckets(settings)[3]}/"
        except NoAdministration as error:
            # the store may have no administration; who reads the database needs no files
            told["no_files"] = str(error)
        _hand_over(secret, told, file, as_json)


def _store(settings: Settings, access_key: str, secret_key: str) -> dict[str, str | None]:
    """Where the store is and a key for it, as programs for S3 read them from the environment."""
    return {
        "AWS_ENDPOINT_URL": settings.s3_endpoint,
        "AWS_REGION": settings.s3_region,
        "AWS_ACCESS_KEY_ID": access_key,
        "AWS_SECRET_ACCESS_KEY": secret_key,
    }


def _server(home: Path | None, region: str | None, as_json: bool) -> Settings:
    settings = settings_of(home, region)
    if not settings.is_server:
        fail("these commands are for the server profile: set VERBUND_PROFILE=server", WRONG_USE, as_json=as_json)
    return settings


@contextmanager
def _secret_file(to: Path | None, as_json: bool) -> Iterator[TextIO | None]:
    """A new file only its owner may read. Opened before there is a secret, which would be lost if it could not be."""
    if to is None:
        yield None
        return
    try:
        file = os.fdopen(os.open(to, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8")
    except FileExistsError:
        fail(f"{to} is there already", WRONG_USE, as_json=as_json)
    with file:
        try:
            yield file
        except BaseException:
            to.unlink()
            raise


def _hand_over(secret: Mapping[str, str | None], told: Mapping[str, Any], file: TextIO | None, as_json: bool) -> None:
    """Show a secret once, or write it into a file."""
    lines = [f"{name}={value}" for name, value in secret.items() if value is not None]
    if file is not None:
        file.write("\n".join(lines) + "\n")
    if as_json:
        say_json({**told, **({"file": file.name} if file else secret)})
        return
    for name, value in told.items():
        if value:
            out.print(f"{name}: {value}", markup=False, soft_wrap=True)
    if file is not None:
        out.print("The secret is in the file. Hand it over on a safe way and delete it.")
        return
    for line in lines:
        out.print(line, markup=False, soft_wrap=True)
    out.print("Shown once and kept nowhere: copy it now.")
