from __future__ import annotations

import hashlib
import io
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import pytest

from storage.objects.base import CHUNK, NoSuchObject, StoreUnfit, TooManyBytes, prove
from storage.objects.local import LocalStore


@pytest.fixture
def store(tmp_path: Path) -> LocalStore:
    return LocalStore(tmp_path / "objects")


def put(store: LocalStore, key: str, content: bytes = b"x") -> None:
    store.put(key, io.BytesIO(content))


def read(store: LocalStore, key: str) -> bytes:
    with store.open(key) as found:
        return found.read()


class Torn(io.RawIOBase):
    """A source that breaks in the middle, like a lost connection."""

    def read(self, size: int = -1) -> bytes:
        if getattr(self, "begun", False):
            raise OSError("connection lost")
        self.begun = True
        return b"first half"


def test_a_folder_keeps_what_the_platform_rests_on(store: LocalStore) -> None:
    prove(store)
    assert list(store.list()) == []


def test_a_place_that_overwrites_is_found_out(tmp_path: Path) -> None:
    class Careless(LocalStore):
        def put_new(self, key: str, source: Path | BinaryIO) -> bool:
            self.put(key, source)
            return True

    with pytest.raises(StoreUnfit, match="second put"):
        prove(Careless(tmp_path))


def test_a_conditional_put_leaves_what_is_there(store: LocalStore) -> None:
    assert store.put_new("a/b", io.BytesIO(b"first"))
    assert not store.put_new("a/b", io.BytesIO(b"second"))
    assert read(store, "a/b") == b"first"


