"""What every command has in common: options, how errors become sentences and exit codes, the settings it works with."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from verbund.output import UNAVAILABLE, WRONG_USE, fail

if TYPE_CHECKING:
    from storage.settings import Settings

Home = Annotated[
    Path | None, typer.Option("--home", envvar="VERBUND_HOME", help="Folder of all state.", show_default=".verbund")
]
Region = Annotated[
    str | None,
    typer.Option(
        "--region",
        envvar="VERBUND_REGION",
        help="A region pack: folder, or name under regions/.",
        show_default="bergisch",
    ),
]
Json = Annotated[bool, typer.Option("--json", help="One JSON document on standard output, nothing else.")]
F = TypeVar("F", bound=Callable[..., Any])


class WrongSettings(ValueError):
    """The settings cannot be used. Names them and never tells what they hold: one may be a secret."""

    def __init__(self, errors: Sequence[Any]) -> None:
        told = []
        for error in errors:
            name = "".join(f"VERBUND_{part}".upper() for part in error["loc"][:1])
            told.append(": ".join(filter(None, [name, error["msg"].removeprefix("Value error, ")])))
        super().__init__("; ".join(told))


def command(*, on: typer.Typer, name: str | None = None, hidden: bool = False) -> Callable[[F], F]:
    """Register a command whose known errors become sentences and exit codes instead of tracebacks."""

    def register(function: F) -> F:
        @functools.wraps(function)
        def guarded(*args: Any, **kwargs: Any) -> Any:
            try:
                return function(*args, **kwargs)
            except typer.Exit:
                raise
            except Exception as error:
                code = _exit_code(error)
                if code is None:
                    raise
                fail(str(error), code, as_json=bool(kwargs.get("as_json")))

        on.command(name, hidden=hidden)(guarded)
        return function

    return register


def _exit_code(error: Exception) -> int | None:
    """Exit code of errors that are expected, told by their class; None for what is a mistake of ours."""
    names = {cls.__name__ for cls in type(error).__mro__}
    if names & {
        "Refused",
        "Misconfigured",
        "UnknownDelivery",
        "FileNotFoundError",
        "IsADirectoryError",
        "NoRelease",
        "BadQuery",
        "TooManyBytes",
        "WrongSettings",
        "NoAccount",
        "NoLogin",
        "NoAdministration",
        "WrongName",
        "NoBackup",
        "NotEmpty",
        "RowsInCatalog",
    }:
        return WRONG_USE
    unavailable = {
        "PlatformTrouble",
        "LakeUnavailable",
        "VaultDamaged",
        "FoundationBroken",
        "LedgerTooNew",
        "OperationalError",
        "Timeout",
        "PermissionError",
        "StoreDown",
        "StoreUnfit",
        "Busy",
        "DamagedBackup",
        "DatabaseToolFailed",
        "LakeOutside",
        "DamagedRelease",
        "NotServed",
        "NotBuilt",
    }
    # of the database's errors this one alone, not those made of it: a file that is no database
    broken = names & unavailable or type(error).__name__ == "DatabaseError"
    return UNAVAILABLE if broken else None


def settings_of(home: Path | None, region: str | None, profile: str | None = None) -> Settings:
    """The settings of a command: what it was given, else what the environment says."""
    from pydantic import ValidationError

    from storage.settings import Settings

    given: dict[str, Any] = {"home": home, "region": region, "profile": profile}
    try:
        return Settings(**{name: value for name, value in given.items() if value is not None})
    except ValidationError as error:
        raise WrongSettings(error.errors(include_url=False, include_input=False, include_context=False)) from None


def cell(value: Any) -> str:
    """Text for a table: what stands in square brackets there is somebody's words and no style."""
    from rich.markup import escape

    return "" if value is None else escape(str(value))
