"""Dagster sees what the judge did: reports, re-runs, the foundation that follows, and storage that may be lost."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest

from orchestration.defs.maintenance.retention import forget_old_runs
from orchestration.event_log import can_hold_together
from orchestration.instance import end_dead_runs, open_instance
from orchestration.report import SUPPLY_KEY, accepted_key, judged_key
from orchestration.reporter import deliveries_judged, opened, report_all, tell_again
from orchestration.slots import partition_of
from quality.desk import Desk
from storage.paths import Slot
from storage.settings import Settings, project_root
from tests.support.orchestrated import DATASET, SUPPLIER, bad_file, grid, send, settings_of, waste_file

JUDGED, ACCEPTED = judged_key(DATASET), accepted_key(DATASET)


@pytest.fixture(scope="module")
def delivered(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home nobody told Dagster of: 2023 corrected once, 2024 rejected, 2025 with a held row, nothing for 2026."""
    home = tmp_path_factory.mktemp("delivered") / "home"
    desk = Desk(settings_of(home))
    send(desk, "2023", waste_file("2023"))
    send(desk, "2024", bad_file())
    send(desk, "2023", waste_file("2023", tonnes="99,0"))
    send(desk, "2025", waste_file("2025", area="09162000"))
    desk.close()
    return home


@pytest.fixture
def settings(delivered: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """A copy of that home, in the environment as well."""
    home = tmp_path / "home"
    shutil.copytree(delivered, home, symlinks=True)
    monkeypatch.setenv("VERBUND_HOME", str(home))
    monkeypatch.setenv("VERBUND_REGION", "bergisch")
    return settings_of(home)


@pytest.fixture(scope="module")
def definitions(delivered: Path) -> Iterator[dg.Definitions]:
    before = {name: os.environ.get(name) for name in ("VERBUND_HOME", "VERBUND_REGION")}
    os.environ.update({"VERBUND_HOME": str(delivered), "VERBUND_REGION": "bergisch"})
    from orchestration.definitions import definitions as build

    yield build(settings_of(delivered))
    for name, value in before.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value


def told(instance: dg.DagsterInstance, key: dg.AssetKey) -> list[str]:
    """Delivery of every materialization, oldest first."""
    records = instance.fetch_materializations(dg.AssetRecordsFilter(key), limit=100, ascending=True).records
    return [str(r.asset_materialization.metadata["delivery"].value) for r in records if r.asset_materialization]


def test_the_code_location_loads(definitions: dg.Definitions) -> None:
    dg.Definitions.validate_loadable(definitions)


def test_every_source_of_a_model_is_an_asset_that_fills_it(definitions: dg.Definitions) -> None:
    graph = definitions.resolve_asset_graph()
    assert not [key for key in graph.get_all_asset_keys() if graph.get(key).is_external]


def test_accepted_rejected_and_missing_slots_look_different(settings: Settings) -> None:
    assert report_all(settings) == 4
    with open_instance(settings) as instance:
        assert grid(instance, JUDGED) == {"2023": "green", "2024": "red", "2025": "green"}
        assert grid(instance, ACCEPTED) == {"2023": "green", "2024": "red", "2025": "green"}


def test_every_delivery_is_told_once_and_attempts_in_order(settings: Settings) -> None:
    report_all(settings)
    assert report_all(settings) == 0
    with open_instance(settings) as instance:
        names = told(instance, JUDGED)
        assert sorted(names) == sorted(set(names))
        assert [n for n in names if "--2023--" in n] == [f"{SUPPLIER}--{DATASET}--2023--0{n}" for n in (1, 2)]


def test_a_rejected_slot_names_the_rules_it_broke(settings: Settings) -> None:
    report_all(settings)
    with open_instance(settings) as instance:
        check = dg.AssetCheckKey(JUDGED, "columns__missing")
        records = instance.event_log_storage.get_asset_check_execution_history(check, limit=5)
        evaluations = [
            r.event.dagster_event.asset_check_evaluation_data for r in records if r.event and r.event.dagster_event
        ]
        assert [(e.passed, e.partition) for e in evaluations] == [
            (False, partition_of(Slot(SUPPLIER, DATASET, "2024")))
        ]


def test_a_correction_turns_a_red_slot_green_and_its_checks_too(settings: Settings) -> None:
    report_all(settings)
    desk = Desk(settings)
    send(desk, "2024", waste_file("2024"))
    desk.close()
    report_all(settings)
    with open_instance(settings) as instance:
        assert grid(instance, JUDGED)["2024"] == grid(instance, ACCEPTED)["2024"] == "green"
        check = dg.AssetCheckKey(JUDGED, "columns__missing")
        newest = instance.event_log_storage.get_asset_check_execution_history(check, limit=1)[0]
        assert newest.status.value == "SUCCEEDED"


def test_a_rejected_correction_shows_red_while_the_earlier_version_is_served(settings: Settings) -> None:
    desk = Desk(settings)
    send(desk, "2023", bad_file())
    assert desk.ledger.accepted_of(Slot(SUPPLIER, DATASET, "2023"))
    desk.close()
    report_all(settings)
    with open_instance(settings) as instance:
        assert grid(instance, ACCEPTED)["2023"] == "red"
        assert told(instance, ACCEPTED)[-1] != f"{SUPPLIER}--{DATASET}--2023--03"


def test_a_withdrawn_slot_is_told_as_empty_and_shown_red(settings: Settings) -> None:
    desk = Desk(settings)
    served = desk.ledger.accepted_of(Slot(SUPPLIER, DATASET, "2025"))
    assert served is not None
    desk.withdraw(served.delivery_id, who="test", why="sent by mistake")
    desk.close()
    report_all(settings)
    with open_instance(settings) as instance:
        assert grid(instance, ACCEPTED)["2025"] == "red"
        wanted = dg.AssetRecordsFilter(ACCEPTED, asset_partitions=[partition_of(Slot(SUPPLIER, DATASET, "2025"))])
        newest = instance.fetch_materializations(wanted, limit=1).records[0].asset_materialization
        assert newest is not None
        assert newest.metadata["dagster/partition_row_count"].value == 0


@pytest.mark.parametrize("point", ["report.begun", "report.told", "report.run_done", "report.ticked"])
def test_a_killed_reporter_leaves_no_double_and_no_run_started(settings: Settings, point: str) -> None:
    environment = {
        **os.environ, "VERBUND_CRASH_AT": point,
        "PYTHONPATH": os.pathsep.join([str(project_root()), os.environ.get("PYTHONPATH", "")]),
    }  # fmt: skip
    command = [
        sys.executable,
        "-c",
        "from orchestration.reporter import report_all; from storage.settings import Settings; report_all(Settings())",
    ]
    killed = subprocess.run(command, env=environment, capture_output=True, check=False, timeout=120)
    assert killed.returncode == -signal.SIGKILL, killed.stderr.decode()[-2000:]
    report_all(settings)
    with open_instance(settings) as instance:
        names = told(instance, JUDGED)
        assert len(names) == len(set(names)) == 4
        assert grid(instance, JUDGED) == {"2023": "green", "2024": "red", "2025": "green"}
        assert all(run.is_finished for run in instance.get_runs())


def test_losing_dagsters_storage_loses_no_slot(settings: Settings) -> None:
    report_all(settings)
    with open_instance(settings) as instance:
        before = (grid(instance, JUDGED), grid(instance, ACCEPTED))
    shutil.rmtree(settings.paths.dagster)
    assert report_all(settings) == 0  # nothing waits; the reporter notices by itself
    with open_instance(settings) as instance:
        assert (grid(instance, JUDGED), grid(instance, ACCEPTED)) == before
    assert tell_again(settings) > 0


def test_materialize_judges_the_slots_newest_delivery_again(settings: Settings, definitions: dg.Definitions) -> None:
    report_all(settings)
    job = definitions.resolve_implicit_global_asset_job_def()
    outcome = {}
    with open_instance(settings) as instance:
        for period in ("2023", "2024", "2026"):
            run = job.execute_in_process(
                instance=instance,
                partition_key=partition_of(Slot(SUPPLIER, DATASET, period)),
                asset_selection=[JUDGED, ACCEPTED],
            )
            assert run.success
            broken = {e.check_name for e in run.get_asset_check_evaluations() if not e.passed}
            outcome[period] = ([m.asset_key.path[0] for m in _materialized(run)], broken)
        assert outcome == {
            "2023": (["judged", "accepted"], set()),
            "2024": (["judged"], {"columns__missing"}),
            "2026": ([], set()),
        }
        assert grid(instance, JUDGED) == {"2023": "green", "2024": "red", "2025": "green"}
    # the run told Dagster itself, so nothing is left for the reporter
    assert report_all(settings) == 0


@pytest.mark.slow
def test_the_foundation_follows_the_branch_of_what_was_delivered(
    settings: Settings, definitions: dg.Definitions
) -> None:
    report_all(settings)
    job = definitions.resolve_implicit_global_asset_job_def()
    cursor = None
    with open_instance(settings) as instance:

        def tick() -> set[str]:
            nonlocal cursor
            result = dg.evaluate_automation_conditions(definitions, instance, cursor=cursor)
            cursor = result.cursor
            keys = [r.key for r in result.results if not r.true_subset.is_empty and isinstance(r.key, dg.AssetKey)]
            if keys:
                assert job.execute_in_process(instance=instance, asset_selection=keys).success
            return {key.to_user_string() for key in keys}

        assert SUPPLY_KEY.to_user_string() in tick()  # a new home is built without a delivery
        while tick():
            pass
        desk = Desk(settings)
        send(desk, "2026", waste_file("2026"))
        send(desk, "2022", bad_file())
        desk.close()
        report_all(settings)
        followed = tick()
        assert {f"marts/{DATASET}", f"staging/stg_{DATASET}", "marts/data_supply", "marts/indicators"} <= followed
        others = {f"marts/{c}" for c in Desk(settings).pack.contracts} - {f"marts/{DATASET}"}
        assert not others & followed
        assert not tick()
        desk = Desk(settings)
        send(desk, "2021", bad_file())
        desk.close()
        report_all(settings)
        followed = tick()
        assert "marts/data_supply" in followed  # a rejection changes the state of supply
        assert f"marts/{DATASET}" not in followed  # and nothing else


def test_runs_of_dead_processes_end(settings: Settings) -> None:
    with open_instance(settings) as instance:
        run = instance.create_run_for_job(deliveries_judged)
        gone = subprocess.Popen([sys.executable, "-c", ""])
        gone.wait()
        instance.report_engine_event("at work", run, dg._core.events.EngineEventData.in_process(gone.pid))  # type: ignore[attr-defined]
        instance.report_dagster_event(dg._core.events.DagsterEvent("PIPELINE_START", run.job_name), run.run_id)  # type: ignore[attr-defined]
        own = instance.create_run_for_job(deliveries_judged)
        instance.report_engine_event("at work", own, dg._core.events.EngineEventData.in_process(os.getpid()))  # type: ignore[attr-defined]
        instance.report_dagster_event(dg._core.events.DagsterEvent("PIPELINE_START", own.job_name), own.run_id)  # type: ignore[attr-defined]
        assert end_dead_runs(instance) == [run.run_id]
        assert not _run(instance, own.run_id).is_finished


def test_retention_keeps_the_runs_that_say_how_a_slot_stands(settings: Settings) -> None:
    with opened(settings) as reporter:
        reporter.recover()
        assert reporter.report_waiting() == 3
        assert reporter.report_waiting() == 1
        instance = reporter.instance
        before = set(told(instance, JUDGED)[1:])  # the first attempt of 2023 was superseded
        superfluous = instance.create_run_for_job(deliveries_judged)
        instance.report_run_failed(superfluous)
        assert forget_old_runs(instance, days=-1) == 1
        assert before <= set(told(instance, JUDGED))
        assert superfluous.run_id not in {run.run_id for run in instance.get_runs()}


def test_reports_are_written_in_one_transaction_by_the_version_of_dagster_in_use(settings: Settings) -> None:
    with open_instance(settings) as instance:
        assert can_hold_together(instance.event_log_storage)


def _materialized(run: dg.ExecuteInProcessResult) -> list[dg.AssetMaterialization]:
    return [e.materialization for e in run.all_events if e.event_type_value == "ASSET_MATERIALIZATION"]


def _run(instance: dg.DagsterInstance, run_id: str) -> dg.DagsterRun:
    run = instance.get_run_by_id(run_id)
    assert run is not None
    return run
