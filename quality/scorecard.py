"""How well deliveries go: scores of suppliers by topic, and which rules are broken most and where.

Scores are worked out from the released state of supply, so that everybody sees the same ones, and smoothed as
transport-site does it (K-45): one bad month is seen, and does not decide. What was promised of a slot is judged in dbt.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import polars as pl

from quality.release_reading import current_number, query
from storage.ledger.ledger import Ledger
from storage.paths import parse_delivery_id
from storage.settings import Settings

Topic = Literal["complete", "timely", "first_pass", "uncorrected"]
#: How much of the score before stays when a slot is added.
SMOOTHING: Mapping[Topic, float] = {"complete": 0.9, "timely": 0.9, "first_pass": 0.95, "uncorrected": 0.95}
TOPICS: tuple[Topic, ...] = tuple(SMOOTHING)

_SUPPLY = """
    select
        supplier_id,
        due_on,
        state not in ('overdue', 'withdrawn', 'rejected') as complete,
        on_time as timely,
        first_pass,
        case when attempts > 0 then attempts = 1 end as uncorrected
    from data_supply
    where state not in ('missing', 'received', 'judging')
    order by due_on, dataset, period
"""


@dataclass(frozen=True)
class Score:
    """One supplier's score on one topic.

    Attributes:
        smoothed: Between 0 and 1, the newest slots counting most; None where no slot counts.
        good: So many slots were as they should be, of `of`.
    """

    smoothed: float | None
    good: int
    of: int


@dataclass(frozen=True)
class Scorecards:
    """Scores of all suppliers, as of a release. `scores` by supplier, then by topic."""

    release: int
    scores: Mapping[str, Mapping[Topic, Score]]


#: A release never changes, and neither do its scores.
_KEPT: dict[tuple[Path, int], Scorecards] = {}


def scorecards(settings: Settings, number: int | None = None) -> Scorecards:
    """The scores that a release comes to.

    Raises:
        quality.release_reading.NoRelease: There is none.
    """
    number = number or current_number(settings)
    key = (settings.paths.releases, number or 0)
    if key not in _KEPT:
        answer = query(settings, _SUPPLY, number)
        schema: dict[str, type[pl.DataType]] = {"supplier_id": pl.String, "due_on": pl.String}
        schema |= dict.fromkeys(TOPICS, pl.Boolean)
        found = Scorecards(answer["release"], scored(pl.DataFrame(answer["rows"], schema=schema, orient="row")))
        if len(_KEPT) > 8:
            _KEPT.clear()
        _KEPT[key] = found
    return _KEPT[key]


def scored(slots: pl.DataFrame) -> dict[str, dict[Topic, Score]]:
    """Scores by supplier and topic.

    Args:
        slots: One row a slot that was due, oldest first: `supplier_id` String, and a Boolean for each topic, null where
            the slot says nothing of it.
    """
    found: dict[str, dict[Topic, Score]] = {}
    for (supplier,), own in slots.group_by("supplier_id", maintain_order=True):
        found[str(supplier)] = {topic: _score(own[topic].drop_nulls(), SMOOTHING[topic]) for topic in TOPICS}
    return dict(sorted(found.items()))


def _score(good: pl.Series, kept: float) -> Score:
    if good.is_empty():
        return Score(None, 0, 0)
    smoothed = good.cast(pl.Float64).ewm_mean(alpha=1 - kept, adjust=True)
    return Score(float(smoothed[-1]), int(good.sum()), len(good))


@dataclass(frozen=True)
class Trouble:
    """A rule that was broken: by whom, in how many deliveries, by how many rows."""

    supplier: str
    dataset: str
    rule: str
    severity: str
    deliveries: int
    rows: int


@dataclass
class Troubles:
    """Which rules first verdicts found broken; reads only what is new. Many threads may ask at once."""

    ledger: Ledger
    _seen: int = 0
    _deliveries: Counter[tuple[str, str, str, str]] = field(default_factory=Counter)
    _rows: Counter[tuple[str, str, str, str]] = field(default_factory=Counter)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def most(self, limit: int = 50, counts: Callable[[Trouble], bool] = lambda _: True) -> Sequence[Trouble]:
        """Those broken by most deliveries, of those that count."""
        with self._lock:
            for number, delivery, findings in self.ledger.findings(self._seen):
                self._seen = max(self._seen, number)
                slot = parse_delivery_id(delivery).slot
                for finding in findings:
                    if finding["severity"] != "info":
                        key = (slot.supplier, slot.dataset, str(finding["rule"]), str(finding["severity"]))
                        self._deliveries[key] += 1
                        self._rows[key] += int(finding["rows"])
            found = [Trouble(*key, number, self._rows[key]) for key, number in self._deliveries.most_common()]
        return [trouble for trouble in found if counts(trouble)][:limit]
