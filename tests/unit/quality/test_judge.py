"""Judging one delivery: every row is accounted for whatever was sent, and the state of a verdict follows from its rows."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from quality.configuration import load_region
from quality.contract import MOST_RULES, load_contract
from quality.judge import Judged
from quality.lint import lint
from quality.rules import PLATFORM_RULES
from quality.sources import Misconfigured
from storage.settings import Settings
from storage.vault import VaultDamaged
from tests.support.bench import GOOD, HEIRS, PLAIN, SOLINGEN, THIRD, WORKS, WUPPERTAL, TestBench, found, written

pytestmark = pytest.mark.slow
WASTE = GOOD["waste_balance"][1]


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestBench]:
    made = TestBench(tmp_path_factory.mktemp("home"))
    yield made
    made.close()


def reconciles(bench: TestBench, judged: Judged) -> None:
    """Every landed row is in exactly one of the four counts, and the stored rows are those of the counts."""
    rows = judged.verdict.rows
    parts = (rows.accepted, rows.accepted_with_warning, rows.quarantined, rows.ignored_by_rule)
    assert rows.delivered == sum(parts)
    assert all(part >= 0 for part in parts)
    if judged.landed is not None:
        assert rows.delivered == bench.rows(f"select count(*) from '{judged.landed}'")[0][0]
    if judged.accepted is not None:
        taken = bench.rows(f"select count(*), count(row_warnings) from {judged.accepted}")
        assert taken == [(rows.accepted + rows.accepted_with_warning, rows.accepted_with_warning)]
        held = bench.rows(f"select count(*) from {judged.quarantined}") if judged.quarantined else [(0,)]
        assert held == [(rows.quarantined,)]
    else:
        assert judged.verdict.state in ("rejected", "nothing_to_report")
    if judged.verdict.state == "rejected":
        assert any(finding.severity == "fatal" for finding in judged.verdict.findings)
        assert rows.accepted == rows.accepted_with_warning == 0


# --- as many rules as a contract may have ---


def with_rules(region: Path, count: int) -> Path:
    """Fill a contract up to so many rules; every one but the last holds for any row. Gives the contract's file."""
    contract = region / "contracts" / "all_kinds.odcs.yml"
    more = count - contract.read_text().count("- {id: ")
    with contract.open("a") as file:
        for number in range(more):
            condition = "amount = 7" if number == more - 1 else f"amount = {1000 + number}"
            file.write(
                f"      - {{id: never_{number + 1}_of_{more}, type: custom, engine: greatExpectations, severity: error, "
                "description: not this one, implementation: {type: unexpected_rows, "
                f'kwargs: {{condition: "{condition}", columns: [amount]}}}}}}\n'
            )
    return contract


def test_the_last_of_as_many_rules_as_are_allowed_finds_its_rows(tmp_path: Path) -> None:
    region = Path(shutil.copytree(PLAIN, tmp_path / "pack"))
    with_rules(region, MOST_RULES)
    assert MOST_RULES + len(PLATFORM_RULES) == 126, "hugeint has 127 bits that are no sign"
    made = TestBench(tmp_path / "home", region)
    last = made.desk.pack.contracts["all_kinds"].rules[-1].id
    good = GOOD["all_kinds"][1]
    rows = [good, good | {"item_id": "b", "amount": "7"}, good | {"item_id": "c", "high": "99", "amount": "7"}]
    with made.judged(written(rows), "all_kinds", "2025-03") as judged:
        assert judged.verdict.rows.quarantined == 2
        assert [o.rows for o in judged.verdict.outcomes if o.rule == last] == [2]
        held = made.rows(f"select rules from {judged.quarantined} order by delivered_line")
        assert held == [(last,), (f"high_above_zero_below_ten,{last}",)]
    made.close()


