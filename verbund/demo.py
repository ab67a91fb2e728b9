"""The demo: some fifty deliveries of three cities over several years, with the mistakes such files really have.

Which file comes when, from whom, with which story and which outcome is told here, in the order of arrival. How the
files are written is in `verbund.demo_files`, what they hold in `verbund.demo_figures`. Sending them is the command
line's work.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any, Literal
from zoneinfo import ZoneInfo

from openpyxl.worksheet.worksheet import Worksheet

from verbund import demo_figures as figures
from verbund.demo_figures import CITIES, REMSCHEID, SOLINGEN, WUPPERTAL, City
from verbund.demo_files import (
    SYNTHETIC,
    Message,
    Reading,
    delimited,
    english,
    error_page,
    fixed_width,
    german,
    locked_workbook,
    mscons,
    text_cell,
    workbook,
    write_table,
)  # fmt: skip

Kind = Literal["deliver", "nothing_to_report", "withdraw"]

WASTE, INTAKE, TREATMENT, LOAD, PEOPLE, REGISTER = (
    "waste_balance", "green_waste_intake", "green_waste_treatment", "load_profile", "population", "municipality_register",
)  # fmt: skip
#: Words of the utilities for the codes of the contract.
COLLECTION = {"kerbside": "Holsystem", "bring": "Bringsystem", "depot": "Wertstoffhof", "on_call": "auf Abruf"}
DESTINATIONS = ("R3", "R4", "R5", "R1", "D10")
#: A cubic metre of loose green waste in kilograms, for volumes estimated by eye (invented).
KG_PER_M3 = 150
POINTS = {
    "wuppertal-stadtwerke": "DE0000004210300000000000000000101",
    "solingen-stadtwerke": "DE0000004265100000000000000000201",
    "remscheid-stadtwerke": "DE0000004285300000000000000000301",
}
OBIS = "1-1:1.29.0"


@dataclass(frozen=True)
class DemoDelivery:
    """One thing a supplier does.

    Attributes:
        order: Place in the sequence; corrections and hand-overs need it.
        received_at: When it would have arrived, UTC.
        file_name: Name as sent; for `withdraw` and `nothing_to_report` a name to show.
        content: The bytes; None where no file is sent.
        supplier: Id in the region pack.
        dataset: Id of the contract.
        period: Text of the slot's period.
        kind: `withdraw` takes back the slot's latest delivery.
        story: What happened, in plain German and English (`de`, `en`).
        trap: What is special about the file, one or two words; None for an ordinary one.
        verdict: State the judge gives; None where there is nothing to judge.
        expect: State after everything has been sent.
        synthetic: The figures are invented.
    """

    order: int
    received_at: datetime
    file_name: str
    content: bytes | None
    supplier: str
    dataset: str
    period: str
    kind: Kind
    story: Mapping[str, str]
    trap: str | None
    verdict: str | None
    expect: str
    synthetic: bool = True


def demo_deliveries(seed: int = 2025) -> list[DemoDelivery]:
    """All deliveries of the demo in the order they are sent, the same for the same seed."""
    script = _Script(seed)
    for chapter in (_reference, _balances_2023, _balances_2024, _green_waste, _load_profiles, _balances_2025):
        chapter(script)
    ordered = sorted(script.told, key=lambda delivery: (delivery.received_at, delivery.order))
    return [replace(delivery, order=number) for number, delivery in enumerate(ordered, start=1)]


def write_demo(folder: Path, seed: int = 2025) -> list[Path]:
    """Write the demo's files as `<order>_<supplier>/<file name>`; what has no bytes is left out.

    Returns:
        The files written, in the order of sending.
    """
    written = []
    for delivery in demo_deliveries(seed):
        if delivery.content is not None:
            path = folder / f"{delivery.order:02d}_{delivery.supplier}" / delivery.file_name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(delivery.content)
            written.append(path)
    return written


class _Script:
    """Collects deliveries as the chapters tell them."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.told: list[DemoDelivery] = []

    def send(
        self, on: str, supplier: str, dataset: str, period: str, file_name: str, content: bytes | None, verdict: str | None,
        de: str, en: str, *, trap: str | None = None, final: str | None = None, kind: Kind = "deliver", synthetic: bool = True,
    ) -> None:  # fmt: skip
        """Add a delivery; `final` is its state in the end where that is not the verdict."""
        at = datetime.fromisoformat(f"{on}T08:00:00+00:00") + timedelta(minutes=len(self.told))
        self.told.append(
            DemoDelivery(
                len(self.told),
                at,
                file_name,
                content,
                supplier,
                dataset,
                period,
                kind,
                {"de": de, "en": en},
                trap,
                verdict,
                final or verdict or kind,
                synthetic,
            )
        )


# --- reference data ---


