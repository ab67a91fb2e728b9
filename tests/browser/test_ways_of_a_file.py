"""From an invitation to accepted figures, as a clerk does it: in a browser, with a spreadsheet program beside it."""

from __future__ import annotations

import io
import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from openpyxl import load_workbook

from tests.browser.conftest import Somebody, Stage, t

SOLINGEN, WUPPERTAL, REMSCHEID = "solingen-betriebe", "wuppertal-abfall", "remscheid-stadtwerke"
KOMPOST = "bergisch-kompost"
#: What is typed over in the workbook: a code nobody knows, a quantity that is no number.
WRONG = {"A7": "999999", "D8": "viel"}


def faulty_book(good: bytes, year: str) -> tuple[bytes, dict[str, str]]:
    """Solingen's workbook for another year with two cells spoilt; gives it and what belongs in place of the wrong words."""
    book = load_workbook(io.BytesIO(good))
    sheet = book["Bilanz"]
    sheet["A1"] = f"Abfallbilanz der Stadt Solingen {year}"
    right = {wrong: str(sheet[place].value).replace(".", ",") for place, wrong in WRONG.items()}
    for place, wrong in WRONG.items():
        sheet[place] = wrong
    saved = io.BytesIO()
    book.save(saved)
    return saved.getvalue(), right


def by_openpyxl(file: Path, right: dict[str, str]) -> Path:
    book = load_workbook(file)
    for sheet in book:
        for row in sheet.iter_rows():
            for cell in row:
                if cell.value in right:
                    cell.value = right[cell.value]
    book.save(file)
    return file


def by_libreoffice(file: Path, right: dict[str, str]) -> Path:
    """Opened and saved by LibreOffice; between, words are replaced in its own XML, as its find and replace does."""
    flat = soffice(file, "fods")
    text = flat.read_text(encoding="utf-8")
    for wrong, value in right.items():
        assert f">{wrong}<" in text
        text = text.replace(f">{wrong}<", f">{value}<")
    flat.write_text(text, encoding="utf-8")
    return soffice(flat, "xlsx")


def soffice(file: Path, ending: str) -> Path:
    into = file.parent / "saved"
    profile = f"-env:UserInstallation=file://{file.parent.parent}/profile"
    command = ["soffice", profile, "--headless", "--convert-to", ending, "--outdir", str(into), str(file)]
    subprocess.run(command, check=True, capture_output=True, timeout=120)
    return into / f"{file.stem}.{ending}"


def outcome(somebody: Somebody) -> str:
    """The kind of the alert a verdict begins with."""
    told = somebody.page.locator("#verdict .kern-alert").first.get_attribute("class") or ""
    return told.rpartition("--")[2]


@pytest.mark.parametrize(
    ("who", "year", "mend", "more"),
    [
        ("erika.muster", "2022", by_openpyxl, {}),
        ("jana.beispiel", "2021", by_libreoffice, {}),
        ("otto.ohne", "2020", by_openpyxl, {"java_script_enabled": False}),
    ],
    ids=["openpyxl", "libreoffice", "without JavaScript"],
)
def test_a_faulty_workbook_is_mended_and_sent_back_as_it_is(
    stage: Stage, somebody: Callable[..., Somebody], sent: Callable[[str], bytes], files: Callable[[str, bytes], Path],
    tmp_path: Path, who: str, year: str, mend: Callable[[Path, dict[str, str]], Path], more: dict[str, object],
) -> None:  # fmt: skip
    clerk = somebody(**more)
    clerk.accept(stage.invitation(who, "clerk", SOLINGEN))
    clerk.page.get_by_role("heading", name=t("duties.title")).wait_for()
    if year == "2022":
        clerk.picture("pflichten")
        clerk.open(f"/abgeben/{SOLINGEN}")
        clerk.picture("abgeben")
    content, right = faulty_book(sent("Abfallbilanz_Solingen_2023.xlsx"), year)
    clerk.hand_in(files(f"Abfallbilanz_Solingen_{year}.xlsx", content))
    assert "teilweise" in clerk.verdict()
    if year == "2022":
        clerk.picture("ergebnis")
        clerk.picture("stellen", clerk.page.get_by_role("heading", name=t("verdict.findings")))
    said = clerk.page.get_by_role("main").inner_text()
    for wrong, column in zip(WRONG.values(), ("Abfallart / AVV", "Aufkommen / gesamt [t]"), strict=True):
        assert wrong in said and column in said
    back = mend(clerk.download(t("verdict.file_xlsx"), tmp_path), right)
    clerk.page.get_by_role("link", name=t("verdict.again")).click()
    clerk.page.get_by_label(t("hand_in.file"), exact=True).set_input_files(back)
    clerk.press(t("hand_in.do"))
    clerk.verdict()
    assert outcome(clerk) == "success", clerk.page.get_by_role("main").inner_text()
    listed = clerk.page.get_by_role("listitem")
    assert listed.filter(has_text=t("verdict.this", attempt=2)).filter(has_text=t("state.accepted")).count() == 1
    assert listed.filter(has_text=t("state.superseded")).count() == 1


