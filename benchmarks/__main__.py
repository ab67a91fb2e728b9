"""`python -m benchmarks [names] [--quick]`: measure, print, and write the results.

Without names everything is measured; rows that need servers are left out where `.ci/servers` did not bring them. `--quick`
takes small sizes to see that all still works; it writes no results.
"""

from __future__ import annotations

import argparse
import importlib
import tempfile
import traceback
from pathlib import Path

from benchmarks import results
from benchmarks.measure import Result, fresh
from tests.server.support.servers import ServerFailed

ROWS = (
    "accept_path",
    "memory",
    "small_deliveries",
    "visible",
    "many_slots",
    "readers",
    "server_deliveries",
    "bi_readers",
    "neighbours",
    "portal_pages",
)  # fmt: skip
#: Rows that are kept from elsewhere; see `benchmarks.faults`.
APART = ("faults",)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="name", help=f"what to measure: {', '.join(ROWS)}")
    parser.add_argument("--quick", action="store_true", help="small sizes; nothing is written")
    parser.add_argument("--folder", type=Path, help="where files are made; needs some 15 GB for 50 million rows")
    chosen = parser.parse_args()
    if unknown := set(chosen.names) - set(ROWS):
        parser.error(f"no benchmark called {', '.join(sorted(unknown))}; there are: {', '.join(ROWS)}")
    failed = 0
    with tempfile.TemporaryDirectory(prefix="verbund-bench-", dir=chosen.folder, ignore_cleanup_errors=True) as folder:
        for name in chosen.names or ROWS:
            print(f"{name}:", flush=True)
            try:
                found: list[Result] = importlib.import_module(f"benchmarks.{name}").measure(
                    fresh(Path(folder) / name), quick=chosen.quick
                )
            except ServerFailed as error:
                print(f"    left out: {error}", flush=True)
                continue
            except Exception:
                # the other rows are worth having
                traceback.print_exc()
                failed += 1
                continue
            for result in found:
                print(results.line(result), flush=True)
            if not chosen.quick:
                results.keep(name, found)
            fresh(Path(folder) / name)
    if not chosen.quick:
        print(f"written: {results.write()}")
    return 1 if failed else 0


if __name__ == "__main__":
    raise SystemExit(main())
