"""Real servers on free ports of this machine, each in a folder of its own: PostgreSQL, MinIO, HAProxy, SeaweedFS.

For tests, benchmarks and the fault harness alike, so nothing of pytest is here. Every server can be started, stopped,
killed and started again on the same port with the same data. What they need installed brings `.ci/servers`.
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
import pwd
import random
import secrets
import shutil
import signal
import socket
import ssl
import string
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Self

ROOT = Path(__file__).parents[3]
HOST = "127.0.0.1"
#: A server that has not answered after so long will not.
START_SECONDS = 120.0
#: How long the build of MinIO may take beside another one.
BUILD_SECONDS = 1500.0


class ServerFailed(Exception):
    """A server did not start, or what it is made of is missing. The message ends with what it wrote last."""


class Server:
    """One process that serves. Use it as a context manager, or `start` and `stop` it.

    Args:
        name: What errors call it.
        folder: Its data and its log; made, and taken away at `close` if it was not given.
    """

    name = "server"

    def __init__(self, folder: Path | None = None) -> None:
        self._own_folder = folder is None
        # not below pytest's folders: those are closed to the user PostgreSQL runs as
        self.folder = folder or Path(tempfile.mkdtemp(prefix=f"verbund-{self.name}-"))
        self.folder.mkdir(parents=True, exist_ok=True)
        self.port = free_port()
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def address(self) -> str:
        """Host and port."""
        return f"{HOST}:{self.port}"

    @property
    def log(self) -> Path:
        return self.folder / f"{self.name}.log"

    def command(self) -> list[str]:
        raise NotImplementedError

    def environment(self) -> Mapping[str, str]:
        """What the process finds beside this process' own environment."""
        return {}

    def answers(self) -> bool:
        """Whether it does its work."""
        return listening(self.port)

    def start(self) -> Self:
        """Start and wait until it answers."""
        if self.running:
            return self
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                self.command(),
                cwd=self.folder,
                env={**os.environ, **self.environment()},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                # an interrupt of the tests is for the tests; they stop it themselves
                start_new_session=True,
                user=self.user,
            )
        self._wait()
        return self

    def stop(self) -> None:
        """End it as an operator would, within ten seconds."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """End it as a power cut would (kill -9)."""
        self._end(signal.SIGKILL)

    def pause(self) -> None:
        """Let it hang: connections stay, nothing answers."""
        if self.process is not None:
            self.process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        if self.process is not None:
            self.process.send_signal(signal.SIGCONT)

    def restart(self) -> None:
        """Kill it and start it again on its port with its data."""
        self.kill()
        self.start()

    def close(self) -> None:
        """Stop it, and take its folder away if it chose it."""
        self.stop()
        if self._own_folder:
            shutil.rmtree(self.folder, ignore_errors=True)

    @property
    def running(self) -> bool:
        return self.process is not None and self.process.poll() is None

    @property
    def user(self) -> str | None:
        """Who the process runs as; None for who we are."""
        return None

    def tail(self, lines: int = 30) -> str:
        """What it wrote last."""
        with contextlib.suppress(FileNotFoundError):
            return "\n".join(self.log.read_text(encoding="utf-8", errors="replace").splitlines()[-lines:])
        return ""

    def __enter__(self) -> Self:
        try:
            return self.start()
        except BaseException:
            self.close()
            raise

    def __exit__(self, *_: object) -> None:
        self.close()

    def _wait(self) -> None:
        assert self.process is not None
        until = time.monotonic() + START_SECONDS
        while not self.answers():
            if (code := self.process.poll()) is not None:
                raise ServerFailed(f"{self.name} ended with {code} while starting:\n{self.tail()}")
            if time.monotonic() > until:
                self.kill()
                raise ServerFailed(f"{self.name} did not answer within {START_SECONDS:.0f} s:\n{self.tail()}")
            time.sleep(0.05)

    def _end(self, how: signal.Signals) -> None:
        if self.process is None:
            return
        with contextlib.suppress(ProcessLookupError):
            # a paused process takes no other signal
            self.process.send_signal(signal.SIGCONT)
            self.process.send_signal(how)
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.process = None


class Postgres(Server):
    """PostgreSQL with the superuser `postgres` and a password of its own.

    Args:
        folder: As `Server`.
        settings: Of the server.
        tls: Whether it also offers TLS; then `ca_file` is what clients trust.
    """

    name = "postgres"

    def __init__(
        self, folder: Path | None = None, *, settings: Mapping[str, str] | None = None, tls: bool = False
    ) -> None:
        super().__init__(folder)
        self.password = secrets.token_hex(16)
        self._settings = dict(settings or {})
        self._tls = tls
        self.data = self.folder / "data"
        self.ca_file = self.folder / "ca.pem"

    @property
    def user(self) -> str | None:
        # PostgreSQL refuses to run as root
        return "postgres" if os.getuid() == 0 else None

    def start(self) -> Self:
        if not self.data.exists():
            self._initdb()
        if self.running:
            return self
        # after a kill the children of the old one may still be leaving
        until = time.monotonic() + START_SECONDS
        while True:
            try:
                return super().start()
            except ServerFailed:
                if "still in use" not in self.tail(5) and "still running" not in self.tail(5):
                    raise
                if time.monotonic() > until:
                    raise
                time.sleep(0.2)

    def command(self) -> list[str]:
        settings = {
            "listen_addresses": HOST,
            "port": str(self.port),
            "unix_socket_directories": "",
            "max_connections": "200",
            "log_min_messages": "warning",
            **self._settings,
        }
        return [_postgres("postgres"), "-D", str(self.data), *(f"--{name}={value}" for name, value in settings.items())]

    def answers(self) -> bool:
        ready = [_postgres("pg_isready"), "-q", "-h", HOST, "-p", str(self.port)]
        return subprocess.run(ready, check=False).returncode == 0

    def stop(self) -> None:
        # "fast": connections are ended, not waited for
        self._end(signal.SIGINT)

    def url(self, database: str = "postgres", user: str = "postgres", password: str | None = None) -> str:
        """Address for clients, with the secret in it: `postgresql://user:password@host:port/database`."""
        return f"postgresql://{user}:{password or self.password}@{self.address}/{database}"

    def sql(self, statements: str, database: str = "postgres") -> str:
        """Run statements as superuser, in one transaction each. Returns the rows, columns parted by `|`."""
        psql = [_postgres("psql"), "-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-d", self.url(database), "-f", "-"]
        done = subprocess.run(psql, input=statements, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise ServerFailed(f"psql: {done.stderr.strip()}")
        return done.stdout.strip()

    def _initdb(self) -> None:
        secret = self.folder / "password"
        secret.write_text(self.password)
        own = [self.folder, secret]
        if self._tls:
            certificate, key = make_certificate(self.folder)
            own += [certificate, key]
            self._settings |= {"ssl": "on", "ssl_cert_file": str(certificate), "ssl_key_file": str(key)}
        if self.user is not None:
            account = pwd.getpwnam(self.user)
            for path in own:
                os.chown(path, account.pw_uid, account.pw_gid)
        initdb = [_postgres("initdb"), "-D", str(self.data), "-U", "postgres", "--auth=scram-sha-256", "--no-locale"]
        done = subprocess.run(
            [*initdb, "--encoding=UTF8", f"--pwfile={secret}"],
            cwd=self.folder, capture_output=True, text=True, check=False, user=self.user,
        )  # fmt: skip
        secret.unlink()
        if done.returncode != 0:
            raise ServerFailed(f"initdb: {done.stdout}{done.stderr}")


class Minio(Server):
    """MinIO as infra/minio starts it. Reached directly by its operator only; clients go through `Haproxy`.

    Args:
        events_dsn: How it reaches PostgreSQL for its notifications (`events_dsn()` makes one); None for none.
    """

    name = "minio"
    root_user = "verbund-operator"

    def __init__(self, folder: Path | None = None, *, events_dsn: str | None = None) -> None:
        super().__init__(folder)
        self.root_password = secrets.token_hex(16)
        self._events_dsn = events_dsn
        self.queue_dir = self.folder / "queue"

    def command(self) -> list[str]:
        return [str(minio_binary()), "server", str(self.folder / "data"), "--address", self.address, "--quiet"]

    def environment(self) -> Mapping[str, str]:
        filled = {
            "root_user": self.root_user,
            "root_password": self.root_password,
            "memory_limit": "400MiB",
            "events_dsn": self._events_dsn or "",
            "queue_dir": str(self.queue_dir),
        }
        files = ["minio.env", "events.env"] if self._events_dsn else ["minio.env"]
        return {name: value for file in files for name, value in _filled_in(ROOT / "infra/minio" / file, filled)}

    def answers(self) -> bool:
        return _status(f"http://{self.address}/minio/health/ready") == 200

    @property
    def url(self) -> str:
        return f"http://{self.address}"


class Haproxy(Server):
    """The front of infra/haproxy with a certificate made for this start; `ca_file` is what clients trust."""

    name = "haproxy"

    def __init__(self, store: Minio | Seaweed, folder: Path | None = None, *, pace: int = 200) -> None:
        super().__init__(folder)
        self._store, self._pace = store, pace
        self.operator_port = free_port()
        self.ca_file = self.folder / "ca.pem"
        self._certificate = self.folder / "haproxy.pem"
        self._make_certificate()

    def command(self) -> list[str]:
        return [_found("haproxy", "/usr/sbin"), "-db", "-f", str(ROOT / "infra/haproxy/haproxy.cfg")]

    def environment(self) -> Mapping[str, str]:
        return {
            "VERBUND_S3_BIND": self.address,
            "VERBUND_S3_CERTIFICATE": str(self._certificate),
            "VERBUND_OPERATOR_BIND": f"{HOST}:{self.operator_port}",
            "VERBUND_MINIO": self._store.address,
            "VERBUND_S3_PER_CLIENT": "200",
            "VERBUND_S3_PACE": str(self._pace),
        }

    def answers(self) -> bool:
        return _status(f"{self.url}/minio/health/live", self.ca_file) in (200, 403, 503)

    @property
    def url(self) -> str:
        return f"https://{self.address}"

    @property
    def operator_address(self) -> str:
        """Host and port of MinIO's administration, without TLS."""
        return f"{HOST}:{self.operator_port}"

    def _make_certificate(self) -> None:
        certificate, key = make_certificate(self.folder)
        self._certificate.write_text(certificate.read_text() + key.read_text())


