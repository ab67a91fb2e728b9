"""Every rule has words in both languages, and the words are filled as a clerk would write them."""

from __future__ import annotations

import ast
import re
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quality import messages
from quality.messages import LANGUAGES, Language
from quality.verdict import Finding

PLATFORM_RULES = [
    "file.unreadable",
    "file.empty",
    "file.encrypted",
    "file.has_macros",
    "file.too_large",
    "file.wrong_kind",
    "file.sheet_missing",
    "file.sheet_renamed",
    "file.encoding_differs",
    "file.delimiter_differs",
    "file.message_count_differs",
    "file.unassigned",
    "file.killed_the_reader",
    "columns.missing",
    "columns.missing_header",
    "columns.unexpected",
    "columns.ragged",
    "columns.header_moved",
    "columns.unit_differs",
    "columns.not_in_file_name",
    "values.not_a_number",
    "values.not_a_date",
    "values.not_a_timestamp",
    "values.not_a_boolean",
    "values.missing",
    "values.unknown_code",
    "values.formula_without_value",
    "values.leading_zero_restored",
    "values.ambiguous_local_time",
    "rows.hidden",
    "rows.none",
    "keys.duplicate",
    "mandate.foreign_row",
    "mandate.none",
    "slot.wrong_period",
    "slot.not_owed",
    "slot.too_many_errors",
    "slot.late",
    "delivery.duplicate",
    "delivery.superseded",
    "mending.not_allowed",
    "mending.other_slot",
    "mending.unknown_delivery",
    "mending.outdated",
    "mending.too_often",
    "mending.columns",
    "mending.lines",
]
KINDS = [
    "expect_column_values_to_not_be_null",
    "expect_column_values_to_be_between",
    "expect_column_values_to_be_in_set",
    "expect_column_values_to_match_regex",
    "expect_column_value_lengths_to_be_between",
    "expect_column_pair_values_a_to_be_greater_than_b",
    "expect_compound_columns_to_be_unique",
    "expect_column_values_to_be_unique",
    "unexpected_rows",
    "group_holds",
    "change_within",
    "day_complete",
    "covers",
]
FACTS: list[dict[str, Any]] = [
    {},
    {"columns": ["Menge [t]"], "expected": "1,5", "found": "k. A."},
    {"columns": ["Beginn", "Ende"], "min": 0, "max": Decimal("1.5"), "because": {"de": "Weil.", "en": "Because."}},
]


def test_both_catalogues_hold_the_same_keys() -> None:
    assert messages.keys("de") == messages.keys("en")


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("rule", PLATFORM_RULES)
def test_every_platform_rule_has_its_own_message_and_remedy(rule: str, language: Language) -> None:
    assert {f"{rule}.message", f"{rule}.remedy"} <= messages.keys(language)


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_contract_rule_has_message_remedy_and_note(kind: str, language: Language) -> None:
    assert {f"{kind}.message", f"{kind}.remedy", f"{kind}.cell"} <= messages.keys(language)


@pytest.mark.parametrize("facts", FACTS, ids=["no_facts", "one_column", "two_columns"])
@pytest.mark.parametrize("rows", [0, 1, 2, 12345])
@pytest.mark.parametrize("rule", [*PLATFORM_RULES, *KINDS, "rule_nobody_wrote_for"])
def test_a_message_is_whole_sentences_whatever_facts_are_known(rule: str, rows: int, facts: dict[str, Any]) -> None:
    known = facts | ({"kind": rule} if rule in KINDS else {})
    for told in messages.explain(Finding(rule, "error", rows, known)).values():
        for language in LANGUAGES:
            text = told[language]
            assert text.endswith((".", "!", "?")), text
            assert not re.search(r"[{}]|\.\.|  | [.,;:]|\(\)|–", text), text
            assert text[0].isupper() or text[0].isdigit(), text


def test_one_and_many_are_told_apart() -> None:
    one, many = (messages.message("values.missing", {"columns": ["Menge"]}, rows, "de") for rows in (1, 1234))
    assert one == "In 1 Zeile fehlt in der Spalte „Menge“ ein Wert, den wir brauchen."
    assert many == "In 1.234 Zeilen fehlt in der Spalte „Menge“ ein Wert, den wir brauchen."


def test_missing_columns_are_counted_by_their_names_not_by_rows() -> None:
    assert messages.message("columns.missing", {"columns": ["Menge", "Jahr"]}, 0, "de") == (
        "In der Datei fehlen vereinbarte Spalten: „Menge“ und „Jahr“."
    )
    assert messages.message("columns.missing", {"columns": ["Menge"]}, 300, "en") == (
        "A column agreed on is missing in the file: “Menge”."
    )


