"""Is this installation sound? One line a question: what was looked at, whether it is well, how to mend it."""

from __future__ import annotations

import importlib.metadata
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass

from quality.sources import Misconfigured
from storage.settings import Settings

#: Packages whose exact version the platform was tested with.
PINNED = {"duckdb": "1.5.5", "great-expectations": "1.24.1", "dbt-duckdb": "1.11.1", "dagster": "1.13.27"}


@dataclass(frozen=True)
class Diagnosis:
    """One answer. `remedy` is empty where all is well."""

    what: str
    well: bool
    found: str
    remedy: str = ""


def examine(settings: Settings) -> list[Diagnosis]:
    """Look at versions, folders, extensions, store, ledger, lakes and the region pack."""
    questions: list[tuple[str, Callable[[Settings], str], str]] = [
        ("home can be written", _home, "choose a folder you may write to: --home DIR or VERBUND_HOME"),
        ("DuckDB loads its extensions without a network", _extensions, "run `make setup` again"),
        ("the object store keeps its promises", _store, "move VERBUND_HOME to a local file system"),
        ("the ledger can be opened", _ledger, "restore ledger.sqlite from a backup, or upgrade Verbund"),
        ("the lake can be opened", _lake, "restore the folder lake/ from a backup"),
        ("the region pack is sound", _pack, "mend the named lines, then `verbund region check`"),
    ]
    answers = [_versions()]
    for what, look, remedy in questions:
        try:
            answers.append(Diagnosis(what, True, look(settings)))
        except Misconfigured as error:
            answers.append(Diagnosis(what, False, "; ".join(map(str, error.problems[:5])), remedy))
        except Exception as error:  # whatever is broken is the answer to the question
            answers.append(Diagnosis(what, False, f"{type(error).__name__}: {error}", remedy))
    return answers


def _versions() -> Diagnosis:
    wrong = {}
    for name, wanted in PINNED.items():
        found = importlib.metadata.version(name)
        if found != wanted:
            wrong[name] = f"{found} instead of {wanted}"
    listed = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in PINNED)
    found = "; ".join(f"{name} {text}" for name, text in wrong.items())
    python = f"Python {sys.version_info.major}.{sys.version_info.minor}"
    return Diagnosis(
        "versions are those tested together",
        not wrong,
        found or f"{python}, {listed}",
        "run `make setup`" if wrong else "",
    )


def _home(settings: Settings) -> str:
    home = settings.paths.create()
    probe = home.work / f"probe-{os.getpid()}"
    probe.write_text("probe")
    probe.unlink()
    return str(home.root)


def _extensions(settings: Settings) -> str:
    from storage import lake

    connection = lake.connect(settings)
    loaded = connection.execute("select extension_name from duckdb_extensions() where loaded").fetchall()
    connection.close()
    return ", ".join(name for (name,) in loaded)


def _store(settings: Settings) -> str:
    from storage.objects.base import prove
    from storage.objects.local import LocalStore

    prove(LocalStore(settings.paths.create().work / "probe-store"))
    return "conditional put and read-after-write hold"


def _ledger(settings: Settings) -> str:
    from storage.ledger.ledger import Ledger

    settings.paths.create()
    ledger = Ledger(settings.ledger_url)
    ledger.migrate()
    count = len(ledger.deliveries())
    ledger.close()
    return f"{count} deliveries"


def _lake(settings: Settings) -> str:
    from storage import lake

    connection = lake.connect(settings)
    lake.attach(connection, settings, "accepted")
    snapshot = lake.snapshot_of(connection, "accepted")
    connection.close()
    return f"accepted at snapshot {snapshot}"


def _pack(settings: Settings) -> str:
    from quality.desk import load_region

    pack = load_region(settings)
    return f"{pack.region.name}: {len(pack.suppliers)} suppliers, {len(pack.contracts)} datasets"
