"""What sqlfluff sees in place of dbt's adapter: every dispatched macro in its DuckDB spelling."""

from __future__ import annotations

from typing import Any

import jinja2


@jinja2.pass_context
def dispatch(context: jinja2.runtime.Context, name: str, package: str = "") -> Any:
    """The default implementation of a macro, which is the one for DuckDB."""
    return context.resolve(f"default__{name}")
