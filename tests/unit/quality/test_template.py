"""A template that was filled in reads by the agreement it was written for, in every program that saves workbooks."""

from __future__ import annotations

import ast
import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from openpyxl import load_workbook
from openpyxl.worksheet.worksheet import Worksheet

from quality import messages, template
from quality.configuration import contracts_dir, load_region
from quality.contract import load_contracts
from quality.desk import Desk
from quality.errors import Refused
from quality.forms import standard_dialect
from quality.reading import choose_dialect
from quality.template import Template, TemplateColumn, write_template
from storage.readers import read
from storage.settings import Settings

TODAY = date(2026, 2, 2)
DATASETS = sorted(load_contracts(contracts_dir()))
PACK = load_region(Settings(region="bergisch"))
EVERYBODY = sorted({(m.supplier, m.dataset) for m in PACK.mandates})


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    opened = Desk(Settings(home=tmp_path_factory.mktemp("home"), region="bergisch"))
    yield opened
    opened.close()


def filled(template: Template, rows: Sequence[Mapping[str, Any]], to: Path) -> Path:
    """The template with these cells by column name, as a clerk types them."""
    book = load_workbook(template.path)
    sheet = book[template.sheet]
    assert isinstance(sheet, Worksheet)
    places = {column.name: place for place, column in enumerate(template.columns, start=1)}
    for line, row in enumerate(rows, start=template.first_row):
        for name, value in row.items():
            sheet.cell(line, places[name], value)
    book.save(to)
    return to


def examples(template: Template) -> dict[str, Any]:
    return {column.name: column.example for column in template.columns if column.example != ""}


def test_a_filled_template_of_a_supplier_with_a_workbook_dialect_is_accepted(tmp_path: Path, desk: Desk) -> None:
    made = write_template(PACK, "waste_balance", "solingen-betriebe", tmp_path / "v.xlsx", today=TODAY)
    assert (made.dialect, made.sheet) == ("abfallbilanz-xlsx", "Bilanz")
    rows = [
        {"Abfallart / AVV": "200301", "Abfallart / Bezeichnung": "Restabfall", "Erfassung / System": "kerbside",
         "Aufkommen / gesamt [t]": 100.5, "Entsorgungsweg / R1 [t]": 100.5},
        {"Abfallart / AVV": "20 01 08", "Aufkommen / gesamt [t]": 0, "Entsorgungsweg / R3 [t]": "-"},
        {"Abfallart / AVV": "999999", "Abfallart / Bezeichnung": "Summe", "Aufkommen / gesamt [t]": 100.5},
    ]  # fmt: skip
    file = filled(made, rows, tmp_path / made.file_name)
    told = desk.check(file, "solingen-betriebe", "waste_balance", "2025")
    assert told["state"] == "accepted_with_warnings", told["findings"]
    assert told["rows"] == {
        "delivered": 14,
        "accepted": 3,
        "accepted_with_warning": 9,
        "quarantined": 0,
        # the example and the total
        "ignored_by_rule": 2,
    }
    # the only remark is on the quantities that nobody stated
    assert {f["rule"] for f in told["findings"] if f["severity"] != "info"} == {"quantity_stated"}


@pytest.mark.parametrize(("supplier", "dataset"), EVERYBODY)
def test_the_examples_of_a_template_are_taken_by_the_dialect_it_was_written_for(
    tmp_path: Path, desk: Desk, supplier: str, dataset: str
) -> None:
    made = write_template(PACK, dataset, supplier, tmp_path / "v.xlsx", today=TODAY)
    mandate = max(PACK.mandates_of(supplier, dataset), key=lambda m: m.valid_from)
    if made.agreed_format == "xlsx":
        assert choose_dialect(PACK, mandate, made.file_name).id == made.dialect
    file = filled(made, [examples(made)], tmp_path / made.file_name)
    told = desk.check(file, supplier, dataset, made.period)
    broken = {f["rule"] for f in told["findings"] if f["rule"].split(".")[0] in ("file", "columns", "values", "rows")}
    assert not broken, told["findings"]
    # it reads; whether an example of text is a metering point is for the rules of its contract
    assert {f["rule"] for f in told["findings"] if f["severity"] == "fatal"} <= {"slot.too_many_errors"}
    assert told["rows"]["delivered"] > 1


