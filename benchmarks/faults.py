"""`python -m benchmarks.faults LOG [LOG …]`: keep what campaigns of faults printed (`make faults N=1000`) as a row of the results.

A campaign takes hours, and a log says all there is to know of it; several logs count as one run of all their faults.
"""

from __future__ import annotations

import json
import re
import sys
from collections import Counter
from pathlib import Path
from typing import Any

from benchmarks import results
from benchmarks.measure import Result, Spread

GOAL = 1000
_ROUND = re.compile(r"^\[\d+/(?P<all>\d+)\] (?P<fault>.+): settled after (?P<seconds>[\d.]+) s$", re.MULTILINE)


def told(logs: list[str]) -> Result:
    """The result of campaigns that went through to their end.

    Raises:
        ValueError: A log holds no whole campaign that proved itself at its end.
    """
    seconds: list[float] = []
    faults, sums = Counter[str](), Counter[str]()
    for nth, log in enumerate(logs, 1):
        rounds = list(_ROUND.finditer(log))
        proof = log.partition("\n{\n")[2]
        if not rounds or len(rounds) != int(rounds[0]["all"]) or not proof:
            raise ValueError(
                f"expected a campaign that went through to its proof, found {len(rounds)} rounds in log {nth}"
            )
        proven: dict[str, Any] = json.loads("{" + proof)
        faults.update(proven.pop("faults"))
        sums.update(proven)
        seconds += [float(one["seconds"]) for one in rounds]
    settled = Spread(seconds)
    return Result(
        "faults",
        f"{faults.total():,} faults in {len(logs)} campaigns, between deliveries of two suppliers",
        f"{GOAL:,} faults; nothing lost, one verdict each, tables as undisturbed",
        f"{faults.total():,} faults, 0 broken promises",
        faults.total() >= GOAL,
        "an undisturbed run of the same deliveries: verdicts and accepted tables are equal",
        [
            f"settled after {settled.told('s', 1)}, p95 {settled.p95:.1f} s",
            *(f"{name}: {number:,}" for name, number in sums.items()),
            ", ".join(f"{name} {number}" for name, number in sorted(faults.items())),
        ],
        "Fewer faults than were asked for.",
    )


def main() -> None:
    result = told([Path(log).read_text(encoding="utf-8") for log in sys.argv[1:]])
    print(results.line(result))
    results.keep("faults", [result])
    print(f"written: {results.write()}")


if __name__ == "__main__":
    main()
