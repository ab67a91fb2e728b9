"""The workbook of a receipt, mended and sent back as it is: by openpyxl and LibreOffice, by folder and by check."""

from __future__ import annotations

import shutil
import subprocess
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from openpyxl import Workbook, load_workbook
from openpyxl.packaging.custom import StringProperty

from quality.inboxes import Inboxes
from quality.judging import work_queue
from storage.ledger.ledger import Delivery
from tests.support.bench import GOOD, WORKS, TestBench, written

ROW = GOOD["waste_balance"][1]
CODES = ("200301", "200108", "200201", "150101")
pytestmark = pytest.mark.slow


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[TestBench]:
    made = TestBench(tmp_path / "home")
    yield made
    made.close()


def faulty(year: str = "2024") -> str:
    """Four rows, of which the second has no number and the third a code nobody knows."""
    rows = [ROW | {"year": year, "waste_code": code, "quantity_t": str(n)} for n, code in enumerate(CODES, 1)]
    rows[1] |= {"quantity_t": "viel"}
    rows[2] |= {"waste_code": "999999"}
    return written(rows)


def send(bench: TestBench, source: Path, period: str = "2024", dataset: str = "waste_balance") -> dict[str, Any]:
    """Deliver and judge; gives the receipt."""
    delivery = bench.desk.receive(source, WORKS, dataset, period, file_name=source.name, who="test")
    work_queue(bench.desk)
    return bench.desk.receipt(delivery.delivery_id)


def workbook_of(bench: TestBench, receipt: dict[str, Any], name: str = "back.xlsx") -> Path:
    copied = bench.file(b"", name)
    shutil.copyfile(receipt["receipt"]["xlsx"], copied)
    return copied


def mended(file: Path, **cells: str | None) -> Path:
    """Write cells of the sheet to mend, and save as a person does."""
    workbook = load_workbook(file)
    for place, value in cells.items():
        workbook["Zu korrigieren"][place] = value
    workbook.save(file)
    return file


def by_libreoffice(file: Path) -> Path:
    if shutil.which("soffice") is None:
        pytest.skip("LibreOffice is not installed; .ci/run installs it")
    into = file.parent / "saved"
    profile = f"-env:UserInstallation=file://{file.parent}/profile"
    command = [
        "soffice",
        profile,
        "--headless",
        "--convert-to",
        "xlsx:Calc MS Excel 2007 XML",
        "--outdir",
        str(into),
        str(file),
    ]
    subprocess.run(command, check=True, capture_output=True, timeout=240)
    return into / file.name


def accepted(bench: TestBench, period: str = "2024") -> list[tuple[Any, ...]]:
    return bench.rows(
        "select delivered_line, waste_code, cast(quantity_t as double) from accepted.waste_balance "
        f"where period = '{period}' order by delivered_line"
    )


@pytest.mark.parametrize("save", [None, by_libreoffice], ids=["openpyxl", "libreoffice"])
def test_mended_rows_take_their_lines_and_all_others_stay(bench: TestBench, save: Any) -> None:
    first = send(bench, bench.file(faulty(), "balance.csv"))
    assert (first["state"], first["rows"]["quarantined"]) == ("partly_accepted", 2)
    assert "Arbeitsmappe" in first["todo"]["de"]
    back = mended(workbook_of(bench, first), H2="2,5", D3="200201")
    back = save(back) if save else back
    checked = bench.desk.check(back, WORKS, "waste_balance", "2024")
    second = send(bench, back)
    assert second["findings"] == checked["findings"] == []
    assert second["rows"] == checked["rows"] == {**first["rows"], "delivered": 4, "accepted": 4, "quarantined": 0}
    assert second["state"] == "accepted"
    assert {name: second["changes"][name] for name in ("added", "removed", "changed")} == {
        "added": 2,
        "removed": 0,
        "changed": 0,
    }
    assert accepted(bench) == [(2, "200301", 1.0), (3, "200108", 2.5), (4, "200201", 3.0), (5, "150101", 4.0)]


def test_what_is_still_wrong_comes_back_in_the_next_workbook(bench: TestBench) -> None:
    first = send(bench, bench.file(faulty(), "balance.csv"))
    second = send(bench, mended(workbook_of(bench, first), H2="2,5"))
    assert (second["state"], second["rows"]["quarantined"]) == ("partly_accepted", 1)
    third = send(bench, mended(workbook_of(bench, second), D2="200201"))
    assert third["state"] == "accepted"
    assert [line for line, *_ in accepted(bench)] == [2, 3, 4, 5]
    # judged again, it goes back to the same bytes
    assert bench.desk.rejudge(third["delivery"]).verdict.state == "accepted"


