"""Other systems are asked on a schedule: what is new becomes a delivery, what fails changes nothing."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import dagster as dg
import pytest

from orchestration.defs.sources.assets import _source_asset
from orchestration.resources import DeskResource
from quality.desk import Desk
from quality.pull import SourceFailed, pull
from quality.region import Source
from tests.support.orchestrated import DATASET, SUPPLIER, settings_of, waste_file
from tests.support.sftp import SftpServer


class Remote:
    """A server that hands out one file with its tag, or an error."""

    def __init__(self) -> None:
        self.content, self.status, self.tagged, self.asked = b"", 200, True, list[str]()
        remote = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                tag = f'"{hash(remote.content)}"'
                remote.asked.append(self.headers.get("If-None-Match", ""))
                known = remote.tagged and self.headers.get("If-None-Match") == tag
                self.send_response(remote.status if remote.status != 200 else 304 if known else 200)
                if remote.tagged:
                    self.send_header("ETag", tag)
                self.end_headers()
                if not known and remote.status == 200:
                    self.wfile.write(remote.content)

            def log_message(self, format: str, *args: object) -> None:
                return

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.source = Source(
            id="remote_balance", supplier=SUPPLIER, dataset=DATASET, kind="http", period="2024",
            address=f"http://127.0.0.1:{self.server.server_port}/balance.csv",
        )  # fmt: skip


@pytest.fixture
def remote() -> Iterator[Remote]:
    made = Remote()
    yield made
    made.server.shutdown()


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    made = Desk(settings_of(tmp_path / "home"))
    yield made
    made.close()


def test_what_is_fetched_is_received_under_the_name_of_the_source(desk: Desk, remote: Remote) -> None:
    remote.content = waste_file("2024")
    (delivery,) = pull(desk, remote.source)
    assert (delivery.attempt, delivery.period, delivery.origin) == (1, "2024", "pull:remote_balance")
    assert desk.vault.has(delivery.sha256)


def test_what_has_not_changed_is_not_fetched_again(desk: Desk, remote: Remote) -> None:
    remote.content = waste_file("2024")
    pull(desk, remote.source)
    assert pull(desk, remote.source) == []
    assert remote.asked[0] == "" and remote.asked[1] != ""
    assert len(desk.ledger.deliveries()) == 1


def test_a_server_without_tags_is_compared_by_bytes(desk: Desk, remote: Remote) -> None:
    remote.content, remote.tagged = waste_file("2024"), False
    pull(desk, remote.source)
    assert pull(desk, remote.source) == []
    assert len(desk.ledger.deliveries()) == 1


def test_what_changed_is_a_new_attempt(desk: Desk, remote: Remote) -> None:
    remote.content = waste_file("2024")
    pull(desk, remote.source)
    remote.content = waste_file("2024", tonnes="7,0")
    (delivery,) = pull(desk, remote.source)
    assert delivery.attempt == 2


@pytest.mark.parametrize("status", [404, 500, 503])
def test_an_error_of_the_server_is_told_and_changes_nothing(desk: Desk, remote: Remote, status: int) -> None:
    remote.content = waste_file("2024")
    pull(desk, remote.source)
    before = desk.ledger.source_state("remote_balance")
    remote.content, remote.status = waste_file("2024", tonnes="7,0"), status
    with pytest.raises(SourceFailed, match=f"expected 200 or 304, found {status}"):
        pull(desk, remote.source)
    assert desk.ledger.source_state("remote_balance") == before
    assert len(desk.ledger.deliveries()) == 1


def test_a_server_that_is_away_is_told_with_what_to_do(desk: Desk, remote: Remote) -> None:
    remote.server.shutdown()
    remote.server.server_close()
    with pytest.raises(SourceFailed, match=r"sources\.yml"):
        pull(desk, remote.source)
    assert not desk.ledger.deliveries()


@pytest.mark.parametrize("point", ["vault.kept", "ledger.arrived", "ledger.received"])
def test_a_fetch_killed_at_any_step_loses_and_doubles_nothing(
    desk: Desk, remote: Remote, monkeypatch: pytest.MonkeyPatch, point: str
) -> None:
    class Killed(BaseException):
        pass

    def dies(reached: str) -> None:
        if reached == point:
            raise Killed

    remote.content = waste_file("2024")
    with monkeypatch.context() as patched, pytest.raises(Killed):
        patched.setattr("quality.desk.reached", dies)
        patched.setattr("quality.pull.reached", dies)
        pull(desk, remote.source)
    pull(desk, remote.source)
    assert pull(desk, remote.source) == []
    assert [(d.attempt, d.duplicate_of) for d in desk.ledger.deliveries()] == [(1, None)]
    assert not desk.ledger.unsettled()


def folder_source(folder: Path) -> Source:
    return Source(
        id="drop_folder", supplier=SUPPLIER, dataset=DATASET, kind="folder", address=str(folder), pattern="*.csv"
    )


def rested(file: Path) -> None:
    past = time.time() - 60
    os.utime(file, (past, past))


def test_a_folder_is_read_once_per_version_of_a_file(desk: Desk, tmp_path: Path) -> None:
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    file = folder / "abfallbilanz_2023.csv"
    file.write_bytes(waste_file("2023"))
    (folder / "notes.txt").write_text("not asked for")
    assert pull(desk, folder_source(folder)) == []  # still being written, for all we know
    rested(file)
    assert [d.period for d in pull(desk, folder_source(folder))] == ["2023"]
    assert pull(desk, folder_source(folder)) == []
    file.write_bytes(waste_file("2023", tonnes="7,0"))
    rested(file)
    assert [d.attempt for d in pull(desk, folder_source(folder))] == [2]


def test_a_folder_that_is_not_there_is_told(desk: Desk, tmp_path: Path) -> None:
    with pytest.raises(SourceFailed, match="expected a folder, found none"):
        pull(desk, folder_source(tmp_path / "nowhere"))


def test_a_run_judges_what_it_caught_and_fails_for_what_it_could_not_take(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    for name in ("abfallbilanz_2023.csv", "abfallbilanz_neu.csv"):
        (folder / name).write_bytes(waste_file("2023"))
        rested(folder / name)
    run, instance = materialized(folder_source(folder), tmp_path, monkeypatch)
    with instance:
        assert not run.success
        desk = Desk(settings_of(tmp_path / "home"))
        assert [(d.period, d.state) for d in desk.ledger.deliveries()] == [("2023", "accepted")]
        desk.close()
        written = "\n".join(str(entry) for entry in instance.all_logs(run.run_id))
    assert "abfallbilanz_neu.csv" in written and "wuppertal-abfall--waste_balance--2023--01" in written


def test_a_run_that_is_not_let_in_tells_dagster_no_secret(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    server = SftpServer(tmp_path, "the right one")
    monkeypatch.setenv("VERBUND_CREDENTIAL_WORKS_EXPORT", "falsch-9Zq-und-lang")
    source = Source(
        id="works_export", supplier=SUPPLIER, dataset=DATASET, kind="sftp", address=f"{server.address}/",
        host_key=server.public_key, credential="works-export",
    )  # fmt: skip
    run, instance = materialized(source, tmp_path, monkeypatch)
    server.stop()
    with instance:
        assert not run.success
        written = "\n".join(str(entry) for entry in instance.all_logs(run.run_id))
    assert "works-export" in written and "9Zq" not in written


def materialized(
    source: Source, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> tuple[dg.ExecuteInProcessResult, dg.DagsterInstance]:
    """One run of a source's asset, and the instance that recorded it."""
    monkeypatch.setenv("VERBUND_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("VERBUND_REGION", "bergisch")
    instance = dg.DagsterInstance.ephemeral()
    with_desk = {"desk": DeskResource()}
    return dg.materialize(
        [_source_asset(source)], resources=with_desk, instance=instance, raise_on_error=False
    ), instance
