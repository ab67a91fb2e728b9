"""By which dialect a file is read: shown with the reason, corrected by whoever hands in, and kept with the delivery."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from openpyxl import load_workbook
from typer.testing import CliRunner

from quality.errors import NotAgreed
from quality.judging import work_queue
from quality.replay import candidates, replay
from tests.portal.conftest import Somebody, Stage, stage_over
from tests.portal.test_api import Program
from tests.support.bench import GOOD, PLAIN, WORKS, written
from tests.support.profiles import settings_for
from verbund.cli import app

PERIOD, ROW = GOOD["waste_balance"]
FIRST, SECOND = "plain-waste-balance", "other-waste-balance"
#: As the first, under other headings, with commas between and points in numbers.
OTHER = """id: other-waste-balance
dataset: waste_balance
recognise: {file_name: 'neu'}
format: {type: csv, encoding: cp1252, delimiter: ",", header: {row: 2}}
columns:
  area_code: Gemeinde
  year: Jahr
  waste_code: Abfall
  flow_code: Weg
  collection_code: Sammlung
  treatment_code: Behandlung
  quantity_t: Menge
"""
HEADINGS = "Gemeinde,Jahr,Abfall,Weg,Sammlung,Behandlung,Menge"


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """The portal over a region in which one supplier may deliver one dataset in two ways."""
    home = tmp_path_factory.mktemp("dialects")
    pack = shutil.copytree(PLAIN, home / "pack")
    (pack / "dialects" / "other.yml").write_text(OTHER)
    mandates = (pack / "mandates.yml").read_text()
    both = mandates.replace("plain-works, dataset: waste_balance, dialects: [plain-waste-balance]",
                            "plain-works, dataset: waste_balance, dialects: [plain-waste-balance, other-waste-balance]")  # fmt: skip
    assert both != mandates
    (pack / "mandates.yml").write_text(both)
    settings = settings_for(home / "home", pack)
    with stage_over(settings) as made:
        yield made


def other(year: str, quantity: str = "5.5") -> bytes:
    """A row in the second dialect."""
    return f"Abfallbilanz\n{HEADINGS}\n05124000,{year},200301,generated,kerbside,none,{quantity}\n".encode("cp1252")


def sent(somebody: Somebody, path: str, content: bytes, name: str, **told: str) -> str:
    answer = somebody.client.post(
        f"/{path}/{WORKS}", data={"form": somebody.form, **told}, files={"file": (name, content, "text/csv")}
    )
    assert answer.status_code in (200, 303), answer.text
    return str(answer.headers.get("location") or answer.text)


def words(page: str) -> str:
    return " ".join(page.split())


def test_the_verdict_says_how_the_file_was_read_and_why(stage: Stage) -> None:
    clerk = stage.signed_in("clerk")
    page = sent(clerk, "abgeben", written([ROW]).encode(), "x.csv", dataset="waste_balance", period=PERIOD)
    work_queue(stage.desk)
    shown = words(clerk.client.get(page).text)
    assert (
        "Gelesen als: CSV-Datei, Trennzeichen Semikolon, Zeichensatz UTF-8, Überschriften in der ersten Zeile" in shown
    )
    assert "Von 7 vereinbarten Überschriften stehen 7 in der Datei" in shown
    assert "gehört zu keiner vereinbarten Dateiform" in shown and "wählen Sie eine andere Dateiform" in shown


def test_what_was_read_wrongly_is_handed_in_again_as_something_else_and_stays_so(stage: Stage) -> None:
    clerk, slot = stage.signed_in("clerk"), {"dataset": "waste_balance", "period": "2019"}
    wrong = sent(clerk, "abgeben", other("2019"), "x.csv", **slot)
    work_queue(stage.desk)
    assert "keine gefunden" in clerk.client.get(wrong).text
    assert stage.desk.receipt(wrong.rpartition("/")[2])["state"] == "rejected"

    # the same bytes are no duplicate: they are to be read in another way
    right = sent(clerk, "abgeben", other("2019"), "x.csv", **slot, dialect=SECOND)
    work_queue(stage.desk)
    delivery = right.rpartition("/")[2]
    document = stage.desk.receipt(delivery)
    assert (document["state"], document["rows"]["accepted"]) == ("accepted", 1)
    assert (document["read_as"]["dialect"], document["read_as"]["why"]) == (SECOND, "chosen")
    shown = words(clerk.client.get(right).text)
    assert "Trennzeichen Komma, Zeichensatz Windows-1252, Überschriften in Zeile 2" in shown
    assert "beim Abgeben gewählt" in shown
    assert "beim Abgeben gewählt" in clerk.client.get(f"{right}/quittung.html").text
    # and a third time, in the same way, they are
    again = sent(clerk, "abgeben", other("2019"), "x.csv", **slot, dialect=SECOND)
    assert stage.desk.ledger.delivery(again.rpartition("/")[2]).duplicate_of == delivery

    # nothing holds now that did not hold then, and judging again comes to the same
    assert delivery not in {view.delivery_id for view in candidates(stage.desk, supplier=WORKS)}
    [told] = replay(stage.desk, [stage.desk.ledger.delivery(delivery)], dry_run=True)
    assert not told.differs
    read_as = stage.desk.rejudge(delivery).verdict.read_as
    assert read_as is not None and read_as.dialect == SECOND


def test_the_proposal_shows_the_dialect_and_it_can_be_corrected(stage: Stage) -> None:
    clerk = stage.signed_in("clerk")
    page = sent(clerk, "abgeben", other("2018"), "liste.csv")
    shown = words(page)
    assert "Erkannt als: CSV-Datei, Trennzeichen Komma, Zeichensatz Windows-1252, Überschriften in Zeile 2." in shown
    assert "zum Beispiel „Gemeinde“" in shown
    assert f'<option value="{SECOND}" selected>' in shown
    [token] = re.findall(r'name="datei\.([^"]+)"', page)

    def confirmed(dialect: str, dataset: str = "waste_balance") -> tuple[int, str]:
        answer = clerk.post(
            f"/abgeben/{WORKS}/erkannt",
            **{f"datei.{token}": "1", f"dataset.{token}": dataset, f"period.{token}": "2018",
               f"dialect.{token}": dialect, f"proposed.{token}": SECOND},
        )  # fmt: skip
        return answer.status_code, answer.headers.get("location") or answer.text

    code, text = confirmed("no-such-dialect")
    assert code == 422 and "nicht vereinbart" in text
    code, page = confirmed(SECOND)
    assert code == 303
    work_queue(stage.desk)
    assert stage.desk.receipt(page.rpartition("/")[2])["state"] == "accepted"


def test_a_proposal_for_another_dataset_is_no_choice(stage: Stage) -> None:
    clerk = stage.signed_in("clerk")
    [token] = re.findall(r'name="datei\.([^"]+)"', sent(clerk, "abgeben", other("2016"), "liste.csv"))
    answer = clerk.post(
        f"/abgeben/{WORKS}/erkannt",
        **{f"datei.{token}": "1", f"dataset.{token}": "population", f"period.{token}": "2016",
           f"dialect.{token}": SECOND, f"proposed.{token}": SECOND},
    )  # fmt: skip
    assert answer.status_code == 303
    assert stage.desk.ledger.delivery(answer.headers["location"].rpartition("/")[2]).dialect is None


def test_checking_first_says_and_takes_it_too(stage: Stage) -> None:
    clerk, slot = stage.signed_in("clerk"), {"dataset": "waste_balance", "period": "2017"}
    assert "keine gefunden" in sent(clerk, "pruefen", other("2017"), "x.csv", **slot)
    page = words(sent(clerk, "pruefen", other("2017"), "x.csv", **slot, dialect=SECOND))
    assert "beim Abgeben gewählt" in page and f"dialect={SECOND}" in page
    assert f'<option value="{SECOND}" selected>' in clerk.client.get(f"/abgeben/{WORKS}?dialect={SECOND}").text


def test_only_what_is_agreed_can_be_chosen(stage: Stage, tmp_path: Path) -> None:
    clerk = stage.signed_in("clerk")
    for path in ("abgeben", "pruefen"):
        answer = clerk.client.post(
            f"/{path}/{WORKS}", data={"form": clerk.form, "dataset": "population", "period": "2024", "dialect": SECOND},
            files={"file": ("x.csv", b"a;b\n", "text/csv")},
        )  # fmt: skip
        assert answer.status_code == 422 and "nicht vereinbart" in answer.text
    file = tmp_path / "x.csv"
    file.write_bytes(other("2015"))
    with pytest.raises(NotAgreed, match=FIRST):
        stage.desk.receive(file, WORKS, "waste_balance", "2015", file_name="x.csv", who="t", dialect="plain-population")


def test_where_one_is_agreed_nothing_is_to_choose(stage: Stage) -> None:
    somebody = stage.signed_in("foreign clerk")
    assert 'name="dialect"' not in somebody.client.get("/abgeben/plain-third").text
    assert SECOND not in somebody.client.get("/abgeben/plain-third").text


def test_a_program_chooses_too(stage: Stage) -> None:
    program = Program(stage)
    taken = program.send(other("2014"), period="2014", dialect=SECOND)
    assert taken.status_code == 202, taken.text
    work_queue(stage.desk)
    told = program.get(taken.headers["location"]).json()
    assert (told["state"], told["read_as"]["dialect"]) == ("accepted", SECOND)
    refused = program.send(other("2013"), period="2013", dialect="plain-population")
    assert refused.status_code == 422 and FIRST in refused.json()["detail"]


def test_so_does_the_command_line(stage: Stage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = stage.desk.settings
    monkeypatch.setenv("VERBUND_HOME", str(settings.home))
    monkeypatch.setenv("VERBUND_REGION", str(settings.region_dir))
    file = tmp_path / "x.csv"
    file.write_bytes(other("2012"))
    slot = [str(file), "--supplier", WORKS, "--dataset", "waste_balance", "--period", "2012", "--json"]
    for command in ("check", "deliver"):
        done = CliRunner().invoke(app, [command, *slot, "--dialect", SECOND])
        assert done.exit_code == 0, done.output
        told = json.loads(done.stdout)
        assert (told["state"], told["read_as"]["dialect"]) == ("accepted", SECOND)
    assert CliRunner().invoke(app, ["check", *slot, "--dialect", "plain-population"]).exit_code not in (0, 1)


def test_mended_rows_are_read_as_what_they_go_back_to_was(stage: Stage, tmp_path: Path) -> None:
    clerk, slot = stage.signed_in("clerk"), {"dataset": "waste_balance", "period": "2011"}
    content = other("2011") + b"05124000,2011,999999,generated,kerbside,none,7.5\n"
    page = sent(clerk, "abgeben", content, "x.csv", **slot, dialect=SECOND)
    work_queue(stage.desk)
    assert stage.desk.receipt(page.rpartition("/")[2])["state"] == "partly_accepted"
    book = tmp_path / "back.xlsx"
    book.write_bytes(clerk.client.get(f"{page}/quittung.xlsx").content)
    workbook = load_workbook(book)
    [cell] = [cell for row in workbook["Zu korrigieren"].iter_rows() for cell in row if str(cell.value) == "999999"]
    cell.value = "150101"
    workbook.save(book)
    again = sent(clerk, "abgeben", book.read_bytes(), book.name, **slot)
    work_queue(stage.desk)
    told = stage.desk.receipt(again.rpartition("/")[2])
    assert (told["state"], told["rows"]["accepted"]) == ("accepted", 2), told["findings"]
    assert told["read_as"]["dialect"] == SECOND
