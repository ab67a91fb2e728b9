"""Whatever file is sent for whatever dataset gets a verdict a person can act on, soon and in little memory."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator
from hashlib import sha256
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from storage.paths import parse_delivery_id
from tests.support.bench import PACKS, TestBench

DATA = Path(os.environ.get("VERBUND_REAL_DATA", Path(__file__).parents[3] / "shared" / "data"))
REAL = PACKS / "real"

pytestmark = [
    pytest.mark.timeout(600),  # a minute and a half on a calm machine
    pytest.mark.real_data,
    pytest.mark.slow,
    pytest.mark.skipif(not DATA.is_dir(), reason=f"no real files: VERBUND_REAL_DATA names no folder ({DATA})"),
]

#: Supplier, dataset, period and kind of file of an agreement. Of the `any-…` one every file of the kind reaches the rules.
AGREEMENTS = [
    ("land-statistics", "waste_balance", "2015", "table with a preamble"),
    ("metering", "load_profile", "2019-12", "messages"),
    ("any-lines", "green_waste_intake", "2025-05", "lines"),
    ("any-characters", "population", "2020", "characters"),
    ("any-workbook", "municipality_register", "2021", "workbook"),
]
#: What was agreed for a kind of file is no wrong dataset for it.
FITTING = {("nrw_counties.csv", "land-statistics")}

#: One process judges everything, and tells a line per verdict; what it writes last is its peak of memory in MiB.
WALK = """
import json, sys, time
from pathlib import Path
from quality.desk import Desk
from storage.settings import Settings
from tests.support.memory import peak_mib

data, home, region, agreements = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3], json.loads(sys.argv[4])
desk = Desk(Settings(home=home, region=region))
desk.warm_up()
files = sorted(file for file in data.rglob("*") if file.is_file())
for number, file in enumerate(files):
    # files made to be nasty meet every agreement, the others two each, in turn
    met = agreements if "robustness" in file.parts else [agreements[(number + step) % len(agreements)] for step in (0, 2)]
    for supplier, dataset, period, _ in met:
        began = time.monotonic()
        document = desk.check(file, supplier, dataset, period)
        print(json.dumps([str(file.relative_to(data)), supplier, time.monotonic() - began, document]), flush=True)
left = [table for (table,) in desk.bench.connection.execute("select table_name from duckdb_tables() where temporary").fetchall()]
print(json.dumps(["", "left", 0, left]))
print(json.dumps(["", "peak", peak_mib(), {}]))
"""


@pytest.fixture(scope="module")
def walked(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What the walk over all files told: `checks`, `left` (tables of the desk's connection) and `peak` (MiB)."""
    command = [sys.executable, "-c", WALK, str(DATA), str(tmp_path_factory.mktemp("home")), str(REAL)]
    walk = subprocess.run([*command, json.dumps(AGREEMENTS)], capture_output=True, text=True, check=False)
    assert walk.returncode == 0, f"{walk.stdout[-200:]}: {walk.stderr[-2000:]}"
    lines = walk.stdout.split("\n")[:-1]
    # scripts read what a check prints: nothing else may come between
    strange = [(before[:200], line) for before, line in pairwise(["", *lines]) if not line.startswith("[")]
    assert strange == []
    *checks, left, peak = map(json.loads, lines)
    return {"checks": checks, "left": left[3], "peak": peak[2]}


def test_every_file_gets_a_verdict_for_every_dataset(walked: dict[str, Any]) -> None:
    files = [path for path in DATA.rglob("*") if path.is_file()]
    assert len(files) >= 100
    robust = [path for path in files if "robustness" in path.parts]
    assert len(walked["checks"]) == len(AGREEMENTS) * len(robust) + 2 * (len(files) - len(robust))
    wrong = [
        (file, supplier, document["state"])
        for file, supplier, _, document in walked["checks"]
        if document["state"] != "rejected"
        and (Path(file).name, supplier) not in FITTING
        # the one kind of file that several publishers share: messages are messages
        and not (supplier == "metering" and "mscons" in file)
    ]
    assert wrong == []


def test_rows_of_every_wrong_file_reconcile(walked: dict[str, Any]) -> None:
    for file, supplier, _, document in walked["checks"]:
        delivered, *parts = (
            document["rows"][name]
            for name in ("delivered", "accepted", "accepted_with_warning", "quarantined", "ignored_by_rule")
        )
        assert delivered == sum(parts), (file, supplier, document["rows"])


