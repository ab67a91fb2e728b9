"""A region pack is right as a whole, and every mistake in it is named with file and line."""

from __future__ import annotations

import shutil
from datetime import date
from pathlib import Path

import pytest

from quality.region import RegionPack, load_pack
from quality.sources import Misconfigured, Problem

ROOT = Path(__file__).parents[3]
CONTRACTS, CODE_LISTS = ROOT / "quality" / "contracts", ROOT / "quality" / "codelists"
BERGISCH = ROOT / "regions" / "bergisch"


@pytest.fixture(scope="module")
def bergisch() -> RegionPack:
    return load_pack(BERGISCH, CONTRACTS, CODE_LISTS)


@pytest.fixture
def pack(tmp_path: Path) -> Path:
    return Path(shutil.copytree(BERGISCH, tmp_path / "pack"))


def problems_of(pack: Path, code_lists: Path = CODE_LISTS) -> list[Problem]:
    with pytest.raises(Misconfigured) as caught:
        load_pack(pack, CONTRACTS, code_lists)
    return list(caught.value.problems)


def line_with(file: Path, text: str) -> int:
    """The line a text stands on, counted from 1."""
    lines = file.read_text(encoding="utf-8").splitlines()
    return next(number for number, line in enumerate(lines, start=1) if text in line)


def test_the_bergisch_pack_has_no_mistakes(bergisch: RegionPack) -> None:
    assert [area.name for area in bergisch.region.areas] == ["Wuppertal", "Solingen", "Remscheid"]
    assert bergisch.mandate("wuppertal-abfall", "waste_balance", date(2024, 1, 1), date(2025, 1, 1)) is not None


def test_the_bergisch_pack_speaks_at_least_eight_dialects_in_at_least_three_formats(bergisch: RegionPack) -> None:
    used = {name for mandate in bergisch.mandates for name in mandate.dialects}
    assert used == set(bergisch.dialects)
    assert len(used) >= 8
    assert len({dialect.format.type for dialect in bergisch.dialects.values()}) >= 3


def test_every_code_list_a_contract_names_has_codes_a_source_and_a_licence(bergisch: RegionPack) -> None:
    named = {f.code_list for contract in bergisch.contracts.values() for f in contract.fields if f.code_list}
    assert named
    for name in named:
        code_list = bergisch.code_lists[name]
        assert code_list.entries
        assert code_list.spec.source
        assert code_list.spec.licence


@pytest.mark.parametrize("written", ["200301", "20 03 01", "20 03 01*", "200301*", "20.03.01"])
def test_a_waste_code_is_known_in_every_way_it_is_written(bergisch: RegionPack, written: str) -> None:
    assert written in set(bergisch.code_lists["avv"].variants("200301"))


def test_a_mandate_that_moved_leaves_no_day_to_two_suppliers_and_none_to_nobody(bergisch: RegionPack) -> None:
    for month in range(5, 9):
        start, end = date(2025, month, 1), date(2025, month + 1, 1)
        owing = [
            supplier
            for supplier in bergisch.suppliers
            if (mandate := bergisch.mandate(supplier, "green_waste_intake", start, end)) and "05122000" in mandate.areas
        ]
        assert owing == (["solingen-betriebe"] if month < 7 else ["bergisch-zweckverband"])


def test_a_word_stands_for_its_code_no_longer_than_the_code_holds(bergisch: RegionPack) -> None:
    closed = next(mapping for mapping in bergisch.mappings if mapping.code == "remscheid-ost")
    assert closed.valid_to == date(2025, 6, 30)


def test_the_fingerprint_changes_with_any_file_of_the_pack(pack: Path, bergisch: RegionPack) -> None:
    before = load_pack(pack, CONTRACTS, CODE_LISTS).fingerprint
    assert before == bergisch.fingerprint
    with (pack / "mappings.csv").open("a", encoding="utf-8") as file:
        file.write("avv,*,Hausrat,200307,2025-01-01,9999-12-31,koordination,2025-01-01\n")
    assert load_pack(pack, CONTRACTS, CODE_LISTS).fingerprint != before


