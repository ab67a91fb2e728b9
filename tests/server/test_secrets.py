"""Secrets appear where they were put and nowhere else: planted, used on a whole way of deliveries, and searched for.

Searched: everything the processes wrote, told or stored; what is in the database (with Dagster's own events) and in the
buckets; the servers' logs, PostgreSQL's with every statement; the list of processes; the words of errors.
"""

from __future__ import annotations

import base64
import io
import json
import os
import re
import stat
import subprocess
import sys
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from storage import stores
from storage.objects.s3 import S3Access
from tests.server.support.installation import Installation
from tests.server.support.servers import free_port, wait_for
from tests.support.bench import GOOD, written

ROOT = Path(__file__).parents[2]
SUPPLIER = "plain-works"
pytestmark = pytest.mark.timeout(900)


@dataclass
class Planted:
    """The secrets by what they are, and everything people and programs were told meanwhile."""

    secrets: Mapping[str, str]
    told: dict[str, str] = field(default_factory=dict)

    def in_text(self, text: bytes) -> list[str]:
        """Which are in it, as they are or in Base64."""
        return [
            name for name, secret in self.secrets.items() if secret.encode() in text or _in_base64(secret).search(text)
        ]


def _in_base64(secret: str) -> re.Pattern[bytes]:
    """The middle of a secret as Base64 would write it, wherever it begins in what was encoded."""
    middles = [base64.b64encode(b"\0" * shift + secret.encode())[4:-4] for shift in range(3)]
    return re.compile(b"|".join(re.escape(middle) for middle in middles))


def _core(text: str) -> str:
    """The part of a secret that no quoting changes."""
    return max(re.findall(r"[0-9a-zA-Z_-]+", text), key=len)


@pytest.fixture(scope="module")
def planted(installed: Installation) -> Iterator[Planted]:
    """After a good and a bad delivery, a build, a release, and Dagster's record of them, by the processes of `verbund up`."""
    key = installed.verbund("server", "key", SUPPLIER, "--json", admin=True).document
    reader = installed.verbund("server", "reader", "searched", "--json", admin=True).document
    secrets = {
        "the platform's password at the database": installed.database_password,
        "the platform's secret at the store": installed.s3_secret,
        "a supplier's secret": key["AWS_SECRET_ACCESS_KEY"],
        "a reader's password": reader["PGPASSWORD"],
        "a reader's key": reader["AWS_SECRET_ACCESS_KEY"],
        "the password of the store's events": installed.events_password,
        "the operator's secret at the store": installed.minio.root_password,
        "the administrator's password at the database": installed.postgres.password,
    }
    made = Planted({name: _core(secret) for name, secret in secrets.items()})
    with _up(installed) as up:
        _deliver(installed, key)
        # the list of processes as everybody on the machine sees it
        ps = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True).stdout
        assert "verbund.cli" in ps and "dagster" in ps
        made.told["the list of processes"] = ps
        made.told["the environment of processes"] = _environments(installed)
        for command in (["build"], ["release", "--note", "for the search"], ["doctor"], ["deliveries", "--json"]):
            said = installed.verbund(*command)
            assert said.code == 0, said.out + said.err
            made.told[" ".join(command)] = said.out + said.err
        events = "select count(*) from dagster.event_logs where dagster_event_type = 'ASSET_MATERIALIZATION'"
        assert wait_for(lambda: int(installed.postgres.sql(events, "verbund")) > 0, 240), "Dagster was told nothing"
        assert wait_for(lambda: _beats(up.metrics()), 120), "no heartbeat got through"
        made.told["metrics"] = up.metrics()
    made.told["verbund up"] = up.said.read_text()
    yield made


class _Up:
    def __init__(self, installed: Installation) -> None:
        self.said = installed.home.parent / "up.txt"
        self.metrics_port = free_port()
        self._process: subprocess.Popen[bytes] | None = None
        kept = {name: value for name, value in os.environ.items() if not name.startswith("VERBUND_")}
        # the operator may have what the administrator may do in the same shell
        self._environment = {
            **kept,
            **installed.environment,
            **installed.admin,
            "VERBUND_SWEEP_SECONDS": "2",
            "VERBUND_HEARTBEAT_MINUTES": "1",
            "VERBUND_METRICS_PORT": str(self.metrics_port),
        }

    def __enter__(self) -> _Up:
        with self.said.open("wb") as said:
            command = [sys.executable, "-m", "verbund.cli", "up", "--profile", "server", "--port", str(free_port())]
            self._process = subprocess.Popen(
                command, cwd=ROOT, env=self._environment, stdout=said, stderr=said, start_new_session=True
            )
        return self

    def metrics(self) -> str:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.metrics_port}/metrics", timeout=30) as answer:
            return str(answer.read().decode())

    def __exit__(self, *_: object) -> None:
        assert self._process is not None
        self._process.terminate()
        self._process.wait(60)