def _reference(script: _Script) -> None:
    office = "statistik-amt"
    script.send(
        "2021-10-29", office, PEOPLE, "2020", "GV100AD_Auszug_bevoelkerung_2020-12-31.asc",
        _register_file("20211130", lambda city: (city.population, city.population_male), figures.OFFICIAL_SOURCE), "accepted",
        "Das Amt liefert die amtlichen Einwohnerzahlen zum 31.12.2020 (Quelle Destatis, GV100AD).",
        "The office delivers the official populations of 31.12.2020 (source Destatis, GV100AD).",
        trap="fixed width, other record types", synthetic=False,
    )  # fmt: skip
    script.send(
        "2022-01-05", office, REGISTER, "2021", "GV100AD_verzeichnis_2021-11-30.asc",
        _register_file("20211130", lambda city: (city.population, city.population_male), figures.OFFICIAL_SOURCE), "accepted",
        "Dasselbe Verzeichnis liefert Namen und Schlüssel der drei Städte.",
        "The same register delivers names and keys of the three cities.",
        trap="same bytes for another dataset", synthetic=False,
    )  # fmt: skip
    script.send(
        "2024-02-15", office, REGISTER, "2023", "GV100AD_verzeichnis_2023-12-31.asc",
        _register_file("20231231", lambda city: figures.population(city, 2023), SYNTHETIC), "accepted",
        "Stand Ende 2023, für die Vorführung fortgeschrieben.", "State at the end of 2023, carried on for the demo.",
    )  # fmt: skip
    script.send(
        "2025-02-10", office, REGISTER, "2024", "nichts zu melden", None, "nothing_to_report",
        "Für 2024 meldet das Amt: keine Änderung. Auch das ist eine Lieferung.",
        "For 2024 the office reports: no change. That is a delivery too.",
        trap="nothing to report", kind="nothing_to_report",
    )  # fmt: skip
    for year, on in ((2023, "2024-09-20"), (2024, "2025-09-18"), (2025, "2026-09-22")):
        script.send(
            on, office, PEOPLE, str(year), f"Bevölkerung_{year}.xlsx", _population_book(year), "accepted",
            f"Einwohner und Fläche Ende {year} als Arbeitsmappe; die führende Null der Schlüssel fehlt und wird ergänzt.",
            f"Inhabitants and area at the end of {year} as a workbook; the keys lost their leading zero and get it back.",
            trap="AGS without leading zero",
        )  # fmt: skip


def _register_file(stand: str, people: Callable[[City], tuple[int, int]], footer: str) -> bytes:
    """The register's layout with Land, Regierungsbezirk and district records around the municipalities."""
    records: list[dict[tuple[int, int], str]] = [
        {(1, 2): "10", (3, 10): stand, (11, 18): "05", (23, 72): "Nordrhein-Westfalen", (73, 122): "Düsseldorf"},
        {(1, 2): "20", (3, 10): stand, (11, 18): "051", (23, 72): "Reg.-Bez. Düsseldorf", (73, 122): "Düsseldorf"},
    ]
    for city in sorted(CITIES, key=lambda city: city.area_code):
        total, male = people(city)
        records.append({(1, 2): "40", (3, 10): stand, (11, 18): city.area_code[:5], (23, 72): city.official_name,
                        (73, 122): city.name, (123, 124): "41"})  # fmt: skip
        records.append({(1, 2): "60", (3, 10): stand, (11, 18): city.area_code, (19, 22): "0000", (23, 72): city.official_name,
                        (123, 124): "61", (129, 139): f"{city.area_ha:011d}", (140, 150): f"{total:011d}",
                        (151, 161): f"{male:011d}", (166, 170): city.postcode})  # fmt: skip
    return fixed_width(records, after=[f"# {footer}"])


def _population_book(year: int) -> bytes:
    def fill(sheet: Worksheet) -> None:
        sheet.title = "Bevölkerung"
        sheet["A1"] = f"Bevölkerung und Fläche am 31.12.{year}"
        rows: list[Sequence[Any]] = [("AGS", "Stichtag", "Insgesamt", "davon männlich", "Fläche [ha]")]
        for city in CITIES:
            total, male = figures.population(city, year)
            rows.append((int(city.area_code), date(year, 12, 31), total, male, city.area_ha))
        last = write_table(sheet, 3, rows)
        sheet.cell(row=last + 1, column=1, value=f"{SYNTHETIC} (fortgeschrieben aus 2020 / carried on from 2020)")

    return workbook(fill)


# --- waste balances ---


def _balances_2023(script: _Script) -> None:
    script.send(
        "2024-03-12", "wuppertal-abfall", WASTE, "2023", "Abfallbilanz_Wuppertal_2023.csv",
        _plain_balance(_plain_rows(script.seed, WUPPERTAL, 2023)), "accepted",
        "Wuppertal liefert seine Abfallbilanz 2023: deutsche Zahlen mit Tausenderpunkt, alles in Ordnung.",
        "Wuppertal delivers its waste balance for 2023: German numbers with thousands marks, all in order.",
        trap="cp1252, thousands marks",
    )  # fmt: skip
    script.send(
        "2024-03-20", "solingen-betriebe", WASTE, "2023", "Abfallbilanz_Solingen_2023.xlsx",
        _balance_book(script.seed, 2023), "accepted",
        "Solingen führt eine Arbeitsmappe von Hand: verbundene Kopfzeilen, Summenzeile, Fußnote.",
        "Solingen keeps a workbook by hand: merged header rows, a total row, a footnote.",
        trap="merged two-row header, totals, footnotes",
    )  # fmt: skip
    script.send(
        "2024-03-28", "remscheid-betriebe", WASTE, "2023", "Abfallbilanz_RS_2023.csv",
        _report_balance(_report_rows(script.seed, 2023), 2023), "accepted",
        "Remscheid schickt einen Bericht mit Vorspann, Einheitenzeile, Summen und Schlüsseln ohne führende Null.",
        "Remscheid sends a report with preamble, unit row, totals and keys without their leading zero.",
        trap="preamble, unit row, AVV with blanks and star",
    )  # fmt: skip
    script.send(
        "2024-04-02", "wuppertal-abfall", WASTE, "2023", "Abfallbilanz_Wuppertal_2023 (Kopie).csv",
        _plain_balance(_plain_rows(script.seed, WUPPERTAL, 2023)), None,
        "Zur Sicherheit kommt Wuppertals Datei noch einmal. Es sind dieselben Bytes, nichts ändert sich.",
        "To be safe Wuppertal's file comes once more. It is the same bytes, nothing changes.",
        trap="same file twice", final="duplicate",
    )  # fmt: skip


