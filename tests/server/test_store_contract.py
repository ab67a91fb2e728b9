"""What the platform asks of any object store, held by a folder, MinIO behind its front, and SeaweedFS alike."""

from __future__ import annotations

import hashlib
import io
import os
import threading
from pathlib import Path

import pytest

from storage.objects.base import CHUNK, NoSuchObject, ObjectStore, TooManyBytes, prove
from storage.objects.local import LocalStore
from storage.objects.s3 import PART, S3Store, prepare_bucket
from storage.vault import Vault


@pytest.fixture(params=["folder", "minio", "minio-unversioned", "seaweed", "seaweed-unversioned"])
def store(request: pytest.FixtureRequest, tmp_path: Path, bucket: str) -> ObjectStore:
    if request.param == "folder":
        return LocalStore(tmp_path / "objects")
    kind, _, unversioned = request.param.partition("-")
    access = request.getfixturevalue(f"{kind}_access")
    assert prepare_bucket(access, bucket, versioned=not unversioned) == ""
    return S3Store(access, bucket, "inbox/")


def put(store: ObjectStore, key: str, content: bytes = b"x") -> None:
    store.put(key, io.BytesIO(content))


def read(store: ObjectStore, key: str) -> bytes:
    with store.open(key) as found:
        return found.read()


class Torn(io.RawIOBase):
    """A source that breaks after some parts, like a lost connection."""

    def __init__(self, after: int) -> None:
        self.left = after

    def read(self, size: int = -1) -> bytes:
        if self.left <= 0:
            raise OSError("connection lost")
        chunk = bytes(min(self.left, CHUNK if size < 0 else size))
        self.left -= len(chunk)
        return chunk


def test_the_store_keeps_what_the_platform_rests_on(store: ObjectStore) -> None:
    prove(store)
    assert list(store.list()) == []


def test_a_conditional_put_leaves_what_is_there(store: ObjectStore) -> None:
    assert store.put_new("a/b", io.BytesIO(b"first"))
    assert not store.put_new("a/b", io.BytesIO(b"second"))
    assert read(store, "a/b") == b"first"


