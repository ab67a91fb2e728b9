"""`python -m tests.faults --rounds 1000 --seed 7`: a campaign of faults, told round by round."""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path

from tests.faults.harness import Broken, Campaign, installation


def main() -> int:
    """Run a campaign; returns 1 when something did not hold."""
    asked = argparse.ArgumentParser(prog="python -m tests.faults")
    asked.add_argument("--rounds", type=int, default=60)
    asked.add_argument("--seed", type=int, default=1)
    asked.add_argument("--keep", type=Path, help="folder for logs that stays")
    told = asked.parse_args()
    with tempfile.TemporaryDirectory(prefix="verbund-faults-") as temporary:
        folder = told.keep or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        with installation(folder) as servers:
            servers.start_dagster()
            campaign = Campaign(servers, told.seed)
            try:
                for number in range(1, told.rounds + 1):
                    began = time.monotonic()
                    name = campaign.round()
                    print(
                        f"[{number}/{told.rounds}] {name}: settled after {time.monotonic() - began:.1f} s", flush=True
                    )
                print(json.dumps(campaign.verify(folder), indent=1, ensure_ascii=False))
            except Broken as error:
                print(f"seed {told.seed}: {error}")
                return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