def _balances_2024(script: _Script) -> None:
    right = _plain_rows(script.seed, WUPPERTAL, 2024)
    twice = _cemetery_rows(script.seed)
    foreign = _plain_rows(script.seed, SOLINGEN, 2024)[:4]
    script.send(
        "2025-02-20", "wuppertal-abfall", WASTE, "2024", "Abfallbilanz_Wuppertal_2024.csv",
        _plain_balance([*right, *twice, *foreign]), "partly_accepted",
        "In Wuppertals Bilanz 2024 stehen vier Zeilen aus Solingen. Sie werden zurückgehalten, der Rest gilt.",
        "Wuppertal's balance for 2024 holds four rows of Solingen. They are held back, the rest counts.",
        trap="foreign rows", final="superseded",
    )  # fmt: skip
    unknown = [[*row[:-1], "k.A."] if row[2] == "200101" else row for row in right]
    script.send(
        "2025-03-03", "wuppertal-abfall", WASTE, "2024", "Abfallbilanz_Wuppertal_2024_neu.csv",
        _plain_balance([*unknown, *twice]), "accepted_with_warnings",
        "Zweiter Anlauf ohne die fremden Zeilen; beim Altpapier steht jetzt „k.A.“: fehlend, nicht null.",
        "Second try without the foreign rows; waste paper now reads “k.A.”: missing, not zero.",
        trap="k.A. is not zero", final="superseded",
    )  # fmt: skip
    script.send(
        "2025-03-17", "wuppertal-abfall", WASTE, "2024", "Abfallbilanz_Wuppertal_2024_endgueltig.csv",
        _plain_balance(right), "accepted",
        "Dritter Anlauf: das Altpapier ist da, die doppelt gezählten Friedhofsabfälle sind heraus.",
        "Third try: waste paper is there, the cemetery waste that counted twice is gone.",
        trap="correction that removes rows",
    )  # fmt: skip
    script.send(
        "2025-03-10", "solingen-betriebe", WASTE, "2024", "Abfallbilanz_Solingen_2024.xlsx", locked_workbook(), "rejected",
        "Solingens Arbeitsmappe hat ein Kennwort. Niemand kann sie lesen.",
        "Solingen's workbook has a password. Nobody can read it.",
        trap="password",
    )  # fmt: skip
    script.send(
        "2025-03-11", "solingen-betriebe", WASTE, "2024", "Abfallbilanz_Solingen_2024_ohne_Kennwort.xlsx",
        _balance_book(script.seed, 2024, formulas=True, injected=True, gaps=True), "accepted_with_warnings",
        "Ohne Kennwort: Formeln gelten als Werte, eine eingeschleuste Formel bleibt Text, „k.A.“ gilt als fehlend.",
        "Without password: formulas count as values, an injected formula stays text, “k.A.” counts as missing.",
        trap="formula cells, =cmd injection, hidden row",
    )  # fmt: skip
    script.send(
        "2025-03-25", "remscheid-betriebe", WASTE, "2024", "Abfallbilanz_RS_2024.csv", error_page(), "rejected",
        "Unter dem Namen der Datei kam die Fehlerseite eines Portals an.",
        "Under the file's name came the error page of a web portal.",
        trap="HTML saved as .csv",
    )  # fmt: skip
    script.send(
        "2025-03-26", "remscheid-stadtwerke", WASTE, "2024", "Abfallbilanz_RS_2024.csv",
        _report_balance(_report_rows(script.seed, 2024), 2024), "rejected",
        "Der Messstellenbetrieb schickt die Bilanz für die Kollegen mit. Dafür hat er keinen Auftrag.",
        "The metering operator sends the balance for its colleagues. It has no mandate for that.",
        trap="wrong supplier",
    )  # fmt: skip
    script.send(
        "2025-03-27", "remscheid-betriebe", WASTE, "2024", "Abfallbilanz_RS_2024_neu.csv",
        _report_balance(_report_rows(script.seed, 2024), 2024), "accepted",
        "Die richtige Datei vom richtigen Absender, noch vor dem 1. April.",
        "The right file from the right sender, still before 1 April.",
    )  # fmt: skip