def test_a_contract_rule_is_told_by_its_kind_with_the_contracts_own_reason() -> None:
    facts = {
        "kind": "expect_column_values_to_be_between",
        "columns": ["Menge [t]"],
        "min_value": 0,
        "max_value": Decimal("1234567.125"),
        "because": {"de": "Mengen sind nie negativ.", "en": "Quantities are never negative."},
    }
    assert messages.message("quantity_plausible", facts, 3, "de") == (
        "In 3 Zeilen liegt der Wert in der Spalte „Menge [t]“ außerhalb des Erlaubten; erlaubt ab 0; "
        "erlaubt bis 1.234.567,125. Grund: Mengen sind nie negativ."
    )
    assert "1,234,567.125. Reason: Quantities are never negative." in messages.message("x", facts, 3, "en")


def test_a_contracts_own_remedy_goes_before_the_general_one() -> None:
    facts = {"kind": "unexpected_rows", "remedy": {"de": "Rufen Sie uns an", "en": "Call us"}}
    assert messages.remedy("any_rule", facts, 1, "de") == "Rufen Sie uns an."
    assert messages.remedy("any_rule", facts, 1, "en") == "Call us."


def test_a_rule_nobody_wrote_a_text_for_is_still_named() -> None:
    for told in messages.explain(Finding("brand_new_rule", "error", 2))["message"].values():
        assert "brand_new_rule" in told


def test_a_warning_leaves_it_to_the_sender_whether_there_is_something_to_mend() -> None:
    facts = {"kind": "change_within", "limit": 0.3}
    warning = messages.explain(Finding("changed", "warning", 2, facts))
    error = messages.explain(Finding("changed", "error", 2, facts))
    assert warning["remedy"]["de"].startswith("Die Zeilen sind übernommen. Sind sie richtig, müssen Sie nichts tun.")
    assert not error["remedy"]["de"].startswith("Die Zeilen sind übernommen")
    assert "höchstens 30\u00a0%" in error["message"]["de"]


def test_the_kind_of_a_wrong_file_is_told_in_the_readers_language() -> None:
    facts = {"expected": "CSV", "found": "an HTML page", "found_kind": "html"}
    assert "eine Internetseite (HTML)" in messages.message("file.wrong_kind", facts, 0, "de")
    assert "an HTML page" in messages.message("file.wrong_kind", facts, 0, "en")


def test_dates_and_long_lists_are_written_for_people() -> None:
    assert messages.fact_text("due", date(2025, 3, 1), "de") == "01.03.2025"
    told = messages.fact_text("columns", [f"c{i}" for i in range(40)], "de")
    assert told is not None and told.endswith("„c11“ und 28 weitere")


def test_line_numbers_carry_no_thousands_marks() -> None:
    assert "Zeile 12345" in messages.message("file.unreadable", {"line": 12345}, 0, "de")


@given(st.text(max_size=40))
def test_what_a_file_holds_is_never_taken_for_a_blank_or_an_optional_part(hostile: str) -> None:
    facts = {"kind": "x", "found": "found", "because": "because", "columns": [f"{hostile}{{found}}[{{because}}]"]}
    assert f"„{hostile}{{found}}[{{because}}]“" in messages.message("values.missing", facts, 2, "de")


def said_by_readers() -> list[str]:
    """Every `expected` and `found` that the readers' code spells out, with blanks where it fills something in."""
    folder = Path(__file__).parents[3] / "storage" / "readers"
    calls = [
        call
        for module in sorted(folder.glob("*.py"))
        for call in ast.walk(ast.parse(module.read_text(encoding="utf-8")))
        if isinstance(call, ast.Call)
    ]
    told: list[str] = []
    for call in calls:
        name = getattr(call.func, "id", "")
        named = [word.value for word in call.keywords if word.arg in {"expected", "found"}]
        listed = {"wrong_kind": call.args[1:], "_too_large": call.args[:2]}.get(name, [])
        if name in {"Unreadable", "wrong_kind", "_too_large"}:
            told += [shape for part in [*named, *listed] if (shape := spelled(part)) is not None]
    return told


def spelled(part: ast.expr) -> str | None:
    """A text in code with `1` for what is filled in; None where it is not spelled out there."""
    if isinstance(part, ast.Constant) and isinstance(part.value, str):
        return part.value
    if isinstance(part, ast.JoinedStr) and any(isinstance(piece, ast.Constant) for piece in part.values):
        return "".join(str(piece.value) if isinstance(piece, ast.Constant) else "1" for piece in part.values)
    return None


@pytest.mark.parametrize("said", sorted(set(said_by_readers())))
def test_what_a_reader_says_can_be_said_in_german(said: str) -> None:
    german = messages.message("file.unreadable", {"found": said}, 0, "de")
    assert german != f"Wir können die Datei nicht lesen. Gefunden: {said}." or said in ("1 MiB", "JSON"), (
        f"add 'said: {said}' to the catalogues"
    )


def test_the_senders_own_words_are_not_translated() -> None:
    facts = {"columns": ["Art"], "found": "none", "expected": "plain text"}
    assert "plain text" in messages.message("columns.unit_differs", facts, 0, "de")