#: What is wrong → file, text to replace (its first occurrence), what it is replaced by, a text on the line that is
#: named, words of the message.
MISTAKES = {
    "yaml that is none": ("region.yml", "id: bergisch", "id: [bergisch", None, "YAML"),
    "unknown property": ("region.yml", "zone:", "timezone:", "timezone:", "timezone"),
    "unknown time zone": ("region.yml", "Europe/Berlin", "Europe/Wuppertal", "zone:", "time zone"),
    "key with seven digits": ("region.yml", '"05120000"', '"5120000"', "5120000", "area_code"),
    "municipality named twice": ("region.yml", '"05122000"', '"05124000"', "Solingen", "named once"),
    "supplier id with capitals": ("suppliers.yml", "id: wuppertal-abfall", "id: Wuppertal", "Wuppertal", "pattern"),
    "supplier id used twice": (
        "suppliers.yml", "id: solingen-betriebe", "id: wuppertal-abfall", "Städtische Betriebe Solingen", "used once"),
    "supplier in a foreign municipality": (
        "suppliers.yml", '"05122000"', '"05111000"', "05111000", "municipality of the region"),
    "unknown supplier": ("mandates.yml", "wuppertal-abfall, dataset: waste", "niemand, dataset: waste", "niemand", "supplier"),
    "unknown dataset": ("mandates.yml", "dataset: waste_balance", "dataset: abfall", "dataset: abfall", "contract"),
    "unknown dialect": ("mandates.yml", "[abfallbilanz-csv]", "[abfallbilanz-tsv]", "abfallbilanz-tsv", "dialect"),
    "dialect of another dataset": (
        "mandates.yml", "[abfallbilanz-csv]", "[lastgang-mscons]", "lastgang-mscons", "a dialect of waste_balance"),
    "mandate that ends before it begins": (
        "mandates.yml", "valid_until: 2025-04-01", "valid_until: 2025-02-01", "valid_until: 2025-02-01", "after valid_from"),
    "mandate for an area outside": ("mandates.yml", '["05124000"]', '["05111"]', '["05111"]', "key of the region"),
    "two mandates at a time": (
        "mandates.yml", "2025-05-01, valid_until: 2025-09-01", "2025-05-01", "2025-09-01, optional: true", "one mandate at a time"),
    "date that does not exist": (
        "mandates.yml", "valid_from: 2010-01-01", "valid_from: 2010-02-30", "2010-02-30", "a day that exists"),
    "mandate without dialects": ("mandates.yml", "dialects: [abfallbilanz-csv]", "dialects: []", "dialects: []", "dialects"),
    "dialect without its contract": (
        "dialects/abfallbilanz-csv.yml", "dataset: waste_balance", "dataset: abfall", "dataset: abfall", "contract"),
    "field nobody promised": ("dialects/abfallbilanz-csv.yml", "quantity_t:", "menge_t:", "menge_t:", "field of"),
    "required field without a column": (
        "dialects/abfallbilanz-csv.yml", "  waste_code: AVV\n", "", "columns:", "required field waste_code"),
    "encoding nobody knows": ("dialects/abfallbilanz-csv.yml", "cp1252", "cp9999", "format:", "encoding"),
    "delimiter of two characters": ("dialects/abfallbilanz-csv.yml", '";"', '";;"', "format:", "delimiter"),
    "format nobody reads": ("dialects/abfallbilanz-csv.yml", "type: csv", "type: pdf", "format:", "type"),
    "pattern that is none": ("dialects/abfallbilanz-csv.yml", "'^SYNTHETISCH'", "'(SYNTHETISCH'", "format:", "regular expression"),
    "file name pattern that is none": (
        "dialects/lastgang-kw-mez.yml", "'.*(DE", "'.*((DE", "metering_point_id", "regular expression"),
    "marks that are the same": ("dialects/abfallbilanz-csv.yml", 'thousands: "."', 'thousands: ","', None, "must differ"),
    "unit that leads nowhere": (
        "dialects/abfallbilanz-csv.yml", "unit: t}", "unit: kWh}", "unit: kWh", "a unit that becomes t"),
    "power without an interval": (
        "dialects/lastgang-kw-mez.yml", ", unit: kW, interval: PT15M}", ", unit: kW}", "Leistung [kW]", "over an interval"),
    "interval that is none": (
        "dialects/lastgang-kw-mez.yml", "unit: kW, interval: PT15M", "unit: kW, interval: 15min", "Leistung [kW]", "duration"),
    "default that is no code": (
        "dialects/abfallbilanz-csv.yml", "default: none", "default: nichts", "Verfahren", "a code of recovery_disposal"),
    "default that invents a quantity": (
        "dialects/abfallbilanz-csv.yml", 'unit: t}', 'unit: t, default: "0"}', "Menge [t]", "default only for a field with a code list"),
    "constant that is no code": (
        "dialects/gruenabfall-breit.yml", "constant: kg", "constant: Zentner", "Zentner", "a code of quantity_unit"),
    "pivot text that is no code": (
        "dialects/gruenabfall-breit.yml", "fraction_code: soft", "fraction_code: weich", "weich", "a code of green_waste_fraction"),
    "column with two origins": (
        "dialects/abfallbilanz-csv.yml", "{from: Verfahren,", "{constant: R1, from: Verfahren,", "Verfahren", "exactly one of"),
    "local time of an unknown zone": ("dialects/lastgang-kw-mez.yml", "Etc/GMT-1", "MEZ", "zone: MEZ", "time zone"),
    "dialect id used twice": (
        "dialects/gruenabfall-breit.yml", "id: gruenabfall-breit", "id: gruenabfall-utf16", None, "used once"),
    "mapping to an unknown list": ("mappings.csv", "waste_flow,*,Aufkommen", "strom,*,Aufkommen", "strom,*", "code list"),
    "mapping to an unknown code": ("mappings.csv", "Aufkommen,generated", "Aufkommen,erzeugt", "erzeugt", "code of waste_flow"),
    "mapping of an unknown supplier": (
        "mappings.csv", "avv,*,Hausmüll", "avv,niemand,Hausmüll", "niemand", "supplier"),
    "word for two codes at a time": ("mappings.csv", "avv,*,Restabfall,200301", "avv,*,RESTMÜLL,200307", "RESTMÜLL", "one code at a time"),
    "mapping with an empty cell": ("mappings.csv", "Aufkommen,generated", "Aufkommen,", "Aufkommen,,", "nothing in code"),
    "mapping with a cell too many": ("mappings.csv", "Aufkommen,generated", "Aufkommen,generated,x", "generated,x", "8 cells"),
    "mapping with a German date": ("mappings.csv", "generated,1900-01-01", "generated,01.01.1900", "01.01.1900", "dates like"),
    "mappings without their header": ("mappings.csv", "list,supplier,word", "liste,supplier,word", "liste,", "the columns list"),
    "site in a foreign municipality": (
        "sites.csv", "Wuppertal Nord,05124000", "Wuppertal Nord,05111000", "05111000", "municipality of the region"),
    "site id used twice": ("sites.csv", "wuppertal-sued", "wuppertal-nord", "Wuppertal Süd", "used once"),
    "site that ends before it begins": (
        "sites.csv", "2015-01-01,2025-06-30", "2015-01-01,2014-06-30", "2014-06-30", "on or after valid_from"),
    "source without a mandate": (
        "sources.yml", "supplier: statistik-amt", "supplier: bergisch-kompost", "id: statistics_register", "a mandate of this supplier"),
    "source without an address": (
        "sources.yml", "http://127.0.0.1:8931/lastgang.csv", "lastgang.csv", 'address: "lastgang.csv"', "http://"),
    "source id used twice": (
        "sources.yml", "id: solingen_load_profile", "id: statistics_register", None, "a source id used once"),
    "source of an unknown kind": ("sources.yml", "kind: folder", "kind: ftp", "kind: ftp", "'sftp'"),
    "source with a word of another kind": (
        "sources.yml", "kind: folder", "kind: folder\n    credential: stadtwerke-x", "id: statistics_register", "no credential"),
    "pattern that leads elsewhere": (
        "sources.yml", "GV100AD*.asc", "../GV100AD*.asc", "pattern:", "no pattern of files"),
    "schedule that is none": ("sources.yml", '"0 5 * * *"', '"daily"', "every:", "cron"),
    "period that is none": ("sources.yml", '"2025-12"', '"2025-13"', 'period:', "periods look like"),
}  # fmt: skip


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_in_a_pack_is_named_with_file_and_line(mistake: str, pack: Path) -> None:
    name, old, new, marker, words = MISTAKES[mistake]
    file = pack / name
    text = file.read_text(encoding="utf-8")
    assert old in text, "the pack changed; this test breaks nothing any more"
    file.write_text(text.replace(old, new, 1), encoding="utf-8")
    named = [problem for problem in problems_of(pack) if words in str(problem)]
    assert named, f"nobody speaks of {words}"
    # an id used twice is named in the second of the two files
    assert named[0].file.name == (file.name if mistake != "dialect id used twice" else "gruenabfall-utf16.yml")
    if marker is not None:
        assert named[0].line == line_with(file, marker)


