"""Folders and SFTP servers are looked through on a schedule: each version of a file is taken once, whole, or told about."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import asyncssh
import pytest

from quality.desk import Desk
from quality.inboxes import Inboxes
from quality.judging import work_queue
from quality.pull import SourceFailed, pull
from quality.region import Source
from storage.settings import Settings
from tests.support.orchestrated import DATASET, SUPPLIER, settings_of, waste_file
from tests.support.sftp import SftpServer

PASSWORD = "geheim-7Kx-und-lang"
ROOT = Path(__file__).parents[2]


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    made = Desk(settings_of(tmp_path / "home"))
    yield made
    made.close()


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[SftpServer]:
    monkeypatch.setenv("VERBUND_CREDENTIAL_WORKS_EXPORT", PASSWORD)
    folder = tmp_path / "served" / "out"
    folder.mkdir(parents=True)
    made = SftpServer(tmp_path / "served", PASSWORD)
    yield made
    made.stop()


def sftp_source(server: SftpServer, **changed: str) -> Source:
    told = {
        "id": "works_export", "supplier": SUPPLIER, "dataset": DATASET, "kind": "sftp", "pattern": "*.csv",
        "address": f"{server.address}/out", "credential": "works-export", "host_key": server.public_key,
    }  # fmt: skip
    return Source.model_validate(told | changed)


@pytest.fixture(params=["folder", "sftp"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Path, Source]:
    """A folder, and a source that looks into it: directly, and over SFTP."""
    if request.param == "sftp":
        server: SftpServer = request.getfixturevalue("server")
        return server.folder / "out", sftp_source(server)
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    told = {"id": "drop_folder", "supplier": SUPPLIER, "dataset": DATASET, "address": str(folder), "pattern": "*.csv"}
    return folder, Source.model_validate(told | {"kind": "folder"})


def put(folder: Path, name: str, content: bytes, *, seconds_ago: float = 60) -> Path:
    file = folder / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(content)
    then = time.time() - seconds_ago
    os.utime(file, (then, then))
    return file


def attempts(desk: Desk) -> list[tuple[str, int]]:
    return sorted((delivery.period, delivery.attempt) for delivery in desk.ledger.deliveries())


def test_what_is_new_is_received_and_judged_and_what_is_known_is_not_taken_again(
    desk: Desk, place: tuple[Path, Source]
) -> None:
    folder, source = place
    put(folder, "abfallbilanz_2023.csv", waste_file("2023"))
    put(folder, "abfallbilanz_2024.csv", waste_file("2024"))
    put(folder, "notes.txt", b"not asked for")
    caught = pull(desk, source)
    assert [(d.period, d.attempt, d.origin, d.who) for d in caught] == [
        ("2023", 1, source.origin, source.origin),
        ("2024", 1, source.origin, source.origin),
    ]
    assert pull(desk, source) == []
    work_queue(desk)
    assert {d.state for d in desk.ledger.deliveries()} == {"accepted"}
    arrived = desk.ledger.arrived(source.origin)
    assert [(a.key, a.delivery_id) for a in arrived] == [(d.file_name, d.delivery_id) for d in caught]


def test_a_changed_file_is_a_new_attempt_also_when_it_is_put_back(desk: Desk, place: tuple[Path, Source]) -> None:
    folder, source = place
    put(folder, "abfallbilanz_2023.csv", waste_file("2023"), seconds_ago=300)
    pull(desk, source)
    put(folder, "abfallbilanz_2023.csv", waste_file("2023", tonnes="7,0"), seconds_ago=200)
    assert [d.attempt for d in pull(desk, source)] == [2]
    put(folder, "abfallbilanz_2023.csv", waste_file("2023"), seconds_ago=300)
    assert [(d.attempt, d.duplicate_of) for d in pull(desk, source)] == [(3, None)]
    assert pull(desk, source) == []


def test_a_file_written_again_with_the_same_bytes_is_nothing_new(desk: Desk, place: tuple[Path, Source]) -> None:
    folder, source = place
    put(folder, "abfallbilanz_2023.csv", waste_file("2023"), seconds_ago=300)
    pull(desk, source)
    put(folder, "abfallbilanz_2023.csv", waste_file("2023"), seconds_ago=200)
    assert pull(desk, source) == []
    assert attempts(desk) == [("2023", 1)]
    assert not desk.ledger.unsettled()


def test_what_is_deleted_at_the_source_stays_here(desk: Desk, place: tuple[Path, Source]) -> None:
    folder, source = place
    file = put(folder, "abfallbilanz_2023.csv", waste_file("2023"))
    (delivery,) = pull(desk, source)
    file.unlink()
    assert pull(desk, source) == []
    assert attempts(desk) == [("2023", 1)] and desk.vault.has(delivery.sha256)


def test_a_file_in_the_midst_of_being_written_waits(desk: Desk, place: tuple[Path, Source]) -> None:
    folder, source = place
    put(folder, "abfallbilanz_2023.csv", waste_file("2023"), seconds_ago=0)
    put(folder, "abfallbilanz_2024.csv.filepart", waste_file("2024"))
    assert pull(desk, source) == []
    put(folder, "abfallbilanz_2023.csv", waste_file("2023"))
    assert [d.period for d in pull(desk, source)] == ["2023"]


def test_a_file_that_grows_while_it_is_fetched_is_taken_when_it_is_whole(desk: Desk, server: SftpServer) -> None:
    whole = waste_file("2023")
    file = put(server.folder / "out", "abfallbilanz_2023.csv", whole[:40])

    def grows() -> None:
        put(file.parent, file.name, whole)

    server.before_read = grows
    assert pull(desk, sftp_source(server)) == []
    server.before_read = lambda: None
    (delivery,) = pull(desk, sftp_source(server))
    assert delivery.size == len(whole) and attempts(desk) == [("2023", 1)]


def test_what_cannot_be_a_delivery_is_named_and_does_not_stop_the_others(
    desk: Desk, place: tuple[Path, Source]
) -> None:
    folder, source = place
    put(folder, "abfallbilanz_2023.csv", waste_file("2023"))
    put(folder, "abfallbilanz_neu.csv", waste_file("2024"))
    put(folder, "ältere.csv", waste_file("2022"))
    put(folder, "zuletzt_2024.csv", waste_file("2024"))
    with pytest.raises(SourceFailed) as failed:
        pull(desk, source)
    assert [d.period for d in failed.value.caught] == ["2023", "2024"]
    (trouble,) = failed.value.troubles
    assert trouble.expected == "a period in the file's name"
    assert trouble.found == "'abfallbilanz_neu.csv', 'ältere.csv'"
    assert "`period`" in trouble.remedy
    # said again until somebody mends it, and then taken
    with pytest.raises(SourceFailed):
        pull(desk, source)
    (folder / "abfallbilanz_neu.csv").rename(folder / "abfallbilanz_2021.csv")
    (folder / "ältere.csv").unlink()
    assert [d.period for d in pull(desk, source)] == ["2021"]


def test_a_name_that_is_no_text_is_taken_like_any_other(desk: Desk, place: tuple[Path, Source]) -> None:
    folder, source = place
    put(folder, os.fsdecode("müll_2023.csv".encode("cp1252")), waste_file("2023"))
    assert [(d.period, d.file_name) for d in pull(desk, source)] == [("2023", "m\N{REPLACEMENT CHARACTER}ll_2023.csv")]
    assert pull(desk, source) == []


def test_a_file_above_the_limit_is_named_and_does_not_stop_the_others(
    tmp_path: Path, place: tuple[Path, Source]
) -> None:
    folder, source = place
    desk = Desk(Settings(home=tmp_path / "small", max_file_bytes=300))
    put(folder, "abfallbilanz_2022.csv", waste_file("2022") * 10)
    put(folder, "abfallbilanz_2023.csv", waste_file("2023"))
    with pytest.raises(SourceFailed, match=r"at most 300 bytes, found more in 'abfallbilanz_2022\.csv'") as failed:
        pull(desk, source)
    assert [d.period for d in failed.value.caught] == ["2023"]
    assert attempts(desk) == [("2023", 1)]
    desk.close()


def test_a_size_that_is_a_lie_does_not_get_past_the_limit(tmp_path: Path, server: SftpServer) -> None:
    desk = Desk(Settings(home=tmp_path / "small", max_file_bytes=300))
    file = put(server.folder / "out", "abfallbilanz_2023.csv", waste_file("2023"))

    def becomes_large() -> None:
        put(file.parent, file.name, b"x" * 5_000_000)

    server.before_read = becomes_large
    try:
        assert pull(desk, sftp_source(server)) == []
    except SourceFailed as failed:
        assert "at most 300 bytes" in str(failed)
    assert not desk.ledger.deliveries()
    desk.close()


def test_a_file_that_comes_short_is_named_and_not_taken(desk: Desk, server: SftpServer) -> None:
    file = put(server.folder / "out", "abfallbilanz_2023.csv", waste_file("2023"))
    server.ends_at = 40
    with pytest.raises(SourceFailed, match=f"found 40 of {file.stat().st_size} in 'abfallbilanz_2023"):
        pull(desk, sftp_source(server))
    assert not desk.ledger.deliveries()
    server.ends_at = None
    assert len(pull(desk, sftp_source(server))) == 1


def test_a_file_that_claims_to_change_next_year_is_named(desk: Desk, place: tuple[Path, Source]) -> None:
    folder, source = place
    put(folder, "abfallbilanz_2023.csv", waste_file("2023"), seconds_ago=-400 * 86_400)
    with pytest.raises(SourceFailed, match="changed in the past"):
        pull(desk, source)


def test_folders_below_are_looked_into_where_the_pattern_leads_and_may_tell_the_period(
    desk: Desk, place: tuple[Path, Source]
) -> None:
    folder, source = place
    put(folder, "2022/bilanz.csv", waste_file("2022"))
    put(folder, "2023/bilanz.csv", waste_file("2023"))
    put(folder, "alt/2021/bilanz.csv", waste_file("2021"))
    assert pull(desk, source) == []
    deep = source.model_copy(update={"pattern": "20*/*.csv"})
    assert [(d.period, d.file_name) for d in pull(desk, deep)] == [("2022", "bilanz.csv"), ("2023", "bilanz.csv")]
    assert [d.period for d in pull(desk, source.model_copy(update={"pattern": "**/*.csv"}))] == ["2021"]


def test_links_are_not_followed(desk: Desk, place: tuple[Path, Source], tmp_path: Path) -> None:
    folder, source = place
    secret = put(tmp_path, "secret_2023.csv", waste_file("2023"))
    (folder / "abfallbilanz_2023.csv").symlink_to(secret)
    (folder / "2024").symlink_to(tmp_path)
    assert pull(desk, source) == []
    assert pull(desk, source.model_copy(update={"pattern": "**/*.csv"})) == []


@pytest.mark.parametrize(
    ("error", "said"),
    [(asyncssh.SFTPPermissionDenied("not for you"), "permission denied"), (asyncssh.SFTPFailure("in use"), "in use")],
    ids=["forbidden", "in use"],
)
def test_what_cannot_be_read_is_named_and_does_not_stop_the_others(
    desk: Desk, server: SftpServer, error: Exception, said: str
) -> None:
    put(server.folder / "out", "abfallbilanz_2022.csv", waste_file("2022"))
    put(server.folder / "out", "abfallbilanz_2023.csv", waste_file("2023"))
    asked = []

    def forbidden() -> None:
        asked.append(1)
        if len(asked) == 1:
            raise error

    server.before_read = forbidden
    with pytest.raises(SourceFailed, match=rf"{said} for 'abfallbilanz_2022\.csv'") as failed:
        pull(desk, sftp_source(server))
    assert [d.period for d in failed.value.caught] == ["2023"]


def test_a_server_with_another_key_is_refused_before_anybody_logs_in(desk: Desk, server: SftpServer) -> None:
    other = asyncssh.generate_private_key("ssh-ed25519").export_public_key().decode()
    put(server.folder / "out", "abfallbilanz_2023.csv", waste_file("2023"))
    with pytest.raises(SourceFailed, match="whether the key was changed") as failed:
        pull(desk, sftp_source(server, host_key=other))
    (trouble,) = failed.value.troubles
    assert server.host_key.get_fingerprint() in trouble.found
    assert server.host_key.get_fingerprint() not in trouble.expected
    assert server.logins == 0 and not desk.ledger.deliveries()


def test_a_server_without_a_key_of_the_agreed_type_is_refused(desk: Desk, server: SftpServer) -> None:
    other = asyncssh.generate_private_key("ecdsa-sha2-nistp256").export_public_key().decode()
    with pytest.raises(SourceFailed, match=r"host key ecdsa-sha2-nistp256 SHA256:.*, found ssh-ed25519 SHA256:"):
        pull(desk, sftp_source(server, host_key=other))
    assert server.logins == 0


@pytest.mark.parametrize("kind", ["ssh-rsa", "ecdsa-sha2-nistp384"])
def test_of_several_keys_of_a_server_the_agreed_one_counts(desk: Desk, server: SftpServer, kind: str) -> None:
    put(server.folder / "out", "abfallbilanz_2023.csv", waste_file("2023"))
    several = SftpServer(server.folder, PASSWORD, more_host_keys=[kind])
    try:
        other = several.host_keys[1].export_public_key().decode()
        assert len(pull(desk, sftp_source(several, host_key=other))) == 1
    finally:
        several.stop()


def test_a_wrong_password_is_told_without_it(
    desk: Desk, server: SftpServer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("VERBUND_CREDENTIAL_WORKS_EXPORT", "falsch-9Zq-und-lang")
    with caplog.at_level("DEBUG"), pytest.raises(SourceFailed) as failed:
        pull(desk, sftp_source(server))
    assert "to be allowed to log in as verbund" in str(failed.value)
    assert "'works-export'" in str(failed.value)
    told: BaseException | None = failed.value
    while told is not None:
        assert "9Zq" not in repr(told)
        told = told.__cause__ or told.__context__
    assert "9Zq" not in caplog.text


def test_the_right_password_is_in_no_log(desk: Desk, server: SftpServer, caplog: pytest.LogCaptureFixture) -> None:
    put(server.folder / "out", "abfallbilanz_2023.csv", waste_file("2023"))
    with caplog.at_level("DEBUG"):
        assert len(pull(desk, sftp_source(server))) == 1
    assert "7Kx" not in caplog.text


def test_a_missing_credential_is_told_with_where_to_put_it(
    desk: Desk, server: SftpServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("VERBUND_CREDENTIAL_WORKS_EXPORT")
    with pytest.raises(
        SourceFailed, match="a file works-export in the folder of VERBUND_SECRETS_DIR, or into VERBUND_"
    ):
        pull(desk, sftp_source(server))


def test_a_private_key_in_the_folder_of_secrets_lets_in(
    desk: Desk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = asyncssh.generate_private_key("ssh-ed25519")
    (tmp_path / "secrets").mkdir()
    (tmp_path / "secrets" / "works-export").write_bytes(key.export_private_key())
    monkeypatch.setenv("VERBUND_SECRETS_DIR", str(tmp_path / "secrets"))
    put(tmp_path / "served" / "out", "abfallbilanz_2023.csv", waste_file("2023"))
    server = SftpServer(tmp_path / "served", key=key.convert_to_public())
    try:
        assert [d.period for d in pull(desk, sftp_source(server))] == ["2023"]
        (tmp_path / "secrets" / "works-export").write_bytes(key.export_private_key()[:120])
        with pytest.raises(SourceFailed, match="a private key that cannot be read"):
            pull(desk, sftp_source(server))
    finally:
        server.stop()


def test_a_server_that_is_away_is_told_and_what_it_had_comes_later(desk: Desk, server: SftpServer) -> None:
    put(server.folder / "out", "abfallbilanz_2023.csv", waste_file("2023"))
    source = sftp_source(server)
    server.stop()
    with pytest.raises(SourceFailed, match=r"expected an answer, found .*runs and can be reached"):
        pull(desk, source)
    assert not desk.ledger.deliveries()
    again = SftpServer(server.folder, PASSWORD)
    try:
        assert len(pull(desk, sftp_source(again))) == 1
    finally:
        again.stop()


def test_a_server_that_hangs_is_given_up(desk: Desk, server: SftpServer, monkeypatch: pytest.MonkeyPatch) -> None:
    put(server.folder / "out", "abfallbilanz_2023.csv", waste_file("2023"))
    server.before_read = lambda: time.sleep(4)
    with monkeypatch.context() as patched, pytest.raises(SourceFailed, match="nothing in time"):
        patched.setattr("storage.objects.sftp._ANSWER", 1.5)
        pull(desk, sftp_source(server))
    server.before_read = lambda: None
    assert len(pull(desk, sftp_source(server))) == 1


def test_a_connection_that_breaks_in_the_midst_keeps_what_came_before(desk: Desk, server: SftpServer) -> None:
    put(server.folder / "out", "abfallbilanz_2022.csv", waste_file("2022"))
    put(server.folder / "out", "abfallbilanz_2023.csv", waste_file("2023"))
    reads = []

    def breaks() -> None:
        reads.append(1)
        if len(desk.ledger.deliveries()) == 1:
            for connection in server._connections:
                connection.abort()

    server.before_read = breaks
    with pytest.raises(SourceFailed, match="expected an answer") as failed:
        pull(desk, sftp_source(server))
    assert [d.period for d in failed.value.caught] == ["2022"]
    server.before_read = lambda: None
    assert [d.period for d in pull(desk, sftp_source(server))] == ["2023"]


def test_a_folder_that_is_not_there_is_told(desk: Desk, server: SftpServer) -> None:
    with pytest.raises(SourceFailed, match=r"expected a folder /nowhere, found none\. Create it"):
        pull(desk, sftp_source(server, address=f"{server.address}/nowhere"))


def test_a_large_file_comes_whole(desk: Desk, server: SftpServer) -> None:
    content = os.urandom(9_000_001)
    put(server.folder / "out", "abfallbilanz_2023.csv", content)
    (delivery,) = pull(desk, sftp_source(server))
    kept = desk.vault.fetch(delivery.sha256, desk.home.work)
    assert kept.read_bytes() == content


PULL = """
import json, sys
from pathlib import Path
from quality.desk import Desk
from quality.inboxes import Inboxes
from quality.pull import pull
from quality.region import Source
from tests.support.orchestrated import settings_of
desk = Desk(settings_of(Path(sys.argv[1])))
pull(desk, Source.model_validate(json.loads(sys.argv[2])))
"""


@pytest.mark.parametrize("point", ["vault.kept", "ledger.arrived", "ledger.received"])
@pytest.mark.parametrize("who", ["pull", "sweep"])
def test_a_pull_killed_at_any_step_loses_and_doubles_nothing(tmp_path: Path, point: str, who: str) -> None:
    """The arrival is finished by the next pull, or by the sweep of a judge that knows the source from the pack."""
    home = tmp_path / "home"
    # a source of the pack with a fixed period: what it gives would be another delivery if the file's name were asked
    settings = settings_of(home)
    desk = Desk(settings)
    source = next(source for source in desk.pack.sources if source.kind == "folder")
    folder = home / "sources" / source.supplier
    put(folder, "GV100AD_311224.asc", b"61\n")
    source = source.model_copy(update={"period": "2024"})
    killed = subprocess.run(
        [sys.executable, "-c", PULL, str(home), source.model_dump_json(exclude_unset=True)], cwd=ROOT, check=False,
        env={**os.environ, "VERBUND_CRASH_AT": point}, capture_output=True, text=True,
    )  # fmt: skip
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    if who == "sweep":
        object.__setattr__(desk.pack, "sources", [source])
        Inboxes(desk).sweep()
    pull(desk, source)
    assert pull(desk, source) == []
    assert attempts(desk) == [("2024", 1)]
    assert [d.origin for d in desk.ledger.deliveries()] == [source.origin]
    assert not desk.ledger.unsettled()
    desk.close()