def test_one_rule_more_is_refused_with_its_place_and_what_to_do(tmp_path: Path) -> None:
    region = Path(shutil.copytree(PLAIN, tmp_path / "pack"))
    contract = with_rules(region, MOST_RULES + 1)
    for refuse in (lambda: load_contract(contract), lambda: load_region(Settings(region=str(region)))):
        with pytest.raises(Misconfigured) as refused:
            refuse()
        (problem,) = refused.value.problems
        assert (problem.file, problem.found) == (contract, str(MOST_RULES + 1))
        assert "at most 115 rules" in problem.expected
        assert contract.read_text().splitlines()[problem.line - 1].strip() == "quality:"
    assert any("at most 115 rules" in told for told in lint(contract).problems)


# --- the state follows from the rows ---


@pytest.mark.parametrize(
    ("changes", "state", "counts"),
    [
        ([{}], "accepted", (1, 1, 0, 0, 0)),
        ([{}, {"waste_code": "200108", "quantity_t": "-"}], "accepted_with_warnings", (2, 1, 1, 0, 0)),
        ([{}, {"waste_code": "200108", "quantity_t": "x"}], "partly_accepted", (2, 1, 0, 1, 0)),
        ([{}, {"waste_code": "200108", "quantity_t": "x"}, {"waste_code": "200201", "quantity_t": "-1"}], "rejected", (3, 0, 0, 3, 0)),
    ],
    ids=["as_agreed", "a_warning", "an_error", "too_many_errors"],
)  # fmt: skip
def test_the_state_of_a_verdict_follows_from_its_rows(
    bench: TestBench, changes: list[dict[str, str]], state: str, counts: tuple[int, ...]
) -> None:
    with bench.judged(written([WASTE | change for change in changes]), "waste_balance", "2024") as judged:
        rows = judged.verdict.rows
        assert judged.verdict.state == state
        assert (
            rows.delivered,
            rows.accepted,
            rows.accepted_with_warning,
            rows.quarantined,
            rows.ignored_by_rule,
        ) == counts
        reconciles(bench, judged)


def test_a_warned_row_says_which_rules_it_broke_and_a_held_row_keeps_its_words(bench: TestBench) -> None:
    sent = written(
        [
            WASTE,
            WASTE | {"waste_code": "200108", "quantity_t": "-"},
            WASTE | {"waste_code": 'Kram; "neu"', "quantity_t": "-1"},
        ]
    )
    with bench.judged(sent, "waste_balance", "2024") as judged:
        accepted = bench.rows(
            f"select delivered_line, row_warnings, supplier_id, period, attempt, delivery_id from {judged.accepted} order by 1"
        )
        origin = (WORKS, "2024", 1, f"{WORKS}--waste_balance--2024--01")
        assert accepted == [(2, None, *origin), (3, "quantity_stated", *origin)]
        held = bench.rows(
            f"select delivered_line, rules, cells->>'waste_code', cells->>'quantity_t' from {judged.quarantined}"
        )
        assert held == [(4, "values.unknown_code,quantity_not_negative", 'Kram; "neu"', "-1")]


def test_a_place_is_named_by_line_column_and_words_of_the_sender(bench: TestBench) -> None:
    sent = "\n" + written([WASTE, WASTE | {"waste_code": "200109"}])
    with bench.judged(sent, "waste_balance", "2024") as judged:
        finding = found(judged.verdict.findings, "values.unknown_code")
        assert finding is not None
        example = finding.examples[0]
        assert (example.line, example.column, example.value) == (4, "waste_code", "200109")
        assert example.suggestions


def test_a_word_counts_only_for_whom_and_when_it_was_mapped(bench: TestBench) -> None:
    def unknown(word: str, supplier: str, period: str) -> bool:
        sent = written([WASTE | {"waste_code": word, "year": period, "area_code": SOLINGEN}])
        with bench.judged(sent, "waste_balance", period, supplier=supplier) as judged:
            return found(judged.verdict.findings, "values.unknown_code") is not None

    assert not unknown("restmüll ", WORKS, "2024")
    assert not unknown("Müll alt", WORKS, "2023")
    assert unknown("Müll alt", WORKS, "2024")
    assert unknown("Müll alt", THIRD, "2023")
    assert not unknown("EIGENES  WORT", THIRD, "2024")
    assert unknown("Eigenes Wort", WORKS, "2024")