HOST_KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIK1ldMheCAWNxEt3kMfa/aFScIzJntW2DhVfDSCLxObF"
REMOTE = {
    "sftp": {
        "address": "sftp://verbund@works.example.org:2222/out",
        "host_key": HOST_KEY,
        "credential": "works-export",
    },
    "s3": {"address": "s3://exports/waste", "endpoint": "https://s3.example.org", "credential": "works-export"},
}


def with_remote(pack: Path, kind: str, **changed: str | None) -> Path:
    """The pack with one more source; a word that is None is left out."""
    told = {"id": "works_remote", "supplier": "statistik-amt", "dataset": "municipality_register", "kind": kind}
    words = {**told, **REMOTE[kind], **changed}
    lines = [f"    {word}: {value}\n" for word, value in words.items() if value is not None]
    with (pack / "sources.yml").open("a", encoding="utf-8") as file:
        file.write("".join(lines).replace("    id", "  - id", 1))
    return pack


@pytest.mark.parametrize("kind", list(REMOTE))
def test_a_source_at_another_system_is_sound(pack: Path, kind: str) -> None:
    source = load_pack(with_remote(pack, kind), CONTRACTS, CODE_LISTS).sources[-1]
    assert (source.kind, source.origin, source.credential) == (kind, "pull:works_remote", "works-export")


