"""Backup, loss of everything, restore: what comes back is what was there, and what is not the same is told."""

from __future__ import annotations

import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory

from quality import backup, judging
from storage import dumps
from storage.ledger import opening
from storage.ledger.tables import HEAD, metadata
from storage.settings import Settings
from storage.vault import VaultDamaged
from tests.support.bench import PLAIN
from tests.support.keeping import balance, deliver, facts, fill

pytestmark = pytest.mark.slow
NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)


def local(home: Path) -> Settings:
    return Settings(home=home, region=str(PLAIN))


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """Nobody changes it."""
    settings = local(tmp_path_factory.mktemp("home"))
    fill(settings)
    return settings


@pytest.fixture(scope="module")
def saved(filled: Settings, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Nobody changes it."""
    folder = tmp_path_factory.mktemp("backup") / "here"
    backup.backup(filled, folder, NOON)
    return folder


@pytest.fixture
def copy(saved: Path, tmp_path: Path) -> Path:
    """A copy of the backup, to do harm to."""
    shutil.copytree(saved, tmp_path / "copy")
    return tmp_path / "copy"


def test_after_a_loss_of_everything_a_restore_brings_all_of_it_back(
    filled: Settings, saved: Path, tmp_path: Path
) -> None:
    new = local(tmp_path / "new")

    restored = backup.restore(new, saved)

    assert facts(new) == facts(filled)
    assert restored.releases == 1 and restored.tables > 5 and restored.contents == len(facts(new)["vault"])


def test_work_goes_on_in_what_was_restored(saved: Path, tmp_path: Path) -> None:
    new = local(tmp_path / "new")
    backup.restore(new, saved)

    made = deliver(new, balance("9", "8", "7"))

    assert made == "plain-works--waste_balance--2024--04"
    rows = facts(new)["lakes"]["accepted"]["rows"]["main.waste_balance"]
    assert {row[0] for row in rows} and any(made in map(str, row) for row in rows)


def test_a_second_backup_copies_only_what_is_new_and_the_first_point_stays(tmp_path: Path) -> None:
    settings, folder = local(tmp_path / "home"), tmp_path / "backup"
    deliver(settings, balance("1"))
    first = backup.backup(settings, folder, NOON)
    before = facts(settings)
    assert backup.backup(settings, folder, NOON + timedelta(hours=1)).copied == 0
    deliver(settings, balance("2"))
    third = backup.backup(settings, folder, NOON + timedelta(hours=2))

    new = [
        key
        for area in backup.AREAS
        for key, kept in third.objects[area].items()
        if kept.sha256 not in {k.sha256 for k in first.objects[area].values()}
    ]
    assert 0 < third.copied <= len(new)
    assert backup.points(folder) == ["20261123T120000Z", "20261123T130000Z", "20261123T140000Z"]
    earlier = local(tmp_path / "earlier")
    backup.restore(earlier, folder, first.name)
    assert facts(earlier) == before


def test_a_copy_that_was_damaged_in_the_backup_is_made_again(filled: Settings, copy: Path) -> None:
    victim = next(path for path in (copy / "objects").rglob("*") if path.is_file())
    victim.chmod(0o644)
    victim.write_bytes(b"rot")

    assert backup.backup(filled, copy, NOON + timedelta(hours=1)).copied == 1


@pytest.mark.parametrize("harm", ["rot", "loss"])
def test_a_damaged_backup_is_not_restored_as_if_it_were_whole(copy: Path, tmp_path: Path, harm: str) -> None:
    point = backup.read_point(copy)
    key, kept = next(iter(point.objects["vault"].items()))
    victim = copy / "objects" / key
    victim.chmod(0o644)
    victim.write_bytes(b"x" * kept.size)
    if harm == "loss":
        victim.unlink()
    new = local(tmp_path / "new")

    with pytest.raises(backup.DamagedBackup, match=kept.sha256):
        backup.restore(new, copy)

    assert dumps.holds_nothing(new)
    assert not any(path.is_file() for path in new.paths.vault.rglob("*"))


def test_a_damaged_ledger_in_the_backup_is_refused_before_anything_is_written(copy: Path, tmp_path: Path) -> None:
    ledger = copy / "points" / "20261123T120000Z" / "ledger.sqlite"
    ledger.write_bytes(ledger.read_bytes()[:-1] + b"x")

    with pytest.raises(backup.DamagedBackup, match=r"ledger\.sqlite"):
        backup.restore(local(tmp_path / "new"), copy)


def test_a_restore_that_broke_off_may_be_repeated(saved: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    new = local(tmp_path / "new")
    with monkeypatch.context() as patched:
        patched.setattr(dumps, "put_back", lambda *_: (_ for _ in ()).throw(OSError("the power went")))
        with pytest.raises(OSError, match="the power went"):
            backup.restore(new, saved)

    assert backup.restore(new, saved).files > 10


def test_nothing_is_restored_over_something(filled: Settings, saved: Path, tmp_path: Path) -> None:
    with pytest.raises(backup.NotEmpty, match="empty installation"):
        backup.restore(filled, saved)
    strange = local(tmp_path / "strange")
    (strange.paths.vault / "sha256" / "ab").mkdir(parents=True)
    (strange.paths.vault / "sha256" / "ab" / ("ab" + "0" * 62)).write_bytes(b"of somebody else")
    with pytest.raises(backup.NotEmpty, match="vault/sha256/ab"):
        backup.restore(strange, saved)


def test_nothing_is_restored_under_a_running_judge(saved: Path, tmp_path: Path) -> None:
    new = local(tmp_path / "new")
    with judging.holding(new), pytest.raises(backup.NotEmpty, match="judge is running"):
        backup.restore(new, saved)


@pytest.mark.parametrize("harm", ["rot", "loss"])
def test_a_backup_of_a_vault_that_is_not_whole_is_refused(tmp_path: Path, harm: str) -> None:
    settings = local(tmp_path / "home")
    deliver(settings, balance("1"))
    victim = next(path for path in settings.paths.vault.rglob("*") if path.is_file())
    victim.chmod(0o644)
    victim.write_bytes(b"rot")
    if harm == "loss":
        victim.unlink()

    with pytest.raises(VaultDamaged, match=victim.name):
        backup.backup(settings, tmp_path / "backup")

    assert backup.points(tmp_path / "backup") == []


def test_a_backup_goes_neither_into_the_home_nor_among_other_things(filled: Settings, tmp_path: Path) -> None:
    (tmp_path / "letter.txt").touch()
    for folder in (filled.home / "backup", tmp_path):
        with pytest.raises(backup.NotEmpty):
            backup.backup(filled, folder)
    with pytest.raises(backup.NoBackup, match="holds no whole backup"):
        backup.restore(local(tmp_path / "new"), tmp_path / "nowhere")


@pytest.mark.parametrize(
    "revision",
    [None, *(s.revision for s in ScriptDirectory(str(opening.MIGRATIONS)).walk_revisions() if s.revision != HEAD)],
)
def test_a_ledger_of_an_earlier_shape_is_brought_to_the_present_one(tmp_path: Path, revision: str | None) -> None:
    settings = local(tmp_path / "home")
    engine = opening.open_engine(settings.ledger_url)
    if revision is not None:
        config = Config()
        config.set_main_option("script_location", str(opening.MIGRATIONS))
        with engine.execution_options(writes=True).begin() as connection:
            config.attributes["connection"] = connection
            command.upgrade(config, revision)

    assert dumps.upgrade(settings) == (revision, HEAD)
    assert dumps.upgrade(settings) == (HEAD, HEAD)

    assert {table.name for table in metadata.sorted_tables} < set(sa.inspect(engine).get_table_names())
    engine.dispose()