def as_typed(column: TemplateColumn) -> st.SearchStrategy[Any]:
    """What a clerk may type or choose in a column."""
    if column.choices:
        return st.sampled_from([choice.word for choice in column.choices])
    match column.cells:
        case "integer":
            return st.integers(0, 10**6)
        case "number":
            return st.decimals(0, 10**6, places=3, allow_nan=False).map(float)
        case "date":
            return st.dates(date(2024, 1, 1), date(2025, 12, 31))
        case _:
            text = st.text(st.characters(codec="utf-8", categories=("L", "N", "P", "Zs")), min_size=1, max_size=20)
            return st.just(column.example or "x") | text


@pytest.mark.parametrize(("supplier", "dataset"), EVERYBODY)
@settings(max_examples=2, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
@given(data=st.data())
def test_a_filled_template_of_every_supplier_always_reads(
    tmp_path_factory: pytest.TempPathFactory, desk: Desk, supplier: str, dataset: str, data: st.DataObject
) -> None:
    folder = tmp_path_factory.mktemp("filled")
    made = write_template(PACK, dataset, supplier, folder / "v.xlsx", today=TODAY)
    rows = [
        {c.name: data.draw(as_typed(c)) for c in made.columns if c.required or data.draw(st.booleans())}
        for _ in range(data.draw(st.integers(1, 3)))
    ]
    # whatever it is called, wherever the clerk saved it
    file = filled(made, rows, folder / "Kopie von Tabelle1.xlsx")
    told = desk.check(file, supplier, dataset, made.period)
    broken = {f["rule"] for f in told["findings"] if f["rule"].split(".")[0] in ("file", "columns")}
    assert not broken, told["findings"]
    assert told["rows"]["delivered"] > len(rows) or told["rows"]["ignored_by_rule"] >= 1
    assert told["versions"]["dialect"]


def test_an_example_that_was_written_over_is_a_row_like_any_other(tmp_path: Path, desk: Desk) -> None:
    made = write_template(PACK, "waste_balance", "wuppertal-abfall", tmp_path / "v.xlsx", today=TODAY)
    over = replace(made, first_row=made.first_row - 1)
    file = filled(over, [{**examples(made), "Menge [t]": 77}], tmp_path / "x.xlsx")
    told = desk.check(file, "wuppertal-abfall", "waste_balance", made.period)
    assert (told["rows"]["delivered"], told["rows"]["ignored_by_rule"]) == (1, 0)
    twice = filled(made, [examples(made)], tmp_path / "y.xlsx")
    told = desk.check(twice, "wuppertal-abfall", "waste_balance", made.period)
    assert (told["rows"]["delivered"], told["rows"]["ignored_by_rule"]) == (2, 1), (
        "only the first of the two is the example"
    )


def test_a_template_of_somebody_else_is_no_way_around_the_agreement(tmp_path: Path, desk: Desk) -> None:
    made = write_template(PACK, "waste_balance", "remscheid-betriebe", tmp_path / "v.xlsx", today=TODAY)
    file = filled(made, [examples(made)], tmp_path / "x.xlsx")
    told = desk.check(file, "wuppertal-abfall", "waste_balance", made.period)
    assert told["state"] == "rejected"


@pytest.mark.parametrize("dataset", DATASETS)
def test_a_contracts_own_template_reads_by_its_standard_dialect(tmp_path: Path, dataset: str) -> None:
    made = write_template(PACK, dataset, to=tmp_path / "v.xlsx", today=TODAY)
    dialect = standard_dialect(PACK.contracts[dataset])
    file = filled(made, [examples(made)], tmp_path / "filled.xlsx")
    landed = read(file, dialect.format, tmp_path / "landed.parquet", name=file.name)
    assert landed.columns == dialect.delivered_columns()
    assert landed.rows == 2, "the example and the row that was filled in"
    assert not landed.notes


def test_an_empty_template_holds_no_row_that_could_be_read_as_data(tmp_path: Path, desk: Desk) -> None:
    made = write_template(PACK, "waste_balance", "solingen-betriebe", tmp_path / "v.xlsx", today=TODAY)
    told = desk.check(made.path, "solingen-betriebe", "waste_balance", "2025", file_name=made.file_name)
    assert (told["rows"]["delivered"], told["rows"]["ignored_by_rule"]) == (1, 1), "the example, which is left out"
    assert "rows.none" in {finding["rule"] for finding in told["findings"]}


def test_only_the_cells_to_fill_in_are_open(tmp_path: Path) -> None:
    made = write_template(PACK, "waste_balance", "solingen-betriebe", tmp_path / "v.xlsx", today=TODAY)
    sheet = load_workbook(made.path)[made.sheet]
    assert sheet.protection.sheet
    for row in range(1, made.first_row - 1):
        assert all(sheet.cell(row, place).protection.locked for place in range(1, len(made.columns) + 1))
    assert not any(d.protection.locked for d in sheet.column_dimensions.values())
    assert sheet.freeze_panes == f"A{made.first_row - 1}"


def test_codes_are_offered_from_a_list_units_and_words_are_told(tmp_path: Path) -> None:
    made = write_template(PACK, "waste_balance", "solingen-betriebe", tmp_path / "v.xlsx", today=TODAY)
    book = load_workbook(made.path)
    sheet = book[made.sheet]
    checks = {
        str(check.sqref).split(":")[0].rstrip("0123456789"): check for check in sheet.data_validations.dataValidation
    }
    assert len(checks) == len(made.columns)
    assert checks["A"].formula1.startswith("'Listen'!$A$2:$A$")
    assert book["Listen"].sheet_state == "hidden"
    offered = {cell.value for (cell,) in book["Listen"]["A2:A2000"]}
    assert "200301" in offered
    assert "kerbside" in checks["C"].formula1
    assert all(len(check.prompt) <= 255 and len(check.promptTitle) <= 32 for check in checks.values())
    names = {sheet.cell(made.first_row - 2, place).value for place in range(1, len(made.columns) + 1)}
    assert "gesamt [t]" in names
    comment = sheet.cell(made.first_row - 2, 4).comment
    assert comment is not None and "Aufkommen" in comment.text and "Generated" in comment.text


def test_local_words_of_the_supplier_come_before_the_codes() -> None:
    words = [
        m for m in PACK.mappings if m.supplier == "bergisch-zweckverband" and m.code_list == "green_waste_fraction"
    ]
    assert words
    made = write_template_in_memory("green_waste_intake", "bergisch-zweckverband")
    column = next(c for c in made if any(choice.word == words[0].word for choice in c.choices))
    assert column.choices[0].word in {m.word for m in words}


def write_template_in_memory(dataset: str, supplier: str) -> Any:
    from quality.template import _planned

    return _planned(PACK, dataset, supplier, TODAY).columns


def help_of(template: Template) -> str:
    rows = load_workbook(template.path)["Hilfe"].iter_rows(values_only=True)
    return "\n".join(str(cell) for row in rows for cell in row if cell)


def test_the_help_gives_rules_with_reasons_deadline_and_the_meaning_of_nothing_to_report(tmp_path: Path) -> None:
    contract = PACK.contracts["waste_balance"]
    told = help_of(write_template(PACK, "waste_balance", "solingen-betriebe", tmp_path / "v.xlsx", today=TODAY))
    for rule in contract.rules:
        assert rule.id in told and rule.because["de"] in told and rule.because["en"] in told
    assert "bis 1. April" in told
    assert contract.properties["nothingToReport"]["de"] in told
    assert "Gemeindeschlüssel (AGS) steht fest: 05122000" in told
    assert "Summenzeilen" in told


def test_the_words_of_a_template_come_from_the_catalogues(tmp_path: Path) -> None:
    source = (Path(template.__file__)).read_text(encoding="utf-8")
    spelled = {part.value for part in ast.walk(ast.parse(source)) if isinstance(part, ast.Constant)}
    german = {
        said for said in spelled if isinstance(said, str) and re.search(r"[äöüß„]| (der|die|das|und|für|nicht) ", said)
    }
    assert german - set(template._UMLAUTS) == set()
    asked = set(re.findall(r'_(?:german|paragraph)\("([\w.]+)"', source))
    assert {f"template.{key}" for key in asked} <= messages.keys("de")
    told = help_of(write_template(PACK, "waste_balance", "solingen-betriebe", tmp_path / "v.xlsx", today=TODAY))
    assert (
        "Spätestens" not in told
        and "Jedes Jahr bis 1. April, an freien Tagen am nächsten Arbeitstag (Feiertage: NW)." in told
    )
    assert "Every year by 1 April" in told
    assert "Als leer gelten auch „-“, „.“ und „k.A.“." in told
    assert not re.search(r"[{}]|\[[^\]t]", told)


@pytest.mark.parametrize(
    ("written", "german", "english"),
    [
        ("%d.%m.%Y", "TT.MM.JJJJ", "DD.MM.YYYY"),
        ("%m/%y", "MM/JJ", "MM/YY"),
        ("iso", "JJJJ-MM-TTThh:mm:ss+01:00", "YYYY-MM-DDThh:mm:ss+01:00"),
    ],
)
def test_how_a_date_is_written_is_told_in_each_language(written: str, german: str, english: str) -> None:
    assert template._shape(written) == {"de": german, "en": english}


def test_a_supplier_who_agreed_on_another_format_is_told_so(tmp_path: Path) -> None:
    made = write_template(PACK, "waste_balance", "wuppertal-abfall", tmp_path / "v.xlsx", today=TODAY)
    assert (made.agreed_format, made.dialect, made.sheet) == ("csv", "abfallbilanz-csv.vorlage", "Daten")
    told = help_of(made)
    assert "Vereinbart ist das Format CSV" in told and "abfallbilanz-csv" in told


def test_a_filled_template_is_never_overwritten(tmp_path: Path) -> None:
    write_template(PACK, "waste_balance", to=tmp_path / "v.xlsx")
    with pytest.raises(Refused, match="still free"):
        write_template(PACK, "waste_balance", to=tmp_path / "v.xlsx")


@pytest.mark.parametrize(
    ("dataset", "supplier", "told"),
    [
        ("no_such", None, "waste_balance"),
        ("waste_balance", "nobody", "solingen-betriebe"),
        ("load_profile", "solingen-betriebe", "waste_balance"),
    ],
)
def test_what_cannot_be_had_is_refused_with_what_there_is(
    tmp_path: Path, dataset: str, supplier: str | None, told: str
) -> None:
    with pytest.raises(Refused, match=told):
        write_template(PACK, dataset, supplier, tmp_path / "v.xlsx")


@pytest.fixture
def small(tmp_path: Path) -> Path:
    """A pack of its own that tests may change."""
    from quality.packs import new_pack

    new_pack("small", tmp_path / "small", dataset="green_waste_intake")
    return tmp_path / "small"


#: Ways a header may be asked for, and the words of the columns under it.
HEADERS = {
    "first line": ("{row: 1}", ["Stelle", "AGS", "Tag", "Art", "Menge", "Einheit"]),
    "first line that is not blank": ("{}", ["Stelle", "AGS", "Tag", "Art", "Menge", "Einheit"]),
    "two rows, all named above": ("{row: 3, rows: 2}", ["Stelle", "AGS", "Tag", "Art", "Menge", "Einheit"]),
    "two rows, mixed": (
        "{row: 2, rows: 2}",
        ["Ort / Stelle", "Ort / AGS", "Tag", "Was / Art", "Was / Menge", "Was / Einheit"],
    ),
    "groups apart": (
        "{row: 2, rows: 2}",
        ["Ort / Stelle", "Was / Art", "Tag / am", "Ort / AGS", "Was / Menge", "Was / Einheit"],
    ),
    "three rows": ("{row: 5, rows: 3}", ["A / B / Stelle", "A / B / AGS", "A / C", "Art", "D / Menge", "D / Einheit"]),
    "no header": ("{row: 4, rows: 0}", ["column_2", "column_1", "column_3", "column_4", "column_6", "column_5"]),
    "a text like a formula": ("{row: 3}", ["=Stelle", "+AGS", "-Tag", "@Art", "Menge", "Einheit"]),
}


@pytest.mark.parametrize("case", HEADERS)
@pytest.mark.parametrize("units_rows", [0, 2])
def test_wherever_a_dialect_wants_its_header_the_template_has_it(
    tmp_path: Path, small: Path, case: str, units_rows: int
) -> None:
    header, names = HEADERS[case]
    if case == "no header" and units_rows:
        pytest.skip("units stand under column names")
    fields = ["site_id", "area_code", "intake_date", "fraction_code", "quantity", "unit_code"]
    columns = "\n".join(f'  {f}: "{name}"' for f, name in zip(fields, names, strict=True))
    file = next((small / "dialects").glob("*.yml"))
    dialect_id = file.stem
    file.write_text(
        f"id: {dialect_id}\ndataset: green_waste_intake\ndecimal: ','\ndates: ['%d.%m.%Y']\n"
        f"format: {{type: xlsx, header: {header}, units_rows: {units_rows}}}\ncolumns:\n{columns}\n"
    )
    pack = load_region(Settings(region=str(small)))
    made = write_template(pack, "green_waste_intake", "muster-betrieb", tmp_path / "v.xlsx", today=TODAY)
    assert made.dialect == dialect_id
    row = {column.name: column.example for column in made.columns if column.example != ""}
    filled(made, [row], tmp_path / "filled.xlsx")
    dialect = pack.dialects[dialect_id]
    landed = read(tmp_path / "filled.xlsx", dialect.format, tmp_path / "landed.parquet", name="filled.xlsx")
    assert set(landed.columns) == set(names)
    assert landed.rows == 2
    assert [note.rule for note in landed.notes] == []


def test_columns_that_only_a_pattern_names_fall_back_to_the_contracts_template(tmp_path: Path, small: Path) -> None:
    file = next((small / "dialects").glob("*.yml"))
    file.write_text(
        f"id: {file.stem}\ndataset: green_waste_intake\nformat: {{type: xlsx}}\n"
        "columns: {site_id: Stelle, area_code: AGS, intake_date: Tag, unit_code: {constant: t}}\n"
        "pivot: {value: quantity, matching: '(.+) in t', into: {fraction_code: '\\1'}}\n"
    )
    pack = load_region(Settings(region=str(small)))
    made = write_template(pack, "green_waste_intake", "muster-betrieb", tmp_path / "v.xlsx", today=TODAY)
    assert (made.dialect, made.sheet, made.agreed_format) == (None, "Daten", "xlsx")
    assert file.stem in help_of(made)


def test_nothing_a_pack_says_becomes_a_formula(tmp_path: Path) -> None:
    contract = PACK.contracts["green_waste_intake"]
    evil = '=HYPERLINK("http://x","y")'
    fields = [replace(f, title={"de": evil + f.name, "en": evil}, description=evil) for f in contract.fields]
    rules = [replace(rule, because={"de": evil, "en": evil}) for rule in contract.rules]
    pack = replace(
        PACK, contracts={"green_waste_intake": replace(contract, fields=fields, rules=rules, title={"de": evil})}
    )
    made = write_template(pack, "green_waste_intake", to=tmp_path / "v.xlsx", today=TODAY)
    book = load_workbook(made.path)
    cells = [cell for sheet in book.worksheets for row in sheet.iter_rows() for cell in row]
    assert any("HYPERLINK" in str(cell.value) for cell in cells)
    assert not [cell.coordinate for cell in cells if cell.data_type == "f"]


@pytest.mark.slow
def test_a_template_survives_being_saved_by_libreoffice(tmp_path: Path, desk: Desk) -> None:
    soffice = shutil.which("soffice")
    if soffice is None:
        pytest.skip("LibreOffice is not installed")
    made = write_template(PACK, "waste_balance", "solingen-betriebe", tmp_path / "v.xlsx", today=TODAY)
    row = {"Abfallart / AVV": "200301", "Aufkommen / gesamt [t]": 7.25, "Entsorgungsweg / R1 [t]": 7.25,
           "Entsorgungsweg / R3 [t]": 0, "Entsorgungsweg / R4 [t]": 0, "Entsorgungsweg / R5 [t]": 0, "Entsorgungsweg / D10 [t]": 0}  # fmt: skip
    filled(made, [row], tmp_path / "Abfallbilanz_2025.xlsx")
    saved = tmp_path / "saved"
    subprocess.run(
        [soffice, f"-env:UserInstallation=file://{tmp_path}/profile", "--headless", "--convert-to", "xlsx:Calc MS Excel 2007 XML",
         "--outdir", str(saved), str(tmp_path / "Abfallbilanz_2025.xlsx")],
        check=True, capture_output=True, timeout=120,
    )  # fmt: skip
    file = saved / "Abfallbilanz_2025.xlsx"
    told = desk.check(file, "solingen-betriebe", "waste_balance", "2025")
    assert told["state"] == "accepted", told["findings"]
    book = load_workbook(file)
    sheet = book[made.sheet]
    assert sheet.protection.sheet
    lists = [check for check in sheet.data_validations.dataValidation if check.type == "list"]
    assert len(lists) == 2
    assert book["Listen"].sheet_state == "hidden"
