"""A verdict as Dagster events: what the reporter records and what a re-run of a slot yields are the same.

Read from the ledger, so that nothing is told that is not written there.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import dagster as dg

from orchestration.slots import check_name, partition_of
from quality.desk import Desk
from quality.receipt import receipt_stem
from storage.ledger.ledger import DeliveryView
from storage.ledger.states import SERVED
from storage.paths import Slot

JUDGED, ACCEPTED = "judged", "accepted"
#: One of the tables of the state of supply; all are published together.
SUPPLY_KEY = dg.AssetKey([ACCEPTED, "supply_slots"])
#: What may be wrong with a delivery as a whole; a check appears for it once it was found.
WHOLE_FILE_RULES = (
    "file.unreadable", "file.empty", "file.encrypted", "file.has_macros", "file.too_large", "file.wrong_kind",
    "file.sheet_missing", "file.killed_the_reader", "columns.missing", "columns.missing_header", "columns.ragged",
    "columns.not_in_file_name", "rows.none", "mandate.none", "slot.not_owed", "slot.too_many_errors",
)  # fmt: skip
#: Everything found under a rule that has no check of its own.
OTHER_FINDINGS = "other_findings"
_SEVERITY = {
    "fatal": dg.AssetCheckSeverity.ERROR,
    "error": dg.AssetCheckSeverity.ERROR,
    "warning": dg.AssetCheckSeverity.WARN,
    "info": dg.AssetCheckSeverity.WARN,
}


def judged_key(dataset: str) -> dg.AssetKey:
    """Asset of the verdicts on a dataset's slots."""
    return dg.AssetKey([JUDGED, dataset])


def accepted_key(dataset: str) -> dg.AssetKey:
    """Asset of a dataset's accepted rows; also the key of the dbt source of this name."""
    return dg.AssetKey([ACCEPTED, dataset])


@dataclass(frozen=True)
class Report:
    """What Dagster is told of one delivery.

    Attributes:
        view: The delivery with what became of it.
        verdict: Body of its last verdict, with `outcomes`.
        is_served: Whether it holds its slot.
        is_emptied: Whether its slot was served and is not any more: withdrawn, or rejected by a replay.
        refused: Why the slot shows as refused: its newest attempt was rejected or nothing holds it any more.
        found_before: Rules earlier attempts broke, whose checks are to turn green again.
    """

    view: DeliveryView
    verdict: Mapping[str, Any]
    receipt: str
    is_served: bool
    is_emptied: bool
    refused: str | None
    found_before: frozenset[str] = frozenset()

    @property
    def slot(self) -> Slot:
        return self.view.slot

    @property
    def partition(self) -> dg.MultiPartitionKey:
        return partition_of(self.slot)

    def metadata(self) -> dict[str, Any]:
        """What an engineer wants to see on the partition: rows by state, where the receipt is, what changed."""
        view, rows = self.view, self.view.rows or {}
        facts: dict[str, Any] = {
            "verdict": view.verdict_state or "",
            "delivery": view.delivery_id,
            "attempt": view.attempt,
            **{f"rows_{name}": int(count) for name, count in rows.items()},
            "receipt": dg.MetadataValue.path(self.receipt),
            "file_name": view.file_name,
            "sha256": view.sha256,
            "received_at": dg.MetadataValue.timestamp(view.received_at),
            "contract_version": view.contract_version or "",
            "dialect_version": view.dialect_version or "",
            "mapping_version": view.mapping_version or "",
            "synthetic": view.synthetic,
        }
        if view.judged_at:
            facts["judged_at"] = dg.MetadataValue.timestamp(view.judged_at)
        if changes := self.verdict.get("changes"):
            facts["changes"] = dg.MetadataValue.json(dict(changes))
        if findings := self.verdict.get("findings"):
            facts["findings"] = dg.MetadataValue.md(_findings_table(findings))
        return facts

    def judged(self) -> dg.AssetMaterialization:
        """The verdict itself, also when it is a rejection."""
        return dg.AssetMaterialization(
            judged_key(self.slot.dataset), partition=self.partition, metadata=self.metadata(),
            description=f"{self.view.delivery_id}: {self.view.verdict_state}",
        )  # fmt: skip

    def accepted(self) -> Iterator[dg.AssetMaterialization]:
        """The slot's rows as readers see them from now on; nothing where they are what they were."""
        if not (self.is_served or self.is_emptied):
            return
        rows = (self.view.rows or {}) if self.is_served else {}
        facts: dict[str, Any] = {
            "delivery": self.view.delivery_id if self.is_served else "",
            "attempt": self.view.attempt,
            "dagster/partition_row_count": rows.get("accepted", 0) + rows.get("accepted_with_warning", 0),
        }
        if self.is_served and (changes := self.verdict.get("changes")):
            facts["changes"] = dg.MetadataValue.json(dict(changes))
        yield dg.AssetMaterialization(accepted_key(self.slot.dataset), partition=self.partition, metadata=facts)

    def checks(self) -> Iterator[dict[str, Any]]:
        """Arguments shared by `AssetCheckResult` and `AssetCheckEvaluation`: one per rule that was asked or broken.

        A file that could not be read has no outcomes: then only what was found is told, by its rule.
        """
        found = {finding["rule"]: finding for finding in self.verdict.get("findings", ())}
        told = {outcome["rule"]: outcome for outcome in self.verdict.get("outcomes", ())}
        own = {*told, *WHOLE_FILE_RULES}
        for rule in dict.fromkeys(
            [*told, *(rule for rule in WHOLE_FILE_RULES if rule in {*found, *self.found_before})]
        ):
            outcome, finding = told.get(rule, {}), found.get(rule, {})
            rows = int(outcome.get("rows", finding.get("rows", 0)))
            severity = str(outcome.get("severity") or finding.get("severity") or "info")
            facts: dict[str, Any] = {
                "delivery": self.view.delivery_id,
                "rule": rule,
                "severity": severity,
                "rows": rows,
            }
            if message := finding.get("message"):
                facts["message"] = message.get("en", "")
            yield self._check(check_name(rule), bool(outcome.get("passed", not finding)), severity, facts)
        others = {rule: finding["rows"] for rule, finding in found.items() if rule not in own}
        if others or self.found_before - own:
            loud = [f for rule, f in found.items() if rule in others and f["severity"] in ("fatal", "error")]
            facts = {"delivery": self.view.delivery_id, "rules": dg.MetadataValue.json(others)}
            yield self._check(OTHER_FINDINGS, not loud, "error" if loud else "info", facts)

    def _check(self, name: str, passed: bool, severity: str, facts: dict[str, Any]) -> dict[str, Any]:
        return {
            "asset_key": judged_key(self.slot.dataset),
            "check_name": name,
            "passed": passed,
            "severity": _SEVERITY[severity],
            "metadata": facts,
        }


