"""Words nobody knows: mapped on the page by who answers for the supplier, for this supplier only, and judged again."""

from __future__ import annotations

import io
import itertools

import pytest
import sqlalchemy as sa

from quality.judging import work_queue
from storage.paths import parse_delivery_id
from tests.portal.conftest import Stage
from tests.support.bench import GOOD, THIRD, WORKS, written

_, ROW = GOOD["waste_balance"]
YEARS = itertools.count(2010)


def handed_in(stage: Stage, word: str, supplier: str = WORKS, year: str | None = None) -> str:
    year = year or str(next(YEARS))
    area = {} if supplier == WORKS else {"area_code": "05122000"}
    rows = [{**ROW, **area, "year": year}, {**ROW, **area, "year": year, "waste_code": word}]
    made = stage.desk.receive(
        io.BytesIO(written(rows).encode()), supplier, "waste_balance", year, file_name="a.csv", who="test"
    )
    work_queue(stage.desk)
    return made.delivery_id


def mapped(stage: Stage, name: str, delivery: str, word: str, **told: str) -> int:
    somebody = stage.signed_in(name)
    sent = {
        "form": somebody.form,
        "liste": "avv",
        "wort": word,
        "code": "200307",
        "grund": "So heißt es bei uns.",
        **told,
    }
    return int(somebody.client.post(f"/lieferung/{delivery}/woerter", data=sent).status_code)


def taken_back(stage: Stage, name: str, word: str) -> int:
    somebody = stage.signed_in(name)
    sent = {"form": somebody.form, "liste": "avv", "wort": word, "grund": "Falsch."}
    return int(somebody.client.post(f"/woerter/{WORKS}", data=sent).status_code)


def served(stage: Stage, delivery: str) -> set[str]:
    """Waste codes of the rows that count."""
    rows = stage.desk.bench.connection.execute(
        "select waste_code from accepted.waste_balance where delivery_id = ?", [delivery]
    )
    return {code for (code,) in rows.fetchall()}


def test_held_rows_are_judged_again_once_the_word_is_mapped(stage: Stage) -> None:
    lead, delivery = stage.signed_in("lead"), handed_in(stage, "Sperrmüll gem.")
    assert served(stage, delivery) == {"200301"}
    page = lead.client.get(f"/lieferung/{delivery}")
    assert f"/lieferung/{delivery}/woerter" in page.text
    form = lead.client.get(f"/lieferung/{delivery}/woerter").text
    assert "Sperrmüll gem." in form and 'value="200307" selected' in form, "the nearest is proposed"
    assert mapped(stage, "lead", delivery, "Sperrmüll gem.") == 303
    assert "noch einmal geprüft" in lead.client.get(f"/lieferung/{delivery}").text
    work_queue(stage.desk)
    shown = lead.client.get(f"/lieferung/{delivery}").text
    assert served(stage, delivery) == {"200301", "200307"}
    assert "kern-alert--success" in shown and "noch einmal geprüft" not in shown
    listed = lead.client.get(f"/woerter/{WORKS}").text
    assert "Sperrmüll gem." in listed and "So heißt es bei uns." in listed
    assert stage.desk.ledger.deliveries(WORKS, "waste_balance", parse_delivery_id(delivery).period)[0].attempt == 1
    later = handed_in(stage, "SPERRMÜLL  gem.")
    assert served(stage, later) == {"200301", "200307"}, "and every later delivery is read so"


def test_a_word_is_its_suppliers_own(stage: Stage) -> None:
    delivery = handed_in(stage, "Knödel")
    other = handed_in(stage, "Knödel", THIRD, year="2031")
    version = stage.desk.ledger.delivery(other).mapping_version
    assert mapped(stage, "lead", delivery, "Knödel") == 303
    work_queue(stage.desk)
    assert served(stage, delivery) == {"200301", "200307"}
    stage.desk.rejudge(other)
    assert served(stage, other) == {"200301"}
    assert stage.desk.ledger.delivery(other).mapping_version == version


def test_another_process_reads_the_word_too(stage: Stage) -> None:
    delivery = handed_in(stage, "Nadelgrün")
    before = stage.desk.ledger.delivery(delivery).mapping_version
    assert mapped(stage, "coordinator", delivery, "Nadelgrün") == 303
    work_queue(stage.desk)  # the stage's desk is not the portal's
    assert stage.desk.ledger.delivery(delivery).mapping_version != before


def test_what_was_mapped_can_be_taken_back_and_stays_in_the_history(stage: Stage) -> None:
    delivery = handed_in(stage, "Irrtum")
    mapped(stage, "lead", delivery, "Irrtum")
    work_queue(stage.desk)
    assert served(stage, delivery) == {"200301", "200307"}
    assert taken_back(stage, "lead", "irrtum") == 303
    work_queue(stage.desk)
    assert served(stage, delivery) == {"200301"}
    assert taken_back(stage, "lead", "irrtum") == 409
    shown = stage.signed_in("clerk").client.get(f"/woerter/{WORKS}").text
    assert shown.lower().count("irrtum") >= 2 and "nichts mehr" in shown


@pytest.mark.parametrize("name", ["clerk", "foreign lead", "observer"])
def test_only_who_answers_for_it_maps(stage: Stage, name: str) -> None:
    delivery = handed_in(stage, f"Wort von {name}")
    assert mapped(stage, name, delivery, f"Wort von {name}") == 404
    assert taken_back(stage, name, "Irrtum") == 404
    assert f"/lieferung/{delivery}/woerter" not in stage.signed_in("clerk").client.get(f"/lieferung/{delivery}").text


@pytest.mark.parametrize(
    ("told", "status"),
    [({"code": "999999"}, 409), ({"liste": "no_such"}, 409), ({"liste": "waste_flow", "code": "treated"}, 409),
     ({"wort": "200301"}, 409), ({"grund": " "}, 422), ({"grund": "x" * 1001}, 422)],
    ids=str,
)  # fmt: skip
def test_what_cannot_be_mapped_changes_nothing(stage: Stage, told: dict[str, str], status: int) -> None:
    delivery, before = handed_in(stage, "Rätsel"), stage.desk.words.version()
    assert mapped(stage, "lead", delivery, "Rätsel", **told) == status
    assert stage.desk.words.version() == before and stage.desk.ledger.owed_replays() == []


@pytest.mark.parametrize("evil", ["<script>alert(1)</script>", "=1+1", "x'); drop table code_words; --"])
def test_a_word_is_shown_and_never_run(stage: Stage, evil: str) -> None:
    lead, delivery = stage.signed_in("lead"), handed_in(stage, evil)
    assert mapped(stage, "lead", delivery, evil, grund=evil) == 303
    for path in (f"/lieferung/{delivery}", f"/lieferung/{delivery}/woerter", f"/woerter/{WORKS}"):
        assert "<script>alert" not in lead.client.get(path).text
    work_queue(stage.desk)
    assert served(stage, delivery) == {"200301", "200307"}


def test_what_cannot_be_judged_again_is_left_after_two_tries(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    delivery = handed_in(stage, "Stolperstein")
    before = stage.desk.ledger.delivery(delivery)
    mapped(stage, "lead", delivery, "Stolperstein")
    for _ in range(2):
        stage.desk.ledger.begin_replay(delivery)  # its judge died
    work_queue(stage.desk)
    assert stage.desk.ledger.owed_replays() == [] and stage.desk.ledger.delivery(delivery) == before


def test_what_was_mapped_cannot_be_changed(stage: Stage) -> None:
    with pytest.raises(sa.exc.DBAPIError, match="append-only"), stage.people._engine.begin() as c:
        c.execute(sa.text("delete from word_mappings"))
