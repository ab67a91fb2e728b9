"""A new supplier from the portal: a form, a proposal with a diff, and the same files whichever way it is taken over."""

from __future__ import annotations

import html
import io
import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import get_args

import pytest
import sqlalchemy as sa

from portal import texts
from quality.inboxes import Inboxes
from quality.judging import work_queue
from quality.onboarding import PLAIN_CSV, TEMPLATE, Mistake, State
from quality.sources import load_yaml
from tests.portal.conftest import Stage, stage_over
from tests.support.bench import GOOD, PLAIN, WORKS, WUPPERTAL, written
from tests.support.profiles import drop, settings_for

PERIOD, ROW = GOOD["waste_balance"]
GOODS = {
    "supplier": "forst-eins", "name": "Stadtforst Eins (Rolle)", "role": "municipal forestry", "area_code": WUPPERTAL,
    "areas": WUPPERTAL, "dialect.waste_balance": "plain-waste-balance", "from.waste_balance": "2024-01-01",
}  # fmt: skip


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    folder = tmp_path_factory.mktemp("onboarding")
    settings = settings_for(folder / "home", shutil.copytree(PLAIN, folder / "packs" / "plain-copy"))
    with stage_over(settings) as made:
        yield made


@pytest.fixture
def stage(opened: Stage) -> Iterator[Stage]:
    """A portal over a region pack of its own, which may be changed."""
    yield opened
    folder = opened.desk.settings.region_dir
    shutil.rmtree(folder)
    shutil.copytree(PLAIN, folder)


