"""The outcome of judging a delivery, as plain data: one outcome per rule, four numbers, findings with examples.

How a verdict comes about is in `quality.judge`; how it is told to people is in `quality.receipt`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

Severity = Literal["fatal", "error", "warning", "info"]
State = Literal["accepted", "accepted_with_warnings", "partly_accepted", "rejected", "nothing_to_report"]


@dataclass(frozen=True)
class RowCounts:
    """Rows by what became of them. `delivered` is always the sum of the other four."""

    delivered: int = 0
    accepted: int = 0
    accepted_with_warning: int = 0
    quarantined: int = 0
    ignored_by_rule: int = 0

    def __post_init__(self) -> None:
        parts = self.accepted + self.accepted_with_warning + self.quarantined + self.ignored_by_rule
        if self.delivered != parts:
            raise ValueError(f"rows do not reconcile: {self.delivered} delivered, {parts} accounted for ({self})")


@dataclass(frozen=True)
class Example:
    """One place where a rule was broken, in the sender's words.

    `column` is the sender's own column name and `value` the text as delivered; `expected` is for a person and already
    in German and English (`{"de": …, "en": …}`) or empty.
    """

    line: int | None = None
    sheet: str | None = None
    column: str | None = None
    value: str | None = None
    expected: Mapping[str, str] = dataclasses.field(default_factory=dict)
    suggestions: tuple[str, ...] = ()
    field: str | None = None
    """The contract's name of the field, where somebody may map the value."""


@dataclass(frozen=True)
class Finding:
    """One rule that did not hold, with how often and where."""

    rule: str
    severity: Severity
    rows: int
    facts: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    """Parameters of the message: `expected`, `found`, `columns`, `limit`, `because` (`{"de", "en"}`), …"""
    examples: tuple[Example, ...] = ()


@dataclass(frozen=True)
class Outcome:
    """One rule and whether it held: the line of a check in Dagster, an expectation in Great Expectations."""

    rule: str
    severity: Severity
    passed: bool
    rows: int


@dataclass(frozen=True)
class Versions:
    """Which promise, which agreement and which mappings a verdict was reached with (content hashes, 12 hex digits)."""

    contract: str
    dialect: str
    mappings: str


@dataclass(frozen=True)
class ReadAs:
    """By which dialect a file was read.

    Attributes:
        dialect: Its id.
        why: What told it: `chosen`, `template`, `entry`, `name`, `only` or `first`.
        looks: How files of it look.
        because: Why it was this one.
        others: How many others are agreed.
    """

    dialect: str
    why: str
    looks: Mapping[str, str]
    because: Mapping[str, str]
    others: int = 0


@dataclass(frozen=True)
class Changes:
    """Difference to the version accepted before, by primary key."""

    added: int
    removed: int
    changed: int
    sums: Mapping[str, tuple[float | None, float | None]] = dataclasses.field(default_factory=dict)
    """Field → (sum before, sum now), for the quantities of the contract."""


@dataclass(frozen=True)
class Verdict:
    """What became of one delivery."""

    delivery: str
    supplier: str
    dataset: str
    period: str
    attempt: int
    state: State
    rows: RowCounts
    findings: tuple[Finding, ...]
    outcomes: tuple[Outcome, ...]
    versions: Versions
    judged_at: datetime
    changes: Changes | None = None
    read_as: ReadAs | None = None
