"""What became of it: figures down to lines and back, seen by whom their access level names, and public pages."""

from __future__ import annotations

import io
import re
from pathlib import Path

import polars as pl
import pytest

from portal import plots
from portal.pages.figures import SVG_POLICY
from quality.judging import work_queue
from storage.threads import Speaker, Threads, Topic
from tests.portal.conftest import Stage
from tests.support.bench import GOOD, SOLINGEN, THIRD, WORKS, WUPPERTAL, written
from tests.support.released import small_release

PERIOD, ROW = GOOD["waste_balance"]
OWN, FOREIGN = f"{WORKS}--waste_balance--2024--01", f"{THIRD}--waste_balance--2024--01"
LOADS = f"{WORKS}--load_profile--2025-05--01"
OPEN, SHARED, OWNERS = f"K-02/{WUPPERTAL}/2024", f"K-40/{WUPPERTAL}/2024", f"K-22-peak/{WUPPERTAL}/2025-05"


@pytest.fixture(scope="module", autouse=True)
def released(stage: Stage) -> None:
    """A delivery that was judged, a load profile, and a release that uses both and another supplier's."""
    lines = [{**ROW, "quantity_t": "20525"}, {**ROW, "waste_code": "200108", "quantity_t": "20.000"}]
    for dataset, period, rows in (
        ("waste_balance", PERIOD, lines),
        ("load_profile", "2025-05", [GOOD["load_profile"][1]]),
    ):
        stage.desk.receive(
            io.BytesIO(written(rows).encode()), WORKS, dataset, period, file_name=f"{dataset}.csv", who="test"
        )
    work_queue(stage.desk)
    small_release(stage.desk.settings, own=OWN, foreign=FOREIGN, loads=LOADS)


def get(stage: Stage, name: str, path: str) -> tuple[int, str]:
    client = stage.browser() if name == "nobody" else stage.signed_in(name).client
    answer = client.get(path)
    return answer.status_code, answer.text


def test_a_clerk_walks_from_the_figure_to_the_line_of_the_file(stage: Stage) -> None:
    page = get(stage, "clerk", f"/zahlen/{WORKS}")[1]
    assert f"/zahl/{OWNERS}" in page, "the newest year comes first"
    page = get(stage, "clerk", f"/zahlen/{WORKS}?jahr=2024")[1]
    assert f"/zahl/{OPEN}" in page and "400 kg je Einwohner" in page
    page = get(stage, "clerk", f"/zahl/{OPEN}")[1]
    assert f"/zahl/{OPEN}/zeilen/{OWN}" in page
    page = get(stage, "clerk", f"/zahl/{OPEN}/zeilen/{OWN}")[1]
    assert "waste_balance.csv" in page and f"/lieferung/{OWN}/zeile/3" in page and "20.000" in page
    page = get(stage, "clerk", f"/lieferung/{OWN}/zeile/3")[1]
    assert "200108" in page and "quantity_t" in page


def test_the_verdict_leads_to_the_figures_of_a_delivery(stage: Stage) -> None:
    assert f"/lieferung/{OWN}/zahlen" in get(stage, "clerk", f"/lieferung/{OWN}")[1]
    page = get(stage, "clerk", f"/lieferung/{OWN}/zahlen")[1]
    assert f"/zahl/{OPEN}" in page and f"/zahl/K-02/{SOLINGEN}/2024" not in page


@pytest.mark.parametrize(
    ("path", "let_in"),
    [
        (f"/zahl/{OPEN}", {"clerk", "foreign lead", "observer", "coordinator", "engineer"}),
        (f"/zahl/{SHARED}", {"clerk", "foreign lead", "observer", "coordinator", "engineer"}),
        (f"/zahl/{OWNERS}", {"clerk", "engineer"}),
        (f"/bild/reihe/{OPEN}", {"clerk", "foreign lead", "observer", "coordinator", "engineer"}),
        (f"/bild/reihe/{OWNERS}", {"clerk", "engineer"}),
        (f"/bild/vergleich/{OWNERS}", set()),
        (f"/zahl/{OPEN}/zeilen/{OWN}", {"clerk", "coordinator", "engineer"}),
        (f"/zahl/{OPEN}/zeilen/{FOREIGN}", set()),
        (f"/zahl/{OWNERS}/zeilen/{LOADS}", {"clerk", "engineer"}),
        (f"/lieferung/{LOADS}/zeile/2", {"clerk", "engineer"}),
        (f"/zahl/K-02/{WUPPERTAL}/1999", set()),
        (f"/offen/bild/reihe/{OPEN}", {"nobody", "clerk", "foreign lead", "observer", "coordinator", "engineer"}),
        (f"/offen/bild/reihe/{SHARED}", set()),
        (f"/offen/bild/reihe/{OWNERS}", set()),
        ("/offen/kennzahl/K-02", {"nobody", "clerk", "foreign lead", "observer", "coordinator", "engineer"}),
        ("/offen/kennzahl/K-40", set()),
        ("/offen/daten/parquet/indicators", set()),
        ("/offen/daten/csv/waste_balance", set()),
        ("/offen/daten/csv/..%2f..%2fledger", set()),
        ("/offen/daten/zip/open_indicators", set()),
    ],
)
def test_a_figure_is_seen_by_whom_its_access_level_names(stage: Stage, path: str, let_in: set[str]) -> None:
    cast = ("nobody", "clerk", "foreign lead", "observer", "coordinator", "engineer")
    assert {name for name in cast if get(stage, name, path)[0] == 200} == let_in


