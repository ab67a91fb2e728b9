"""The JSON receipt keeps the shape that scripts build on, and all forms of a receipt appear whole."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from receipt_samples import DELIVERY, FINDINGS, sent_of, verdict_of

from quality.receipt import receipt_document, write_arrival, write_receipt
from quality.verdict import Finding, RowCounts

PROMISED = [
    "delivery", "supplier", "dataset", "period", "attempt", "sha256", "state", "rows", "findings", "changes", "receipt",
]  # fmt: skip


def test_the_promised_fields_come_first_and_in_their_order(tmp_path: Path) -> None:
    document = receipt_document(verdict_of(), sent_of(tmp_path))
    assert list(document)[: len(PROMISED)] == PROMISED
    assert list(document["rows"]) == [
        "delivered",
        "accepted",
        "accepted_with_warning",
        "quarantined",
        "ignored_by_rule",
    ]
    for finding in document["findings"]:
        assert list(finding) == ["rule", "severity", "rows", "message", "remedy", "examples"]
        assert set(finding["message"]) == set(finding["remedy"]) == {"de", "en"}
        for example in finding["examples"]:
            assert list(example)[:5] == ["line", "sheet", "column", "value", "expected"]
    assert list(document["changes"])[:3] == ["added", "removed", "changed"]
    assert set(document["receipt"]) == {"json", "html", "xlsx"}


def test_a_first_delivery_has_no_changes(tmp_path: Path) -> None:
    assert receipt_document(verdict_of(changes=None), sent_of(tmp_path))["changes"] is None


def test_the_worst_finding_comes_first(tmp_path: Path) -> None:
    fatal = Finding("columns.missing", "fatal", 0, {"columns": ["Stand"]})
    document = receipt_document(verdict_of([*FINDINGS, fatal]), sent_of(tmp_path))
    assert [finding["severity"] for finding in document["findings"]] == ["fatal", "error", "warning", "info"]


def test_the_numbers_of_a_receipt_reconcile(tmp_path: Path) -> None:
    rows = receipt_document(verdict_of(), sent_of(tmp_path))["rows"]
    assert rows["delivered"] == sum(count for name, count in rows.items() if name != "delivered") == 5


def test_a_rejected_file_is_told_the_remedy_of_its_worst_finding(tmp_path: Path) -> None:
    verdict = verdict_of([Finding("file.encrypted", "fatal", 0)], state="rejected", rows=RowCounts(), changes=None)
    document = receipt_document(verdict, sent_of(tmp_path, marks=[], landed=None))
    assert document["summary"]["de"].startswith("Ihre Datei ist abgelehnt")
    assert document["todo"]["de"] == "Bitte speichern Sie die Datei ohne Kennwort und senden Sie sie noch einmal."


def test_all_three_files_are_written_and_named_in_the_json(tmp_path: Path) -> None:
    files = write_receipt(verdict_of(), sent_of(tmp_path), tmp_path / "receipts")
    document = json.loads(files.json.read_text(encoding="utf-8"))
    assert files.xlsx is not None
    assert document["receipt"] == {"json": files.json.name, "html": files.html.name, "xlsx": files.xlsx.name}
    assert {path.name for path in (tmp_path / "receipts").iterdir()} == {
        f"{DELIVERY}.quittung.{ending}" for ending in ("json", "html", "xlsx")
    }


def test_a_delivery_without_a_marked_place_gets_no_workbook_and_loses_an_older_one(tmp_path: Path) -> None:
    write_receipt(verdict_of(), sent_of(tmp_path), tmp_path / "receipts")
    clean = verdict_of([], state="accepted", rows=RowCounts(5, 5))
    files = write_receipt(clean, sent_of(tmp_path, marks=[]), tmp_path / "receipts")
    assert files.xlsx is None
    assert json.loads(files.json.read_text())["receipt"]["xlsx"] is None
    assert not list((tmp_path / "receipts").glob("*.xlsx"))


def test_a_receipt_that_cannot_be_finished_leaves_the_old_one_and_nothing_half(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "receipts"
    before = write_receipt(verdict_of(), sent_of(tmp_path), folder).html.read_text()

    def broken(self: Path, target: Path) -> Path:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", broken)
    with pytest.raises(OSError, match="No space left"):
        write_receipt(verdict_of([]), sent_of(tmp_path), folder)
    assert (folder / f"{DELIVERY}.quittung.html").read_text() == before
    assert not [path for path in folder.iterdir() if path.name.endswith(".tmp")]


@pytest.mark.parametrize("state", ["received", "duplicate", "nothing_to_report", "unassigned"])
def test_the_arrival_receipt_says_what_happened_and_what_comes_next(tmp_path: Path, state: str) -> None:
    known = {
        "delivery": None if state == "unassigned" else DELIVERY, "supplier": "nordwerke", "supplier_name": "Nordwerke",
        "file_name": "März.csv", "size": 4564, "sha256": "5d0c" * 16, "received_at": "2025-04-01T09:15:00+00:00",
        "state": state, "reason": "Grund", "duplicate_of": "nordwerke--meter_readings--2025-03--01",
    }  # fmt: skip
    files = write_arrival(known, tmp_path)
    document = json.loads(files.json.read_text())
    page = files.html.read_text()
    assert files.xlsx is None
    assert {name: document[name] for name in known} == known
    for language in ("de", "en"):
        assert document["message"][language] in page.replace("&#34;", '"')
        assert document["next"][language] in page.replace("&#34;", '"')


def test_a_delivery_id_never_becomes_a_path_out_of_the_folder(tmp_path: Path) -> None:
    files = write_receipt(verdict_of(delivery="../../etc/passwd"), sent_of(tmp_path), tmp_path / "receipts")
    assert files.json.parent == tmp_path / "receipts"
    assert (
        write_arrival({"delivery": "../x", "state": "received"}, tmp_path / "receipts").html.parent
        == tmp_path / "receipts"
    )