def test_every_rejection_says_in_two_languages_what_is_wrong_and_what_to_do(walked: dict[str, Any]) -> None:
    for file, supplier, _, document in walked["checks"]:
        if document["state"] != "rejected":
            continue
        fatal = [finding for finding in document["findings"] if finding["severity"] == "fatal"]
        assert fatal, (file, supplier)
        for finding in fatal:
            for language in ("de", "en"):
                assert finding["message"][language].strip(), (file, supplier, finding["rule"])
        for language in ("de", "en"):
            assert document["todo"][language], (file, supplier)


def test_every_verdict_comes_within_twenty_seconds_and_a_gibibyte(walked: dict[str, Any]) -> None:
    slowest = max(walked["checks"], key=lambda check: check[2])
    assert slowest[2] < 20, slowest[:3]
    assert walked["peak"] < 1024


def test_checks_leave_no_rows_behind(walked: dict[str, Any]) -> None:
    named = {"typed_", "judged_", "text_rows_", "spotted_", "quarantined_", "accepted_rows_"}
    assert [table for table in walked["left"] if any(table.startswith(start) for start in named)] == []


def test_files_of_each_kind_reach_the_rules_under_some_agreement(walked: dict[str, Any]) -> None:
    """Else everything would be turned away at the door, and the walk would show nothing of the judge."""
    reached = defaultdict[str, int](int)
    for _, supplier, _, document in walked["checks"]:
        reached[supplier] += document["rows"]["delivered"] > 0
    assert reached["any-lines"] > 50 and reached["any-characters"] > 50 and reached["any-workbook"] > 5, dict(reached)


# --- the whole way, for some of them ---

SENT = [
    ("robustness/messytables/simple.zip", "any-lines"),
    ("robustness/messytables/simple.xls", "any-workbook"),
    ("robustness/messytables/large.xlsx", "any-workbook"),
    ("robustness/messytables/utf-16le_encoded.csv", "any-lines"),
    ("robustness/messytables/small.csv", "any-lines"),
    ("robustness/frictionless/Таблица.csv", "any-characters"),
    ("robustness/frictionless/table-output.ods", "land-statistics"),
    ("codelists/gv100ad_beschreibung/Datensatzbeschreibung_GV100AD.pdf", "metering"),
    ("land/bkg_vg5000_gem_2021/VG5000_GEM.shp", "any-characters"),
    ("codelists/cpv/cpvCodes.json", "any-lines"),
]


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestBench]:
    made = TestBench(tmp_path_factory.mktemp("home"), REAL)
    yield made
    made.close()


@pytest.mark.parametrize(("name", "supplier"), SENT, ids=[Path(name).name for name, _ in SENT])
def test_a_wrong_file_is_kept_answered_and_stored_nowhere_else(bench: TestBench, name: str, supplier: str) -> None:
    source = DATA / name
    _, dataset, period, _ = next(agreement for agreement in AGREEMENTS if agreement[0] == supplier)
    desk = bench.desk
    delivery = desk.receive(source, supplier, dataset, period, file_name=source.name, who="test")
    assert all(desk.receipts.places(delivery.delivery_id)[ending] for ending in ("json", "html"))
    states = desk.answer([desk.judge(delivery)])
    assert states == {delivery.delivery_id: "rejected"}
    # the bytes are kept as sent, whatever they are
    assert delivery.sha256 == sha256(source.read_bytes()).hexdigest()
    assert desk.vault.fetch(delivery.sha256, bench.settings.paths.work).read_bytes() == source.read_bytes()
    files = desk.receipts.places(delivery.delivery_id)
    assert files["json"] and files["html"]
    assert Path(files["json"]).name == f"{delivery.delivery_id}.quittung.json"
    receipt = json.loads(Path(files["json"]).read_text("utf-8"))
    assert (receipt["state"], receipt["sha256"]) == ("rejected", delivery.sha256)
    assert receipt["file_name"] in Path(files["html"]).read_text("utf-8")
    assert bench.rows(f"select count(*) from accepted.{dataset}") == [(0,)]
    assert parse_delivery_id(delivery.delivery_id).slot.supplier == supplier
