"""A server profile as its operator sets it up: servers with nothing in them, then `verbund server init`."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal
from urllib.parse import quote

from typer.testing import CliRunner

from storage.settings import Settings
from tests.server.support.servers import HOST, Haproxy, Minio, Postgres, Seaweed
from verbund.cli import app

ROOT = Path(__file__).parents[3]


@dataclass(frozen=True)
class Said:
    """What a command left behind."""

    code: int
    out: str
    err: str

    @property
    def document(self) -> Any:
        """The one JSON document on standard output; fails where there is anything else."""
        return json.loads(self.out)


@dataclass
class Installation:
    """Servers and how the platform and its operator reach them."""

    postgres: Postgres
    store: Minio | Seaweed
    front: Haproxy
    home: Path
    region: Path
    events_password: str
    # with what breaks quoting, so that a place that forgets it fails
    database_password: str = field(default_factory=lambda: f"a'b{secrets.token_hex(16)}@c:d%/\\ e")
    s3_secret: str = field(default_factory=lambda: f"a'b+{secrets.token_hex(12)}/=")

    @property
    def minio(self) -> Minio:
        assert isinstance(self.store, Minio)
        return self.store

    @property
    def environment(self) -> Mapping[str, str]:
        """What the platform's processes are told."""
        return {
            "VERBUND_PROFILE": "server",
            "VERBUND_HOME": str(self.home),
            "VERBUND_REGION": str(self.region),
            "VERBUND_DATABASE_URL": self.database_url.replace("postgresql:", "postgresql+psycopg:"),
            "VERBUND_S3_ENDPOINT": self.front.url,
            "VERBUND_S3_CA_FILE": str(self.front.ca_file),
            "VERBUND_S3_KIND": "minio" if isinstance(self.store, Minio) else "iam",
            # SeaweedFS takes letters and digits only, 16 at least
            "VERBUND_S3_ACCESS_KEY": "verbund-platform" if isinstance(self.store, Minio) else "verbundplatformkey",
            "VERBUND_S3_SECRET_KEY": self.s3_secret,
            "VERBUND_VAULT_LOCK_DAYS": "1",
        }

    @property
    def database_url(self) -> str:
        """Address of the platform's own role."""
        return f"postgresql://verbund:{quote(self.database_password, safe='')}@{self.postgres.address}/verbund"

    @property
    def admin(self) -> Mapping[str, str]:
        """What the operator adds to it."""
        store = self.store
        by = (
            (store.root_user, store.root_password) if isinstance(store, Minio) else (store.access_key, store.secret_key)
        )
        return {
            "VERBUND_ADMIN_DATABASE_URL": self.postgres.url().replace("postgresql:", "postgresql+psycopg:"),
            "VERBUND_ADMIN_S3_ENDPOINT": f"http://{self.front.operator_address}",
            "VERBUND_ADMIN_S3_ACCESS_KEY": by[0],
            "VERBUND_ADMIN_S3_SECRET_KEY": by[1],
            "VERBUND_ADMIN_EVENTS_PASSWORD": self.events_password,
        }

    def settings(self, *, admin: bool = False) -> Settings:
        """The same for this process."""
        told = {**self.environment, **(self.admin if admin else {})}
        return Settings(**{name.removeprefix("VERBUND_").lower(): value for name, value in told.items()})  # type: ignore[arg-type]

    def verbund(self, *arguments: str, admin: bool = False, **more: str) -> Said:
        """Run the command in this process, where what it imports is warm."""
        others = {name: None for name in os.environ if name.startswith("VERBUND_")}
        environment = {**others, **self.environment, **(self.admin if admin else {}), **more}
        result = CliRunner(env=environment).invoke(app, list(arguments))
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return Said(result.exit_code, result.stdout, result.stderr)


@contextlib.contextmanager
def installation(home: Path, region: Path, store: Literal["minio", "seaweed"] = "minio") -> Iterator[Installation]:
    """Start the servers; nothing is set up in them. MinIO starts before there is anything to tell its events to."""
    events_password = secrets.token_hex(16)
    with contextlib.ExitStack() as stack:
        postgres = stack.enter_context(Postgres(settings={"log_statement": "all"}, tls=True))
        events = (
            f"host={HOST} port={postgres.port} user=minio_notify password={events_password} dbname=verbund sslmode=disable "
            "connect_timeout=3 search_path=intake"
        )
        objects = stack.enter_context(Minio(events_dsn=events) if store == "minio" else Seaweed())
        front = stack.enter_context(Haproxy(objects))
        yield Installation(postgres, objects, front, home, region, events_password)
