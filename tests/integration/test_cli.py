"""The commands as people and scripts use them: exit codes, words for people, one JSON document for scripts.

All run in this process on one warm home; importing what judging needs costs seconds, and every test would pay them.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from storage.settings import project_root
from verbund.cli import app

RECEIPT = {
    "delivery",
    "supplier",
    "dataset",
    "period",
    "attempt",
    "sha256",
    "state",
    "rows",
    "findings",
    "changes",
    "receipt",
}
LISTED = (RECEIPT - {"findings"}) | {"received_at", "judged_at"}
ROWS = ["delivered", "accepted", "accepted_with_warning", "quarantined", "ignored_by_rule"]
FINDING = {"rule", "severity", "rows", "message", "remedy", "examples"}
EXAMPLE = {"line", "sheet", "column", "value", "expected"}
HEADER = "Jahr;AGS;AVV;Mengenstrom;Erfassung;Verfahren;Menge [t]"
SLOT = ["--supplier", "wuppertal-abfall", "--dataset", "waste_balance", "--period"]


@dataclass(frozen=True)
class Said:
    """What a command left behind."""

    code: int
    out: str
    err: str

    @property
    def document(self) -> Any:
        """The one JSON document on standard output; fails where there is anything else."""
        return json.loads(self.out)


class Verbund:
    """The command `verbund` on a home of its own."""

    def __init__(self, home: Path) -> None:
        self.home, self.runner = home, CliRunner()

    def __call__(self, *words: str | Path, region: str | Path = "bergisch") -> Said:
        # NO_COLOR and a width, so that nothing depends on where the tests run
        environment = {"VERBUND_HOME": str(self.home), "VERBUND_REGION": str(region), "NO_COLOR": "1", "COLUMNS": "200"}
        result = self.runner.invoke(app, [str(word) for word in words], env=environment)
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return Said(result.exit_code, result.stdout, result.stderr)


@pytest.fixture(scope="module")
def verbund(tmp_path_factory: pytest.TempPathFactory) -> Verbund:
    return Verbund(tmp_path_factory.mktemp("home"))


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("files")
    good = [
        HEADER,
        "2023;05124000;200301;generated;kerbside;none;1.000,5",
        "2023;05124000;200301;treated;kerbside;R1;1.000,5",
    ]
    mixed = [*good, "2023;05124000;999999;generated;kerbside;none;1,0", "2023;05124000;200108;generated;kerbside;none;"]
    for name, lines in (
        ("Abfallbilanz_2023.csv", good),
        ("Abfallbilanz_gemischt.csv", mixed),
        ("Abfallbilanz_kopf.csv", ["a;b", "1;2"]),
    ):
        (folder / name).write_text("\r\n".join(lines) + "\r\n", encoding="cp1252")
    (folder / "Abfallbilanz_2022.csv").write_text("\r\n".join(good).replace("2023", "2022"), encoding="cp1252")
    return folder


@pytest.fixture(scope="module")
def delivered(verbund: Verbund, files: Path) -> dict[str, Any]:
    """A delivery that was accepted, one that was rejected, and a duplicate, in one home."""
    first = verbund("deliver", files / "Abfallbilanz_2023.csv", *SLOT, "2023", "--who", "clerk", "--json")
    assert first.code == 0, (first.out, first.err)
    again = verbund("deliver", files / "Abfallbilanz_2023.csv", *SLOT, "2023", "--json")
    assert again.code == 0, again.out
    rejected = verbund("deliver", files / "Abfallbilanz_kopf.csv", *SLOT, "2023", "--json")
    assert rejected.code == 1, rejected.out
    return {"accepted": first.document, "rejected": rejected.document, "duplicate": again.document}


def is_a_receipt(document: dict[str, Any]) -> bool:
    assert document.keys() >= RECEIPT
    assert list(document["rows"]) == ROWS
    parts = [document["rows"][name] for name in ROWS]
    assert parts[0] == sum(parts[1:])
    for finding in document["findings"]:
        assert finding.keys() >= FINDING
        assert finding["severity"] in ("fatal", "error", "warning", "info")
        assert finding["message"].keys() == finding["remedy"].keys() == {"de", "en"}
        assert all(example.keys() >= EXAMPLE for example in finding["examples"])
    assert document["receipt"].keys() == {"json", "html", "xlsx"}
    assert document["changes"] is None or document["changes"].keys() >= {"added", "removed", "changed"}
    return True


# --- delivering ---


def test_an_accepted_delivery_ends_with_0_and_a_receipt_on_disk(delivered: dict[str, Any]) -> None:
    document = delivered["accepted"]
    assert is_a_receipt(document)
    assert (document["state"], document["attempt"], document["rows"]["accepted"]) == ("accepted", 1, 2)
    assert Path(document["receipt"]["html"]).exists()
    assert json.loads(Path(document["receipt"]["json"]).read_text(encoding="utf-8"))["delivery"] == document["delivery"]


def test_a_rejected_delivery_ends_with_1_and_says_why(delivered: dict[str, Any]) -> None:
    document = delivered["rejected"]
    assert is_a_receipt(document)
    assert document["state"] == "rejected"
    assert [f["rule"] for f in document["findings"] if f["severity"] == "fatal"] == ["columns.missing"]


def test_the_same_bytes_twice_are_a_duplicate_and_no_failure(delivered: dict[str, Any]) -> None:
    assert is_a_receipt(delivered["duplicate"])
    assert delivered["duplicate"]["state"] == "duplicate"
    assert delivered["duplicate"]["sha256"] == delivered["accepted"]["sha256"]


def test_nothing_to_report_is_delivered_without_a_file(verbund: Verbund) -> None:
    said = verbund("deliver", *SLOT, "2021", "--nothing-to-report", "--reason", "closed", "--json")
    assert said.code == 0
    assert is_a_receipt(said.document)
    assert said.document["state"] == "nothing_to_report"


def test_people_read_german_with_the_four_numbers_and_the_places_of_the_receipt(
    verbund: Verbund, delivered: dict[str, Any], files: Path
) -> None:
    said = verbund("check", files / "Abfallbilanz_gemischt.csv", *SLOT, "2023")
    assert said.code == 0
    assert "4 Zeilen = 2 übernommen + 1 mit Hinweis + 1 zurückgehalten + 0 nach Regel ausgelassen" in said.out
    assert "values.unknown_code" in said.out
    shown = verbund("receipt", delivered["accepted"]["delivery"])
    assert delivered["accepted"]["receipt"]["html"] in shown.out
    assert "{" not in shown.out


def test_a_check_gives_the_verdict_of_a_delivery_and_stores_nothing(
    verbund: Verbund, delivered: dict[str, Any], files: Path
) -> None:
    before = verbund("deliveries", "--json").document
    told = verbund("check", files / "Abfallbilanz_2023.csv", *SLOT, "2023", "--json").document
    assert is_a_receipt(told)
    for key in ("state", "rows", "findings", "sha256"):
        assert told[key] == delivered["accepted"][key]
    assert told["receipt"] == {"json": None, "html": None, "xlsx": None}
    assert verbund("check", files / "Abfallbilanz_kopf.csv", *SLOT, "2023", "--json").code == 1
    assert verbund("deliveries", "--json").document == before


def test_the_period_is_told_from_the_files_name_or_content_or_asked_for(
    verbund: Verbund, files: Path, tmp_path: Path
) -> None:
    words = ["--supplier", "wuppertal-abfall", "--dataset", "waste_balance", "--json"]
    assert verbund("check", files / "Abfallbilanz_2022.csv", *words).document["period"] == "2022"
    assert verbund("check", files / "Abfallbilanz_gemischt.csv", *words).document["period"] == "2023"
    unclear = tmp_path / "Abfallbilanz_irgendwann.csv"
    unclear.write_text("a;b\n1;2\n", encoding="utf-8")
    said = verbund("check", unclear, *words)
    assert said.code == 2
    assert "--period" in said.document["error"]


# --- looking ---


def test_a_receipt_can_be_read_again_as_it_was_given(verbund: Verbund, delivered: dict[str, Any]) -> None:
    said = verbund("receipt", delivered["rejected"]["delivery"], "--json")
    assert said.code == 0, "reading a receipt does not fail because the delivery did"
    assert is_a_receipt(said.document)
    assert said.document == delivered["rejected"]


def test_deliveries_are_listed_with_their_times_and_without_findings(
    verbund: Verbund, delivered: dict[str, Any]
) -> None:
    listed = verbund("deliveries", "--period", "2023", "--json").document
    assert [d["state"] for d in listed] == ["accepted", "duplicate", "rejected"]
    for document in listed:
        assert document.keys() >= LISTED
        assert "findings" not in document
        assert list(document["rows"]) == ROWS
    only = verbund("deliveries", "--state", "rejected", "--json").document
    assert [d["delivery"] for d in only] == [delivered["rejected"]["delivery"]]
    shown = verbund("deliveries")
    assert all(d["delivery"] in shown.out for d in delivered.values())


def test_history_tells_a_slot_and_a_delivery_in_order(verbund: Verbund, delivered: dict[str, Any]) -> None:
    told = verbund("history", "wuppertal-abfall--waste_balance--2023", "--json").document
    assert {event["delivery"] for event in told} >= {d["delivery"] for d in delivered.values()}
    assert [event["at"] for event in told] == sorted(event["at"] for event in told)
    assert told[0].keys() == {"at", "delivery", "event", "who", "why", "facts"}
    one = verbund("history", delivered["accepted"]["delivery"], "--json").document
    assert {event["delivery"] for event in one} == {delivered["accepted"]["delivery"]}
    assert one[0]["who"] == "clerk"
    assert delivered["accepted"]["delivery"] in verbund("history", "wuppertal-abfall--waste_balance--2023").out


def test_a_withdrawn_delivery_keeps_its_history(verbund: Verbund, files: Path) -> None:
    given = verbund("deliver", files / "Abfallbilanz_2022.csv", *SLOT, "2022", "--json").document
    said = verbund("withdraw", given["delivery"], "--reason", "wrong [year]", "--json")
    assert said.code == 0
    assert is_a_receipt(said.document)
    assert said.document["state"] == "withdrawn"
    assert verbund("withdraw", given["delivery"], "--reason", "again").code == 0
    assert "wrong [year]" in verbund("history", given["delivery"]).out


def test_a_replay_tells_what_would_change_before_it_does_it(
    verbund: Verbund, delivered: dict[str, Any], tmp_path: Path
) -> None:
    nothing = verbund("replay", "--supplier", "wuppertal-abfall", "--period", "2023", "--dry-run")
    assert (nothing.code, "Nothing to replay" in nothing.out) == (0, True)
    pack = Path(shutil.copytree(project_root() / "regions" / "bergisch", tmp_path / "pack"))
    dialect = pack / "dialects" / "abfallbilanz-csv.yml"
    dialect.write_text(dialect.read_text(encoding="utf-8").replace("unit: t}", "unit: kg}"), encoding="utf-8")
    said = verbund("replay", "--period", "2023", "--dry-run", "--json", region=pack)
    assert said.code == 0
    assert said.document["dry_run"] is True
    told = {d["delivery"]: d for d in said.document["deliveries"]}
    assert delivered["accepted"]["delivery"] in told
    assert verbund("receipt", delivered["accepted"]["delivery"], "--json").document == delivered["accepted"]


# --- wrong use ---


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--supplier", "nobody", "--dataset", "waste_balance", "--period", "2023"], "wuppertal-abfall"),
        (["--supplier", "wuppertal-abfall", "--dataset", "nothing", "--period", "2023"], "waste_balance"),
        (["--supplier", "wuppertal-abfall", "--dataset", "waste_balance", "--period", "last year"], "2024-Q3"),
    ],
)
@pytest.mark.parametrize("command", ["deliver", "check"])
def test_a_name_nobody_knows_ends_with_2_and_the_known_ones(
    verbund: Verbund, files: Path, command: str, words: list[str], told: str
) -> None:
    said = verbund(command, files / "Abfallbilanz_2023.csv", *words, "--json")
    assert said.code == 2
    assert told in said.document["error"]
    assert told in said.err
    quiet = verbund(command, files / "Abfallbilanz_2023.csv", *words)
    assert (quiet.code, quiet.out) == (2, "")


@pytest.mark.parametrize(
    "words",
    [
        ["deliver", "no-such-file.csv", *SLOT, "2023"],
        ["deliver", ".", *SLOT, "2023"],
        ["deliver", *SLOT, "2023"],
        ["check", "no-such-file.csv", *SLOT, "2023"],
        ["check", ".", *SLOT, "2023"],
        ["receipt", "wuppertal-abfall--waste_balance--1999--01"],
        ["receipt", "no id at all"],
        ["history", "no slot at all"],
        ["withdraw", "wuppertal-abfall--waste_balance--1999--01", "--reason", "x"],
        ["withdraw", "no id at all", "--reason", "x"],
        ["replay", "--delivery", "wuppertal-abfall--waste_balance--1999--01"],
        ["query", "select 1"],
        ["template", "no_such_dataset"],
        ["region", "new", "Not A Name", "--to", "unused"],
        ["region", "import", "no-such-file.zip"],
    ],
    ids=lambda words: " ".join(words)[:60],
)
def test_wrong_use_ends_with_2_one_document_and_no_traceback(
    verbund: Verbund, delivered: dict[str, Any], words: list[str]
) -> None:
    said = verbund(*words, "--json")
    assert said.code == 2, (said.out, said.err)
    assert said.document["error"]
    assert "Traceback" not in said.err


def test_what_the_command_line_itself_refuses_leaves_standard_output_empty(verbund: Verbund) -> None:
    for words in (["deliver", "--no-such-option", "--json"], ["no-such-command"], ["deliver", "x.csv", "--json"]):
        said = verbund(*words)
        assert (said.code, said.out) == (2, "")


# --- templates, packs, contracts, installation ---


def test_what_a_file_is_that_is_checked_first_is_told_from_its_content(verbund: Verbund, tmp_path: Path) -> None:
    file = tmp_path / "export.csv"
    rows = (
        "Jahr;AGS;AVV;Mengenstrom;Erfassung;Verfahren;Menge [t]\n2022;05124000;200301;Aufkommen;Holsystem;;71.234,5\n"
    )
    file.write_text(rows, encoding="cp1252")
    said = verbund("check", file, "--supplier", "wuppertal-abfall", "--json").document
    assert (said["dataset"], said["period"], said["rows"]["delivered"]) == ("waste_balance", "2022", 1)
    file.write_text("a;b\n1;2\n")
    assert verbund("check", file, "--supplier", "wuppertal-abfall").code == 2


def test_a_template_is_written_and_told(verbund: Verbund, tmp_path: Path) -> None:
    words = ["template", "waste_balance", "--supplier", "solingen-betriebe", "--to"]
    said = verbund(*words, tmp_path / "a.xlsx", "--json")
    assert said.code == 0
    assert (said.document["dialect"], said.document["sheet"], Path(said.document["path"]).exists()) == (
        "abfallbilanz-xlsx",
        "Bilanz",
        True,
    )
    shown = verbund(*words, tmp_path / "b.xlsx")
    assert "Aufkommen / gesamt [t]" in shown.out
    assert verbund(*words, tmp_path / "b.xlsx").code == 2


def test_a_sound_pack_ends_with_0(verbund: Verbund) -> None:
    said = verbund("region", "check", "--json")
    assert said.code == 0
    assert said.document["problems"] == []
    assert "sound" in verbund("region", "check").out


def test_a_broken_pack_ends_with_1_and_names_file_and_line(verbund: Verbund, tmp_path: Path) -> None:
    pack = Path(shutil.copytree(project_root() / "regions" / "bergisch", tmp_path / "pack"))
    mandates = pack / "mandates.yml"
    text = mandates.read_text(encoding="utf-8").replace("[abfallbilanz-csv]", "[abfallbilanz-tsv]")
    mandates.write_text(text, encoding="utf-8")
    line = next(n for n, words in enumerate(text.splitlines(), start=1) if "abfallbilanz-tsv" in words)
    said = verbund("region", "check", region=pack)
    assert (said.code, said.out) == (1, "")
    assert f"{mandates}:{line}: expected" in said.err
    told = verbund("region", "check", "--json", region=pack)
    assert told.code == 1
    assert told.document["problems"][0].keys() == {"file", "line", "expected", "found"}
    assert told.document["problems"][0]["line"] == line
    # every other command says the same instead of working on half a pack
    other = verbund("deliver", "x.csv", *SLOT, "2023", "--json", region=pack)
    assert other.code == 2
    assert f"{mandates}:{line}" in other.document["error"]


def test_a_new_pack_passes_its_check_and_comes_back_from_its_export(verbund: Verbund, tmp_path: Path) -> None:
    made = verbund("region", "new", "sauerland", "--to", tmp_path / "pack", "--json")
    assert (made.code, made.document["region"]) == (0, "sauerland")
    assert verbund("region", "check", region=tmp_path / "pack").code == 0
    packed = verbund("region", "export", "--to", tmp_path / "pack.zip", "--json", region=tmp_path / "pack")
    assert (packed.code, packed.document["files"]) == (0, len(made.document["files"]))
    taken = verbund("region", "import", tmp_path / "pack.zip", "--to", tmp_path / "taken", "--json")
    assert (taken.code, taken.document["region"]) == (0, "sauerland")
    assert verbund("region", "check", region=tmp_path / "taken").code == 0
    assert verbund("region", "import", tmp_path / "pack.zip", "--to", tmp_path / "taken").code == 2
    (tmp_path / "no.zip").write_text("no zip")
    refused = verbund("region", "import", tmp_path / "no.zip", "--to", tmp_path / "other", "--json")
    assert refused.code == 1
    assert "expected" in refused.document["error"]


def test_contracts_are_linted(verbund: Verbund, tmp_path: Path) -> None:
    said = verbund("contract", "lint", "--json")
    assert said.code == 0, said.out
    assert {entry["contract"] for entry in said.document} >= {"waste_balance", "population"}
    verbund("region", "new", "sauerland", "--to", tmp_path / "pack")
    (tmp_path / "pack" / "contracts").mkdir()
    (tmp_path / "pack" / "contracts" / "broken.odcs.yml").write_text("kind: DataContract\nid: other\n")
    broken = verbund("contract", "lint", "--json", region=tmp_path / "pack")
    assert broken.code == 1
    assert any(entry["problems"] for entry in broken.document if entry["contract"] == "broken")


def test_the_doctor_finds_a_sound_installation_sound_and_a_broken_pack_broken(verbund: Verbund, tmp_path: Path) -> None:
    said = verbund("doctor", "--json")
    assert said.code == 0, said.out
    assert all(answer.keys() == {"what", "well", "found", "remedy"} for answer in said.document)
    ill = verbund("doctor", "--json", region=tmp_path / "nowhere")
    assert ill.code == 3
    assert [answer["what"] for answer in ill.document if not answer["well"]] == ["the region pack is sound"]


def test_the_doctor_names_a_credential_that_nobody_gave(
    verbund: Verbund, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pack = Path(shutil.copytree(project_root() / "regions" / "bergisch", tmp_path / "pack"))
    with (pack / "sources.yml").open("a") as file:
        file.write(
            "  - {id: works_remote, supplier: statistik-amt, dataset: municipality_register, kind: s3, "
            "endpoint: 'https://s3.example.org', address: 's3://exports', credential: works-export}\n"
        )
    (ill,) = [answer for answer in verbund("doctor", "--json", region=pack).document if not answer["well"]]
    assert "works-export" in ill["found"] and "docs/new-region.md" in ill["remedy"]
    monkeypatch.setenv("VERBUND_CREDENTIAL_WORKS_EXPORT", "given")
    assert all(answer["well"] for answer in verbund("doctor", "--json", region=pack).document)


def test_a_home_that_cannot_be_used_ends_with_3(files: Path, tmp_path: Path) -> None:
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "ledger.sqlite").write_bytes(
        b"this is no database, and it is long enough to be looked at " * 40
    )
    said = Verbund(tmp_path / "home")("deliver", files / "Abfallbilanz_2023.csv", *SLOT, "2023", "--json")
    assert said.code == 3, said.out
    assert said.document["error"]


# --- every command ---


def commands() -> list[list[str]]:
    """Every command that people are shown, as they type it."""

    def walk(path: list[str], command: Any) -> Iterator[list[str]]:
        inner = {name: c for name, c in getattr(command, "commands", {}).items() if not c.hidden}
        for name, sub in inner.items():
            yield from walk([*path, name], sub)
        if not inner:
            yield path

    return list(walk([], typer.main.get_command(app)))


@pytest.mark.parametrize("path", commands(), ids=" ".join)
def test_every_command_shows_an_example_and_takes_home_region_and_json(verbund: Verbund, path: list[str]) -> None:
    said = verbund(*path, "--help")
    assert said.code == 0
    assert "Example" in said.out
    assert f"verbund {' '.join(path)}" in " ".join(said.out.split())
    for option in ("--home", "--region", "--json"):
        assert option in said.out


def test_the_commands_of_the_interface_are_there() -> None:
    named = {" ".join(path) for path in commands()}
    assert named >= {
        "demo", "up", "deliver", "check", "deliveries", "receipt", "history", "replay", "build", "release", "query",
        "template", "region new", "region check", "region export", "region import", "contract lint", "doctor",
    }  # fmt: skip
