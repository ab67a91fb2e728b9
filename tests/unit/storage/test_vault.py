from __future__ import annotations

import hashlib
import io
import os
import stat
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from storage.objects.base import TooManyBytes
from storage.objects.local import LocalStore
from storage.vault import Vault, VaultDamaged


class Remote(LocalStore):
    """A store without files of this machine, as S3 is."""

    def local_path(self, key: str) -> Path | None:
        self.info(key)
        return None


@pytest.fixture(params=[LocalStore, Remote], ids=["local", "remote"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> LocalStore:
    store: LocalStore = request.param(tmp_path / "vault")
    return store


def only_file(store: LocalStore) -> Path:
    (path,) = (path for path in store.root.rglob("*") if path.is_file())
    return path


def test_what_is_kept_comes_back_byte_for_byte(store: LocalStore, tmp_path: Path) -> None:
    content = os.urandom(3_000_000)
    kept = Vault(store).keep(io.BytesIO(content))
    assert (kept.sha256, kept.size, kept.new) == (hashlib.sha256(content).hexdigest(), 3_000_000, True)
    assert Vault(store).fetch(kept.sha256, tmp_path / "work").read_bytes() == content
    assert Vault(store).fetch(kept.sha256, tmp_path / "work").read_bytes() == content


def test_the_same_bytes_are_kept_once(store: LocalStore, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"same")
    first, second = Vault(store).keep(tmp_path / "file"), Vault(store).keep(io.BytesIO(b"same"))
    assert (first.new, second.new) == (True, False)
    assert first.sha256 == second.sha256
    assert only_file(store).name == first.sha256


@given(st.lists(st.binary(max_size=50), max_size=8))
@settings(max_examples=25, deadline=None)
def test_nothing_that_was_kept_is_ever_lost(tmp_path_factory: pytest.TempPathFactory, contents: list[bytes]) -> None:
    vault = Vault(LocalStore(tmp_path_factory.mktemp("vault")))
    kept = [vault.keep(io.BytesIO(content)).sha256 for content in contents]
    assert [vault.fetch(sha256, Path("unused")).read_bytes() for sha256 in kept] == contents


@pytest.mark.parametrize("damage", [b"other", b"", None], ids=["changed", "emptied", "lost"])
def test_damaged_bytes_are_never_handed_out(store: LocalStore, tmp_path: Path, damage: bytes | None) -> None:
    vault = Vault(store)
    sha256 = vault.keep(io.BytesIO(b"bytes")).sha256
    only_file(store).unlink() if damage is None else only_file(store).write_bytes(damage)
    with pytest.raises(VaultDamaged, match=sha256):
        vault.fetch(sha256, tmp_path / "work")
    assert not (tmp_path / "work" / sha256).exists()


def test_bytes_that_prove_damaged_while_they_are_read_are_told_at_the_end_whatever_else_came_of_them(
    store: LocalStore, tmp_path: Path
) -> None:
    vault = Vault(store)
    sha256 = vault.keep(io.BytesIO(b"bytes")).sha256
    only_file(store).write_bytes(b"other")
    for trouble in (None, ValueError("no number")):
        with pytest.raises(VaultDamaged, match=sha256), vault.lent(sha256, tmp_path / "work") as path:
            assert path.read_bytes() == b"other"
            if trouble:
                raise trouble


def test_a_copy_that_was_tampered_with_is_fetched_again(tmp_path: Path) -> None:
    vault = Vault(Remote(tmp_path / "vault"))
    sha256 = vault.keep(io.BytesIO(b"bytes")).sha256
    vault.fetch(sha256, tmp_path / "work").write_bytes(b"other")
    assert vault.fetch(sha256, tmp_path / "work").read_bytes() == b"bytes"


def test_keeping_again_what_was_cut_short_is_noticed(store: LocalStore) -> None:
    Vault(store).keep(io.BytesIO(b"bytes"))
    only_file(store).write_bytes(b"byt")
    with pytest.raises(VaultDamaged):
        Vault(store).keep(io.BytesIO(b"bytes"))


def test_a_delivery_beyond_the_limit_leaves_nothing(store: LocalStore) -> None:
    with pytest.raises(TooManyBytes):
        Vault(store).keep(io.BytesIO(b"12345"), max_bytes=4)
    assert [path for path in store.root.rglob("*") if path.is_file()] == []


@pytest.mark.parametrize("name", ["../../etc/passwd", "", "0" * 63, "G" * 64])
def test_only_a_sha256_is_looked_up(store: LocalStore, tmp_path: Path, name: str) -> None:
    with pytest.raises(ValueError):
        Vault(store).fetch(name, tmp_path)


def test_kept_files_cannot_be_written_by_a_slip_of_the_hand(tmp_path: Path) -> None:
    store = LocalStore(tmp_path, read_only=True)
    Vault(store).keep(io.BytesIO(b"bytes"))
    assert stat.S_IMODE(only_file(store).stat().st_mode) & 0o222 == 0