def test_a_place_that_was_closed_is_unknown_for_later_periods(bench: TestBench) -> None:
    good = GOOD["green_waste_intake"][1] | {"site_id": "yard"}
    for period, broken in (("2025-06", False), ("2025-07", True)):
        with bench.judged(written([good | {"intake_date": f"{period}-01"}]), "green_waste_intake", period) as judged:
            assert (found(judged.verdict.findings, "values.unknown_code") is not None) == broken, period


@pytest.mark.parametrize(
    ("supplier", "dataset", "period", "rule"),
    [
        (HEIRS, "waste_balance", "2024", "mandate.none"),
        (HEIRS, "green_waste_intake", "2025-06", "slot.not_owed"),
        (WORKS, "green_waste_intake", "2025-08", "slot.not_owed"),
        (WORKS, "waste_balance", "2024-01", "slot.not_owed"),
        (WORKS, "load_profile", "2024", "slot.not_owed"),
    ],
)
def test_what_is_not_owed_is_rejected_with_the_reason(
    bench: TestBench, supplier: str, dataset: str, period: str, rule: str
) -> None:
    sent = written([GOOD[dataset][1]])
    with bench.judged(sent, dataset, period, supplier=supplier) as judged:
        assert judged.verdict.state == "rejected"
        assert [finding.rule for finding in judged.verdict.findings] == [rule]


@pytest.mark.parametrize(
    ("content", "rule"),
    [
        (b"", "file.empty"),
        (b"\n \n\n", "file.empty"),
        (b"<!DOCTYPE html><html><body>Bitte anmelden</body></html>", "file.wrong_kind"),
        (b"PK\x03\x04 something that was zipped once", "file.wrong_kind"),
        (b"%PDF-1.7\n1 0 obj", "file.wrong_kind"),
        (b"a;b;c\n1;2;3\n", "columns.missing"),
        (b"area_code;year\n05124000;2024\n", "columns.missing"),
        ((";".join(WASTE) + "\n").encode(), "rows.none"),
    ],
    ids=["nothing", "blank", "html", "zip", "pdf", "other_columns", "columns_gone", "header_only"],
)
def test_a_file_that_cannot_be_used_is_a_verdict_with_a_rule(bench: TestBench, content: bytes, rule: str) -> None:
    with bench.judged(content, "waste_balance", "2024") as judged:
        assert judged.verdict.state == "rejected"
        assert rule in [finding.rule for finding in judged.verdict.findings if finding.severity == "fatal"]
        reconciles(bench, judged)