def contents(folder: Path) -> dict[str, bytes]:
    return {file.relative_to(folder).as_posix(): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def proposed(stage: Stage, **told: str) -> str:
    """The address of a proposal."""
    answer = stage.signed_in("coordinator").post("/anschliessen/neu", **{**GOODS, **told})
    assert answer.status_code == 303, answer.text
    return str(answer.headers["location"])


def applied(stage: Stage, path: str, name: str = "engineer") -> int:
    return stage.signed_in(name).post(f"{path}/uebernehmen").status_code


def page(stage: Stage, path: str, name: str = "engineer") -> str:
    answer = stage.signed_in(name).client.get(path)
    assert answer.status_code == 200
    return html.unescape(answer.text)


def test_a_supplier_is_proposed_seen_applied_and_delivers(stage: Stage) -> None:
    folder = stage.desk.settings.region_dir
    before = contents(folder)
    assert "forst-eins" not in stage.desk.pack.suppliers
    path = proposed(stage)
    assert contents(folder) == before, "a proposal changes nothing"
    shown = page(stage, path, "coordinator")
    assert "+  - {id: forst-eins, name: Stadtforst Eins (Rolle), role: municipal forestry" in shown
    assert "uebernehmen" not in shown and "verwerfen" in shown, "a coordinator proposes, an engineer takes over"
    assert applied(stage, path) == 303
    assert "Der Lieferant ist angeschlossen." in page(stage, path)
    # the desk was opened before: nothing was started anew
    drop(stage.desk.settings, f"forst-eins/waste_balance/{PERIOD}/bilanz.csv", written([ROW]))
    Inboxes(stage.desk).sweep_of("forst-eins", 10)
    work_queue(stage.desk)
    [view] = stage.desk.ledger.deliveries("forst-eins", "waste_balance")
    assert view.state == "accepted"
    assert "forst-eins" in stage.signed_in("coordinator").client.get("/menschen").text, "its people can be invited"


@pytest.mark.parametrize("way", [TEMPLATE, PLAIN_CSV])
def test_who_delivers_in_the_contracts_own_words_gets_a_dialect_made(stage: Stage, way: str) -> None:
    path = proposed(stage, supplier="forst-drei", **{"dialect.waste_balance": way})
    assert applied(stage, path) == 303
    [mandate] = stage.desk.pack.mandates_of("forst-drei", "waste_balance")
    [name] = mandate.dialects
    dialect = stage.desk.pack.dialects[name]
    assert dialect.dataset == "waste_balance" and dialect.format.type == ("xlsx" if way == TEMPLATE else "csv")
    if way == PLAIN_CSV:
        content = ";".join(ROW) + "\n" + ";".join(ROW.values()) + "\n"
        source = io.BytesIO(content.encode())
        made = stage.desk.receive(source, "forst-drei", "waste_balance", PERIOD, file_name="a.csv", who="test")
        work_queue(stage.desk)
        assert stage.desk.ledger.delivery(made.delivery_id).state == "accepted"
    second = proposed(stage, supplier="forst-zwei", **{"dialect.waste_balance": way})
    assert "Neue Datei" not in page(stage, second), "the dialect is there already"


@pytest.mark.parametrize("tool", [["git", "apply"], ["patch", "-p1", "--input"]], ids=["git", "patch"])
def test_the_patch_makes_the_files_that_applying_makes(stage: Stage, tmp_path: Path, tool: list[str]) -> None:
    folder = stage.desk.settings.region_dir
    copy = shutil.copytree(folder, tmp_path / "by-hand")
    path = proposed(stage, **{"dialect.waste_balance": TEMPLATE})
    answer = stage.signed_in("engineer").client.get(f"{path}/patch")
    assert 'filename="forst-eins.patch"' in answer.headers["content-disposition"]
    file = tmp_path / "forst-eins.patch"
    file.write_bytes(answer.content)
    if shutil.which(tool[0]) is None:
        pytest.skip(f"{tool[0]} is not installed; .ci/run installs it")
    subprocess.run(
        [*tool, str(file)], cwd=copy, check=True, env={**os.environ, "GIT_CEILING_DIRECTORIES": str(tmp_path)}
    )
    assert applied(stage, path) == 303
    assert contents(copy) == contents(folder)
    assert "dialects/waste-balance-vorlage.yml" in contents(folder)


def test_in_a_repository_the_patch_applies_in_the_packs_folder(stage: Stage, tmp_path: Path) -> None:
    repository = tmp_path / "repository"
    copy = shutil.copytree(stage.desk.settings.region_dir, repository / "regions" / "plain")
    subprocess.run(["git", "init", "-q", str(repository)], check=True)
    file = tmp_path / "a.patch"
    file.write_bytes(stage.signed_in("engineer").client.get(f"{proposed(stage)}/patch").content)
    subprocess.run(["git", "apply", str(file)], cwd=copy, check=True)
    assert b"forst-eins" in (copy / "suppliers.yml").read_bytes()


EVIL = [
    'Werk: "A", {b}', "- Werk", "!!python/object:os.system", "'; x", "# Werk", "Werk #1", "&anker *x", "true", "null", "05124000",
    "2024-01-01", "1e3", "{{ 7 * 7 }}", "=1+1", "<script>alert(1)</script>", "a\\nb", "Müller & Söhne", "x, synthetic: true",
    "]}", "%TAG", "`x", "Größe – groß", "???", "| x", "> x",
]  # fmt: skip


def test_a_name_is_a_name_whatever_stands_in_it(stage: Stage) -> None:
    """All of them one after the other, each in the pack that the one before it made."""
    engineer, file = stage.signed_in("engineer").client, stage.desk.settings.region_dir / "suppliers.yml"
    for number, evil in enumerate(EVIL):
        path = proposed(stage, supplier=f"evil-{number}", name=evil, role=evil)
        for shown in (path, "/anschliessen"):
            assert "<script>alert" not in engineer.get(shown).text
        assert applied(stage, path) == 303
        supplier = stage.desk.pack.suppliers[f"evil-{number}"]
        assert (supplier.name, supplier.role, supplier.synthetic) == (evil, evil, False)
        last = load_yaml(file)["suppliers"][-1]
        assert dict(last) == {"id": f"evil-{number}", "name": evil, "role": evil, "area_code": WUPPERTAL}
        assert len(stage.desk.pack.mandates_of(supplier.id, "waste_balance")) == 1


@pytest.mark.parametrize(
    ("told", "mistake"),
    [({"supplier": bad}, "id") for bad in ("", "ab", "Forst", "-forst", "../forst", "forst/eins", "a" * 42, "forst\nx", "förster", "forst.", "a b c")]
    + [({"supplier": "plain-works"}, "id_taken"), ({"area_code": "09162000"}, "home"), ({"areas": "09162000"}, "area"), ({"areas": ""}, "area")]
    + [({"name": bad}, "name") for bad in ("", "   ", "A\nB", "A\r\nsuppliers: []", "x" * 121, "A\x00B", "A\u2028B", "A\x85B", "A\u202eB", "A\tB")]
    + [({"role": bad}, "role") for bad in ("", "A\nB")]
    + [({"name": "Werk e.mustermann@example.org"}, "person")]
    + [({"dialect.waste_balance": bad}, "dialect") for bad in ("no-such", "../../x", "plain-population")]
    + [({"dialect.waste_balance": ""}, "nothing_owed")]
    + [({"from.waste_balance": bad}, "day") for bad in ("", "gestern", "2024-02-30", "0024-01-01", "2024-01-01]\n- x")],
    ids=str,
)  # fmt: skip
def test_what_makes_no_supplier_is_refused_with_what_to_do(
    stage: Stage, told: Mapping[str, str], mistake: Mistake
) -> None:
    before = stage.services.proposals.newest("plain", 1)
    answer = stage.signed_in("coordinator").post("/anschliessen/neu", **{**GOODS, **told})
    assert answer.status_code == 422
    shown = html.unescape(answer.text)
    assert texts.text(f"onboarding.wrong.{mistake}", "de") in shown
    assert texts.text(f"onboarding.wrong.{mistake}.remedy", "de") in shown
    assert 'value="2024-01-01"' in shown or "from.waste_balance" in told, "what was filled in is still there"
    assert stage.services.proposals.newest("plain", 1) == before


def test_without_any_area_nothing_is_proposed(stage: Stage) -> None:
    told = {key: value for key, value in GOODS.items() if key != "areas"}
    answer = stage.signed_in("coordinator").post("/anschliessen/neu", **told)
    assert answer.status_code == 422 and texts.text("onboarding.wrong.no_area", "de") in answer.text


def test_every_area_is_said_by_an_empty_list(stage: Stage) -> None:
    assert applied(stage, proposed(stage, areas="*")) == 303
    [mandate] = stage.desk.pack.mandates_of("forst-eins", "waste_balance")
    assert mandate.areas == []


def test_a_proposal_made_from_other_files_is_refused(stage: Stage) -> None:
    first, second = proposed(stage), proposed(stage, supplier="forst-zwei")
    assert applied(stage, first) == 303
    before = contents(stage.desk.settings.region_dir)
    assert "Die Dateien der Region sind inzwischen andere." in page(stage, second)
    assert applied(stage, second) == 409
    assert contents(stage.desk.settings.region_dir) == before
    assert "forst-zwei" not in stage.desk.pack.suppliers


def test_a_proposal_that_does_not_check_is_not_applied(stage: Stage) -> None:
    folder = stage.desk.settings.region_dir
    dialects, spare = folder / "dialects", folder / "dialects" / "spare.yml"
    spare.write_text((dialects / "waste-balance.yml").read_text().replace("id: plain-waste-balance", "id: spare"))
    path = proposed(stage, **{"dialect.waste_balance": "spare"})
    # gone is what its mandate points to, in a file it does not touch
    spare.unlink()
    shown = page(stage, path)
    assert "besteht die Prüfung" in shown and "Datei mandates.yml, Zeile" in shown and "'spare'" in shown
    assert "/uebernehmen" not in shown
    before = contents(folder)
    assert applied(stage, path) == 409
    assert contents(folder) == before


def test_what_was_merged_by_hand_is_noticed(stage: Stage, tmp_path: Path) -> None:
    path, engineer = proposed(stage), stage.signed_in("engineer")
    file = tmp_path / "a.patch"
    file.write_bytes(engineer.client.get(f"{path}/patch").content)
    subprocess.run(["git", "apply", str(file)], cwd=stage.desk.settings.region_dir, check=True)
    assert "Der Lieferant steht schon in der Region." in page(stage, path)
    before = contents(stage.desk.settings.region_dir)
    assert applied(stage, path) == 303
    assert contents(stage.desk.settings.region_dir) == before
    assert applied(stage, path) == 409, "once"


def test_what_broke_off_in_the_middle_goes_on(stage: Stage) -> None:
    path = proposed(stage, **{"dialect.waste_balance": TEMPLATE})
    found = stage.services.proposals.newest("plain")[0]
    for change in found.files[:-1]:
        (stage.desk.settings.region_dir / change.place).write_bytes(change.after.encode())
        assert stage.desk.pack, "whoever reads in between reads a sound pack"
    assert applied(stage, path) == 303
    assert stage.desk.pack.mandates_of("forst-eins", "waste_balance")


def test_where_the_folder_cannot_be_written_to_the_patch_is_offered(stage: Stage, tmp_path: Path) -> None:
    folder = stage.desk.settings.region_dir
    kept = tmp_path / "kept.yml"
    (folder / "suppliers.yml").rename(kept)
    (folder / "suppliers.yml").symlink_to(kept)
    path = proposed(stage)
    shown = page(stage, path)
    assert "darf in diesen Ordner nicht schreiben" in shown and "/patch" in shown and "/uebernehmen" not in shown
    assert applied(stage, path) == 409
    assert "forst-eins" not in kept.read_text()


def test_what_was_withdrawn_is_not_applied(stage: Stage) -> None:
    path = proposed(stage)
    assert stage.signed_in("coordinator").post(f"{path}/verwerfen").status_code == 303
    before = contents(stage.desk.settings.region_dir)
    assert applied(stage, path) == 409
    assert contents(stage.desk.settings.region_dir) == before
    assert "verworfen" in page(stage, "/anschliessen")


def test_who_did_what_is_written_down(stage: Stage) -> None:
    path = proposed(stage)
    applied(stage, path)
    [taken, made] = [act for act in stage.people.acts() if act["act"].startswith("onboarding.")][:2]
    assert [taken["act"], made["act"]] == ["onboarding.apply", "onboarding.propose"]
    assert taken["object"] == made["object"] == "forst-eins"
    found = stage.services.proposals.newest("plain")[0]
    assert (found.who, found.decided_by) == (made["who"], taken["who"]) and found.who != found.decided_by
    with pytest.raises(sa.exc.DBAPIError, match="append-only"), stage.people._engine.begin() as c:
        c.execute(sa.text("update pack_proposals set files = '[]'"))


@pytest.mark.parametrize("name", ["clerk", "lead", "observer"])
def test_nobody_else_proposes_or_sees(stage: Stage, name: str) -> None:
    path, somebody = proposed(stage), stage.signed_in(name)
    assert somebody.post("/anschliessen/neu", **GOODS).status_code == 404
    assert somebody.client.get(path).status_code == somebody.client.get(f"{path}/patch").status_code == 404
    assert applied(stage, path, name) == applied(stage, path, "coordinator") == 404


@pytest.mark.parametrize("number", ["0", "77", "-1", "99999999999999999999"])
def test_a_forged_number_leads_nowhere(stage: Stage, number: str) -> None:
    engineer = stage.signed_in("engineer")
    assert engineer.client.get(f"/anschliessen/{number}").status_code in (404, 422)
    assert engineer.post(f"/anschliessen/{number}/uebernehmen").status_code in (404, 422)


def test_everything_that_can_be_wrong_has_words() -> None:
    for key in [*(f"wrong.{one}" for one in get_args(Mistake)), *(f"state.{one}" for one in get_args(State))]:
        for language in texts.LANGUAGES:
            assert texts.raw(f"onboarding.{key}", language) and texts.raw(f"onboarding.{key}.remedy", language)


def test_a_half_edited_pack_stops_nobody_and_the_coordination_reads_where_it_is_wrong(stage: Stage) -> None:
    coordinator = stage.signed_in("coordinator").client
    assert "stehen Fehler" not in coordinator.get("/region").text
    file = stage.desk.settings.region_dir / "suppliers.yml"
    sound = file.read_bytes()
    file.write_bytes(sound + b"\nnot: [closed\n")
    told = html.unescape(coordinator.get("/region").text)
    assert "In den Dateien der Region stehen Fehler" in told and "suppliers.yml:" in told
    lead = stage.signed_in("lead").client
    assert lead.get(f"/pflichten/{WORKS}").status_code == 200
    assert "stehen Fehler" not in lead.get("/zeugnisse").text
    drop(stage.desk.settings, f"{WORKS}/waste_balance/{PERIOD}/bilanz.csv", written([ROW]))
    Inboxes(stage.desk).sweep_of(WORKS, 10)
    work_queue(stage.desk)
    [view] = stage.desk.ledger.deliveries(WORKS, "waste_balance")
    assert view.state == "accepted"
    file.write_bytes(sound)
    assert "stehen Fehler" not in coordinator.get("/region").text