def _balances_2025(script: _Script) -> None:
    rows = _plain_rows(script.seed, WUPPERTAL, 2025)
    script.send(
        "2026-02-24", "wuppertal-abfall", WASTE, "2025", "Abfallbilanz_Wuppertal_2025.csv",
        _plain_balance(rows, rename={"AVV": "Abfallschlüssel", "Menge [t]": "Menge"}), "rejected",
        "Nach einem Programmwechsel heißen zwei Spalten anders. Die Quittung sagt, welche fehlen und was ähnlich heißt.",
        "After a change of software two columns have other names. The receipt says which are missing and what is similar.",
        trap="columns renamed",
    )  # fmt: skip
    script.send(
        "2026-02-26", "wuppertal-abfall", WASTE, "2025", "Abfallbilanz_Wuppertal_2025_v2.csv",
        _plain_balance(rows, reorder=True, extra=True), "accepted",
        "Die Namen stimmen wieder. Reihenfolge und eine Spalte mehr stören nicht.",
        "The names are right again. Another order and one more column do no harm.",
        trap="columns reordered, extra column",
    )  # fmt: skip
    script.send(
        "2026-03-05", "solingen-betriebe", WASTE, "2025", "Abfallbilanz_Solingen_2025.xlsx",
        _balance_book(script.seed, 2025, more={"200307": 1.45}), "accepted_with_warnings",
        "Solingens Sperrmüll ist um fast die Hälfte gestiegen. Die Zahlen gelten, ein Grund wird erbeten.",
        "Solingen's bulky waste rose by almost half. The figures count, a reason is asked for.",
        trap="year-on-year jump",
    )  # fmt: skip
    retired = [
        "5120000",
        "Gewerbeabfall hausmüllähnlich",
        "Gewerbeabfall",
        "Aufkommen",
        "Holsystem",
        "",
        german(2_104_300),
    ]
    script.send(
        "2026-03-19", "remscheid-betriebe", WASTE, "2025", "Abfallbilanz_RS_2025.csv",
        _report_balance([*_report_rows(script.seed, 2025), retired], 2025), "partly_accepted",
        "Remscheid benutzt ein Wort, das nur bis Ende 2024 vereinbart war. Diese Zeile wird zurückgehalten.",
        "Remscheid uses a word that was agreed until the end of 2024 only. That row is held back.",
        trap="code valid only until last year", final="withdrawn",
    )  # fmt: skip
    script.send(
        "2026-03-23", "remscheid-betriebe", WASTE, "2025", "Abfallbilanz_RS_2025.csv", None, None,
        "Dann zieht Remscheid die Bilanz zurück, sie wird neu gerechnet. Für 2025 bleibt eine Lücke, keine Null.",
        "Then Remscheid withdraws the balance to work it out anew. For 2025 a gap remains, not a zero.",
        trap="withdrawn", kind="withdraw", final="withdrawn",
    )  # fmt: skip


PLAIN_HEADER = ("Jahr", "AGS", "AVV", "Mengenstrom", "Erfassung", "Verfahren", "Menge [t]")


def _plain_rows(seed: int, city: City, year: int) -> list[list[str]]:
    """A city's balance as rows under `PLAIN_HEADER`."""
    rows = []
    for balance in figures.balances(seed, city, year):
        head = [str(year), city.area_code, balance.fraction.code]
        rows.append([*head, "Aufkommen", COLLECTION[balance.fraction.collection], "", german(balance.generated_kg)])
        for operation, kg in balance.treated_kg.items():
            rows.append([*head, "entsorgt", "k.A.", operation, german(kg)])
    return rows


def _cemetery_rows(seed: int) -> list[list[str]]:
    kg = figures.dice(seed, "cemetery").randint(180_000, 260_000)
    head = ["2024", WUPPERTAL.area_code, "200203"]
    return [
        [*head, "Aufkommen", "Wertstoffhof", "", german(kg)],
        [*head, "entsorgt", "k.A.", "D10", german(kg)],
    ]


def _plain_balance(
    rows: Sequence[Sequence[str]],
    *,
    rename: Mapping[str, str] | None = None,
    reorder: bool = False,
    extra: bool = False,
) -> bytes:
    table = [[(rename or {}).get(name, name) for name in PLAIN_HEADER], *rows]
    if extra:
        table = [[*row, "Bemerkung" if number == 0 else ""] for number, row in enumerate(table)]
    if reorder:
        table = [[*row[2:4], *row[:2], *row[4:]] for row in table]
    return delimited(table, after=[SYNTHETIC])


def _report_rows(seed: int, year: int) -> list[list[str]]:
    """Remscheid's balance: keys without the leading zero, waste codes with blanks, star for hazardous waste."""
    rows = []
    for balance in figures.balances(seed, REMSCHEID, year):
        code = balance.fraction.code
        spaced = f"{code[:2]} {code[2:4]} {code[4:]}" + ("*" if code == "200135" else "")
        head = [REMSCHEID.area_code[1:], spaced, balance.fraction.name]
        rows.append([*head, "Aufkommen", COLLECTION[balance.fraction.collection], "", german(balance.generated_kg)])
        for operation, kg in balance.treated_kg.items():
            rows.append([*head, "entsorgt", "...", f"{operation[0]} {operation[1:]}", german(kg)])
    return rows


def _report_balance(rows: Sequence[Sequence[str]], year: int) -> bytes:
    header = ("Gebiet", "Schlüssel", "Abfallart", "Strom", "Erfassung", "Verfahren", "Menge")
    total = sum(int(row[-1].replace(".", "").replace(",", "")) for row in rows if row[3] == "Aufkommen")
    return delimited(
        [header, ("", "", "", "", "", "", "Mg"), *rows, ("", "", "Summe Aufkommen", "", "", "", german(total))],
        before=[
            f"Abfallbilanz {year}",
            "Stadt Remscheid",
            f"Stand: 15.03.{year + 1}",
            "Alle Mengen in Mg (Tonnen)",
            "",
        ],
        after=["__________", "* gefährlicher Abfall im Sinne des § 48 KrWG", SYNTHETIC],
    )


