"""What everybody did, page by page: nothing twice, nothing left out, also when something is done meanwhile."""

from __future__ import annotations

import re
from collections.abc import Iterator
from html import unescape
from pathlib import Path

import pytest

from portal import texts
from portal.pages import people as pages
from portal.pages.threads import ACTS as THREAD_ACTS
from portal.texts import text
from tests.portal.conftest import Somebody, Stage

SHOWN = 10


@pytest.fixture
def coordinator(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> Somebody:
    monkeypatch.setattr(pages, "ACTS", SHOWN)
    return stage.signed_in("coordinator")


def objects(page: str) -> list[str]:
    return re.findall(r">(thing \d+)<", page)


def link(page: str, key: str) -> str | None:
    found = re.search(rf'href="([^"]+)"[^>]*>{text(key, "de")}</a>', page)
    return unescape(found[1]) if found else None


def walked(coordinator: Somebody, path: str | None, key: str) -> Iterator[list[str]]:
    while path is not None:
        page = coordinator.client.get(path)
        assert page.status_code == 200, page.text
        yield objects(page.text)
        path = link(page.text, key)


def test_pages_follow_each_other_and_go_back(stage: Stage, coordinator: Somebody) -> None:
    who = "portal:page@example.org"
    for number in range(3 * SHOWN - 2):
        stage.people.note(who, "test.page", f"thing {number}")
    newest_first = [f"thing {number}" for number in reversed(range(3 * SHOWN - 2))]
    parts = list(walked(coordinator, f"/verlauf?wer={who}", "acts.older"))
    assert [len(part) for part in parts] == [SHOWN, SHOWN, SHOWN - 2]
    assert [name for part in parts for name in part] == newest_first
    first = coordinator.client.get(f"/verlauf?wer={who}").text
    assert link(first, "acts.newer") is None
    # what is done meanwhile moves nothing
    older = link(first, "acts.older")
    assert older is not None
    stage.people.note(who, "test.page", "thing 99")
    second = coordinator.client.get(older).text
    assert objects(second) == newest_first[SHOWN : 2 * SHOWN]
    third = link(second, "acts.older")
    assert third is not None
    assert link(coordinator.client.get(third).text, "acts.older") is None
    back = link(coordinator.client.get(third).text, "acts.newer")
    assert back is not None and objects(coordinator.client.get(back).text) == newest_first[SHOWN : 2 * SHOWN]
    again = link(second, "acts.newer")
    assert again is not None and objects(coordinator.client.get(again).text) == newest_first[:SHOWN]
    # the page that would be short is the first one
    newer = link(coordinator.client.get(again).text, "acts.newer")
    assert newer is not None
    answer = coordinator.client.get(newer)
    assert answer.status_code == 303
    assert objects(coordinator.client.get(answer.headers["location"]).text) == ["thing 99", *newest_first[: SHOWN - 1]]


def test_acts_are_found_by_person_and_by_kind(stage: Stage, coordinator: Somebody) -> None:
    stage.people.note("portal:a_b@example.org", "test.one", "thing 1")
    stage.people.note("portal:a_b@example.org", "test.two", "thing 2")
    stage.people.note("portal:axb@example.org", "test.one", "thing 3")
    for asked, found in (
        ("wer=A_B@example", ["thing 2", "thing 1"]),
        ("was=test.one", ["thing 3", "thing 1"]),
        ("wer=a_b&was=test.one", ["thing 1"]),
        ("wer=%25&was=test.one", []),
        ("wer=nobody%40there", []),
        ("wer=a%00_b&was=test.one", ["thing 1"]),
    ):
        page = coordinator.client.get(f"/verlauf?{asked}")
        assert (page.status_code, objects(page.text)) == (200, found), asked
    assert '<option value="test.one" selected>' in coordinator.client.get("/verlauf?was=test.one").text
    assert text("acts.none", "de") in coordinator.client.get("/verlauf?wer=nobody").text


@pytest.mark.parametrize("place", ["vor=x", "nach=-1", f"vor={2**63}", "nach=1&vor=%00"])
def test_a_place_that_is_none_is_said_to_be_none(coordinator: Somebody, place: str) -> None:
    assert coordinator.client.get(f"/verlauf?{place}").status_code == 422


def test_what_somebody_did_is_shown_as_text(stage: Stage, coordinator: Somebody) -> None:
    stage.people.note("portal:<b>evil</b>", "test.three", "<script>")
    page = coordinator.client.get('/verlauf?wer=<b>&was=test.three"><script>').text
    assert "<script>" not in page.replace("<script src=", "") and "<b>" not in page


@pytest.mark.parametrize("language", texts.LANGUAGES)
def test_every_act_that_is_noted_has_words(language: texts.Language) -> None:
    noted = {f"thread.{kind}" for kind in THREAD_ACTS}
    for file in (Path(__file__).parents[2] / "portal").rglob("*.py"):
        noted |= set(re.findall(r'\bnote\((?:[\w.]+, |"nobody", )?"([a-z]+\.[a-z_]+)"', file.read_text()))
    assert len(noted) > 20
    assert {act for act in noted if f"act.{act}" not in texts.keys(language)} == set()


def test_acts_are_shown_in_words(stage: Stage, coordinator: Somebody) -> None:
    stage.people.note("portal:w@example.org", "delivery.hand_in", "thing in words")
    page = coordinator.client.get("/verlauf?wer=w%40example.org").text
    assert "Datei abgegeben</td>" in page and 'value="delivery.hand_in"' in page