class Seaweed(Server):
    """SeaweedFS with one identity that may do everything: the second store, which knows nothing of MinIO.

    It makes users by AWS's IAM API.
    """

    name = "seaweedfs"

    def __init__(self, folder: Path | None = None) -> None:
        super().__init__(folder)
        self.access_key, self.secret_key = "verbund", secrets.token_hex(16)
        self._ports = {name: (free_port(), free_port()) for name in ("master", "volume", "filer")}
        self._s3_grpc = free_port()

    def command(self) -> list[str]:
        identity = {
            # not as its key, so that a mix-up shows
            "name": "operator",
            "credentials": [{"accessKey": self.access_key, "secretKey": self.secret_key}],
            "actions": ["Admin", "Read", "Write", "List", "Tagging"],
        }
        config = self.folder / "s3.json"
        config.write_text(json.dumps({"identities": [identity]}))
        (self.folder / "data").mkdir(exist_ok=True)
        ports = [
            flag
            for name, (http, grpc) in self._ports.items()
            for flag in (f"-{name}.port={http}", f"-{name}.port.grpc={grpc}")
        ]
        return [
            _found("weed", str(Path(sys.executable).parent)), "server", f"-dir={self.folder / 'data'}", f"-ip={HOST}",
            f"-ip.bind={HOST}", "-master.volumeSizeLimitMB=64", "-volume.max=5000", "-master.telemetry=false", *ports,
            "-s3", f"-s3.port={self.port}", f"-s3.port.grpc={self._s3_grpc}", "-s3.port.iceberg=0", "-s3.port.lance=0", "-s3.autoCreateBucket=false",
            f"-s3.config={config}", "-s3.iam.readOnly=false",
        ]  # fmt: skip

    def close(self) -> None:
        # it takes leave of its own parts for more than ten seconds
        self.kill()
        super().close()

    def answers(self) -> bool:
        if not listening(self.port):
            return False
        # S3 answers before a volume can be written
        return _status(f"http://{self.address}/") == 403 and _writable(self._ports["master"][0])

    @property
    def url(self) -> str:
        return f"http://{self.address}"