def test_a_workbook_of_an_earlier_attempt_does_not_undo_a_later_one(bench: TestBench) -> None:
    first = send(bench, bench.file(faulty(), "balance.csv"))
    back = mended(workbook_of(bench, first), H2="2,5", D3="200201")
    whole = send(bench, bench.file(written([ROW | {"year": "2024", "quantity_t": "9"}]), "balance.csv"))
    assert whole["state"] == "accepted"
    late = send(bench, back)
    assert [f["rule"] for f in late["findings"]] == ["mending.outdated"]
    assert [quantity for *_, quantity in accepted(bench)] == [9.0]


@pytest.mark.parametrize(
    ("cells", "rule"),
    [
        ({"A2": "77"}, "mending.lines"),
        ({"A2": None}, "mending.lines"),
        ({"A3": "3"}, "mending.lines"),
        ({"D1": "x"}, "mending.columns"),
    ],
    ids=["no_such_line", "no_line", "a_line_twice", "no_such_column"],
)
def test_rows_that_cannot_be_placed_are_refused_and_none_is_lost(
    bench: TestBench, cells: dict[str, str | None], rule: str
) -> None:
    first = send(bench, bench.file(faulty(), "balance.csv"))
    receipt = send(bench, mended(workbook_of(bench, first), **cells))
    assert (receipt["state"], [f["rule"] for f in receipt["findings"]]) == ("rejected", [rule])
    assert [line for line, *_ in accepted(bench)] == [2, 5]


def test_a_workbook_for_another_period_is_refused(bench: TestBench) -> None:
    first = send(bench, bench.file(faulty(), "balance.csv"))
    other = send(bench, workbook_of(bench, first), "2025")
    assert [f["rule"] for f in other["findings"]] == ["mending.other_slot"]


@pytest.mark.parametrize("part", ["xl/workbook.xml", "[Content_Types].xml", "docProps/custom.xml"])
def test_a_workbook_whose_bytes_were_damaged_is_rejected_with_its_reason(bench: TestBench, part: str) -> None:
    book = bench.file(b"", "damaged.xlsx")
    made = Workbook()
    made.custom_doc_props.append(StringProperty(name="Verbund", value="x" * 200))
    made.save(book)
    content = bytearray(book.read_bytes())
    with zipfile.ZipFile(book) as archive:
        start = archive.getinfo(part).header_offset + 30 + len(part)
    # no deflated bytes begin like this
    content[start : start + 20] = b"\xff" * 20
    book.write_bytes(content)
    receipt = send(bench, book)
    assert receipt["state"] == "rejected"
    # what was agreed here is a CSV; that its inside cannot be read is nobody's crash
    assert [f["rule"] for f in receipt["findings"]] == ["file.wrong_kind"]


def test_where_the_contract_wants_the_whole_file_the_workbook_is_refused(bench: TestBench) -> None:
    period, row = GOOD["population"]
    first = send(bench, bench.file(written([row | {"population": "viele"}, row]), "a.csv"), period, "population")
    assert first["receipt"]["xlsx"], first["findings"]
    back = send(bench, workbook_of(bench, first), period, "population")
    assert [f["rule"] for f in back["findings"]] == ["mending.not_allowed"]


def test_a_workbook_mended_where_it_lies_in_the_inbox_is_taken_and_an_untouched_one_is_not(bench: TestBench) -> None:
    inbox = bench.desk.home.inbox(WORKS) / "waste_balance" / "2024"
    inbox.mkdir(parents=True)
    (inbox / "balance.csv").write_text(faulty())

    def sweep() -> list[Delivery]:
        while Inboxes(bench.desk).sweep():
            pass
        work_queue(bench.desk)
        return list(bench.desk.ledger.deliveries(WORKS))

    settle(inbox / "balance.csv")
    assert len(sweep()) == 1
    beside = inbox / "balance.csv.quittung.xlsx"
    settle(beside)
    assert len(sweep()) == 1
    settle(mended(beside, H2="2,5", D3="200201"))
    assert len(sweep()) == 2
    assert [line for line, *_ in accepted(bench)] == [2, 3, 4, 5]
    # what answers the mended workbook is ours again
    assert len(sweep()) == 2


def settle(file: Path) -> None:
    """As if it had been written a while ago."""
    import os
    import time

    before = time.time() - 5
    os.utime(file, (before, before))