@pytest.mark.parametrize("size", [100_000, PART + 100_000], ids=["one_part", "several_parts"])
def test_of_many_who_put_one_key_at_once_one_wins(
    store: ObjectStore, size: int, request: pytest.FixtureRequest
) -> None:
    writers = 8 if size < PART else 3
    together, won = threading.Barrier(writers), []
    failed: list[Exception] = []

    def put_mine(number: int) -> None:
        together.wait()
        try:
            if store.put_new("race", io.BytesIO(bytes([number]) * size)):
                won.append(number)
        except Exception as error:
            failed.append(error)

    threads = [threading.Thread(target=put_mine, args=(number,)) for number in range(writers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
    if size > PART and "seaweed" in request.node.callspec.params["store"]:
        # it looks for the key before it puts the parts together: more than one may be told that it won, one is there
        assert won and read(store, "race") in [bytes([number]) * size for number in won]
        return
    assert len(won) == 1
    assert read(store, "race") == bytes(won) * size


@pytest.mark.parametrize("after", [0, 10, PART + 10], ids=["at_once", "in_the_first_part", "in_the_second_part"])
@pytest.mark.parametrize("way", ["put", "put_new", "put_by_content"])
def test_a_source_that_breaks_leaves_nothing(store: ObjectStore, way: str, after: int) -> None:
    torn = Torn(after)
    arguments = (torn, lambda sha256: "key") if way == "put_by_content" else ("key", torn)
    with pytest.raises(OSError, match="lost"):
        getattr(store, way)(*arguments)
    assert not store.exists("key")
    assert list(store.list()) == []


def test_a_put_by_content_is_named_by_what_was_read(store: ObjectStore, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"content")
    sha256 = hashlib.sha256(b"content").hexdigest()
    first = store.put_by_content(tmp_path / "file", lambda digest: f"x/{digest}")
    again = store.put_by_content(io.BytesIO(b"content"), lambda digest: f"x/{digest}")
    assert (first.key, first.sha256, first.size, first.new) == (f"x/{sha256}", sha256, 7, True)
    assert not again.new


def test_more_bytes_than_allowed_are_not_stored(store: ObjectStore) -> None:
    with pytest.raises(TooManyBytes):
        store.put_by_content(io.BytesIO(b"12345"), lambda _: "key", max_bytes=4)
    assert not store.exists("key")


@pytest.mark.parametrize("way", ["put", "put_new", "put_by_content"])
@pytest.mark.parametrize("source", ["stream", "file"])
def test_a_large_object_is_whole(store: ObjectStore, tmp_path: Path, way: str, source: str) -> None:
    content = os.urandom(CHUNK + 7) * 40
    (tmp_path / "file").write_bytes(content)
    given = tmp_path / "file" if source == "file" else io.BytesIO(content)
    getattr(store, way)(*((given, lambda _: "large") if way == "put_by_content" else ("large", given)))
    assert store.size("large") == len(content)
    assert read(store, "large") == content
    if way != "put":
        assert store.put_by_content(io.BytesIO(content), lambda _: "large").new is False


def test_nothing_is_an_object_too(store: ObjectStore) -> None:
    put(store, "empty", b"")
    assert (store.size("empty"), read(store, "empty")) == (0, b"")
    assert not store.put_new("empty", io.BytesIO(b"x"))


def test_what_was_written_is_read_at_once(store: ObjectStore) -> None:
    for number in range(20):
        put(store, "a", str(number).encode())
        assert read(store, "a") == str(number).encode()
        assert store.info("a") == next(store.list("a"))


@pytest.mark.parametrize("key", ["", "/etc/passwd", "../x", "a/../../x", "a//b", "a/.", "a/", "nul\0"])
def test_a_key_never_leads_out_of_the_store(store: ObjectStore, key: str) -> None:
    for do in (store.open, store.exists, store.delete, store.local_path, lambda key: put(store, key)):
        with pytest.raises(ValueError):
            do(key)


def test_keys_of_every_kind_of_name_are_kept_and_listed(store: ObjectStore) -> None:
    keys = [
        "Müll 2024.csv",
        "50%.csv",
        "=cmd|' /C calc'!A0",
        "a+b&c=d;e?f#g.csv",
        "%41.csv",
        ".hidden",
        "日本.csv",
        "<&>'\"",
    ]
    for key in keys:
        put(store, f"x/{key}", key.encode())
    assert {info.key for info in store.list("x/")} == {f"x/{key}" for key in keys}
    assert all(read(store, f"x/{key}") == key.encode() for key in keys)


def test_a_list_is_in_the_order_of_keys_and_keeps_to_its_prefix(store: ObjectStore) -> None:
    for key in ("a/b", "a-b", "a/b-c/d", "ab", "b", "a/e/c2"):
        put(store, key)
    assert [info.key for info in store.list()] == sorted(["a/b", "a-b", "a/b-c/d", "ab", "b", "a/e/c2"])
    assert [info.key for info in store.list("a/")] == ["a/b", "a/b-c/d", "a/e/c2"]
    assert [info.key for info in store.list("a")] == ["a-b", "a/b", "a/b-c/d", "a/e/c2", "ab"]
    assert [info.key for info in store.list("a/b-")] == ["a/b-c/d"]
    assert list(store.list("nowhere/")) == []


def test_a_long_list_is_complete_and_in_order(store: ObjectStore) -> None:
    keys = sorted(f"n/{number % 7}/{number}" for number in range(1100))
    together = [
        threading.Thread(target=lambda mine: [put(store, key) for key in mine], args=(keys[i::8],)) for i in range(8)
    ]
    for thread in together:
        thread.start()
    for thread in together:
        thread.join()
    assert [info.key for info in store.list("n/")] == keys


def test_changed_bytes_are_a_new_version(store: ObjectStore) -> None:
    put(store, "a", b"1")
    before = store.info("a")
    put(store, "a", b"12")
    assert store.info("a").version != before.version
    assert [info.version for info in store.list("a")] == [store.info("a").version]


def test_a_version_is_opened_by_its_name_and_never_other_bytes_for_it(store: ObjectStore) -> None:
    put(store, "a", b"first")
    (first,) = store.versions("a")
    with store.open("a", first.version) as found:
        assert found.read() == b"first"
    put(store, "a", b"second, which is longer")
    # a store that keeps no versions says so
    try:
        with store.open("a", first.version) as found:
            assert found.read() == b"first"
    except NoSuchObject:
        assert first.version not in {info.version for info in store.versions("a")}
    with store.open("a", store.info("a").version) as found:
        assert found.read() == b"second, which is longer"


def test_what_is_not_there_is_told_apart_from_what_is(store: ObjectStore) -> None:
    put(store, "a/b")
    for do in (store.open, store.info, store.size):
        with pytest.raises(NoSuchObject):
            do("a/c")
    assert not store.exists("a/c")


def test_deleting_what_is_not_there_is_no_error(store: ObjectStore) -> None:
    put(store, "a/b")
    store.delete("a/b")
    store.delete("a/b")
    store.delete("c/d")
    assert not store.exists("a/b")
    assert list(store.list()) == []
    assert store.put_new("a/b", io.BytesIO(b"again"))


def test_a_reader_sees_the_old_or_the_new_whole(store: ObjectStore) -> None:
    old, new = b"o" * 3_000_000, b"n" * 3_000_000
    put(store, "a", old)
    done = threading.Event()

    def write() -> None:
        for content in (new, old) * 5:
            put(store, "a", content)
        done.set()

    writer = threading.Thread(target=write)
    writer.start()
    seen = []
    while not done.is_set():
        seen.append(read(store, "a") in (old, new))
    writer.join()
    assert seen and all(seen)


def test_a_vault_rests_on_it(store: ObjectStore, tmp_path: Path) -> None:
    vault = Vault(store)
    first, again = vault.keep(io.BytesIO(b"content")), vault.keep(io.BytesIO(b"content"))
    assert (first.new, again.new) == (True, False)
    assert vault.fetch(first.sha256, tmp_path).read_bytes() == b"content"