def test_rows_of_others_are_named_nowhere(stage: Stage) -> None:
    """A figure of the region uses both suppliers' rows; each sees the way to its own."""
    seen = {name: get(stage, name, "/zahl/K-02/plain/2024")[1] for name in ("clerk", "foreign lead", "coordinator")}
    assert OWN in seen["clerk"] and FOREIGN not in seen["clerk"]
    assert FOREIGN in seen["foreign lead"] and OWN not in seen["foreign lead"]
    assert OWN in seen["coordinator"] and FOREIGN in seen["coordinator"]
    assert get(stage, "foreign lead", f"/zahlen/{THIRD}")[1].count(f"/{WUPPERTAL}/") == 0


def test_an_objection_marks_the_figure_while_it_is_open(stage: Stage) -> None:
    """Everybody who sees the figure sees the mark; what was said, its own supplier and the coordination."""
    threads, works = Threads(stage.desk.settings.ledger_url), Speaker("test", "Test", "supplier")
    path = f"/zahl/{SHARED}"
    assert f"/fragen/{WORKS}/neu?zahl={SHARED}" in get(stage, "clerk", path)[1]
    thread = threads.open(Topic(WORKS, figure=SHARED), "contest", works, "Die Frist war eine andere.").thread_id
    seen = {name: get(stage, name, path)[1] for name in ("clerk", "foreign clerk", "observer", "coordinator")}
    assert all("offener Einspruch" in page for page in seen.values())
    assert {name for name, page in seen.items() if f"/fragen/{WORKS}/{thread}" in page} == {"clerk", "coordinator"}
    threads.say(thread, "decide", Speaker("other", "Other", "coordination"), "Sie war es.", decision="upheld")
    threads.close()
    assert "offener Einspruch" not in get(stage, "observer", path)[1]


def test_a_picture_is_svg_with_a_table_behind_it(stage: Stage) -> None:
    client = stage.signed_in("clerk").client
    answer = client.get(f"/bild/vergleich/{OPEN}")
    assert answer.headers["content-type"] == "image/svg+xml"
    assert answer.headers["content-security-policy"] == SVG_POLICY
    assert b"<text" not in answer.content and b"<script" not in answer.content
    page = client.get(f"/zahl/{OPEN}").text
    for picture in re.findall(r"<img [^>]*>", page):
        assert re.search(r'alt="[^"]{20,}"', picture), picture
    assert page.count("<img ") == 2 and page.count("<figcaption") == 2
    assert "410,5" in page and "393,5" in page


def test_numbers_are_written_as_people_write_them(stage: Stage) -> None:
    client = stage.browser()
    assert "410,5 kg je Einwohner" in client.get(f"/offen/gebiet/{WUPPERTAL}").text
    assert "410.5 kg per person" in client.get(f"/offen/gebiet/{WUPPERTAL}?lang=en").text
    points = (("2023", 1234.5), ("2024", None), ("2025", 2000.0))
    assert plots.series(points, "kg/person", "de") != plots.series(points, "kg/person", "en")
    assert plots.series(points, "kg/person", "de") is plots.series(points, "kg/person", "de")


def test_of_many_areas_those_next_to_ones_own_are_drawn() -> None:
    points = tuple((str(place), float(place)) for place in range(100))
    for own in (0, 50, 99):
        kept = plots.around(points, own)
        assert len(kept) == plots.MOST_BARS and own in {place for place, _ in kept}
    assert plots.around((("gap", None), ("one", 1.0)), 0) == [(1, ("one", 1.0))]


def test_open_pages_state_definition_source_licence_and_gaps_and_blame_nobody(stage: Stage) -> None:
    page = get(stage, "nobody", f"/offen/gebiet/{SOLINGEN}")[1]
    assert "liegt noch nicht vor" in page
    assert not re.search("abgelehnt|überfällig|rejected", page)
    assert "noch nicht für alle Gemeinden" in get(stage, "nobody", "/offen/gebiet/plain")[1]
    page = get(stage, "nobody", "/offen/kennzahl/K-02")[1]
    assert "a law" in page and "dl-de/by-2-0" in page and "Stand 1" in page
    start = get(stage, "nobody", "/offen")[1]
    assert "K-40" not in start and "Spitzenlast" not in start
    assert get(stage, "nobody", "/offen/gebiet/99999999")[0] == 404


def test_open_data_is_the_released_table(stage: Stage, tmp_path: Path) -> None:
    client = stage.browser()
    parquet = client.get("/offen/daten/parquet/open_indicators")
    (tmp_path / "a.parquet").write_bytes(parquet.content)
    assert 'filename="verbund-0001-open_indicators.parquet"' in parquet.headers["content-disposition"]
    table = client.get("/offen/daten/csv/open_indicators")
    assert "'=1+1" in table.text, "a spreadsheet calculates nothing"
    assert len(pl.read_parquet(tmp_path / "a.parquet")) == len(pl.read_csv(table.content)) == 6


def test_pages_without_a_release_say_so(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("quality.lineage.current_number", lambda settings: None)
    assert "keinen veröffentlichten Stand" in get(stage, "clerk", f"/zahlen/{WORKS}")[1]
    assert "noch keine offenen Zahlen" in get(stage, "nobody", "/offen")[1]
    assert get(stage, "clerk", f"/zahl/{OPEN}")[0] == 404