def _balance_book(
    seed: int, year: int, *, formulas: bool = False, injected: bool = False, gaps: bool = False,
    more: Mapping[str, float] | None = None,
) -> bytes:  # fmt: skip
    """Solingen's workbook: two merged header rows, a column a destination, total row, footnote."""
    results: dict[str, float] = {}

    def fill(sheet: Worksheet) -> None:
        sheet.title = "Bilanz"
        sheet["A1"] = f"Abfallbilanz der Stadt Solingen {year}"
        sheet["A2"] = "Angaben in Tonnen"
        upper = ["Abfallart", None, "Erfassung", "Aufkommen", "Entsorgungsweg"]
        lower = ["AVV", "Bezeichnung", "System", "gesamt [t]", *(f"{operation} [t]" for operation in DESTINATIONS)]
        write_table(sheet, 4, [upper, lower])
        sheet.merge_cells("A4:B4")
        sheet.merge_cells("E4:I4")
        row = 6
        for balance in figures.balances(seed, SOLINGEN, year):
            factor = (more or {}).get(balance.fraction.code, 1.0)
            treated = {operation: round(kg * factor) for operation, kg in balance.treated_kg.items()}
            tonnes: list[Any] = [treated.get(operation, 0) / 1000 for operation in DESTINATIONS]
            total: Any = sum(treated.values()) / 1000
            if formulas and balance.fraction.code in ("200301", "200307", "200108"):
                results[f"D{row}"] = total
                total = f"=SUM(E{row}:I{row})"
            if gaps and balance.fraction.code == "200140":
                tonnes[DESTINATIONS.index("R1")] = "k.A."
                tonnes[DESTINATIONS.index("D10")] = "-"
            words = [balance.fraction.code, balance.fraction.name, COLLECTION[balance.fraction.collection]]
            write_table(sheet, row, [[*words, total, *tonnes]])
            if injected and balance.fraction.code == "150107":
                text_cell(sheet, f"B{row}", "=cmd|' /C calc'!A0")
            if formulas and balance.fraction.code == "200138":
                sheet.row_dimensions[row].hidden = True
            row += 1
        sheet.cell(row=row, column=2, value="Summe")
        for column in "DEFGHI":
            last = row - 1
            cells = [sheet[f"{column}{line}"].value for line in range(6, row)]
            shown = sum(
                results.get(f"{column}{line}", 0.0) if isinstance(cell, str) else float(cell)
                for line, cell in zip(range(6, row), cells, strict=True)
            )
            results[f"{column}{row}"] = round(shown, 3)
            sheet[f"{column}{row}"] = f"=SUM({column}6:{column}{last})"
        sheet.cell(row=row + 2, column=1, value="Anmerkung: Sperrmüll einschließlich Matratzen.")
        sheet.cell(row=row + 3, column=1, value=SYNTHETIC)

    return workbook(fill, results=results)


# --- green waste ---


def _green_waste(script: _Script) -> None:
    _green_may_and_june(script)
    _green_july(script)
    _green_august(script)
    _treatment(script)


def _green_may_and_june(script: _Script) -> None:
    script.send(
        "2025-06-05", "wuppertal-abfall", INTAKE, "2025-05", "Gruenabfall_2025-05.csv", _weighing_list(script.seed, 5), "accepted",
        "Wuppertals Wiegeliste für Mai: Kilogramm, Tonnen und Kubikmeter stehen nebeneinander, jede Zeile nennt ihre Einheit.",
        "Wuppertal's weighing list for May: kilograms, tonnes and cubic metres side by side, every row names its unit.",
        trap="BOM, kg, t and m³ mixed",
    )  # fmt: skip
    script.send(
        "2025-06-06", "solingen-betriebe", INTAKE, "2025-05", "Gruenabfall_Solingen_2025-05.xlsx", _gate_book(script.seed, 5), "accepted",
        "Solingen schätzt Volumen an der Annahme und schreibt sie in eine Mappe mit echten Datumszellen.",
        "Solingen estimates volumes at the gate and writes them into a workbook with real date cells.",
        trap="date cells, hidden row, total row",
    )  # fmt: skip
    script.send(
        "2025-06-10", "remscheid-betriebe", INTAKE, "2025-05", "Gruenabfall_RS_2025-05.csv", _wide_list(script.seed, "2025-05"), "accepted",
        "Remscheid liefert eine Spalte je Fraktion, mit Zahlen in englischer Schreibweise.",
        "Remscheid delivers one column a fraction, with numbers in English style.",
        trap="wide table, English numbers",
    )  # fmt: skip
    script.send(
        "2025-07-07", "wuppertal-abfall", INTAKE, "2025-06", "Gruenabfall_2025-06.csv",
        _weighing_list(script.seed, 6, words={"krautig": "Laub/Strauch gem."}), "partly_accepted",
        "Im Juni taucht ein Wort auf, das niemand kennt. Die Zeilen warten, bis es zugeordnet ist; dann werden sie nachgeholt.",
        "In June a word turns up that nobody knows. The rows wait until it is mapped; then they are replayed.",
        trap="unknown local word",
    )  # fmt: skip
    script.send(
        "2025-07-08", "solingen-betriebe", INTAKE, "2025-06", "Gruenabfall_Solingen_2025-06.xlsx", _gate_book(script.seed, 6), "accepted",
        "Solingens letzter Monat unter eigener Regie.", "Solingen's last month under its own management.",
    )  # fmt: skip
    script.send(
        "2025-07-09", "remscheid-betriebe", INTAKE, "2025-06", "Gruenabfall_RS_2025-06.csv", b"", "rejected",
        "Remscheids Datei ist leer.", "Remscheid's file is empty.", trap="empty file",
    )  # fmt: skip
    script.send(
        "2025-07-10", "remscheid-betriebe", INTAKE, "2025-06", "Gruenabfall_RS_2025-06_neu.csv",
        _wide_list(script.seed, "2025-06"), "accepted",
        "Am nächsten Tag kommt sie gefüllt.", "The next day it comes with content.",
    )  # fmt: skip


