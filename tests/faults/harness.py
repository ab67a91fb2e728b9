"""Faults on real servers: what is killed, cut, hung or filled up while suppliers deliver, and what must hold afterwards.

`python -m tests.faults --rounds 60 --seed 1` runs a campaign: rounds of deliveries, each with one fault at a random moment.
After every round each byte a supplier got a 200 for must be in the vault, and each delivery must have one final verdict;
at the end the accepted tables must equal those of the same deliveries in an installation nobody disturbed.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import random
import signal
import socket
import ssl
import subprocess
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import duckdb
import psycopg

from orchestration import instance as dagster
from orchestration.instance import open_instance
from orchestration.report import judged_key
from quality.desk import Desk
from quality.judging import work_queue
from quality.receipts import INBOX
from storage import database, lake, stores
from storage.ledger.ledger import Delivery, Ledger
from storage.ledger.states import WAITING
from storage.objects.s3 import S3Store, prepare_bucket
from storage.paths import vault_key
from storage.priority import BACKGROUND, give_way
from storage.settings import Settings
from tests.faults.warm import Process, Warm
from tests.server.support.servers import Haproxy, Minio, Postgres, minio_behind_haproxy
from tests.support.bench import GOOD, PLAIN, SOLINGEN, THIRD, WORKS, written
from tests.support.orchestrated import grid

DATASET = "waste_balance"
WASTE = GOOD[DATASET][1]
ROLES = ("intake", "judge-0", "judge-1", "reporter")
#: Points of the code at which a process may be killed (`storage.crash`).
POINTS = (
    "vault.kept", "ledger.arrived", "ledger.received", "intake.taken", "judge.begun", "judge.judged", "lake.before",
    "lake.committed", "ledger.recorded", "receipt.written", "report.begun", "report.told", "report.run_done", "report.ticked",
)  # fmt: skip
#: After a fault is over, everything must be settled within so many seconds.
PATIENCE = 120.0


class Broken(AssertionError):
    """Something that must hold did not."""


@dataclass(frozen=True)
class Put:
    """What a supplier got a 200 for."""

    supplier: str
    key: str
    version: str
    sha256: str


@dataclass
class Installation:
    """The server profile on real servers, with its processes."""

    postgres: Postgres
    minio: Minio
    front: Haproxy
    settings: Settings
    warm: Warm
    roles: tuple[str, ...] = ROLES
    running: dict[str, Process] = field(default_factory=dict)
    #: Dagster's code server and the template of its runs; their environment is the daemon's, too.
    helpers: list[subprocess.Popen[bytes]] = field(default_factory=list)
    dagster: Mapping[str, str] = field(default_factory=dict)

    def start(self, role: str, **environment: str) -> None:
        told = self.dagster if role == "daemon" else {}
        self.running[role] = self.warm.start(role, self.settings.environment(), **told, **environment)

    def start_dagster(self) -> None:
        """Dagster beside it, as `verbund up` starts it, but for its web page: the foundation follows what is accepted."""
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        commands = {command.name: command for command in dagster.processes(self.settings, code_port=port)}
        for name, niceness in (("code", 0), ("launcher", BACKGROUND)):
            command, log_file = commands[name], self.settings.home.parent / f"{name}.log"
            environment = {**os.environ, **command.environment}
            with log_file.open("ab") as log:
                helper = subprocess.Popen(
                    command.arguments, env=environment, stdout=log, stderr=log, start_new_session=True
                )
            give_way(niceness, helper.pid)
            self.helpers.append(helper)
        self.dagster = commands["daemon"].environment
        self.roles = (*ROLES, "daemon")
        self.start("daemon")

    def revive(self) -> None:
        """Start what is dead, as `verbund up` and an operator do."""
        for server in (self.postgres, self.minio, self.front):
            server.start()
        for role in self.roles:
            if role not in self.running or not self.running[role].running:
                self.start(role)

    def close(self) -> None:
        for process in self.running.values():
            process.kill()
        for helper in self.helpers:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(helper.pid, signal.SIGKILL)
            helper.wait()
        self.warm.close()

    @property
    def inbox(self) -> S3Store:
        store = stores.inboxes(self.settings)
        assert isinstance(store, S3Store)
        return store


@contextlib.contextmanager
def installation(folder: Path, region: Path = PLAIN) -> Iterator[Installation]:
    """New servers, a new database, new buckets, and the processes on them."""
    with Postgres() as postgres, minio_behind_haproxy(postgres) as (minio, front):
        settings = Settings(
            home=folder / "home",
            region=str(region),
            profile="server",
            database_url=postgres.url("verbund").replace("postgresql://", "postgresql+psycopg://"),
            s3_endpoint=front.url,
            s3_ca_file=front.ca_file,
            s3_access_key=minio.root_user,
            s3_secret_key=minio.root_password,
            sweep_seconds=2,
            vault_lock_days=0,
        )
        for bucket in stores.buckets(settings):
            prepare_bucket(stores.access(settings), bucket, versioned=True)
        database.prepare(settings)
        desk = Desk(settings, who="setup")
        desk.ensure_tables(desk.pack)
        desk.close()
        notify(minio, settings, on=True)
        made = Installation(postgres, minio, front, settings, Warm(folder / "processes.log"))
        made.revive()
        try:
            yield made
        finally:
            made.close()


def notify(minio: Minio, settings: Settings, *, on: bool) -> None:
    """Let the store tell of what arrives, or not."""
    from minio import Minio as Client
    from minio.notificationconfig import NotificationConfig, PrefixFilterRule, QueueConfig

    client = Client(endpoint=minio.address, access_key=minio.root_user, secret_key=minio.root_password, secure=False)
    targets = [
        QueueConfig(
            queue=f"arn:minio:sqs::{name}:postgresql", events=["s3:ObjectCreated:*"], config_id=name.lower(),
            prefix_filter_rule=PrefixFilterRule("inbox/"),
        )
        for name in ("FAST", "SURE")
    ]  # fmt: skip
    client.set_bucket_notification(
        bucket_name=settings.s3_bucket, config=NotificationConfig(queue_config_list=targets if on else [])
    )


class Campaign:
    """Deliveries and faults, drawn from a seed."""

    def __init__(self, to: Installation, seed: int) -> None:
        self.to, self.chance = to, random.Random(seed)
        self.puts: list[Put] = []
        self.bytes: dict[str, bytes] = {}
        self.faults: Counter[str] = Counter()
        self.refused = 0
        self._ledger = Ledger(to.settings.ledger_url)

    def round(self) -> str:
        """One fault among some deliveries, and the proof that all is well after it; returns its name."""
        name = self.chance.choice(sorted(FAULTS))
        before, after = self.chance.randint(0, 2), self.chance.randint(1, 3)
        for _ in range(before):
            self.put()
        with FAULTS[name](self):
            for _ in range(after):
                self.put()
                time.sleep(self.chance.random() * 0.2)
            time.sleep(self.chance.random() * 0.4)
        self.to.revive()
        self.settled(name)
        self.faults[name] += 1
        return name

    def put(self) -> None:
        """A supplier's put through the front; what is not answered with 200 is the supplier's to send again."""
        supplier, year = self.chance.choice((WORKS, THIRD)), 2010 + 2 * self.chance.randrange(18)
        content = self._content(supplier, year)
        key = f"{supplier}/waste_balance/{year}/{self.chance.choice('abc')}.csv"
        try:
            result = self.to.inbox.access.client().put_object(
                bucket_name=self.to.settings.s3_bucket, object_name=f"inbox/{key}", data=io.BytesIO(content),
                length=len(content),
            )  # fmt: skip
        except Exception:
            # it may be there all the same; then it is a delivery like any other, and nobody was promised anything
            self.refused += 1
            return
        sha256 = hashlib.sha256(content).hexdigest()
        self.bytes[sha256] = content
        self.puts.append(Put(supplier, key.removeprefix(f"{supplier}/"), result.version_id or "", sha256))

    def _content(self, supplier: str, year: int) -> bytes:
        kind = self.chance.random()
        if kind < 0.1:
            return f"<html>abgelaufen {self.chance.random()}</html>".encode()
        if kind < 0.2 and self.bytes:
            return self.bytes[self.chance.choice(sorted(self.bytes))]
        area = {} if supplier == WORKS else {"area_code": SOLINGEN}
        codes = ("200301", "200108", "200201", "150101")[: self.chance.randint(1, 4)]
        return written(
            [
                WASTE
                | area
                | {
                    "year": str(year),
                    "waste_code": code,
                    "quantity_t": "x" if self.chance.random() < 0.1 else str(self.chance.randint(1, 10**6)),
                }
                for code in codes
            ]
        ).encode()

    # --- what must hold ---

    def settled(self, after: str) -> None:
        """Wait until every put has its verdict, then look whether all is as it must be."""
        until = time.monotonic() + PATIENCE
        while open_ones := self._open():
            if time.monotonic() > until:
                raise Broken(f"after {after}: not settled within {PATIENCE:g} s: {open_ones[:5]}")
            self.to.revive()
            time.sleep(0.1)
        vault = stores.vault(self.to.settings)
        for put in self.puts[-12:]:
            with vault.open(vault_key(put.sha256)) as file:
                if hashlib.sha256(file.read()).hexdigest() != put.sha256:
                    raise Broken(f"after {after}: the vault holds other bytes than {put}")

    def _open(self) -> list[str]:
        try:
            known = {(s, *pair) for s in (WORKS, THIRD) for pair in self._ledger.known(INBOX, s)}
            missing = [str(p) for p in self.puts if (p.supplier, p.key, p.version) not in known]
            waiting = [v.delivery_id for v in self._ledger.deliveries() if v.state in WAITING]
            unsettled = [str(a) for a in self._ledger.unsettled()]
            unsettled += [f"receipt of {owed}" for owed in self._ledger.owed_receipts()]
        except Exception as error:
            return [repr(error)]
        return missing + waiting + unsettled

    def verify(self, folder: Path) -> dict[str, Any]:
        """Compare the whole with an installation that took the same deliveries undisturbed.

        Raises:
            Broken: With what differs.
        """
        deliveries = sorted(self._ledger.deliveries(), key=lambda v: (v.attempt, v.delivery_id))
        vault = stores.vault(self.to.settings)
        kept = {info.key for info in vault.list()}
        for put in self.puts:
            if vault_key(put.sha256) not in kept:
                raise Broken(f"the vault has lost {put}")
        strangers = kept - {vault_key(d.sha256) for d in deliveries}
        for delivery in deliveries:
            judged = [e for e in self._ledger.history(delivery.delivery_id) if e.kind == "judged"]
            if len(judged) != (0 if delivery.duplicate_of else 1):
                raise Broken(f"{delivery.delivery_id} has {len(judged)} verdicts")
        calm, calm_rows = self._undisturbed(deliveries, folder)
        here = {v.delivery_id: (v.state, v.verdict_state, v.rows) for v in deliveries}
        different = {name: (calm[name], here[name]) for name in here if calm[name] != here[name]}
        if different:
            raise Broken(f"verdicts differ from those of an undisturbed run: {dict(list(different.items())[:3])}")
        rows = self._rows(self.to.settings)
        if rows != calm_rows:
            raise Broken("the accepted tables differ from those of an undisturbed run")
        receipts = {info.key for info in stores.receipts(self.to.settings).list()}
        for view in deliveries:
            wanted = "eingang" if view.duplicate_of else "quittung"
            if f"{view.supplier}/{view.delivery_id}.{wanted}.json" not in receipts:
                raise Broken(f"{view.delivery_id} has no receipt")
        self._dagster_knows(deliveries)
        if strangers:
            raise Broken(f"the vault holds what belongs to no delivery: {sorted(strangers)[:3]}")
        return {
            "faults": dict(sorted(self.faults.items())),
            "puts answered": len(self.puts),
            "puts refused": self.refused,
            "deliveries": len(deliveries),
            "rows accepted": len(rows[0]),
            "orphans in the lake": self._orphans(),
        }

    def _dagster_knows(self, deliveries: list[Any]) -> None:
        """Every verdict is told in the end, and the grid shows every slot as the ledger has it."""
        until = time.monotonic() + PATIENCE
        while waiting := self._ledger.unreported(1):
            if time.monotonic() > until:
                raise Broken(f"Dagster was not told within {PATIENCE:g} s: {waiting}")
            self.to.revive()
            time.sleep(0.2)
        newest = {v.slot: v for v in sorted(deliveries, key=lambda v: v.attempt) if v.verdict_state}
        with open_instance(self.to.settings) as instance:
            for supplier in (WORKS, THIRD):
                shown = grid(instance, judged_key(DATASET), supplier, DATASET)
                wanted = {
                    slot.period: "red" if view.verdict_state == "rejected" else "green"
                    for slot, view in newest.items()
                    if slot.supplier == supplier
                }
                if shown != wanted:
                    raise Broken(f"the grid of {supplier} shows {shown}, the ledger has {wanted}")
            self._foundation_follows()
            until = time.monotonic() + PATIENCE
            while unfinished := [run for run in instance.get_runs() if not run.is_finished]:
                # one that brought the last rows may still be at what comes after them
                if time.monotonic() > until:
                    raise Broken(f"runs that do not end within {PATIENCE:g} s: {unfinished}")
                time.sleep(0.2)

    def _foundation_follows(self) -> None:
        """The daemon, however often it was killed, has the mart brought to what is accepted."""
        if "daemon" not in self.to.roles:
            return
        accepted = self._rows(self.to.settings)[0]
        until = time.monotonic() + 2 * PATIENCE
        while (shown := self._served()) != len(accepted):
            if time.monotonic() > until:
                raise Broken(f"the foundation shows {shown} rows, {len(accepted)} are accepted")
            self.to.revive()
            time.sleep(1)

    def _served(self) -> int | None:
        with contextlib.closing(lake.connect(self.to.settings)) as connection:
            lake.attach(connection, self.to.settings, "foundation", read_only=True)
            try:
                row = connection.execute(f"select count(*) from foundation.main.{DATASET}").fetchone()
            except duckdb.CatalogException:
                return None
        return int(row[0]) if row else None

    def _undisturbed(self, deliveries: list[Any], folder: Path) -> tuple[dict[str, Any], Any]:
        settings = Settings(home=folder / "calm", region=str(PLAIN), profile="local")
        desk = Desk(settings)
        for view in deliveries:
            with stores.vault(self.to.settings).open(vault_key(view.sha256)) as file:
                given: Delivery = desk.receive(
                    io.BytesIO(file.read()),
                    view.supplier,
                    view.dataset,
                    view.period,
                    file_name=view.file_name,
                    who=view.who,
                )
            if given.delivery_id != view.delivery_id:
                raise Broken(f"{view.delivery_id} would have been {given.delivery_id}")
            work_queue(desk)
        told = {v.delivery_id: (v.state, v.verdict_state, v.rows) for v in desk.ledger.deliveries()}
        desk.close()
        return told, self._rows(settings)

    @staticmethod
    def _rows(settings: Settings) -> Any:
        with contextlib.closing(lake.connect(settings)) as connection:
            lake.attach(connection, settings, "accepted", read_only=True)
            return [
                connection.execute(f"select * from accepted.{table} order by all").fetchall()
                for table in ("waste_balance", "quarantine")
            ]

    def _orphans(self) -> int:
        """Files of commits that were never made; maintenance takes them away."""
        with contextlib.closing(lake.connect(self.to.settings)) as connection:
            lake.attach(connection, self.to.settings, "accepted")
            found = connection.execute(
                "call ducklake_delete_orphaned_files('accepted', dry_run => true, cleanup_all => true)"
            )
            return len(found.fetchall())


# --- faults: what happens while the block runs ---

Fault = Callable[[Campaign], contextlib.AbstractContextManager[None]]


def _killed(role: str) -> Fault:
    @contextlib.contextmanager
    def fault(campaign: Campaign) -> Iterator[None]:
        yield
        campaign.to.running[role].kill()

    return fault


@contextlib.contextmanager
def _all_killed(campaign: Campaign) -> Iterator[None]:
    yield
    for process in campaign.to.running.values():
        process.kill()


@contextlib.contextmanager
def _killed_at_a_point(campaign: Campaign) -> Iterator[None]:
    point = campaign.chance.choice(POINTS)
    role = campaign.chance.choice(("judge-0", "judge-1"))
    if POINTS.index(point) < 4:
        role = "intake"
    elif point.startswith("report."):
        role = "reporter"
    campaign.to.running[role].kill(signal.SIGTERM)
    campaign.to.start(role, VERBUND_CRASH_AT=f"{point}:{campaign.chance.randint(1, 2)}")
    yield
    # it may not have come by there; a reporter gathers for a second first
    time.sleep(2.0 if role == "reporter" else 0.5)
    campaign.to.running[role].kill()


def _server_killed(name: str) -> Fault:
    @contextlib.contextmanager
    def fault(campaign: Campaign) -> Iterator[None]:
        server = getattr(campaign.to, name)
        time.sleep(campaign.chance.random() * 0.3)
        server.kill()
        yield
        server.start()

    return fault


def _server_down(name: str, seconds: float) -> Fault:
    @contextlib.contextmanager
    def fault(campaign: Campaign) -> Iterator[None]:
        server = getattr(campaign.to, name)
        server.stop()
        yield
        time.sleep(seconds)
        server.start()

    return fault


def _server_hangs(name: str) -> Fault:
    @contextlib.contextmanager
    def fault(campaign: Campaign) -> Iterator[None]:
        yield
        server = getattr(campaign.to, name)
        server.pause()
        time.sleep(campaign.chance.random() * 3)
        server.resume()

    return fault


@contextlib.contextmanager
def _put_cut(campaign: Campaign) -> Iterator[None]:
    """A connection that ends in the middle of a put: nothing was answered, nothing may come of it."""
    yield
    to = campaign.to
    url = to.inbox.access.client().get_presigned_url(
        "PUT", bucket_name=to.settings.s3_bucket, object_name=f"inbox/{WORKS}/waste_balance/2012/cut.csv"
    )
    path = url.split("/", 3)[3]
    context = ssl.create_default_context(cafile=str(to.front.ca_file))
    host, _, port = to.front.address.partition(":")
    with socket.create_connection((host, int(port))) as plain, context.wrap_socket(plain, server_hostname=host) as line:
        line.sendall(f"PUT /{path} HTTP/1.1\r\nHost: {to.front.address}\r\nContent-Length: 1000\r\n\r\nbegun".encode())


@contextlib.contextmanager
def _event_twice_and_late(campaign: Campaign) -> Iterator[None]:
    yield
    with psycopg.connect(database.conninfo(campaign.to.settings)) as connection:
        for put in campaign.puts[-3:]:
            told = {
                "Records": [
                    {
                        "eventTime": "2020-01-01T00:00:00Z",
                        "s3": {
                            "bucket": {"name": campaign.to.settings.s3_bucket},
                            "object": {"key": f"inbox/{put.supplier}/{put.key}", "versionId": put.version, "size": 1},
                        },
                    }
                ]
            }
            connection.execute("insert into intake.minio_event values (now(), %s)", (json.dumps(told),))


@contextlib.contextmanager
def _events_lost(campaign: Campaign) -> Iterator[None]:
    notify(campaign.to.minio, campaign.to.settings, on=False)
    yield
    notify(campaign.to.minio, campaign.to.settings, on=True)


@contextlib.contextmanager
def _event_that_is_none(campaign: Campaign) -> Iterator[None]:
    with psycopg.connect(database.conninfo(campaign.to.settings)) as connection:
        connection.execute("insert into intake.minio_event values (now(), %s)", ('{"Records": [{"s3": 7}]}',))
        connection.execute("insert into intake.minio_event values (now(), %s)", ('"nothing"',))
    yield


@contextlib.contextmanager
def _lease_lost(campaign: Campaign) -> Iterator[None]:
    """Two judges on the same delivery: the lease of what is in hand ends at once, again and again."""
    yield
    with psycopg.connect(database.conninfo(campaign.to.settings), autocommit=True) as connection:
        for _ in range(20):
            connection.execute("update queue set lease_until = now() - interval '1 hour', leased_by = 'nobody'")
            time.sleep(0.02)


def _changed(role: str, **environment: str) -> Fault:
    @contextlib.contextmanager
    def fault(campaign: Campaign) -> Iterator[None]:
        campaign.to.running[role].kill(signal.SIGTERM)
        campaign.to.start(role, **environment)
        yield
        time.sleep(0.5)
        campaign.to.running[role].kill()

    return fault


@contextlib.contextmanager
def _disk_full(campaign: Campaign) -> Iterator[None]:
    """A judge on a machine of its own, whose disk is a small tmpfs. Where none may be mounted, its files are cut short."""
    with tempfile.TemporaryDirectory(prefix="verbund-small-disk-") as folder:
        size = campaign.chance.choice((16, 64, 128, 256, 512))
        mount = ["mount", "-t", "tmpfs", "-o", f"size={size}k", "tmpfs", folder]
        is_mounted = subprocess.run(mount, capture_output=True, check=False).returncode == 0
        told = {"VERBUND_HOME": folder} if is_mounted else {"FAULTS_FILE_BYTES": "300"}
        try:
            with _changed("judge-1", **told)(campaign):
                yield
        finally:
            if is_mounted:
                subprocess.run(["umount", "--lazy", folder], check=True)


@contextlib.contextmanager
def _connections_cut(campaign: Campaign) -> Iterator[None]:
    yield
    with psycopg.connect(database.conninfo(campaign.to.settings), autocommit=True) as connection:
        connection.execute(
            "select pg_terminate_backend(pid) from pg_stat_activity where pid <> pg_backend_pid() and datname = current_database()"
        )


FAULTS: dict[str, Fault] = {
    "judge-0 killed": _killed("judge-0"),
    "judge-1 killed": _killed("judge-1"),
    "intake killed": _killed("intake"),
    "reporter killed": _killed("reporter"),
    "daemon killed": _killed("daemon"),
    "all killed": _all_killed,
    "killed at a named point": _killed_at_a_point,
    "store killed": _server_killed("minio"),
    "database killed": _server_killed("postgres"),
    "front killed": _server_killed("front"),
    "store down": _server_down("minio", 3),
    "database down": _server_down("postgres", 3),
    "store hangs": _server_hangs("minio"),
    "database hangs": _server_hangs("postgres"),
    "connections cut": _connections_cut,
    "put cut off": _put_cut,
    "event twice and late": _event_twice_and_late,
    "events lost": _events_lost,
    "event that is none": _event_that_is_none,
    "lease lost": _lease_lost,
    "disk of a judge full": _disk_full,
    "files of a judge cut short": _changed("judge-1", FAULTS_FILE_BYTES="300"),
    "clock of a judge a day ahead": _changed("judge-0", FAULTS_CLOCK_JUMP="86400"),
    "clock of a judge a day behind": _changed("judge-0", FAULTS_CLOCK_JUMP="-86400"),
}
