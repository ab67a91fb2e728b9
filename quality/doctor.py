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


Questions = list[tuple[str, Callable[[Settings], str], str]]


class _Unwell(Exception):
    """An answer that is none of an error: what was found, and how to mend just this."""

    def __init__(self, found: str, remedy: str = "") -> None:
        self.remedy = remedy
        super().__init__(found)


def examine(settings: Settings) -> list[Diagnosis]:
    """Look at versions, folders, extensions, store, ledger, lakes, the region pack, and who is relied on outside."""
    home: Questions = [
        ("home can be written", _home, "choose a folder you may write to: --home DIR or VERBUND_HOME"),
        ("DuckDB loads its extensions without a network", _extensions, "run `make setup` again"),
    ]
    folders: Questions = [
        ("the object store keeps its promises", _folder, "move VERBUND_HOME to a local file system"),
        ("the ledger can be opened", _ledger, "restore ledger.sqlite from a backup, or upgrade Verbund"),
        ("the lake can be opened", _lake, "restore the folder lake/ from a backup"),
    ]
    pack: Questions = [
        ("the region pack is sound", _pack, "mend the named lines, then `verbund region check`"),
        ("sources have their credentials", _credentials, "docs/new-region.md, sources.yml, says where they are put"),
    ]
    people: Questions = [
        ("mails can leave", _mail, "see that VERBUND_SMTP_… name a server that runs and an account it knows"),
        ("people can sign in", _sign_in, "see that VERBUND_OIDC_ISSUER names a provider that runs"),
    ]
    answers = [_versions()]
    for what, look, remedy in home + (_servers() if settings.is_server else folders) + pack + people:
        try:
            answers.append(Diagnosis(what, True, look(settings)))
        except _Unwell as error:
            answers.append(Diagnosis(what, False, str(error), error.remedy or remedy))
        except Misconfigured as error:
            answers.append(Diagnosis(what, False, "; ".join(map(str, error.problems[:5])), remedy))
        except Exception as error:  # whatever is broken is the answer to the question
            answers.append(Diagnosis(what, False, f"{type(error).__name__}: {error}", remedy))
    return answers


def _servers() -> Questions:
    init = "run `verbund server init`"
    started = "see that the server of VERBUND_DATABASE_URL runs and knows its role; then `verbund server init`"
    stored = "see that the store at VERBUND_S3_ENDPOINT runs and that its key is right; then `verbund server init`"
    return [
        ("the database can be reached and is set up", _database, started),
        ("the ledger can be opened", _ledger, "restore the database from a backup, or upgrade Verbund"),
        ("the lake can be opened", _lake, "restore the database and the lake's bucket from a backup"),
        ("the object store keeps its promises", _bucket, stored),
        ("what is overwritten stays as a version", _versioning, init),
        ("the vault is locked", _lock, init),
        ("the platform cannot delete from the vault", _adds_only, init),
        ("the store tells arrivals", _notifications, init),
        ("the receiver takes an event", _receiver, init),
        ("events arrive whole", _bad_events, "see what stands in intake.bad_event; the sweep took in what they told"),
        ("a heartbeat gets through", _heartbeat, "see docs/operators.md, Watching: VerbundHeartbeatLost"),
    ]


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


def _folder(settings: Settings) -> str:
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
    from quality.configuration import load_region

    pack = load_region(settings)
    return f"{pack.region.name}: {len(pack.suppliers)} suppliers, {len(pack.contracts)} datasets"


def _credentials(settings: Settings) -> str:
    from quality.configuration import load_region
    from storage.settings import credential

    try:
        sources = load_region(settings).sources
    except Misconfigured:
        return "not looked for while the pack has mistakes"
    wanted = sorted({source.credential for source in sources if source.credential})
    if missing := [name for name in wanted if credential(name) is None]:
        raise _Unwell(f"none for {', '.join(missing)} in this process's environment and folder of secrets")
    return ", ".join(wanted) or "no source needs one"


def _mail(settings: Settings) -> str:
    from storage.figures import Figures
    from storage.mailing import SmtpServer

    figures = Figures(settings)
    try:
        stuck = figures.mails().stuck
    finally:
        figures.close()
    if settings.smtp_host is None:
        return f"no server is named (VERBUND_SMTP_HOST); they are laid into {settings.paths.outbox}"
    server = SmtpServer(settings)
    try:
        server.greet()
    finally:
        server.close()
    told = f"{settings.smtp_host}:{settings.smtp_port} lets us in"
    if stuck:
        raise _Unwell(f"{told}, and {stuck} notices were tried in vain", "„Nachrichten“ in the portal says why")
    return told


def _sign_in(settings: Settings) -> str:
    if settings.oidc_issuer is None:
        return "by invitation and password (no VERBUND_OIDC_ISSUER)"
    import httpx

    issuer = settings.oidc_issuer.rstrip("/")
    answer = httpx.get(f"{issuer}/.well-known/openid-configuration", timeout=10)
    try:
        told = answer.raise_for_status().json()
    except ValueError:
        told = {}
    if not isinstance(told, dict) or str(told.get("issuer", "")).rstrip("/") != issuer:
        raise _Unwell(
            f"what answers at {issuer} is no provider of that name", "VERBUND_OIDC_ISSUER must be what it calls itself"
        )
    return f"by {issuer}"