def _green_july(script: _Script) -> None:
    script.send(
        "2025-08-05", "solingen-betriebe", INTAKE, "2025-07", "Gruenabfall_Solingen_2025-07.xlsx", _gate_book(script.seed, 7), "rejected",
        "Seit 1. Juli ist der Zweckverband zuständig. Solingens Datei wird nicht mehr angenommen.",
        "Since 1 July the association is responsible. Solingen's file is no longer accepted.",
        trap="mandate moved in mid-year",
    )  # fmt: skip
    script.send(
        "2025-08-08", "bergisch-zweckverband", INTAKE, "2025-07", "Gruenabfall_Verband_2025-07.txt", _association_list(script.seed, 7), "accepted",
        "Der Zweckverband liefert für Solingen: UTF-16 mit Tabulatoren und eigenen Kürzeln.",
        "The association delivers for Solingen: UTF-16 with tabs and codes of its own.",
        trap="UTF-16, own codes",
    )  # fmt: skip
    script.send(
        "2025-08-06", "wuppertal-abfall", INTAKE, "2025-07", "Gruenabfall_2025-07.csv", _weighing_list(script.seed, 7), "accepted",
        "Wuppertals Juli ist in Ordnung.", "Wuppertal's July is in order.",
    )  # fmt: skip
    script.send(
        "2025-08-11", "remscheid-betriebe", INTAKE, "2025-07", "Gruenabfall_RS_2025-07.csv",
        _wide_list(script.seed, "2025-07", sites=("Betriebshof", "Ost")), "partly_accepted",
        "Die Annahmestelle Ost ist seit 30. Juni geschlossen, steht aber noch in der Datei.",
        "The collection point Ost has been closed since 30 June but is still in the file.",
        trap="site no longer valid",
    )  # fmt: skip


def _green_august(script: _Script) -> None:
    script.send(
        "2025-09-04", "bergisch-zweckverband", INTAKE, "2025-08", "nichts zu melden", None, "nothing_to_report",
        "Im August waren Solingens Annahmestellen wegen Umbaus geschlossen: nichts zu melden.",
        "In August Solingen's collection points were closed for rebuilding: nothing to report.",
        trap="nothing to report", kind="nothing_to_report",
    )  # fmt: skip
    running = {
        fraction: sum(figures.green_intake(script.seed, REMSCHEID, 2025, month)[fraction] for month in range(1, 9))
        for fraction in figures.GREEN_SHARES
    }
    script.send(
        "2025-09-08", "remscheid-betriebe", INTAKE, "2025-08", "Gruenabfall_RS_2025-08.csv",
        _wide_list(script.seed, "2025-08", sites=("Betriebshof",), amounts=running), "accepted_with_warnings",
        "Remscheid schickt die Summe seit Januar statt des Monats. Der Sprung fällt auf.",
        "Remscheid sends the sum since January instead of the month. The jump is noticed.",
        trap="cumulative instead of monthly", final="superseded",
    )  # fmt: skip
    script.send(
        "2025-09-12", "remscheid-betriebe", INTAKE, "2025-08", "Gruenabfall_RS_2025-08_korrigiert.csv",
        _wide_list(script.seed, "2025-08", sites=("Betriebshof",)), "accepted",
        "Die Korrektur enthält nur noch den August und ersetzt die erste Fassung ganz.",
        "The correction holds August only and replaces the first version as a whole.",
        trap="correction",
    )  # fmt: skip
    # Wuppertal's August never comes: its slot stays open and becomes overdue


def _treatment(script: _Script) -> None:
    for month, on in ((5, "2025-06-11"), (6, "2025-07-11"), (7, "2025-08-12")):
        script.send(
            on, "bergisch-kompost", TREATMENT, f"2025-{month:02d}", f"Plant_report_2025-{month:02d}.csv",
            _plant_report(script.seed, month), "accepted",
            f"Die gemeinsame Anlage meldet Monat {month:02d}/2025: was hereinkam, was hinausging, was verrottete.",
            f"The joint plant reports month {month:02d}/2025: what came in, what went out, what decomposed.",
            trap="quoted CSV, n/a" if month == 5 else None,
        )  # fmt: skip
    script.send(
        "2025-09-10", "bergisch-kompost", TREATMENT, "2025-08", "Plant_report_2025-08.csv",
        _plant_report(script.seed, 8, without_loss=True), "accepted_with_warnings",
        "Im August fehlt der Rotteverlust. Die Massenbilanz der Anlage geht nicht auf.",
        "In August the loss is missing. The plant's mass balance does not close.",
        trap="mass balance open",
    )  # fmt: skip


WORDS = {"woody": "holzig", "soft": "krautig", "mixed": "gemischt"}


def _parts(seed: int, city: City, month: int, sites: Sequence[str]) -> Iterable[tuple[str, date, str, int]]:
    """A month's intake as site, Monday, fraction and kilograms."""
    days = figures.mondays(2025, month)
    for fraction, kg in figures.green_intake(seed, city, 2025, month).items():
        chance = figures.dice(seed, "parts", city.name, month, fraction)
        for site, of_site in zip(sites, figures.split(kg, len(sites), chance), strict=True):
            for day, amount in zip(days, figures.split(of_site, len(days), chance), strict=True):
                yield site, day, fraction, amount


def _weighing_list(seed: int, month: int, words: Mapping[str, str] | None = None) -> bytes:
    rows = [("Annahmestelle", "Datum", "Fraktion", "Menge", "Einheit", "geschätzt")]
    for site, day, fraction, kg in _parts(seed, WUPPERTAL, month, ("Nord", "Süd")):
        unit, quantity, estimated = "kg", german(kg * 1000, 0), "nein"
        if fraction == "soft":
            unit, quantity, estimated = "m³", german(round(kg * 1000 / KG_PER_M3), 1), "ja"
        elif site == "Süd":
            unit, quantity = "t", german(kg)
        word = WORDS[fraction] if day.day > 7 else (words or {}).get(WORDS[fraction], WORDS[fraction])
        rows.append((site, f"{day:%d.%m.%Y}", word, quantity, unit, estimated))
    return delimited(rows, encoding="utf-8-sig", after=[SYNTHETIC])


