"""dbt's manifest of the project as it is now, parsed once per state of its files and kept in `home/dbt`."""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
from functools import lru_cache
from pathlib import Path
from typing import Any

from filelock import FileLock

from quality.foundation import project_dir
from storage.settings import Settings


class ProjectBroken(Exception):
    """dbt cannot parse the project; the message is dbt's."""


def manifest_of(settings: Settings) -> dict[str, Any]:
    """The manifest as plain data; parses the project where it changed since the last time.

    Raises:
        ProjectBroken: dbt cannot parse the project.
    """
    settings.paths.create()
    folder = settings.paths.dbt
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / f"manifest-{_fingerprint(project_dir())}.json"
    with FileLock(settings.paths.lock("manifest"), timeout=120):
        if not file.exists():
            for old in folder.glob("manifest-*.json"):
                old.unlink(missing_ok=True)
            _parse(folder, file)
    return _read(file)


@lru_cache(maxsize=2)
def _read(file: Path) -> dict[str, Any]:
    manifest: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    return manifest


def _parse(folder: Path, file: Path) -> None:
    from dbt.cli.main import dbtRunner

    project = str(project_dir())
    with tempfile.TemporaryDirectory(dir=folder, prefix="parse-") as target:
        quiet = ["--quiet", "--log-level", "none", "--no-use-colors", "--no-print"]
        places = ["--project-dir", project, "--profiles-dir", project, "--target-path", target, "--log-path", target]
        outcome = dbtRunner().invoke([*quiet, "parse", *places, "--target", "pinned", "--no-partial-parse"])
        if not outcome.success:
            raise ProjectBroken(str(outcome.exception))
        fresh = file.with_suffix(".tmp")
        shutil.copyfile(Path(target) / "manifest.json", fresh)
        fresh.replace(file)


def _fingerprint(project: Path) -> str:
    digest = hashlib.sha256()
    for file in sorted(project.rglob("*")):
        inside = file.relative_to(project)
        if file.suffix in (".sql", ".yml", ".csv", ".md") and inside.parts[0] not in ("target", "logs"):
            digest.update(f"{inside.as_posix()}\0".encode())
            digest.update(file.read_bytes())
    return digest.hexdigest()[:12]
