"""Keeping what a region has on real servers: backup, loss of everything, restore; and the way from the embedded profile.

What can be held without servers is in tests/integration/test_backup.py.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from quality import backup, migration
from storage import database, dumps, stores
from storage.objects.s3 import S3Access, prepare_bucket
from storage.settings import Settings
from tests.server.support.servers import Postgres
from tests.support.bench import PLAIN
from tests.support.keeping import balance, deliver, facts, fill

LATER = datetime(2126, 1, 1, tzinfo=UTC)
NewServer = Callable[[Path], Settings]
pytestmark = pytest.mark.slow


@pytest.fixture
def new_server(postgres: Postgres, minio_access: S3Access, tmp_path: Path) -> NewServer:
    """Makes settings of a server profile that holds nothing: a database and buckets nobody used."""
    made: list[Path] = []

    def make(home: Path) -> Settings:
        made.append(home)
        name = f"k{hashlib.sha256(f'{tmp_path}{len(made)}'.encode()).hexdigest()[:12]}"
        # as in service: the platform owns its database and is no superuser
        postgres.sql(f"create role {name} login password 'of-this-test'")
        postgres.sql(f"create database {name} owner {name}")
        settings = Settings(
            home=home,
            region=str(PLAIN),
            profile="server",
            database_url=postgres.url(name, name, "of-this-test").replace("postgresql:", "postgresql+psycopg:"),
            s3_endpoint=minio_access.endpoint,
            s3_access_key=minio_access.access_key,
            s3_secret_key=minio_access.secret_key,
            s3_ca_file=minio_access.ca_file,
            s3_bucket=name,
            vault_lock_days=0,
        )
        for bucket in stores.buckets(settings):
            prepare_bucket(minio_access, bucket, versioned=True)
        database.prepare(settings)
        return settings

    return make


def test_after_a_loss_of_everything_a_restore_brings_all_of_it_back(new_server: NewServer, tmp_path: Path) -> None:
    lost = new_server(tmp_path / "lost")
    fill(lost)
    before = facts(lost)
    made = backup.backup(lost, tmp_path / "backup")
    assert backup.backup(lost, tmp_path / "backup", LATER).copied == 0

    new = new_server(tmp_path / "new")
    restored = backup.restore(new, tmp_path / "backup", made.name)

    assert facts(new) == before
    assert restored.releases == 1
    assert deliver(new, balance("9", "8")) == "plain-works--waste_balance--2024--04"
    with pytest.raises(backup.NotEmpty, match="empty installation"):
        backup.restore(new, tmp_path / "backup")


def test_an_embedded_home_moves_to_the_server_with_equal_tables_snapshots_and_history(
    new_server: NewServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = Settings(home=tmp_path / "home", region=str(PLAIN))
    fill(home)
    before = facts(home)
    target = new_server(tmp_path / "home")
    with monkeypatch.context() as patched:
        patched.setattr(dumps, "_carry_catalog", lambda *_: (_ for _ in ()).throw(OSError("the power went")))
        with pytest.raises(OSError, match="the power went"):
            migration.to_server(migration.embedded(target), target)

    carried = migration.to_server(migration.embedded(target), target)

    assert facts(target) == before
    assert facts(home) == before
    assert carried.point.deliveries == 6
    with pytest.raises(backup.NotEmpty, match="empty installation"):
        migration.to_server(home, target)
    # numbers of the ledger go on, and so do snapshots
    assert deliver(target, balance("9", "8")) == "plain-works--waste_balance--2024--04"
