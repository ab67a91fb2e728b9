"""Judges killed at every step: after a restart everything is as if nothing had happened."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from storage import lake, stores
from storage.ledger.ledger import Ledger
from tests.support import profiles
from tests.support.bench import GOOD, PLAIN, SOLINGEN, THIRD, WORKS, written
from tests.support.crashing import Warm
from tests.support.profiles import answers_by_name, objects, settings_for

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
WASTE = GOOD["waste_balance"][1]
KILLED = -signal.SIGKILL

#: Every step of a judge; what the reporter does is killed elsewhere.
POINTS = (
    "vault.kept", "ledger.arrived", "ledger.received", "judge.begun", "judge.judged", "lake.before", "lake.committed",
    "ledger.recorded", "receipt.written",
)  # fmt: skip


@pytest.fixture(scope="module")
def warm() -> Iterator[Warm]:
    with Warm() as process:
        yield process


def drop(home: Path, key: str, content: str | bytes) -> None:
    """Put a file into an inbox, as if it had lain there for a minute."""
    profiles.drop(settings_for(home, PLAIN), key, content)


def balance(year: int, *quantities: str, supplier: str = WORKS) -> str:
    area = {} if supplier == WORKS else {"area_code": SOLINGEN}
    codes = ("200301", "200108", "200201", "150101")
    return written(
        [
            WASTE | area | {"year": str(year), "waste_code": c, "quantity_t": q}
            for c, q in zip(codes, quantities, strict=False)
        ]
    )


def state_of(home: Path) -> dict[str, Any]:
    """All that a home holds and somebody can see, without the times."""
    settings = settings_for(home, PLAIN)
    ledger = Ledger(settings.ledger_url)
    views = {v.delivery_id: v for v in ledger.deliveries()}
    with lake.connect(settings) as connection:
        lake.attach(connection, settings, "accepted", read_only=True)
        tables = {
            table: connection.execute(f"select * from accepted.{table} order by all").fetchall()
            for table in ("waste_balance", "quarantine")
        }
    receipts = {}
    for key, content in objects(stores.receipts(settings)):
        if key.endswith(".json"):
            document = json.loads(content)
            known = {k: v for k, v in document.items() if k not in ("received_at", "judged_at")}
            receipts[key.rpartition("/")[2]] = known
    told = [(entry.delivery_id, entry.kind, entry.body["state"]) for entry in ledger.unreported(1000)]
    state = {
        "deliveries": {name: (view.state, view.verdict_state, view.rows, view.sha256) for name, view in views.items()},
        "waiting": [delivery.delivery_id for delivery in ledger.waiting("somebody")],
        "outbox": sorted(told),
        "receipts": receipts,
        "beside": answers_by_name(settings),
        "vault": sorted(info.key for info in stores.vault(settings).list()),
        "left_in_work": sorted(f.name for f in (home / "work").rglob("*.parquet")),
        **tables,
    }
    ledger.close()
    return state


def lived(warm: Warm, home: Path, point: str = "") -> dict[str, Any]:
    """A home in which a slot is accepted and then corrected, the judge of the correction being killed at a point."""
    drop(home, f"{WORKS}/waste_balance/2024/a.csv", balance(2024, "1", "2", "x", "4"))
    assert warm.judge(home, PLAIN) == 0
    drop(home, f"{WORKS}/waste_balance/2024/b.csv", balance(2024, "1", "5", "x"))
    if point:
        assert warm.judge(home, PLAIN, crash_at=point) == KILLED
        for info in stores.vault(settings_for(home, PLAIN)).list():
            assert info.size > 0
    assert warm.judge(home, PLAIN) == 0
    return state_of(home)


@pytest.fixture(scope="module")
def undisturbed(warm: Warm, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return lived(warm, tmp_path_factory.mktemp("undisturbed"))


def test_an_undisturbed_life_is_what_the_others_are_compared_with(undisturbed: dict[str, Any]) -> None:
    assert [(name[-2:], d[0]) for name, d in sorted(undisturbed["deliveries"].items())] == [
        ("01", "superseded"),
        ("02", "partly_accepted"),
    ]
    assert len(undisturbed["waste_balance"]) == 2
    assert len(undisturbed["receipts"]) == 4
    assert len(undisturbed["beside"]) >= 4
    assert len(undisturbed["vault"]) == 2
    assert undisturbed["waiting"] == []


@pytest.mark.parametrize("point", POINTS)
def test_a_judge_killed_at_any_step_leaves_nothing_half_doubled_or_lost(
    warm: Warm, tmp_path: Path, undisturbed: dict[str, Any], point: str
) -> None:
    after = lived(warm, tmp_path, point)
    for part, expected in undisturbed.items():
        assert after[part] == expected, part


def burst(home: Path) -> None:
    """Forty files of two suppliers: good ones, corrections, a double, rejected ones and ones held in part."""
    for n in range(20):
        year = 2010 + 2 * n
        drop(home, f"{WORKS}/waste_balance/{year}/a.csv", balance(year, "1", "2", "x" if n % 5 == 0 else "3"))
    for n in range(12):
        year = 2010 + 2 * n
        bad = "<html>abgelaufen</html>" if n % 4 == 0 else balance(year, "7", supplier=THIRD)
        drop(home, f"{THIRD}/waste_balance/{year}/a.csv", bad)
    for n in range(7):
        year = 2010 + 2 * n
        drop(home, f"{WORKS}/waste_balance/{year}/b.csv", balance(year, str(n + 10)))
    drop(home, f"{WORKS}/waste_balance/2048/b.csv", balance(2048, "1", "2", "3"))


def test_a_burst_whose_judge_is_killed_again_and_again_ends_like_one_that_is_left_alone(
    warm: Warm, tmp_path: Path
) -> None:
    calm, wild = tmp_path / "calm", tmp_path / "wild"
    burst(calm)
    assert warm.judge(calm, PLAIN) == 0
    expected = state_of(calm)
    assert len(expected["deliveries"]) == 40
    assert {d[0] for d in expected["deliveries"].values()} == {
        "accepted", "partly_accepted", "rejected", "superseded", "duplicate",
    }  # fmt: skip
    burst(wild)
    deaths = (
        "vault.kept:17", "ledger.arrived:11", "ledger.received:9", "judge.begun:4", "judge.judged:3", "lake.before:2",
        "lake.committed:2", "ledger.recorded:2", "receipt.written:7",
    )  # fmt: skip
    for point in deaths:
        assert warm.judge(wild, PLAIN, crash_at=point) == KILLED, point
    assert warm.judge(wild, PLAIN) == 0
    after = state_of(wild)
    for part in expected:
        assert after[part] == expected[part], part


def test_a_file_that_kills_its_reader_ends_in_a_verdict_and_keeps_nobody_waiting(warm: Warm, tmp_path: Path) -> None:
    drop(tmp_path, f"{WORKS}/waste_balance/2024/bomb.csv", balance(2024, "1"))
    for year in (2020, 2022, 2024):
        drop(tmp_path, f"{THIRD}/waste_balance/{year}/good.csv", balance(year, "1", supplier=THIRD))
    ends = []
    for _ in range(6):
        # the throw-away process is a new one, so the name must be deadly there as well
        ends.append(warm.judge(tmp_path, PLAIN, VERBUND_TEST_KILLER="bomb.csv", PYTHONPATH=deadly(tmp_path)))
        if ends[-1] == 0:
            break
    assert ends == [KILLED, KILLED, 0]
    after = state_of(tmp_path)
    bomb = f"{WORKS}--waste_balance--2024--01"
    assert after["deliveries"][bomb][:2] == ("rejected", "rejected")
    assert [f["rule"] for f in after["receipts"][f"{bomb}.quittung.json"]["findings"]] == ["file.killed_the_reader"]
    assert {d[0] for name, d in after["deliveries"].items() if name != bomb} == {"accepted"}
    assert after["waiting"] == []
    # those that were in hand beside it are no suspects: the second time each is judged alone, by the judge itself
    ledger = Ledger(settings_for(tmp_path, PLAIN).ledger_url)
    events = [e for name in after["deliveries"] if name != bomb for e in ledger.history(name)]
    assert {e.who for e in events if e.kind == "judged"} == {"judge-0"}
    assert max(e.facts["begins"] for e in events if e.kind == "judging") == 2
    ledger.close()
    # the nightly sweep does not read it again only to write a receipt that was lost
    stores.receipts(settings_for(tmp_path, PLAIN)).delete(f"{WORKS}/{bomb}.quittung.json")
    assert warm.judge(tmp_path, PLAIN, VERBUND_TEST_KILLER="bomb.csv", VERBUND_TEST_SWEEP="1") == 0
    assert state_of(tmp_path)["receipts"].keys() == after["receipts"].keys()


def deadly(folder: Path) -> str:
    """A folder for PYTHONPATH whose `sitecustomize` makes reading `bomb.csv` end every Python process."""
    place = folder / "deadly"
    place.mkdir(exist_ok=True)
    (place / "sitecustomize.py").write_text(
        "import sys\n"
        f"sys.path.insert(0, {str(Path(__file__).parents[2])!r})\n"
        "if 'quality.judging' in ' '.join(sys.orig_argv):\n"
        "    from tests.support.crashing import _let_a_file_kill\n"
        "    _let_a_file_kill('bomb.csv')\n"
    )
    return str(place)
