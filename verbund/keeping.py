"""The commands that keep an installation: back up, restore, bring up to date, carry over to the server profile."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from verbund import commands
from verbund.commands import Home, Json, Region, settings_of
from verbund.output import out, progress, say_json

keeping_app = typer.Typer()
command = functools.partial(commands.command, on=keeping_app)


@command()
def backup(
    to: Annotated[Path, typer.Argument(help="Folder of the backup; made if it is new, added to if it is one.")],
    home: Home = None,
    region: Region = None,
    as_json: Json = False,
) -> None:
    """Back up everything that cannot be made again, while work goes on; what the folder has is not copied again.

    Example: `verbund backup /mnt/backup/verbund`
    """
    from quality import backup as keeping

    with progress("copying databases and objects", quiet=as_json):
        point = keeping.backup(settings_of(home, region), to)
    told = point.document()
    if as_json:
        say_json(told)
        return
    objects = ", ".join(f"{number} in {area}" for area, number in told["objects"].items())
    out.print(f"{to}: point {point.name}, {point.deliveries} deliveries, release {point.release or '–'}", markup=False)
    out.print(f"  {objects}; {told['bytes']} bytes, {point.copied} objects of them new", markup=False)
    out.print(f"  back again: verbund restore {to} --at {point.name}", markup=False)


@command()
def restore(
    source: Annotated[Path, typer.Argument(metavar="FROM", help="Folder of the backup.")],
    at: Annotated[str | None, typer.Option(help="Which point.", show_default="the newest")] = None,
    home: Home = None,
    region: Region = None,
    as_json: Json = False,
) -> None:
    """Bring a backup back into an empty installation and compare all of it with what the backup says.

    Example: `verbund restore /mnt/backup/verbund`
    """
    from quality import backup as keeping

    with progress("bringing back and comparing", quiet=as_json):
        restored = keeping.restore(settings_of(home, region), source, at)
    told = restored.document()
    if as_json:
        say_json(told)
    else:
        _show(f"restored as of {restored.point.name}", told)


@command()
def migrate(
    to: Annotated[
        Literal["server"] | None, typer.Option(help="Carry this embedded home over to the server profile.")
    ] = None,
    home: Home = None,
    region: Region = None,
    as_json: Json = False,
) -> None:
    """Bring the ledger to the shape this Verbund writes; with --to server, carry everything over to PostgreSQL and S3.

    Example: `verbund migrate` after an update; `verbund migrate --to server --home .verbund`
    """
    if to is None:
        from storage import dumps

        before, now = dumps.upgrade(settings_of(home, region))
        if as_json:
            say_json({"before": before, "now": now})
        else:
            said = f"the ledger is at revision {now}"
            out.print(said if before == now else f"{said}, it was at {before or 'none'}", markup=False)
        return
    from quality import migration

    target = settings_of(home, region, to)
    with progress("carrying over and comparing", quiet=as_json):
        carried = migration.to_server(migration.embedded(target), target)
    told = carried.document()
    if as_json:
        say_json(told)
    else:
        _show("carried over", told)


def _show(what: str, told: dict[str, Any]) -> None:
    out.print(f"{what}: {told['deliveries']} deliveries, and the same as before", markup=False)
    out.print(
        f"  compared: {told['files']} files by sha256, {told['contents']} deliveries' bytes in the vault, "
        f"{told['tables']} tables by rows, {told['releases']} releases by their sums",
        markup=False,
    )