def _gate_book(seed: int, month: int) -> bytes:
    def fill(sheet: Worksheet) -> None:
        sheet.title = f"{month:02d}-2025"
        sheet["A1"] = "Grünabfallannahme Solingen"
        rows: list[Sequence[Any]] = [("Stelle", "Tag", "Fraktion", "Menge", "Einheit", "geschätzt")]
        total = 0.0
        for site, day, fraction, kg in _parts(seed, SOLINGEN, month, ("Mitte", "Wald")):
            volume = round(kg / KG_PER_M3, 1)
            total += volume
            rows.append((site, day, WORDS[fraction], volume, "cbm", "ja"))
        rows.append(("Summe", None, None, round(total, 1), "cbm"))
        last = write_table(sheet, 3, rows)
        sheet.row_dimensions[5].hidden = True
        sheet.cell(row=last + 1, column=1, value=SYNTHETIC)

    return workbook(fill)


def _wide_list(
    seed: int, month: str, *, sites: Sequence[str] | None = None, amounts: Mapping[str, int] | None = None
) -> bytes:
    number = int(month[-2:])
    places = sites or (("Betriebshof", "Ost") if number <= 6 else ("Betriebshof",))
    amounts = amounts or figures.green_intake(seed, REMSCHEID, 2025, number)
    chance = figures.dice(seed, "wide", month)
    # the larger part of every fraction comes to the first site
    shares = [1.0] if len(places) == 1 else [chance.uniform(0.6, 0.7)]
    shares += [1 - shares[0]] * (len(places) - 1)
    rows: list[tuple[str, ...]] = [("Stelle", "Monat", "holzig [kg]", "krautig [kg]", "gemischt [kg]", "geschätzt")]
    for place, share in zip(places, shares, strict=True):
        cells = [english(round(amounts[fraction] * share) * 1000, 1) for fraction in ("woody", "soft", "mixed")]
        rows.append((place, month, *cells, "nein"))
    return delimited(rows, encoding="utf-8", after=[SYNTHETIC])


def _association_list(seed: int, month: int) -> bytes:
    codes = {"woody": "HG", "soft": "KG", "mixed": "MG"}
    rows = [("Stelle", "Gemeinde", "Monat", "Kennung", "Menge", "ME")]
    totals: dict[tuple[str, str], int] = {}
    for site, _, fraction, kg in _parts(seed, SOLINGEN, month, ("SG-01", "SG-02")):
        totals[site, fraction] = totals.get((site, fraction), 0) + kg
    rows += [
        (site, SOLINGEN.area_code, f"01.{month:02d}.2025", codes[fraction], german(kg), "Mg")
        for (site, fraction), kg in totals.items()
    ]
    return delimited(rows, delimiter="\t", encoding="utf-16", after=[SYNTHETIC])


def _plant_report(seed: int, month: int, *, without_loss: bool = False) -> bytes:
    day, plant = f"2025-{month:02d}-01", "PLANT-1"
    words = {"woody": "wood chips raw", "soft": "grass and leaves", "mixed": "garden mix"}
    rows = [("Month", "Plant", "Flow", "Origin", "Product", "Operation", "Net")]
    total = 0
    for city in CITIES:
        if month == 8 and city is SOLINGEN:
            continue  # its collection points were closed
        for fraction, kg in figures.green_intake(seed, city, 2025, month).items():
            total += kg
            operation = "R 12" if fraction == "woody" else "R 3"
            rows.append((day, plant, "IN", city.area_code[1:], words[fraction], operation, english(kg)))
    outputs = (("compost 0-20", "R 3", 0.36), ("fuel chips", "R 1", 0.22), ("screen overflow", "D 10", 0.04))
    left = total
    for product, operation, share in outputs:
        kg = round(total * share)
        left -= kg
        rows.append((day, plant, "OUT", "n/a", product, operation, english(kg)))
    stock = round(total * 0.05)
    rows.append((day, plant, "STOCK", "n/a", "n/a", "n/a", english(stock)))
    if not without_loss:
        rows.append((day, plant, "LOSS", "n/a", "n/a", "n/a", english(left - stock)))
    return delimited(rows, delimiter=",", encoding="utf-8", after=[SYNTHETIC], quote_all=True)


# --- load profiles ---


