"""Building the foundation: dbt run in this process, branch by branch, and the snapshot readers may see.

The models are in `transformations/`; what they read is written by the judge. When a build is due is for `orchestration`.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import duckdb
from filelock import FileLock

from storage import lake, stores
from storage.objects.base import NoSuchObject
from storage.settings import Settings, project_root

#: Models that say how well data is supplied; every verdict changes them, whatever was delivered.
EVERY_DELIVERY = "tag:every_delivery"
_STAGING = "stg_"
#: Object beside the lakes that names the state readers may see.
POINTER = "foundation.current.json"
_BUILT = frozenset({"success", "pass", "warn", "fail"})

# dbt keeps its flags, its adapter and its connection in globals
_ONE_AT_A_TIME = threading.RLock()


class FoundationBroken(Exception):
    """Models could not be built. What readers see is unchanged.

    `failures` maps the name of each model or seed to dbt's own words.
    """

    def __init__(self, failures: Mapping[str, str]) -> None:
        self.failures = dict(failures)
        told = "; ".join(f"{name}: {message}" for name, message in self.failures.items())
        super().__init__(f"the foundation could not be built, readers still see the state before. {told}")


@dataclass(frozen=True)
class Step:
    """What became of one node of the build.

    `status` is dbt's: success, error, skipped for models and seeds; pass, warn, fail, error, skipped for tests.
    `failures` is the number of rows a test found; `message` is dbt's own.
    """

    name: str
    kind: Literal["model", "seed", "test"]
    status: str
    seconds: float
    message: str = ""
    failures: int | None = None


@dataclass(frozen=True)
class Build:
    """One build of the foundation.

    Attributes:
        models: Models and seeds, in the order they were built.
        tests: Data tests; a failed one is a finding about the data and does not hold the build back.
        seconds: Duration, waiting for the lock included.
        snapshot: Snapshot of the catalog `foundation` that holds the result.
        accepted_snapshot: Snapshot of the catalog `accepted` all models read.
        full: Whether everything was built.
    """

    models: tuple[Step, ...]
    tests: tuple[Step, ...]
    seconds: float
    snapshot: int
    accepted_snapshot: int
    full: bool

    @property
    def failed_tests(self) -> tuple[Step, ...]:
        return tuple(test for test in self.tests if test.status in ("fail", "error"))


@dataclass(frozen=True)
class Current:
    """The state readers may see: both catalogs at the snapshots that belong together, and the project that built it."""

    foundation: int
    accepted: int
    project: str


def build(settings: Settings, select: Sequence[str] | None = None, full: bool = False) -> Build:
    """Build the foundation, or a part of it, and publish the snapshot when every model succeeded.

    The first build of a home is full, and so is the first after the models changed: a part joins tables that must exist.

    Args:
        settings: Where state lies.
        select: dbt's selection (`select_for` gives the branch of a dataset); None or empty builds everything.
        full: Build everything, whatever `select` says.

    Raises:
        FoundationBroken: A model or seed failed, or dbt could not start. Failed data tests are in the result.
        storage.lake.LakeUnavailable: A catalog cannot be attached; `accepted` must exist.
        storage.locks.Busy: Another build held the catalog for too long.
    """
    began = time.monotonic()
    with _ONE_AT_A_TIME, lake.writing(settings, "foundation"):
        project = _fingerprint()
        before = current(settings)
        whole = full or not select or before is None or before.project != project
        arguments = ["build", "--exclude-resource-type", "unit_test"]
        if before is not None and before.project != project:
            # a list or table that has other columns now is made anew: dbt would go on with the old ones
            arguments.append("--full-refresh")
        if not whole:
            arguments += ["--select", *(select or ()), "--no-write-json", "--cache-selected-only"]
        with _lakes(settings, new=before is None) as connection:
            accepted = lake.snapshot_of(connection, "accepted")
            steps = _steps(_invoke(settings, arguments, accepted_snapshot=accepted))
            if broken := {s.name: s.message for s in steps if s.kind != "test" and s.status not in _BUILT}:
                raise FoundationBroken(broken)
            snapshot = lake.snapshot_of(connection, "foundation")
        _publish(settings, Current(snapshot, accepted, project))
    return Build(
        models=tuple(step for step in steps if step.kind != "test"),
        tests=tuple(step for step in steps if step.kind == "test"),
        seconds=time.monotonic() - began,
        snapshot=snapshot,
        accepted_snapshot=accepted,
        full=whole,
    )


def select_for(dataset: str) -> list[str]:
    """Selection of what one more delivery of a dataset changes; the state of supply alone where it has no model yet.

    Views are left out: they change with the project only, and then everything is built.
    """
    names = {node.name for node in _manifest().nodes.values()}
    staging = f"{_STAGING}{dataset}"
    branch = [f"{staging}+,config.materialized:table"] if staging in names else []
    return [*branch, EVERY_DELIVERY]


def current(settings: Settings) -> Current | None:
    """The last state published, None before the first build."""
    text = published(settings)
    if text is None:
        return None
    told = json.loads(text)
    return Current(int(told["foundation"]), int(told["accepted"]), str(told["project"]))


def published(settings: Settings) -> bytes | None:
    """The object `POINTER` as it is, None before the first build."""
    try:
        with stores.lake_files(settings).open(POINTER) as file:
            return file.read()
    except NoSuchObject:
        return None


def run_dbt(settings: Settings, arguments: Sequence[str]) -> Any:
    """Run another dbt command (`docs generate`, `test --select test_type:unit`) on this home; returns dbt's result.

    Raises:
        FoundationBroken: dbt could not do it.
    """
    with _ONE_AT_A_TIME, lake.writing(settings, "foundation"):
        with _lakes(settings, new=current(settings) is None) as connection:
            accepted = lake.snapshot_of(connection, "accepted")
        return _invoke(settings, arguments, accepted_snapshot=accepted)


@contextlib.contextmanager
def _lakes(settings: Settings, *, new: bool) -> Iterator[duckdb.DuckDBPyConnection]:
    """Both catalogs read-only, made ready when the home is new."""
    settings.paths.create()
    settings.paths.dbt.mkdir(parents=True, exist_ok=True)
    with contextlib.closing(lake.connect(settings, threads=1)) as connection:
        lake.attach(connection, settings, "accepted", read_only=True)
        if new:
            lake.attach(connection, settings, "foundation")
            # once for the catalog: smaller files, and no rows kept in the catalog that other engines would not see
            connection.execute("call foundation.set_option('parquet_compression', 'zstd')")
            connection.execute("call foundation.set_option('data_inlining_row_limit', 0)")
            connection.execute("detach foundation")
        lake.attach(connection, settings, "foundation", read_only=True)
        yield connection


def _publish(settings: Settings, state: Current) -> None:
    told = json.dumps({"foundation": state.foundation, "accepted": state.accepted, "project": state.project})
    stores.lake_files(settings).put(POINTER, io.BytesIO(told.encode()))


# --- dbt ---

_MANIFESTS: dict[str, Any] = {}


def project_dir() -> Path:
    """Folder of the dbt project."""
    return project_root() / "transformations"


def _fingerprint() -> str:
    """Hash of every file the project is made of; another one asks for a full build."""
    digest = hashlib.sha256()
    for file in sorted(project_dir().rglob("*")):
        inside = file.relative_to(project_dir())
        if file.suffix in (".sql", ".yml", ".csv", ".md") and inside.parts[0] not in ("target", "logs"):
            digest.update(f"{inside.as_posix()}\0".encode())
            digest.update(file.read_bytes())
    return digest.hexdigest()[:12]


def _manifest() -> Any:
    """The parsed project, once per process and state of its files. Needs no lake."""
    project = _fingerprint()
    with _ONE_AT_A_TIME:
        if project not in _MANIFESTS:
            from dbt.cli.main import dbtRunner

            # parsing opens no connection, so the home does not matter; what dbt writes on the way is of no use later
            with tempfile.TemporaryDirectory(prefix="verbund-parse-") as nowhere:
                places = ["--target-path", nowhere, "--log-path", nowhere, "--no-write-json", "--no-partial-parse"]
                outcome = dbtRunner().invoke([*_QUIET, "parse", *_in_project(), *places])
            parsed = _result_of(outcome)
            _MANIFESTS.clear()
            _MANIFESTS[project] = parsed
        return _MANIFESTS[project]


def manifest_file(settings: Settings) -> Path:
    """dbt's manifest of the project as it is now, as JSON; written once per home and state of the project's files.

    Raises:
        FoundationBroken: dbt cannot parse the project.
    """
    settings.paths.create()
    folder = settings.paths.dbt
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / f"manifest-{_fingerprint()}.json"
    with FileLock(settings.paths.lock("manifest"), timeout=lake.LOCK_SECONDS):
        if not file.exists():
            for old in folder.glob("manifest-*.json"):
                old.unlink(missing_ok=True)
            fresh = file.with_suffix(".tmp")
            # a build writes into the parsed project
            with _ONE_AT_A_TIME:
                _manifest().writable_manifest().write(str(fresh))
            fresh.replace(file)
    return file


#: dbt's own console output would mix with what our callers print.
_QUIET = ["--quiet", "--log-level", "none", "--no-use-colors", "--no-print"]


def _in_project(target: str = "pinned") -> list[str]:
    return ["--project-dir", str(project_dir()), "--profiles-dir", str(project_dir()), "--target", target]


def _invoke(settings: Settings, arguments: Sequence[str], *, accepted_snapshot: int) -> Any:
    from dbt.cli.main import dbtRunner

    places = ["--target-path", str(settings.paths.dbt / "target"), "--log-path", str(settings.paths.dbt / "logs")]
    manifest = _manifest()
    target = _in_project("server" if settings.is_server else "pinned")
    with _environment(settings, accepted_snapshot):
        return _result_of(dbtRunner(manifest=manifest).invoke([*_QUIET, *arguments, *target, *places]))


@contextlib.contextmanager
def _environment(settings: Settings, accepted_snapshot: int) -> Iterator[None]:
    """What `profiles.yml` asks the environment for, set for one command."""
    # links the extensions if they are not yet
    lake.extension_directory(settings)
    told = {
        "VERBUND_HOME": str(settings.paths.root),
        "VERBUND_ACCEPTED_ADDRESS": lake.catalog_address(settings, "accepted"),
        "VERBUND_ACCEPTED_DATA": lake.data_path(settings, "accepted"),
        "VERBUND_ACCEPTED_SNAPSHOT": str(accepted_snapshot),
        "VERBUND_FOUNDATION_ADDRESS": lake.catalog_address(settings, "foundation"),
        "VERBUND_FOUNDATION_DATA": lake.data_path(settings, "foundation"),
    }
    if settings.is_server:
        assert settings.s3_endpoint and settings.s3_access_key and settings.s3_secret_key
        scheme, _, host = settings.s3_endpoint.rstrip("/").partition("://")
        told |= {
            "VERBUND_S3_HOST": host,
            "VERBUND_S3_USE_SSL": str(scheme == "https").lower(),
            "VERBUND_S3_REGION": settings.s3_region,
            "VERBUND_S3_CA_FILE": str(settings.s3_ca_file or ""),
            "VERBUND_LAKE_SCOPE": f"s3://{settings.s3_bucket}-lake",
            # dbt keeps variables of this beginning out of its logs
            "DBT_ENV_SECRET_VERBUND_S3_ACCESS_KEY": settings.s3_access_key,
            "DBT_ENV_SECRET_VERBUND_S3_SECRET_KEY": settings.s3_secret_key.get_secret_value(),
        }
    before = {name: os.environ.get(name) for name in told}
    os.environ.update(told)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def _result_of(outcome: Any) -> Any:
    if outcome.exception is not None:
        raise FoundationBroken({"dbt": str(outcome.exception)}) from outcome.exception
    return outcome.result


def _steps(result: Any) -> list[Step]:
    steps = []
    for done in result.results:
        kind: Literal["model", "seed", "test"]
        resource = str(done.node.resource_type)
        kind = "model" if resource == "model" else "seed" if resource == "seed" else "test"
        steps.append(
            Step(
                done.node.name, kind, str(done.status), done.execution_time, (done.message or "").strip(), done.failures
            )
        )
    return steps
