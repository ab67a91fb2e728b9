"""What the interface for programs answers, as the OpenAPI document tells it. Names are those of `verbund … --json`."""

from __future__ import annotations

from datetime import date, datetime
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from storage.ledger.states import DeliveryState, SlotStateName, VerdictState

Severity = Literal["fatal", "error", "warning", "info"]


class Answer(BaseModel):
    """What all answers share: nothing goes out that is not described."""

    model_config = ConfigDict(extra="ignore")


class Said(Answer):
    """A sentence for people, in both languages."""

    de: str
    en: str


class Problem(BaseModel):
    """Why a call was refused (RFC 9457)."""

    type: str = Field(
        description="What kind of problem it is; programs look at this.", examples=["urn:verbund:problem:no_token"]
    )
    title: str = Field(description="What is wrong, for people.")
    status: int = Field(description="The status of the answer.")
    detail: str = Field(description="What to do.")
    errors: list[Wrong] = Field(default=[], description="Which parts of the call were not understood.")


class Wrong(BaseModel):
    """A part of a call that was not understood."""

    where: str = Field(examples=["query period"])
    what: str


class Rows(Answer):
    """Rows by what became of them. `delivered` is always the sum of the others."""

    delivered: int
    accepted: int
    accepted_with_warning: int
    quarantined: int
    ignored_by_rule: int


class Example(Answer):
    """One place where a rule was broken, in the sender's own words."""

    line: int | None = None
    sheet: str | None = None
    column: str | None = None
    value: str | None = None
    expected: Said | None = None
    suggestions: list[str] = []
    field: str | None = Field(
        default=None, description="The contract's field, where the value is a word that may be mapped."
    )


class Finding(Answer):
    """One rule that did not hold. `fatal` rejects the file, `error` holds rows back, `warning` lets them pass."""

    rule: str
    severity: Severity
    rows: int
    message: Said
    remedy: Said
    examples: list[Example] = []


class Confirmed(Answer):
    """A warning whose figures somebody found right, and why."""

    rule: str
    rows: int
    reason: str
    author: str
    at: datetime


class Changes(Answer):
    """Difference to the version accepted before."""

    added: int
    removed: int
    changed: int
    sums: dict[str, dict[str, float | None]] = Field(description="By field: the sum `before` and `now`.")


class Versions(Answer):
    """By which contract, dialect and mappings it was judged."""

    contract: str
    dialect: str
    mappings: str


class ReadAs(Answer):
    """By which dialect the file was read."""

    dialect: str = Field(description="Its id.")
    why: Literal["chosen", "template", "entry", "name", "only", "first"] = Field(description="What told it.")
    looks: Said = Field(description="How files of this dialect look.")
    because: Said = Field(description="Why it was this one.")
    others: int = Field(description="How many other dialects are agreed.")


class Duty(Answer):
    """Something a supplier owes, and how it stands."""

    dataset: str
    title: Said
    period: str
    due_on: date
    is_extended: bool = Field(description="It is due later than the contract says, as was agreed.")
    state: SlotStateName
    newest: str | None = Field(description="Id of the newest delivery for it.")


class Delivery(Answer):
    """A delivery as it stands now."""

    delivery: str = Field(description="Its id.", examples=["stadtwerke-x--meter_readings--2025-03--01"])
    supplier: str
    dataset: str
    period: str
    attempt: int
    file_name: str
    sha256: str = Field(description="Of the bytes as they came in: compare it with that of what you sent.")
    state: DeliveryState
    waiting: bool = Field(description="The verdict is still to come; ask again.")
    rows: Rows
    received_at: datetime
    judged_at: datetime | None
    synthetic: bool = Field(description="Figures invented for a demonstration.")
    duplicate_of: str | None = Field(description="Id of the delivery that had the same bytes.")
    reason: str | None = Field(description="Why there is nothing to report, where that was declared.")


class Judged(Answer):
    """What judging says."""

    findings: list[Finding] = Field(description="Worst first.")
    changes: Changes | None = None
    summary: Said | None = Field(default=None, description="What happened, in one sentence.")
    todo: Said | None = Field(default=None, description="What to do now.")
    versions: Versions | None = None
    read_as: ReadAs | None = Field(default=None, description="How the file was read, where it was.")


class Receipt(Delivery, Judged):
    """A delivery with its verdict, as far as there is one."""

    receipt: dict[Literal["json", "html", "xlsx"], str | None] = Field(description="Paths of the receipt's files.")
    confirmed: list[Confirmed] = Field(default=[], description="Warnings that were confirmed.")


class Check(Judged):
    """The verdict a file would get. Nothing was stored."""

    supplier: str
    dataset: str
    period: str
    file_name: str
    size: int
    sha256: str
    state: VerdictState
    rows: Rows


def clean(told: Any) -> Any:
    """What JSON can carry: file names may hold bytes that are no text, and figures may be none."""
    if isinstance(told, dict):
        return {key: clean(value) for key, value in told.items()}
    if isinstance(told, list | tuple):
        return [clean(value) for value in told]
    if isinstance(told, str):
        return told.encode("utf-8", "replace").decode("utf-8")
    if isinstance(told, float):
        return told if told - told == 0 else None
    return told


Problem.model_rebuild()
