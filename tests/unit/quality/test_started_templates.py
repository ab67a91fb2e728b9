"""Templates that begin with what was delivered the last time, and the deadline they tell."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date
from pathlib import Path

import pytest
from openpyxl import load_workbook

from quality.forms import EXAMPLE, UNFILLED
from quality.starting import template_for
from quality.template import Template
from storage.ledger.states import SERVED
from storage.paths import Slot
from storage.periods import period as read_period
from tests.support.bench import GOOD, WORKS, TestBench, written

_, ROW = GOOD["waste_balance"]
LAST = [{**ROW, "year": "2023"}, {**ROW, "year": "2023", "waste_code": "200108", "quantity_t": "77"}]


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestBench]:
    bench = TestBench(tmp_path_factory.mktemp("started"))
    assert (judged := bench.deliver(written(LAST), "waste_balance", "2023")) and judged.verdict.state == "accepted"
    yield bench
    bench.close()


def template(bench: TestBench, folder: Path, period: str = "2024") -> Template:
    return template_for(bench.desk, "waste_balance", WORKS, folder / "v.xlsx", read_period(period))


def filled(made: Template, *figures: object) -> Path:
    """The template with figures in its first rows."""
    workbook = load_workbook(made.path)
    sheet = workbook[made.sheet]
    place = [column.name for column in made.columns].index("quantity_t") + 1
    for row, figure in enumerate(figures, start=made.first_row):
        assert sheet.cell(row, place).value is None, "figures are never put in"
        sheet.cell(row, place).value = figure
    workbook.save(made.path)
    return made.path


@pytest.mark.parametrize(
    ("figures", "accepted", "unfilled"),
    [((1200, 80), 2, 0), ((1200,), 1, 1), ((), 0, 2)],
    ids=["all", "one", "none"],
)
def test_rows_that_nobody_filled_in_are_not_delivered_and_no_errors(
    bench: TestBench, tmp_path: Path, figures: tuple[object, ...], accepted: int, unfilled: int
) -> None:
    with bench.judged(filled(template(bench, tmp_path), *figures), "waste_balance", "2024") as judged:
        rows = judged.verdict.rows
        assert (judged.verdict.state in SERVED) == bool(figures)
        # what is far from last year is accepted with a warning
        kept = rows.accepted + rows.accepted_with_warning
        assert (kept, rows.quarantined, rows.ignored_by_rule) == (accepted, 0, unfilled + 1), judged.verdict.findings
        left_out = bench.rows(f"select ignored_by from read_parquet('{judged.landed}') where ignored_by is not null")
        assert sorted(left_out) == sorted([(EXAMPLE,), *[(UNFILLED,)] * unfilled])
        if not figures:
            assert [finding.rule for finding in judged.verdict.findings] == ["rows.none"]


def test_who_says_that_a_figure_is_not_known_has_filled_in_the_row(bench: TestBench, tmp_path: Path) -> None:
    with bench.judged(filled(template(bench, tmp_path), "k.A.", 3), "waste_balance", "2024") as judged:
        assert judged.verdict.rows.ignored_by_rule == 1
        assert judged.verdict.rows.delivered == 3


def test_only_templates_of_ours_are_read_so(bench: TestBench) -> None:
    with bench.judged(written([{**ROW, "quantity_t": ""}, ROW]), "waste_balance", "2024") as judged:
        assert judged.verdict.rows.ignored_by_rule == 0


def test_a_template_tells_the_deadline_that_holds_for_its_supplier(bench: TestBench, tmp_path: Path) -> None:
    def due(period: str) -> str:
        (folder := tmp_path / period).mkdir(exist_ok=True)
        (folder / "v.xlsx").unlink(missing_ok=True)
        rows = load_workbook(template(bench, folder, period).path)["Hilfe"].iter_rows(values_only=True)
        return next(str(row[1]) for row in rows if row[0] == "Frist")

    slot, until = Slot(WORKS, "waste_balance", "2025"), date(2099, 7, 30)
    before = bench.desk.due_on(slot)
    assert before is not None and f"{before:%d.%m.%Y}" in due("2025") and "2099" not in due("2025")
    asked = bench.desk.ledger.extensions.ask(slot, until, "die Waage ist kaputt", "clerk")
    assert "2099" not in due("2025")
    bench.desk.ledger.extensions.decide(asked.id, granted=True, who="coordinator")
    assert "30.07.2099" in due("2025") and f"{before:%d.%m.%Y}" in due("2025")
    # another period is none of it
    assert "2099" not in due("2024")
