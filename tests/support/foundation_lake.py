"""A small catalog `foundation` with its `accepted`, as a build leaves them: curated tables and the state published."""

from __future__ import annotations

import contextlib
import io
import json
from collections.abc import Sequence

from storage import lake, stores
from storage.settings import Settings


def build(settings: Settings, statements: Sequence[str], *, accepted: Sequence[str] = ()) -> tuple[int, int]:
    """Run statements on both catalogs, each statement a commit of its own as dbt does it, and publish the state.

    Args:
        settings: Where the catalogs lie.
        statements: SQL on the catalog `foundation`, whose schema `main` is the default.
        accepted: SQL on the catalog `accepted`, run before.

    Returns:
        The snapshots of `foundation` and `accepted` that were published.
    """
    settings.paths.create()
    with contextlib.closing(lake.connect(settings, threads=1)) as connection:
        for catalog, listed in (("accepted", accepted), ("foundation", statements)):
            lake.attach(connection, settings, catalog)
            connection.execute(f"use {catalog}.main")
            for statement in listed:
                connection.execute(statement)
        snapshots = (lake.snapshot_of(connection, "foundation"), lake.snapshot_of(connection, "accepted"))
    published = {"foundation": snapshots[0], "accepted": snapshots[1], "project": "test"}
    stores.lake_files(settings).put("foundation.current.json", io.BytesIO(json.dumps(published).encode()))
    return snapshots