def _beats(metrics: str) -> bool:
    told = re.search(r"^verbund_heartbeat_timestamp_seconds (\S+)$", metrics, re.MULTILINE)
    return told is not None and float(told[1]) > 0


def _up(installed: Installation) -> _Up:
    return _Up(installed)


def _deliver(installed: Installation, key: Mapping[str, str]) -> None:
    """Put a good and a bad file with the supplier's own key and wait for both receipts."""
    period, row = GOOD["waste_balance"]
    access = S3Access(
        key["AWS_ENDPOINT_URL"], key["AWS_ACCESS_KEY_ID"], key["AWS_SECRET_ACCESS_KEY"], ca_file=installed.front.ca_file
    )
    for year, content in ((period, written([row])), ("2023", "<html>no table</html>")):
        data = content.encode()
        access.client().put_object(
            "verbund", f"inbox/{SUPPLIER}/waste_balance/{year}/balance.csv", io.BytesIO(data), len(data)
        )
    receipts, states = stores.receipts(installed.settings()), set[str]()

    def answered() -> bool:
        for info in receipts.list(f"{SUPPLIER}/"):
            # other tests of these servers leave objects there that are no receipts
            if info.key.endswith(".quittung.json"):
                with receipts.open(info.key) as file:
                    states.add(json.load(file)["state"])
        return {"accepted", "rejected"} <= states

    assert wait_for(answered, 300), f"only {states}"


def test_the_search_finds_what_is_there(planted: Planted) -> None:
    for name, secret in planted.secrets.items():
        assert planted.in_text(f"password={secret} host=x".encode()) == [name]
        assert planted.in_text(base64.b64encode(f"user:{secret}:x".encode())) == [name]
        assert planted.in_text(base64.b64encode(f"user1:{secret}:x".encode())) == [name]


def test_no_command_and_no_list_of_processes_tells_a_secret(planted: Planted) -> None:
    found = {what: planted.in_text(text.encode()) for what, text in planted.told.items()}
    # each needs what it works with; what only its owner may read
    assert set(found.pop("the environment of processes")) <= {
        "the platform's password at the database",
        "the platform's secret at the store",
    }
    assert found == {what: [] for what in found}


def test_nothing_on_disk_holds_a_secret_but_what_only_its_owner_reads(
    installed: Installation, planted: Planted
) -> None:
    searched = 0
    for path in installed.home.rglob("*"):
        if not path.is_file() or path.is_symlink():
            continue
        searched += 1
        if found := planted.in_text(path.read_bytes()):
            assert path.parent.name == "work" and path.name.startswith("pgpass-"), f"{found} in {path}"
            assert stat.S_IMODE(path.stat().st_mode) == 0o600
            assert found == ["the platform's password at the database"]
    logs = {path.name for path in (installed.home / "logs").iterdir()}
    assert {"intake.log", "judge-0.log", "reporter.log", "daemon.log", "web.log", "code.log"} <= logs
    assert (installed.home / "dbt" / "logs").is_dir()
    assert searched > 20


def test_nothing_in_the_database_is_a_secret_with_dagsters_records_and_both_catalogs(
    installed: Installation, planted: Planted
) -> None:
    dump = subprocess.run(
        [*_pg_dump(), "--dbname", installed.postgres.url("verbund")], capture_output=True, check=True
    ).stdout
    for table in (b"dagster.event_logs", b"lake_accepted.ducklake_metadata", b"public.deliveries", b"intake.arrival"):
        assert b"COPY " + table in dump
    assert planted.in_text(dump) == []


def test_nothing_in_the_buckets_is_a_secret(installed: Installation, planted: Planted) -> None:
    client = stores.admin_access(installed.settings(admin=True)).client()
    searched = []
    for bucket in stores.buckets(installed.settings()):
        for found in client.list_objects(bucket, recursive=True):
            assert found.object_name
            answer = client.get_object(bucket, found.object_name)
            assert planted.in_text(answer.data) == [], f"{bucket}/{found.object_name}"
            answer.release_conn()
            searched.append(found.object_name)
    assert any(name.startswith(f"receipts/{SUPPLIER}/") for name in searched)
    assert any(name.endswith(".parquet") for name in searched)