def _load_profiles(script: _Script) -> None:
    wuppertal, solingen, remscheid = POINTS
    script.send(
        "2025-04-08", wuppertal, LOAD, "2025-03", _kw_name(wuppertal, "2025-03"), _kw_list(script.seed, wuppertal, "2025-03"), "accepted",
        "Lastgang des Rathauses für März: Leistung in kW, Zeit am Ende der Viertelstunde, am 30. März nur 92 Werte.",
        "The town hall's load profile for March: power in kW, time at the end of the quarter hour, 92 values on 30 March.",
        trap="92 intervals, interval end label, kW",
    )  # fmt: skip
    script.send(
        "2025-11-06", wuppertal, LOAD, "2025-10", _kw_name(wuppertal, "2025-10"),
        _kw_list(script.seed, wuppertal, "2025-10", column="Arbeit [kWh]"), "rejected",
        "Im Oktober steht „Arbeit [kWh]“ über derselben Spalte. Das wäre ein Fehler um den Faktor vier, also wird nachgefragt.",
        "In October the same column is headed “Arbeit [kWh]”. That would be wrong by a factor of four, so we ask back.",
        trap="kW sent as kWh",
    )  # fmt: skip
    script.send(
        "2025-11-07", wuppertal, LOAD, "2025-10", _kw_name(wuppertal, "2025-10"), _kw_list(script.seed, wuppertal, "2025-10"), "accepted",
        "Mit richtiger Überschrift: 100 Werte am 26. Oktober, alle da.",
        "With the right heading: 100 values on 26 October, all there.",
        trap="100 intervals",
    )  # fmt: skip
    script.send(
        "2025-11-10", solingen, LOAD, "2025-10", "Lastgang_Solingen_2025-10.csv", _kwh_list(script.seed, solingen, "2025-10"),
        "accepted_with_warnings",
        "In Solingens Oktober fehlen zwei Stunden eines Tages, und einige Werte sind Ersatzwerte.",
        "Solingen's October lacks two hours of one day, and some values are substitutes.",
        trap="gap, substitute values",
    )  # fmt: skip
    first = _profile(script.seed, remscheid, "2025-10", base_kw=28, peak_kw=130)
    script.send(
        "2025-11-04", remscheid, LOAD, "2025-10", "MSCONS_TL_2025-10_0001.txt",
        _message_file(remscheid, [Reading(r.start, r.end, r.energy_wh, "Z18") for r in first], "RS202510A", "2025-11-04"), "accepted",
        "Remscheid schickt zuerst vorläufige Werte (Z18) …", "Remscheid sends provisional values (Z18) first …",
        trap="provisional values", final="superseded",
    )  # fmt: skip
    chance = figures.dice(script.seed, "final", remscheid)
    true = [
        Reading(r.start, r.end, r.energy_wh, "67" if 900 <= n < 930 else "220")
        for n, r in enumerate(_adjusted(first, chance))
    ]
    script.send(
        "2025-11-14", remscheid, LOAD, "2025-10", "MSCONS_TL_2025-10_0002.txt",
        _message_file(remscheid, true, "RS202510B", "2025-11-14"), "accepted",
        "… und zehn Tage später die wahren. Sie ersetzen die vorläufigen, die alte Fassung bleibt nachlesbar.",
        "… and ten days later the true ones. They replace the provisional ones; the old version can still be read.",
        trap="provisional, then true",
    )  # fmt: skip
    november = _profile(script.seed, remscheid, "2025-11", base_kw=30, peak_kw=140)
    doubled = [Reading(r.start, r.end, r.energy_wh * 2) for r in november]
    point = POINTS[remscheid]
    script.send(
        "2025-12-05", remscheid, LOAD, "2025-11", "MSCONS_TL_2025-11_0001.txt",
        mscons(
            [
                Message("RS202511A", point, OBIS, doubled),
                Message("RS202511S", point, OBIS, cancels="RS202511A"),
                Message("RS202511B", point, OBIS, november),
            ],
            created_at=datetime(2025, 12, 5, 6, tzinfo=UTC), reference="RS202511",
        ), "accepted",
        "Eine Übertragung mit drei Nachrichten: falsche Werte, ihre Stornierung, die richtigen Werte.",
        "One interchange with three messages: wrong values, their cancellation, the right values.",
        trap="cancellation before correction",
    )  # fmt: skip
    # Solingen's November never comes: its slot stays open and becomes overdue


def _profile(seed: int, supplier: str, month: str, *, base_kw: float = 35, peak_kw: float = 160) -> list[Reading]:
    return figures.load(seed, POINTS[supplier], month, base_kw=base_kw, peak_kw=peak_kw)


def _adjusted(readings: Iterable[Reading], chance: random.Random) -> list[Reading]:
    """The same profile a little different: what validation makes of provisional values."""
    return [Reading(r.start, r.end, round(r.energy_wh * chance.uniform(0.99, 1.01))) for r in readings]


def _kw_name(supplier: str, month: str) -> str:
    return f"Lastgang_{month}_{POINTS[supplier]}.csv"


def _kw_list(seed: int, supplier: str, month: str, *, column: str = "Leistung [kW]") -> bytes:
    """Power in kW at the end of each quarter hour, in winter time all year."""
    winter = ZoneInfo("Etc/GMT-1")
    rows = [("Datum", "Uhrzeit", column, "Status")]
    for reading in _profile(seed, supplier, month):
        end = reading.end.astimezone(winter)
        rows.append((f"{end:%d.%m.%Y}", f"{end:%H:%M}", german(reading.energy_wh * 4), "W"))
    before = ["Lastgang", f"Messlokation: {POINTS[supplier]}", "Zeitbezug: MEZ ganzjährig, Ende des Intervalls",
              "Wert: mittlere Leistung je Viertelstunde", f"Zeitraum: {month}", ""]  # fmt: skip
    return delimited(rows, before=before, after=[SYNTHETIC])


def _kwh_list(seed: int, supplier: str, month: str) -> bytes:
    zone = figures.ZONE
    rows = [("Messlokation", "OBIS", "Beginn", "Arbeit [kWh]", "Status")]
    for reading in _profile(seed, supplier, month, base_kw=22, peak_kw=95):
        begin = reading.start.astimezone(zone)
        if begin.day == 14 and begin.hour in (3, 4):
            continue
        status = "E" if begin.day == 14 and begin.hour in (5, 6) else "W"
        rows.append((POINTS[supplier], OBIS, begin.isoformat(), f"{reading.energy_wh / 1000:.3f}", status))
    return delimited(rows, encoding="utf-8", after=[SYNTHETIC])


def _message_file(supplier: str, readings: Sequence[Reading], document: str, on: str) -> bytes:
    created = datetime.fromisoformat(f"{on}T06:00:00+00:00")
    return mscons([Message(document, POINTS[supplier], OBIS, readings)], created_at=created, reference=document)
