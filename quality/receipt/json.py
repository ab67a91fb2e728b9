"""The receipt as plain data: the shape that `--json`, the other forms and suppliers' scripts share."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from quality import messages
from quality.verdict import Changes, Example, Finding, Severity, Verdict

if TYPE_CHECKING:
    from quality.receipt import Sent

WORST_FIRST: Final[Mapping[Severity, int]] = {"fatal": 0, "error": 1, "warning": 2, "info": 3}


def document(verdict: Verdict, sent: Sent, files: Mapping[str, str | None]) -> dict[str, Any]:
    """See `quality.receipt.receipt_document`."""
    return {
        "delivery": verdict.delivery,
        "supplier": verdict.supplier,
        "dataset": verdict.dataset,
        "period": verdict.period,
        "attempt": verdict.attempt,
        "sha256": sent.sha256,
        "state": verdict.state,
        "rows": asdict(verdict.rows),
        "findings": [_finding(finding) for finding in worst_first(verdict)],
        "changes": _changes(verdict.changes),
        "receipt": dict(files),
        "summary": summary(verdict),
        "todo": todo(verdict, in_workbook=sent.takes_mended_rows),
        "supplier_name": sent.supplier_name,
        "dataset_title": dict(sent.dataset_title),
        "file_name": sent.file_name,
        "size": sent.size,
        "received_at": iso(sent.received_at),
        "due_on": sent.due_on.isoformat() if sent.due_on else None,
        "judged_at": iso(verdict.judged_at),
        "versions": asdict(verdict.versions),
        "read_as": asdict(verdict.read_as) if verdict.read_as else None,
        "synthetic": sent.synthetic,
        "confirmed": [dict(one) for one in sent.confirmed],
    }


def arrival(told: Mapping[str, Any]) -> dict[str, Any]:
    """The arrival receipt: what is known of the delivery, then what happened and what happens next."""
    state = str(told.get("state") or "received")
    blanks = {"reason": told.get("reason"), "duplicate_of": told.get("duplicate_of")}
    return {
        **told,
        "state": state,
        "message": messages.both(f"arrival.{state}", blanks),
        "next": messages.both(f"arrival.{state}.next", blanks),
    }


def summary(verdict: Verdict) -> dict[str, str]:
    """What happened, in the one sentence a receipt opens with."""
    kept = verdict.rows.accepted + verdict.rows.accepted_with_warning
    known = {**asdict(verdict.rows), "kept": kept, "accepted_with_warning": verdict.rows.accepted_with_warning or None}
    return messages.both(f"summary.{verdict.state}", known, kept)


def todo(verdict: Verdict, *, in_workbook: bool = False) -> dict[str, str]:
    """What to do now, in the sentence that follows; `in_workbook`: mended rows alone may be sent."""
    if verdict.state == "partly_accepted" and in_workbook:
        return messages.both("summary.partly_accepted.todo_in_workbook", count=verdict.rows.quarantined)
    if verdict.state != "rejected":
        return messages.both(f"summary.{verdict.state}.todo", count=verdict.rows.quarantined)
    # the reason a file was rejected for says best what to do about it
    worst = worst_first(verdict)
    return messages.explain(worst[0])["remedy"] if worst else messages.both("unknown.remedy")


def worst_first(verdict: Verdict) -> list[Finding]:
    """Findings by severity, then by how many rows they concern."""
    return sorted(verdict.findings, key=lambda finding: (WORST_FIRST[finding.severity], -finding.rows, finding.rule))


def dumps(told: Mapping[str, Any]) -> str:
    """JSON for people and programs: indented, UTF-8, a line end at the end."""
    return json.dumps(told, ensure_ascii=False, indent=2, default=str) + "\n"


def iso(at: datetime) -> str:
    """A point in time in UTC; one without a zone is taken to be UTC."""
    return (at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)).isoformat(timespec="seconds")


def line_word(format_name: str | None) -> str:
    """Message key of what `line` counts in a file of that format."""
    return {"mscons": "label.segment", "json": "label.record", "geo": "label.record"}.get(
        format_name or "", "label.row"
    )


def _finding(finding: Finding) -> dict[str, Any]:
    return {
        "rule": finding.rule,
        "severity": finding.severity,
        "rows": finding.rows,
        **messages.explain(finding),
        "examples": [_example(example) for example in finding.examples],
    }


def _example(example: Example) -> dict[str, Any]:
    return {
        "line": example.line,
        "sheet": example.sheet,
        "column": example.column,
        "value": example.value,
        "expected": dict(example.expected) or None,
        "suggestions": list(example.suggestions),
        "field": example.field,
    }


def _changes(changes: Changes | None) -> dict[str, Any] | None:
    if changes is None:
        return None
    return {
        "added": changes.added,
        "removed": changes.removed,
        "changed": changes.changed,
        "sums": {field: {"before": before, "now": now} for field, (before, now) in changes.sums.items()},
    }