@pytest.mark.parametrize(
    ("kind", "word", "written", "at", "words"),
    [
        ("sftp", "address", "sftp://works.example.org/out", "address:", "sftp://user@host"),
        ("sftp", "address", "sftp://verbund:geheim@works.example.org/out", "address:", "no password stands in an address"),
        ("sftp", "address", "sftp://verbund@works.example.org:99999/out", "address:", "sftp://user@host"),
        ("sftp", "host_key", "ssh-ed25519", "host_key:", "a host key is a type"),
        ("sftp", "host_key", "ssh-ed25519 AAAAnonsense", "host_key:", "a host key is a type"),
        ("sftp", "host_key", HOST_KEY.replace("ed25519", "rsa"), "host_key:", "a host key is a type"),
        ("sftp", "host_key", None, "id: works_remote", "needs host_key"),
        ("sftp", "credential", None, "id: works_remote", "needs credential"),
        ("sftp", "credential", "verbund_s3_secret_key", "credential:", "pattern"),
        ("sftp", "endpoint", "https://s3.example.org", "id: works_remote", "has no endpoint"),
        ("s3", "address", "s3://Exports", "address:", "s3://bucket/prefix"),
        ("s3", "address", "s3://exports/../secret", "address:", "not a key"),
        ("s3", "address", "https://s3.example.org/exports", "address:", "s3://bucket/prefix"),
        ("s3", "endpoint", "https://me:geheim@s3.example.org", "endpoint:", "pattern"),
        ("s3", "endpoint", None, "id: works_remote", "needs endpoint"),
    ],
)  # fmt: skip
def test_a_mistake_in_a_source_at_another_system_is_named_with_its_line(
    pack: Path, kind: str, word: str, written: str | None, at: str, words: str
) -> None:
    with_remote(pack, kind, **{word: written})
    (problem,) = problems_of(pack)
    assert words in str(problem) and "geheim" not in str(problem)
    file = pack / "sources.yml"
    lines = [n for n, line in enumerate(file.read_text(encoding="utf-8").splitlines(), start=1) if at in line]
    assert (problem.file, problem.line) == (file, lines[-1])