def test_of_many_who_put_one_key_at_once_one_wins(store: LocalStore) -> None:
    together, won = threading.Barrier(8), []

    def put_mine(number: int) -> None:
        together.wait()
        if store.put_new("race", io.BytesIO(bytes([number]) * 100_000)):
            won.append(number)

    threads = [threading.Thread(target=put_mine, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(won) == 1
    assert read(store, "race") == bytes(won) * 100_000


@pytest.mark.parametrize("way", ["put", "put_new", "put_by_content"])
def test_a_source_that_breaks_leaves_nothing(store: LocalStore, way: str) -> None:
    arguments = (Torn(), lambda sha256: "key") if way == "put_by_content" else ("key", Torn())
    with pytest.raises(OSError, match="lost"):
        getattr(store, way)(*arguments)
    assert not store.exists("key")
    assert [path for path in store.root.rglob("*") if path.is_file()] == []


def test_a_put_by_content_is_named_by_what_was_read(store: LocalStore, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"content")
    sha256 = hashlib.sha256(b"content").hexdigest()
    first = store.put_by_content(tmp_path / "file", lambda digest: f"x/{digest}")
    again = store.put_by_content(io.BytesIO(b"content"), lambda digest: f"x/{digest}")
    assert (first.key, first.sha256, first.size, first.new) == (f"x/{sha256}", sha256, 7, True)
    assert not again.new


def test_a_large_object_is_whole(store: LocalStore) -> None:
    content = os.urandom(CHUNK + 7) * 40
    stored = store.put_by_content(io.BytesIO(content), lambda _: "large")
    assert (stored.size, stored.sha256) == (len(content), hashlib.sha256(content).hexdigest())
    assert read(store, "large") == content


def test_a_full_disk_is_not_kept_secret(store: LocalStore, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: int) -> None:
        raise OSError("no space left")

    monkeypatch.setattr(os, "fdatasync", full)
    with pytest.raises(OSError, match="no space"):
        store.put("large", io.BytesIO(bytes(40 * CHUNK)))
    assert not store.exists("large")


def test_more_bytes_than_allowed_are_not_stored(store: LocalStore) -> None:
    with pytest.raises(TooManyBytes):
        store.put_by_content(io.BytesIO(b"12345"), lambda _: "key", max_bytes=4)
    assert not store.exists("key")


@pytest.mark.parametrize("key", ["", "/etc/passwd", "../x", "a/../../x", "a//b", "a/.", "a/", "nul\0", "n" * 256])
def test_a_key_never_leads_out_of_the_store(store: LocalStore, key: str) -> None:
    for do in (store.open, store.exists, store.delete, store.local_path, lambda key: put(store, key)):
        with pytest.raises(ValueError):
            do(key)


def test_keys_of_every_kind_of_name_are_kept_and_listed(store: LocalStore) -> None:
    keys = ["Müll 2024.csv", "50%.csv", "=cmd|' /C calc'!A0", "line\nfeed", os.fsdecode(b"M\xfcll.csv"), ".hidden"]
    for key in keys:
        put(store, f"x/{key}", key.encode("utf-8", "surrogateescape"))
    assert {info.key for info in store.list("x/")} == {f"x/{key}" for key in keys}
    assert all(read(store, f"x/{key}") == os.fsencode(key) for key in keys)


def test_a_list_is_in_the_order_of_keys_and_keeps_to_its_prefix(store: LocalStore) -> None:
    for key in ("a/b", "a-b", "a/b-c/d", "ab", "b", "a/b/c2"):
        put(store, key.replace("a/b/c2", "a/e/c2"))
    assert [info.key for info in store.list()] == sorted(["a/b", "a-b", "a/b-c/d", "ab", "b", "a/e/c2"])
    assert [info.key for info in store.list("a/")] == ["a/b", "a/b-c/d", "a/e/c2"]
    assert [info.key for info in store.list("a")] == ["a-b", "a/b", "a/b-c/d", "a/e/c2", "ab"]
    assert [info.key for info in store.list("a/b-")] == ["a/b-c/d"]
    assert list(store.list("nowhere/")) == []


def test_changed_bytes_are_a_new_version(store: LocalStore) -> None:
    put(store, "a", b"1")
    before = store.info("a")
    put(store, "a", b"12")
    assert store.info("a").version != before.version
    assert store.info("a") == next(store.list("a"))


def test_links_and_pipes_are_not_objects(store: LocalStore, tmp_path: Path) -> None:
    (tmp_path / "secret").mkdir()
    (tmp_path / "secret/file").write_text("secret")
    put(store, "x/real")
    (store.root / "x/link").symlink_to(tmp_path / "secret/file")
    (store.root / "x/folder").symlink_to(tmp_path / "secret")
    os.mkfifo(store.root / "x/pipe")
    assert [info.key for info in store.list()] == ["x/real"]
    for key in ("x/link", "x/folder/file", "x/folder", "x/pipe", "x", "x/real/below"):
        assert not store.exists(key)
        for do in (store.open, store.size, store.local_path):
            with pytest.raises(NoSuchObject):
                do(key)
    with pytest.raises(NoSuchObject):
        put(store, "x/folder/new")
    assert not (tmp_path / "secret/new").exists()


def test_a_file_from_a_year_nobody_knows_is_listed(store: LocalStore) -> None:
    put(store, "a")
    os.utime(store.root / "a", (-(2**31), -(2**31)))
    assert [info.key for info in store.list()] == ["a"]


def test_deleting_what_is_not_there_is_no_error(store: LocalStore) -> None:
    put(store, "a/b")
    store.delete("a/b")
    store.delete("a/b")
    store.delete("c/d")
    assert not store.exists("a/b")


def test_what_a_killed_process_left_is_never_seen_and_is_cleared(store: LocalStore) -> None:
    put(store, "x/a")
    (store.root / "x/.unfinished-1").write_text("half")
    assert [info.key for info in store.list("x/")] == ["x/a"]
    assert store.clear_unfinished() == 0
    assert store.clear_unfinished(older_than_seconds=-1) == 1
    assert store.exists("x/a")


def test_a_reader_sees_the_old_or_the_new_whole(store: LocalStore) -> None:
    old, new = b"o" * 500_000, b"n" * 500_000
    put(store, "a", old)
    done = threading.Event()

    def write() -> None:
        for content in (new, old) * 15:
            put(store, "a", content)
        done.set()

    def seen() -> Iterator[bytes]:
        while not done.is_set():
            yield read(store, "a")

    writer = threading.Thread(target=write)
    writer.start()
    assert all(content in (old, new) for content in seen())
    writer.join()