def test_the_servers_logs_hold_no_secret_not_even_with_every_statement(
    installed: Installation, planted: Planted
) -> None:
    for server in (installed.postgres, installed.minio, installed.front):
        assert planted.in_text(server.log.read_bytes()) == [], server.name
    statements = installed.postgres.log.read_text(errors="replace")
    assert "create role" in statements and "SCRAM-SHA-256" in statements


#: Ways to have it wrong; the secrets stay in the settings, and what is said must do without them.
WRONG: dict[str, Mapping[str, str]] = {
    "a password that is wrong": {"VERBUND_DATABASE_URL": "postgresql+psycopg://verbund:{database}x@{postgres}/verbund"},
    "a database that is not there": {"VERBUND_DATABASE_URL": "postgresql+psycopg://verbund:{database}@{postgres}/none"},
    "a port nobody listens on": {"VERBUND_DATABASE_URL": "postgresql+psycopg://verbund:{database}@127.0.0.1:1/verbund"},
    "a port that is no number": {"VERBUND_DATABASE_URL": "postgresql+psycopg://verbund:{database}@127.0.0.1:x/verbund"},
    "another kind of database": {"VERBUND_DATABASE_URL": "mysql://verbund:{database}@127.0.0.1/verbund"},
    "no address at all": {"VERBUND_DATABASE_URL": "{database}"},
    "an option nobody knows": {
        "VERBUND_DATABASE_URL": "postgresql+psycopg://verbund:{database}@{postgres}/verbund?x=y"
    },
    "a secret that is wrong": {"VERBUND_S3_SECRET_KEY": "{s3}x"},
    "a store nobody listens at": {"VERBUND_S3_ENDPOINT": "http://127.0.0.1:1"},
    "a secret in the endpoint": {"VERBUND_S3_ENDPOINT": "http://verbund:{s3}@127.0.0.1:1"},
    "an endpoint with a path": {"VERBUND_S3_ENDPOINT": "https://127.0.0.1/{s3}/x"},
    "no certificate to trust": {"VERBUND_S3_CA_FILE": "/nowhere.pem"},
    "half of the settings": {"VERBUND_S3_ENDPOINT": ""},
    "a bucket that is none": {"VERBUND_S3_BUCKET": "Not A Bucket"},
}


@pytest.mark.parametrize("wrong", WRONG)
def test_an_error_tells_no_secret(installed: Installation, planted: Planted, tmp_path: Path, wrong: str) -> None:
    names = {
        "database": installed.database_url.split(":", 2)[2].split("@")[0],
        "s3": _core(installed.s3_secret),
        "postgres": installed.postgres.address,
    }
    changed = {name: value.format(**names) for name, value in WRONG[wrong].items()}
    for command in (["doctor"], ["deliveries"], ["server", "init"]):
        # what is no sentence of ours is raised here
        said = installed.verbund(*command, "--home", str(tmp_path), admin=True, **changed)
        assert planted.in_text((said.out + said.err).encode()) == [], (command, said)


def test_settings_and_keys_show_no_secret_when_they_are_printed(installed: Installation, planted: Planted) -> None:
    settings = installed.settings(admin=True)
    shown = f"{settings!r} {settings} {stores.access(settings)!r} {stores.admin_access(settings)!r} {settings.model_dump_json()}"
    assert planted.in_text(shown.encode()) == []


def test_no_process_of_the_platform_is_told_what_the_administrator_may_do(installed: Installation) -> None:
    told = installed.settings(admin=True).environment()
    assert not [name for name in told if "ADMIN" in name]


def _environments(installed: Installation) -> str:
    """What the processes of `verbund up` were started with, itself left out."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            environment = (folder / "environ").read_bytes().decode(errors="replace")
            command = (folder / "cmdline").read_bytes().decode(errors="replace")
        except OSError:
            continue
        if str(installed.home) in environment and "\0up\0" not in command:
            found.append(environment)
    assert len(found) >= 6
    return "\n".join(found)


def _pg_dump() -> list[str]:
    return [str(max(Path("/usr/lib/postgresql").glob("*/bin/pg_dump"))), "--no-owner"]
