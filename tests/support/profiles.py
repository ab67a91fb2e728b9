"""Homes of either profile: the same tests run on folders and, where real servers are named, on PostgreSQL and S3.

`VERBUND_TEST_SERVERS` names them as JSON: `database` (address of a role that may create databases), `endpoint`,
`access_key`, `secret_key`, and
`ca_file` where the endpoint has a certificate of its own. Each home gets a database and buckets of its own, named after its folder.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import psycopg
import sqlalchemy as sa

from quality.receipts import ANSWERS
from storage import database, stores
from storage.objects.base import ObjectStore
from storage.objects.local import LocalStore
from storage.settings import Settings

SERVERS = json.loads(os.environ.get("VERBUND_TEST_SERVERS", "null"))
#: Tests that look at files of the embedded profile are for that profile.
ON_SERVERS = SERVERS is not None


def settings_for(home: Path, region: str | Path = "bergisch", **more: Any) -> Settings:
    """Settings of a home; its database and buckets are made when it is new."""
    if not ON_SERVERS:
        return Settings(home=home, region=str(region), **more)
    return settings_on(SERVERS, home, region, **more)


def settings_on(
    servers: Mapping[str, str],
    home: Path,
    region: str | Path = "bergisch",
    *,
    installation: Path | None = None,
    **more: Any,
) -> Settings:
    """Settings of a home of the server profile.

    Args:
        servers: As `VERBUND_TEST_SERVERS` names them.
        home: Folder of one machine.
        region: Its pack.
        installation: Home of another machine that uses the same database and buckets.
        more: Further settings.
    """
    name = "t" + hashlib.sha256(str((installation or home).absolute()).encode()).hexdigest()[:16]
    made = Settings(
        home=home,
        region=str(region),
        profile="server",
        database_url=_database(servers, name),
        s3_endpoint=servers["endpoint"],
        s3_ca_file=servers.get("ca_file"),
        s3_access_key=servers["access_key"],
        s3_secret_key=servers["secret_key"],
        s3_bucket=name,
        vault_lock_days=0,
        **more,
    )
    marker = made.paths.create().root / "buckets-made"
    if not marker.exists():
        _make_buckets(made)
        database.prepare(made)
        marker.touch()
    return made


def drop(settings: Settings, key: str, content: str | bytes) -> None:
    """Put a file into an inbox (`<supplier>/…`), as if it had lain there for a minute."""
    store = stores.inboxes(settings)
    store.put(key, io.BytesIO(content.encode() if isinstance(content, str) else content))
    if isinstance(store, LocalStore):
        minute_ago = time.time() - 60
        os.utime(store.root / key, (minute_ago, minute_ago))


def answers_by_name(settings: Settings) -> list[str]:
    """Keys of the answers that bear the name of the supplier's file."""
    if settings.is_server:
        return sorted(info.key for info in stores.receipts(settings).list() if info.key.count("/") > 1)
    return sorted(info.key for info in stores.inboxes(settings).list() if info.key.endswith(ANSWERS))


def objects(store: ObjectStore, prefix: str = "") -> Iterator[tuple[str, bytes]]:
    """Key and bytes of everything in a store."""
    for info in store.list(prefix):
        with store.open(info.key) as file:
            yield info.key, file.read()


def _database(servers: Mapping[str, str], name: str) -> str:
    url = sa.make_url(servers["database"])
    with psycopg.connect(url.set(drivername="postgresql").render_as_string(hide_password=False), autocommit=True) as c:
        if c.execute("select 1 from pg_database where datname = %s", (name,)).fetchone() is None:
            c.execute(f"create database {name}")
    return url.set(database=name, drivername="postgresql+psycopg").render_as_string(hide_password=False)


def _make_buckets(settings: Settings) -> None:
    from storage.objects.s3 import prepare_bucket

    for bucket in stores.buckets(settings):
        prepare_bucket(stores.access(settings), bucket, versioned=True)
