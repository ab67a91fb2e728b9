"""How commands speak: people read tables on standard output, scripts read one JSON document, errors go to standard error."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NoReturn

import typer
from rich.console import Console
from rich.table import Table

DONE, REJECTED, WRONG_USE, UNAVAILABLE = 0, 1, 2, 3

#: Into a file or a pipe lines may be long; only a terminal has an edge.
out = Console(highlight=False, width=None if sys.stdout.isatty() else 240)
err = Console(stderr=True, highlight=False)

#: How a state is told in one word and one sign, so that it can be told without colours.
STATES: Mapping[str, tuple[str, str]] = {
    "received": ("…", "dim"),
    "judging": ("…", "dim"),
    "accepted": ("✓", "green"),
    "accepted_with_warnings": ("✓!", "yellow"),
    "partly_accepted": ("½", "yellow"),
    "rejected": ("✗", "red"),
    "superseded": ("↺", "dim"),
    "withdrawn": ("−", "dim"),
    "duplicate": ("=", "dim"),
    "nothing_to_report": ("0", "green"),
    "missing": ("·", "dim"),
    "overdue": ("!", "red"),
    "stale": ("✓?", "yellow"),
}


def state_text(state: str) -> str:
    """A state for people."""
    sign, colour = STATES.get(state, ("?", "red"))
    return f"[{colour}]{sign} {state}[/{colour}]"


def say_json(document: Any) -> None:
    """The one JSON document of a command; nothing else goes to standard output."""
    sys.stdout.write(json.dumps(document, ensure_ascii=False, indent=2, default=str) + "\n")


def table(columns: Sequence[str], rows: Iterable[Sequence[Any]], title: str | None = None) -> None:
    """Print rows for people."""
    shown = Table(*columns, title=title, title_justify="left", header_style="bold", box=None, pad_edge=False)
    for row in rows:
        shown.add_row(*("" if cell is None else str(cell) for cell in row))
    out.print(shown)


def fail(message: str, code: int, *, as_json: bool = False, **facts: Any) -> NoReturn:
    """End the command with an error a person can act on."""
    if as_json:
        say_json({"error": message, **facts})
    err.print(message, style="red", markup=False)
    raise typer.Exit(code)


@contextmanager
def progress(text: str, *, quiet: bool = False) -> Iterator[None]:
    """Show that something takes its time; a spinner on a terminal, one line elsewhere."""
    if quiet:
        yield
    elif err.is_terminal:
        with err.status(text):
            yield
    else:
        err.print(text, markup=False)
        yield