def test_a_text_in_cp1252_is_answered_in_its_own_words_and_its_rows_go_back_alone(
    stage: Stage, somebody: Callable[..., Somebody], sent: Callable[[str], bytes], files: Callable[[str, bytes], Path],
    tmp_path: Path,
) -> None:  # fmt: skip
    clerk = somebody()
    clerk.accept(stage.invitation("jens.mueller", "clerk", WUPPERTAL))
    good = sent("Abfallbilanz_Wuppertal_2023.csv").replace(b"2023;", b"2022;")
    name = "Abfallbilanz_Wuppertal_2022.csv"
    clerk.hand_in(files(name, good.replace(b"entsorgt", "Küchenabfälle".encode("cp1252"), 1)))
    assert "teilweise" in clerk.verdict()
    said = clerk.page.get_by_role("main").inner_text()
    assert "Küchenabfälle" in said and "Mengenstrom" in said
    back = by_openpyxl(clerk.download(t("verdict.file_xlsx"), tmp_path), {"Küchenabfälle": "entsorgt"})
    clerk.hand_in(back, dataset="waste_balance", period="2022")
    clerk.verdict()
    assert outcome(clerk) == "success"


def test_messages_of_the_energy_market_are_taken(
    stage: Stage, somebody: Callable[..., Somebody], sent: Callable[[str], bytes], files: Callable[[str, bytes], Path]
) -> None:
    clerk = somebody()
    clerk.accept(stage.invitation("anna.netz", "clerk", REMSCHEID))
    name = "MSCONS_TL_2025-11_0001.txt"
    clerk.hand_in(files(name, sent(name)))
    clerk.verdict()
    assert outcome(clerk) == "success"
    assert "2.880" in clerk.page.get_by_role("main").inner_text()


def test_a_file_for_the_wrong_dataset_is_said_to_be_one(
    stage: Stage, somebody: Callable[..., Somebody], sent: Callable[[str], bytes], files: Callable[[str, bytes], Path]
) -> None:
    clerk = somebody()
    clerk.accept(stage.invitation("paul.falsch", "clerk", WUPPERTAL))
    balance = files("export.csv", sent("Abfallbilanz_Wuppertal_2023.csv"))
    clerk.hand_in(balance)
    # the name does not say it: what the content says is proposed, with the reason
    page = clerk.page
    page.get_by_role("heading", name=t("recognised.title")).wait_for()
    dataset, period = page.get_by_label(t("duties.what")), page.get_by_label(t("duties.period"))
    assert (dataset.input_value(), period.input_value()) == ("waste_balance", "2023")
    why = page.locator(f"#{dataset.get_attribute('aria-describedby')}").inner_text()
    assert why.startswith(t("recognised.why"))
    for reason in ("Die Spalten „Jahr“, ", "zu Abfallbilanz.", "Die meisten Zeilen sind aus 2023."):
        assert reason in why, why
    # and corrected here by mistake
    dataset.select_option("green_waste_intake")
    period.fill("2025-08")
    clerk.press(t("recognised.do"))
    clerk.verdict()
    assert outcome(clerk) == "danger"
    assert clerk.page.get_by_text(t("verdict.do")).count() >= 1
    clerk.page.get_by_role("link", name=t("verdict.again")).wait_for()