# --- the server profile ---


def _database(settings: Settings) -> str:
    import psycopg

    from storage import database

    with psycopg.connect(database.conninfo(settings)) as connection:
        known = connection.execute("select array_agg(nspname::text) from pg_namespace").fetchone()
        schemas: list[str] = known[0] if known else []
        if missing := [s for s in (*database.SCHEMAS, database.SERVED) if s not in schemas]:
            raise _Unwell(f"no schemas {', '.join(missing)}", "run `verbund server init`")
        row = connection.execute("select count(*) from intake.supplier").fetchone()
        version = connection.info.server_version // 10_000
    return f"PostgreSQL {version} at {database.address(settings)}, {row[0] if row else 0} suppliers"


def _bucket(settings: Settings) -> str:
    from storage import stores
    from storage.objects.base import prove

    prove(stores.lake_files(settings))
    return "conditional put and read-after-write hold"


def _versioning(settings: Settings) -> str:
    from storage import stores
    from storage.objects.s3 import is_versioned

    inboxes, vault, _, releases = stores.buckets(settings)
    if missing := [
        bucket for bucket in (inboxes, vault, releases) if not is_versioned(stores.access(settings), bucket)
    ]:
        raise _Unwell(f"the store keeps no versions in {', '.join(missing)}")
    return ", ".join((inboxes, vault, releases))


def _lock(settings: Settings) -> str:
    from storage import stores
    from storage.objects.s3 import locked_days

    found, wanted = locked_days(stores.access(settings), stores.buckets(settings)[1]), settings.vault_lock_days
    if not wanted:
        return f"{found} days" if found else "no lock is asked for (VERBUND_VAULT_LOCK_DAYS=0)"
    if found != wanted:
        raise _Unwell(f"{found} days instead of {wanted}" if found else "the vault's bucket has no lock")
    return f"nobody deletes what is in it for {found} days"


def _adds_only(settings: Settings) -> str:
    from storage import stores
    from storage.objects.s3 import may_delete

    if may_delete(stores.access(settings), stores.buckets(settings)[1]):
        raise _Unwell("it can: it works with a key that may do too much", "give the platform a key of its own")
    return "the store refuses it"


def _notifications(settings: Settings) -> str:
    if settings.s3_kind == "iam":
        return f"this store tells none (VERBUND_S3_KIND=iam); the sweep finds them within {settings.sweep_seconds:g} s"
    from storage import stores
    from storage.objects.s3 import told_arrivals

    targets = told_arrivals(stores.access(settings), settings.s3_bucket, "inbox/")
    if len(targets) < 2:
        raise _Unwell(
            f"{len(targets)} of 2 notifications are set up; what arrives is found within {settings.sweep_seconds:g} s",
            "start MinIO with infra/minio/events.env, then `verbund server init`",
        )
    return ", ".join(targets)


def _receiver(settings: Settings) -> str:
    """As the store would tell it, and taken back."""
    import json
    import uuid

    import psycopg

    from storage import database

    key, s3 = f"doctor/{uuid.uuid4()}", {"bucket": {"name": settings.s3_bucket}}
    event = json.dumps({"Records": [{"s3": {**s3, "object": {"key": key, "versionId": "1", "size": 1}}}]})
    with psycopg.connect(database.conninfo(settings)) as connection:
        connection.execute("insert into intake.minio_event values (now(), %s)", (event,))
        taken = connection.execute("select 1 from intake.arrival where key = %s", (key,)).fetchone()
        may = "has_table_privilege('minio_notify', 'intake.minio_event', 'insert')"
        role = connection.execute(f"select {may} from pg_roles where rolname = 'minio_notify'").fetchone()
        connection.rollback()
    if taken is None:
        raise _Unwell("an event was not taken")
    if role != (True,):
        raise _Unwell("the role minio_notify may not write to it")
    return "an event becomes an arrival"


def _bad_events(settings: Settings) -> str:
    import psycopg

    from storage import database

    with psycopg.connect(database.conninfo(settings)) as connection:
        row = connection.execute(
            "select count(*), max(problem) from intake.bad_event where seen_at > now() - interval '1 day'"
        ).fetchone()
    if row and row[0]:
        raise _Unwell(f"{row[0]} since yesterday could not be read: {row[1]}")
    return "none since yesterday was not understood"


def _heartbeat(settings: Settings) -> str:
    """Not whether one could: whether the newest did."""
    from datetime import UTC, datetime, timedelta

    from quality import heartbeat
    from storage.figures import Figures

    if not settings.heartbeat_minutes:
        return "none is sent (VERBUND_HEARTBEAT_MINUTES=0)"
    figures = Figures(settings)
    newest = figures.tally().newest.get(heartbeat.DATASET)
    figures.close()
    if newest is None:
        raise _Unwell("none got through yet", "start the platform; the observer sends the first one at once")
    age = datetime.now(UTC) - newest[0]
    if age > max(timedelta(hours=1), timedelta(minutes=2 * settings.heartbeat_minutes)):
        raise _Unwell(f"the newest that got through arrived {newest[0]:%Y-%m-%d %H:%M} UTC")
    return f"the newest is {age.total_seconds() / 60:.0f} minutes old"