def test_all_mistakes_of_a_pack_are_named_at_once(pack: Path) -> None:
    for name, old, new in (
        ("mappings.csv", "generated,1900-01-01", "generated,gestern"),
        ("sites.csv", "2015-01-01,2025-06-30", "2015-01-01,morgen"),
        ("suppliers.yml", "id: wuppertal-abfall", "id: W"),
        ("dialects/abfallbilanz-csv.yml", "cp1252", "cp9999"),
    ):
        file = pack / name
        file.write_text(file.read_text(encoding="utf-8").replace(old, new, 1), encoding="utf-8")
    assert {problem.file.name for problem in problems_of(pack)} == {
        "mappings.csv", "sites.csv", "suppliers.yml", "abfallbilanz-csv.yml",
    }  # fmt: skip


@pytest.mark.parametrize("name", ["region.yml", "suppliers.yml", "mandates.yml"])
def test_a_missing_file_of_a_pack_is_named(name: str, pack: Path) -> None:
    (pack / name).unlink()
    assert [(problem.file.name, problem.line) for problem in problems_of(pack)] == [(name, 1)]


@pytest.mark.parametrize("name", ["region.yml", "mappings.csv"])
def test_a_file_that_is_no_utf8_is_named_with_its_line(name: str, pack: Path) -> None:
    file = pack / name
    text = file.read_text(encoding="utf-8")
    file.write_bytes(text.encode("cp1252"))
    line = next(number for number, row in enumerate(text.splitlines(), start=1) if not row.isascii())
    assert [(problem.file.name, problem.line) for problem in problems_of(pack)] == [(name, line)]


def test_a_pack_needs_no_mappings_sites_and_sources(pack: Path) -> None:
    for name in ("mappings.csv", "sites.csv", "sources.yml"):
        (pack / name).unlink()
    loaded = load_pack(pack, CONTRACTS, CODE_LISTS)
    assert (loaded.mappings, loaded.sites, loaded.sources) == ([], [], [])


def test_a_dialect_may_write_null_and_truth_values_as_bare_keys(pack: Path) -> None:
    file = pack / "dialects" / "abfallbilanz-csv.yml"
    text = file.read_text(encoding="utf-8").replace('"null":', "null:")
    file.write_text(text + "booleans: {true: [ja], false: [nein]}\n", encoding="utf-8")
    dialect = load_pack(pack, CONTRACTS, CODE_LISTS).dialects["abfallbilanz-csv"]
    assert dialect.null == ["-", ".", "k.A."]
    assert dialect.booleans == {"true": ["ja"], "false": ["nein"]}


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("t,Tonne,Tonne", "kg,Tonne,Tonne", "used once"),
        ("t,Tonne,Tonne,1900-01-01", "t,Tonne,Tonne,heute", "dates like"),
        ("t,Tonne,Tonne", "t,,Tonne", "nothing in name_de"),
    ],
)
def test_a_mistake_in_a_code_list_is_named(old: str, new: str, words: str, pack: Path, tmp_path: Path) -> None:
    lists = Path(shutil.copytree(CODE_LISTS, tmp_path / "lists"))
    file = lists / "quantity_unit.csv"
    file.write_text(file.read_text(encoding="utf-8").replace(old, new, 1), encoding="utf-8")
    named = [problem for problem in problems_of(pack, lists) if words in str(problem)]
    assert [problem.file.name for problem in named] == ["quantity_unit.csv"]


def test_a_region_may_bring_code_lists_of_its_own(pack: Path) -> None:
    (pack / "codelists").mkdir()
    (pack / "codelists" / "lists.yml").write_text(
        "lists:\n  - {id: local, version: '1', title: {de: Eigene, en: Own}, source: own, licence: EUPL-1.2}\n",
        encoding="utf-8",
    )
    (pack / "codelists" / "local.csv").write_text(
        "code,name_de,name_en,valid_from,valid_to\na,A,A,1900-01-01,9999-12-31\n", encoding="utf-8"
    )
    assert list(load_pack(pack, CONTRACTS, CODE_LISTS).code_lists["local"].codes) == ["a"]