def report_of(desk: Desk, delivery_id: str, *, may_empty: bool = False) -> Report:
    """Read from the ledger what there is to tell of a delivery.

    Args:
        desk: Where it was judged.
        delivery_id: Which.
        may_empty: What happened may have taken rows out of the slot: a withdrawal or a replay.

    Raises:
        storage.ledger.ledger.UnknownDelivery: There is none of this id.
    """
    ledger = desk.ledger
    view = ledger.delivery(delivery_id)
    state = ledger.slot(view.slot)
    attempts = ledger.deliveries(view.supplier, view.dataset, view.period) if state.attempts > 1 else [view]
    states = {attempt.delivery_id: attempt.state for attempt in attempts}
    refused = None
    if state.newest is None:
        refused = f"{delivery_id} was withdrawn, nothing holds the slot"
    elif states[state.newest] == "rejected":
        refused = f"{state.newest} was rejected"
        if state.served:
            refused += f"; {state.served} is served meanwhile"
    verdicts = ledger.verdicts(states)
    before = {f["rule"] for other, body in verdicts.items() if other != delivery_id for f in body.get("findings", ())}
    receipt = desk.home.receipts(view.supplier) / f"{receipt_stem(delivery_id)}.html"
    return Report(
        view=view,
        verdict=verdicts.get(delivery_id, {}),
        # the receipt is written after the verdict, so it may be a moment away
        receipt=str(receipt),
        is_served=view.state in SERVED,
        is_emptied=may_empty and state.served is None and _was_served(desk, view.slot),
        refused=refused,
        found_before=frozenset(before),
    )


def _was_served(desk: Desk, slot: Slot) -> bool:
    return any(event.kind == "judged" and event.facts.get("state") in SERVED for event in desk.ledger.history(slot))


def _findings_table(findings: list[Mapping[str, Any]]) -> str:
    lines = ["| rule | severity | rows | what to do |", "| --- | --- | --- | --- |"]
    for finding in findings[:50]:
        remedy = finding.get("remedy") or finding.get("message") or {}
        text = str(remedy.get("en", "")).replace("|", "\\|").replace("\n", " ")
        lines.append(f"| {finding['rule']} | {finding['severity']} | {finding['rows']} | {text} |")
    return "\n".join(lines)