def test_a_large_delivery_goes_the_same_way_through_files(bench: TestBench, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [WASTE | {"waste_code": "200301" if n % 2 else "200108", "quantity_t": str(n - 3), "collection_code": c}
            for n in range(6) for c in ("kerbside", "bring")]  # fmt: skip
    told: list[Any] = []
    for large in (10**9, 1):
        monkeypatch.setattr("quality.judge.LARGE", large)
        with bench.judged(written(rows), "waste_balance", "2024") as judged:
            reconciles(bench, judged)
            columns = "area_code, waste_code, quantity_t, delivered_line, row_warnings"
            accepted = (
                bench.rows(f"select {columns} from {judged.accepted} order by delivered_line")
                if judged.accepted
                else []
            )
            told.append(
                (judged.verdict.state, judged.verdict.rows, judged.verdict.outcomes, judged.verdict.findings, accepted)
            )
            files = list(judged.files)
            assert bool(files) == (large == 1)
        assert not any(file.exists() for file in files)
    assert told[0] == told[1]


def test_judging_leaves_nothing_behind(bench: TestBench) -> None:
    def there() -> list[tuple[Any, ...]]:
        return bench.rows("select table_name from duckdb_tables() where temporary order by 1")

    with bench.judged(written([WASTE]), "waste_balance", "2024"):
        pass
    before = there()
    for _ in range(3):
        with bench.judged(written([WASTE, WASTE]), "waste_balance", "2024"):
            pass
    assert [name for (name,) in there()] == [name for (name,) in before]


# --- random deliveries ---

NASTY = [
    "", " ", "-", "0", "1.234,5", "1.23", "-1", "1e3", "1e999", "9" * 50, "05124000", "5124", "Probestadt", "200301", "20 03 01*",
    "generated", "kerbside", "none", "2024", "2023", "24", "2024,0", "nan", "infinity", "=1+1", "@SUM(A1)", "'; drop table x; --",
    '"', '""', "a\nb", "a\r\nb", "\u00a0", "ä", "\ufeff", "\u202e", "😀", "\x07", "null", "NULL", "true", "x" * 3000,
    "2025-05-02T00:00:00+02:00", "9999-12-31T23:59:59Z", "290000-01-01T00:00:00Z", "0000-00-00", "-infinity", "epoch",
    "2025-03-30T02:30:00", "DE0000004210300000000000000000101", "220", "1-1:1.29.0", "\\", "%s", "{x}", "${jndi:x}",
]  # fmt: skip
CELL = st.sampled_from(NASTY) | st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
SHAPE = st.sampled_from(["utf-8", "utf-8-sig", "cp1252", "utf-16", "latin-1"])


@st.composite
def deliveries(draw: st.DrawFn) -> tuple[str, bytes]:
    """A dataset and a file that a tired clerk, a broken export or an attacker might send for it."""
    dataset = draw(st.sampled_from(["waste_balance", "load_profile", "population", "all_kinds"]))
    good = GOOD[dataset][1]
    names = list(good)
    rows = [list(good.values()) for _ in range(draw(st.integers(0, 8)))]
    for row in rows:
        for position in draw(st.lists(st.integers(0, len(row) - 1), max_size=4)):
            row[position] = draw(CELL)
        if draw(st.integers(0, 9)) == 0:
            row[:] = draw(st.lists(CELL, max_size=len(names) + 2))
    lines = [names, *rows]
    if draw(st.integers(0, 5)) == 0:
        lines.insert(draw(st.integers(0, len(lines))), draw(st.lists(CELL, max_size=4)))
    joint = draw(st.sampled_from([";", ";", ";", ",", "\t"]))
    end = draw(st.sampled_from(["\n", "\r\n"]))
    quoted = draw(st.booleans())

    def cell(text: str) -> str:
        needs = quoted or any(mark in text for mark in (joint, '"', "\n", "\r"))
        return '"' + text.replace('"', '""') + '"' if needs and draw(st.integers(0, 19)) else text

    text = end.join(joint.join(cell(c) for c in line) for line in lines) + draw(st.sampled_from(["", end, end + end]))
    content = text.encode(draw(SHAPE), errors="replace")
    if draw(st.integers(0, 14)) == 0:
        cut = draw(st.integers(0, len(content)))
        content = content[:cut] + draw(st.binary(max_size=4)) + content[cut:]
    return dataset, content


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(sent=deliveries())
def test_whatever_is_sent_gets_a_verdict_that_accounts_for_every_row(bench: TestBench, sent: tuple[str, bytes]) -> None:
    dataset, content = sent
    with bench.judged(content, dataset, GOOD[dataset][0]) as judged:
        reconciles(bench, judged)
        assert judged.verdict.state in ("accepted", "accepted_with_warnings", "partly_accepted", "rejected")
        if judged.landed is not None:
            # a text that was accepted is the text that was sent, whatever it holds
            assert pl.read_parquet(judged.landed).height == judged.verdict.rows.delivered


def test_hostile_words_stay_words(bench: TestBench, tmp_path: Path) -> None:
    words = [
        "'; drop table accepted.all_kinds; --",
        "=cmd|' /C calc'!A0",
        "${x}",
        "{batch}",
        "%(x)s",
        "a\nb",
        'q"q',
        "\\",
    ]
    good = GOOD["all_kinds"][1]
    sent = written(
        [good | {"item_id": word, "part_id": str(n), "area_code": WUPPERTAL} for n, word in enumerate(words)]
    )
    with bench.judged(sent, "all_kinds", "2025-03") as judged:
        assert bench.rows(f"select item_id from {judged.accepted} order by delivered_line") == [
            (word,) for word in words
        ]


def test_a_large_delivery_leaves_the_same_accepted_rows_as_a_small_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    good = WASTE | {"treatment_code": "none"}
    first = [good, good | {"waste_code": "200108"}]
    collected = ("kerbside", "bring", "depot")
    codes = ("200301", "200108", "200201", "200202", "200307")
    second = [good | {"waste_code": w, "collection_code": c, "quantity_t": "-" if (w, c) == ("200108", "bring") else
                      "x" if (w, c) == ("200201", "kerbside") else "7,5"} for w in codes for c in collected]  # fmt: skip
    told = []
    for large in (10**9, 1):
        monkeypatch.setattr("quality.judge.LARGE", large)
        made = TestBench(tmp_path / str(large))
        try:
            states = []
            for rows in (first, second):
                judged = made.deliver(written(rows), "waste_balance", "2024")
                assert judged is not None
                assert (judged.file is not None) == (large == 1)
                states.append((judged.verdict.state, judged.verdict.rows))
            told.append((states, made.accepted("waste_balance"), made.rows("select * from accepted.quarantine")))
        finally:
            made.close()
    assert told[0] == told[1]
    assert {row[1].quarantined for row in told[0][0]} == {0, 1}
    assert len(told[0][1]) == len(second) - 1


def test_a_large_delivery_of_which_much_is_held_back_is_written_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("quality.judge.LARGE", 1)
    rows = [WASTE | {"collection_code": c, "quantity_t": "x" if c == "bring" else "1"} for c in ("kerbside", "bring")]
    made = TestBench(tmp_path)
    try:
        judged = made.deliver(written([*rows, WASTE | {"waste_code": "200108"}]), "waste_balance", "2024")
        assert judged is not None and judged.verdict.rows.quarantined == 1 and judged.file is None
        assert len(made.accepted("waste_balance")) == 2
    finally:
        made.close()


def test_who_judges_beside_another_one_leaves_its_rows_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two judges of one machine, or a judge and a check, share the folder they work in."""
    monkeypatch.setattr("quality.judge.LARGE", 1)
    mine, other = TestBench(tmp_path), TestBench(tmp_path)
    theirs = mine.file(written([WASTE | {"waste_code": code, "quantity_t": "9"} for code in ("200201", "200202")]))
    try:
        sent = mine.file(written([WASTE, WASTE | {"waste_code": "200108"}]))
        delivery = mine.desk.receive(sent, WORKS, "waste_balance", "2024", file_name="file.csv", who="test")
        judged = mine.desk.judge(delivery)
        other.desk.check(theirs, WORKS, "waste_balance", "2024")
        mine.desk.answer([judged])
        assert judged.file is not None
        assert {code for (code,) in mine.accepted("waste_balance", "waste_code")} == {"200301", "200108"}
    finally:
        mine.close()
        other.close()


@pytest.mark.parametrize("now", [written([WASTE | {"quantity_t": "9"}]).encode(), b""], ids=["other", "nothing"])
def test_no_verdict_is_built_on_bytes_that_are_not_those_that_were_sent(tmp_path: Path, now: bytes) -> None:
    made = TestBench(tmp_path)
    try:
        sent = made.file(written([WASTE]))
        delivery = made.desk.receive(sent, WORKS, "waste_balance", "2024", file_name="file.csv", who="test")
        kept = next(path for path in (tmp_path / "vault").rglob("*") if path.is_file())
        kept.chmod(0o644)
        kept.write_bytes(now)
        before = made.rows("select table_name from duckdb_tables() where temporary and table_name like 'typed%'")
        with pytest.raises(VaultDamaged):
            made.desk.judge(delivery)
        assert (
            made.rows("select table_name from duckdb_tables() where temporary and table_name like 'typed%'") == before
        )
        assert made.desk.ledger.verdict(delivery.delivery_id) is None
    finally:
        made.close()