def make_certificate(folder: Path) -> tuple[Path, Path]:
    """Make an authority of our own, `ca.pem`, and of it certificate and key of a server on this machine.

    Two, because some clients (rustls) take no certificate that is its own authority.
    """
    new = ["openssl", "req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    authority, certificate, key = folder / "ca.pem", folder / "server.pem", folder / "server.key"
    names, request = folder / "server.names", folder / "server.request"
    names.write_text(f"subjectAltName=IP:{HOST},DNS:localhost\nbasicConstraints=CA:FALSE\n")
    for command in (
        [*new, "-x509", "-days", "30", "-subj", "/CN=tests", "-keyout", f"{authority}.key", "-out", str(authority)],
        [*new, "-subj", "/CN=localhost", "-keyout", str(key), "-out", str(request)],
        [
            "openssl", "x509", "-req", "-days", "30", "-in", str(request), "-CA", str(authority),
            "-CAkey", f"{authority}.key", "-CAcreateserial", "-extfile", str(names), "-out", str(certificate),
        ],
    ):  # fmt: skip
        subprocess.run(command, check=True, capture_output=True)
    return certificate, key


def events_dsn(postgres: Postgres) -> str:
    """Make what MinIO's notifications need in the database `verbund`, and say how MinIO reaches it."""
    password = secrets.token_hex(16)
    postgres.sql("create database verbund;")
    postgres.sql(
        f"""
        create role minio_notify login password '{password}';
        {(ROOT / "infra/postgres/intake.sql").read_text()}
        grant usage on schema intake to minio_notify;
        grant select, insert on intake.minio_event to minio_notify;
        """,
        "verbund",
    )
    return (
        f"host={HOST} port={postgres.port} user=minio_notify password={password} dbname=verbund sslmode=disable "
        "connect_timeout=3 search_path=intake"
    )


def minio_binary() -> Path:
    """The MinIO that `.ci/servers` built; waited for while its build runs.

    Raises:
        ServerFailed: There is none, and none is being built.
    """
    version = (ROOT / "infra/minio/version").read_text().strip()
    go = subprocess.run(["go", "env", "GOVERSION"], capture_output=True, text=True, check=True).stdout.strip()
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "verbund"
    binary, building = cache / f"minio-{version}-{go}", cache / f"minio-{version}-{go}.building"
    until = time.monotonic() + BUILD_SECONDS
    while not binary.exists():
        if not building.exists() or time.monotonic() > until:
            raise ServerFailed(f"no MinIO at {binary}; `.ci/servers` builds it")
        time.sleep(1)
    return binary


def free_port() -> int:
    """A port nobody listens on, below those the system gives to outgoing connections.

    One of those could take the port of a server while it is down, and keep it from starting again.
    """
    while True:
        port = random.randint(12_000, 32_000)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind((HOST, port))
            return port


def listening(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex((HOST, port)) == 0


def wait_for(what: Callable[[], bool], seconds: float = 10.0) -> bool:
    """Whether something became true in time."""
    until = time.monotonic() + seconds
    while not what():
        if time.monotonic() > until:
            return False
        time.sleep(0.02)
    return True


@contextlib.contextmanager
def minio_behind_haproxy(events: Postgres | None = None) -> Iterator[tuple[Minio, Haproxy]]:
    """MinIO and its front, with notifications into a database if one is given."""
    with Minio(events_dsn=events_dsn(events) if events else None) as minio, Haproxy(minio) as haproxy:
        yield minio, haproxy


@functools.cache
def _postgres(program: str) -> str:
    """Debian keeps them out of PATH, one folder per version; the newest is taken."""
    folders = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda folder: float(folder.parent.name))
    return _found(program, *(str(folder) for folder in reversed(folders)))


def _found(program: str, *folders: str) -> str:
    path = shutil.which(program, path=os.pathsep.join([*folders, os.environ.get("PATH", "")]))
    if path is None:
        raise ServerFailed(f"{program} is not installed; `.ci/servers` brings it")
    return path


def _filled_in(file: Path, names: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    for line in file.read_text(encoding="utf-8").splitlines():
        if line and not line.startswith("#"):
            name, _, value = line.partition("=")
            yield name, string.Template(value).substitute(names)


def _status(url: str, ca_file: Path | None = None) -> int | None:
    context = ssl.create_default_context(cafile=str(ca_file)) if ca_file else None
    try:
        with urllib.request.urlopen(url, timeout=2, context=context) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code
    except OSError:
        return None


def _writable(master_port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://{HOST}:{master_port}/dir/assign", timeout=2) as answer:
            return "fid" in json.load(answer)
    except (OSError, ValueError):
        return False