def test_nothing_to_report_is_signed_with_a_reason(stage: Stage, somebody: Callable[..., Somebody]) -> None:
    lead = somebody()
    lead.accept(stage.invitation("rita.leitung", "lead", WUPPERTAL))
    lead.page.get_by_role("link", name=f"{t('declare.title')} Grünabfall-Annahme 2025-07").click()
    lead.page.get_by_label(t("declare.reason")).fill("Die Annahmestelle war geschlossen.")
    lead.press(t("declare.do"))
    lead.page.locator("#verdict .kern-alert--success").wait_for()
    assert t("state.nothing_to_report") in lead.page.get_by_role("main").inner_text().lower()


def test_a_figure_leads_down_to_the_line_of_the_file_and_back_up(
    stage: Stage, somebody: Callable[..., Somebody], sent: Callable[[str], bytes]
) -> None:
    clerk = somebody()
    clerk.accept(stage.invitation("ines.zahl", "clerk", WUPPERTAL))
    page, main = clerk.page, clerk.page.get_by_role("main")
    page.get_by_role("banner").get_by_role("link", name=t("figures.title"), exact=True).click()
    page.get_by_role("link", name="2024", exact=True).click()
    main.get_by_role("row").filter(has_text="Restabfall").get_by_role("link").first.click()
    figure = page.url
    page.wait_for_load_state()
    assert page.locator("main img").first.evaluate("image => image.complete && image.naturalWidth > 0")
    clerk.picture("zahl")
    main.get_by_role("link", name=f"{WUPPERTAL}--waste_balance--2024--03").last.click()
    main.locator("tbody").get_by_role("link").first.click()
    heading = main.get_by_role("heading").first.inner_text()
    line = int("".join(letter for letter in heading if letter.isdigit()))
    content = sent("Abfallbilanz_Wuppertal_2024_endgueltig.csv").decode("cp1252").splitlines()
    said = main.inner_text()
    for name, value in zip(content[0].split(";"), content[line - 1].split(";"), strict=True):
        # what is empty is left out
        assert not value or (name in said and value in said)
    page.get_by_role("link", name=t("figures.became")).click()
    main.locator(f"a[href='{figure.removeprefix(stage.address)}']").first.click()
    assert page.url == figure


def test_a_small_table_is_entered_in_the_browser(stage: Stage, somebody: Callable[..., Somebody]) -> None:
    clerk = somebody()
    clerk.accept(stage.invitation("karla.kompost", "clerk", KOMPOST))
    page = clerk.page
    clerk.open(f"/eingeben/{KOMPOST}")
    page.get_by_label(t("duties.period")).first.fill("2025-05")
    clerk.press(t("entry.begin"))
    line = {
        "plant_id": "PLANT-1", "month_date": "01.05.2025", "flow_code": "input", "source_area_code": "05124000",
        "product_code": "garden mix", "treatment_code": "R3", "quantity_t": "viel",
    }  # fmt: skip
    for field, value in line.items():
        cell = page.locator(f"[name='r0.{field}']")
        if cell.evaluate("cell => cell.tagName") == "SELECT":
            cell.select_option(value)
        elif cell.is_editable():
            cell.fill(value)
    # the line is looked at when the cell is left
    page.keyboard.press("Tab")
    page.locator("#notes-0").get_by_text("viel").wait_for()
    page.locator("[name='r0.quantity_t']").fill("120,5")
    page.keyboard.press("Tab")
    page.locator("#notes-0:not(:has-text('viel'))").wait_for(state="attached")
    clerk.press(t("entry.save"))
    page.get_by_text(t("entry.checked")).wait_for()
    clerk.picture("eingeben")
    clerk.press(t("entry.hand_in"))
    clerk.verdict()
    assert outcome(clerk) in ("success", "warning")
    assert page.locator("dd", has_text=re.compile(r"^1$")).count() >= 1
