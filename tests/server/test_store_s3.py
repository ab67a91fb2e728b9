"""What only a store that is a server does: versions, locks, broken wires, a server that is away, credentials."""

from __future__ import annotations

import io
import os
import ssl
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from urllib.parse import quote

import pytest
from minio.error import MinioException

from storage.objects.base import CHUNK, NoSuchObject, StoreDown, StoreRefused, StoreUnfit, prove
from storage.objects.s3 import PART, S3Access, S3Store, prepare_bucket
from tests.server.support.door import Door
from tests.server.support.servers import Haproxy, Minio, free_port
from tests.server.support.wire import Wire

MakeStore = Callable[..., S3Store]


def read(store: S3Store, key: str, version: str | None = None) -> bytes:
    with store.open(key, version) as found:
        return found.read()


# --- versions


def test_every_version_is_listed_and_readable_by_its_name(make_store: MakeStore) -> None:
    store, names = make_store("inbox/"), []
    for content in (b"first", b"second"):
        store.put("a/x.csv", io.BytesIO(content))
        names.append(store.info("a/x.csv").version)
    store.delete("a/x.csv")
    store.put("a/y.csv", io.BytesIO(b"other"))

    found = {info.version: info for info in store.versions("a/x")}
    assert found.keys() == set(names)
    assert {info.key for info in found.values()} == {"a/x.csv"}
    assert [found[name].size for name in names] == [5, 6]
    assert [read(store, "a/x.csv", name) for name in names] == [b"first", b"second"]
    assert not store.exists("a/x.csv")
    assert [info.key for info in store.list("a/")] == ["a/y.csv"]


def test_a_version_that_never_was_is_no_object(make_store: MakeStore) -> None:
    store = make_store()
    store.put("a", io.BytesIO(b"x"))
    other = store.info("a").version
    store.put("b", io.BytesIO(b"x"))
    for version in (other, "no-version", other[:-1], "etag:0123"):
        with pytest.raises(NoSuchObject):
            store.open("b", version)
    store.delete("a")
    marked = store.access.client().list_objects(store.bucket, "a", include_version=True)
    (marker,) = (found.version_id for found in marked if found.is_delete_marker)
    with pytest.raises(NoSuchObject):
        store.open("a", marker)


def test_more_versions_than_one_page_are_all_listed(make_store: MakeStore) -> None:
    store = make_store()

    def put_some(number: int) -> None:
        for _ in range(150):
            store.put(f"k{number}", io.BytesIO(b"x"))

    threads = [threading.Thread(target=put_some, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found = list(store.versions())
    assert len({(version.key, version.version) for version in found}) == len(found) == 1200
    assert [info.key for info in store.list()] == [f"k{number}" for number in range(8)]


# --- locks


def test_whatever_key_a_store_takes_can_be_read_when_it_is_listed(access: S3Access, make_store: MakeStore) -> None:
    """Suppliers use clients of their own; a key that is listed and cannot be read would be lost, or stop a sweep."""
    store = make_store("inbox/")
    context = ssl.create_default_context(cafile=str(access.ca_file)) if access.ca_file else None
    door, taken = Door(access.address, context), 0
    strange = ["a//b", "a/./b", "a/../b", "/a", "a/", "a\0b", "a\nb", "n" * 300, ".unfinished-x", "a\\b", " ", "a "]
    for key in [*strange, os.fsdecode(b"M\xfcll.csv")]:
        path = f"/{store.bucket}/inbox/{quote(os.fsencode(key), safe='/')}"
        taken += door.signed(access.access_key, access.secret_key, "PUT", path, body=b"x").status == 200
    store.put("b", io.BytesIO(b"x"))
    listed = [(info.key, info.version) for info in store.versions()]
    assert len(listed) > taken / 2
    assert [read(store, key, version) for key, version in listed] == [b"x"] * len(listed)
    assert [info.key for info in store.list()] == sorted(info.key for info in store.list())


def test_what_is_locked_nobody_deletes_and_the_lock_cannot_be_shortened(access: S3Access, bucket: str) -> None:
    assert prepare_bucket(access, bucket, versioned=True, lock_days=2) == ""
    assert prepare_bucket(access, bucket, versioned=True, lock_days=2) == ""
    store, client = S3Store(access, bucket), access.client()
    store.put_new("sha256/ab", io.BytesIO(b"delivered"))
    version = store.info("sha256/ab").version
    store.put("sha256/ab", io.BytesIO(b"overwritten"))
    store.delete("sha256/ab")
    with pytest.raises(MinioException):
        client.remove_object(bucket, "sha256/ab", version)
    assert read(store, "sha256/ab", version) == b"delivered"


def test_a_bucket_that_was_made_without_a_lock_says_so(access: S3Access, bucket: str) -> None:
    assert prepare_bucket(access, bucket) == ""
    said = prepare_bucket(access, bucket, versioned=True, lock_days=2)
    held = access.client()
    try:
        locked = held.get_object_lock_config(bucket).duration == 2
    except MinioException:
        locked = False
    # some stores lock a bucket later, too; either way what is said is true
    assert (said == "") == locked
    if said:
        assert bucket in said
    S3Store(access, bucket).put("a", io.BytesIO(b"x"))
    assert S3Store(access, bucket).info("a").version != ""


def test_two_who_prepare_one_bucket_at_once_both_have_it(access: S3Access, bucket: str) -> None:
    said: list[str] = []
    threads = [
        threading.Thread(target=lambda: said.append(prepare_bucket(access, bucket, versioned=True))) for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert said == [""] * 4


# --- prefixes


def test_a_store_sees_nothing_beside_its_prefix(make_store: MakeStore) -> None:
    inbox = make_store("inbox/")
    whole = S3Store(inbox.access, inbox.bucket)
    whole.put("receipts/a", io.BytesIO(b"r"))
    whole.put("inbox-of-others/a", io.BytesIO(b"r"))
    inbox.put("a", io.BytesIO(b"x"))
    assert [info.key for info in inbox.list()] == ["a"]
    assert [version.key for version in inbox.versions()] == ["a"]
    assert read(whole, "inbox/a") == b"x"
    for key in ("../receipts/a", "x/../../receipts/a"):
        with pytest.raises(ValueError):
            inbox.open(key)


@pytest.mark.parametrize("key", ["n/" * 512 + "x", os.fsdecode(b"M\xfcll.csv")], ids=["too_long", "not_utf8"])
def test_a_key_no_store_could_hold_is_refused_before_it_is_sent(key: str) -> None:
    with pytest.raises(ValueError):
        S3Store(S3Access(f"http://127.0.0.1:{free_port()}", "a", "b"), "bucket").put(key, io.BytesIO(b"x"))


# --- a wire that breaks


@pytest.fixture
def wire(minio: Minio) -> Iterator[Wire]:
    with Wire(minio.address) as between:
        yield between


@pytest.fixture
def wired(wire: Wire, minio: Minio, bucket: str) -> S3Store:
    access = S3Access(f"http://{wire.address}", minio.root_user, minio.root_password)
    assert prepare_bucket(access, bucket, versioned=True) == ""
    return S3Store(access, bucket)


def test_a_put_whose_answer_is_lost_was_still_ours(wired: S3Store, wire: Wire) -> None:
    wire.lose_answers = 1
    assert wired.put_new("a", io.BytesIO(b"content")) is True
    assert wire.lose_answers == 0
    assert len(list(wired.versions("a"))) == 1
    wire.lose_answers = 1
    assert S3Store(wired.access, wired.bucket).put_new("a", io.BytesIO(b"content")) is False


def test_a_put_that_is_cut_is_sent_again_whole(wired: S3Store, wire: Wire) -> None:
    wire.cut_requests, wire.cut_after = 2, 1_000_000
    content = os.urandom(5_000_000)
    assert wired.put_new("a", io.BytesIO(content)) is True
    assert wire.cut_requests == 0
    assert read(wired, "a") == content


@pytest.mark.parametrize("cuts", [1, 4])
def test_a_download_that_is_cut_goes_on_where_it_stopped(wired: S3Store, wire: Wire, cuts: int) -> None:
    content = os.urandom(5_000_000)
    wired.put("a", io.BytesIO(content))
    wire.cut_answers, wire.cut_after = cuts, 1_000_000
    assert read(S3Store(wired.access, wired.bucket), "a") == content
    assert wire.cut_answers == 0


def test_a_download_that_is_cut_never_goes_on_in_other_bytes(wired: S3Store, wire: Wire) -> None:
    wired.put("a", io.BytesIO(b"o" * 5_000_000))
    wire.cut_answers, wire.cut_after = 1, 3_000_000
    with S3Store(wired.access, wired.bucket).open("a") as found:
        assert found.read(10) == b"o" * 10
        wired.put("a", io.BytesIO(b"n" * 5_000_000))
        with pytest.raises(StoreDown):
            found.read()


def test_a_wire_that_stays_broken_is_told(wired: S3Store, wire: Wire) -> None:
    wired.put("a", io.BytesIO(bytes(5_000_000)))
    wire.cut_answers, wire.cut_after = 100, 100_000
    with pytest.raises(StoreDown):
        read(S3Store(wired.access, wired.bucket), "a")


# --- a server that is away


def test_a_store_that_is_away_is_told_with_its_address_and_without_secrets(bucket: str) -> None:
    access = S3Access(f"http://127.0.0.1:{free_port()}", "the-user", "the-secret")
    store = S3Store(access, bucket)
    for do in (
        lambda: store.put("a", io.BytesIO(b"x")),
        lambda: store.put_new("a", io.BytesIO(b"x")),
        lambda: store.put_by_content(io.BytesIO(b"x"), lambda sha256: sha256),
        lambda: store.open("a"),
        lambda: store.exists("a"),
        lambda: list(store.list()),
        lambda: list(store.versions()),
        lambda: store.delete("a"),
        lambda: prepare_bucket(access, bucket),
    ):
        with pytest.raises(StoreDown, match=access.address) as told:
            do()
        assert isinstance(told.value, OSError)
        assert "refused" in told.value.found
        assert not any(word in f"{told.value!r} {told.value}" for word in ("the-secret", "Signature", "the-user"))


def test_a_killed_store_is_used_again_when_it_is_back() -> None:
    with Minio() as minio, Haproxy(minio) as front:
        access = S3Access(front.url, minio.root_user, minio.root_password, ca_file=front.ca_file)
        assert prepare_bucket(access, "verbund", versioned=True) == ""
        store = S3Store(access, "verbund")
        store.put("a", io.BytesIO(b"kept"))
        minio.kill()
        with pytest.raises(StoreDown, match="503"):
            store.put_new("b", io.BytesIO(b"x"))
        minio.start()
        front.restart()
        assert read(store, "a") == b"kept"
        assert store.put_new("b", io.BytesIO(b"x"))


def test_a_certificate_nobody_vouches_for_is_not_trusted(front: Haproxy, bucket: str) -> None:
    store = S3Store(S3Access(front.url, "user", "the-secret"), bucket)
    with pytest.raises(StoreDown, match="certificate"):
        store.exists("a")


# --- credentials


@pytest.mark.parametrize("wrong", [{"secret_key": "not the secret"}, {"access_key": "nobody"}], ids=["secret", "user"])
def test_credentials_that_do_not_fit_are_refused_with_what_to_do(
    access: S3Access, make_store: MakeStore, wrong: dict[str, str]
) -> None:
    store = S3Store(replace(access, **wrong), make_store().bucket)
    for do in (lambda: store.put("a", io.BytesIO(b"x")), lambda: list(store.list()), lambda: store.open("a")):
        with pytest.raises(StoreRefused, match="Check the access key") as told:
            do()
        assert "not the secret" not in str(told.value)


def test_a_secret_is_not_shown_where_access_is() -> None:
    assert "hush" not in repr(S3Access("https://store.example:9443", "user", "hush"))
    for endpoint in ("https://user:hush@store.example", "store.example:9000", "https://store.example/path?hush"):
        with pytest.raises(ValueError) as told:
            S3Access(endpoint, "user", "secret")
        assert "hush" not in str(told.value)


def test_a_bucket_that_is_not_there_is_named(access: S3Access) -> None:
    store = S3Store(access, "no-such-bucket")
    for do in (lambda: store.put("a", io.BytesIO(b"x")), lambda: list(store.list()), lambda: prove(store)):
        with pytest.raises(StoreUnfit, match="no-such-bucket"):
            do()


# --- processes and memory


def test_a_process_that_was_forked_has_connections_of_its_own(make_store: MakeStore) -> None:
    store = make_store()
    store.put("a", io.BytesIO(b"a" * 1000))
    child = os.fork()
    if child == 0:
        good = all(read(store, "a") == b"a" * 1000 for _ in range(50))
        os._exit(0 if good else 1)
    assert all(read(store, "a") == b"a" * 1000 for _ in range(50))
    assert os.waitpid(child, 0)[1] == 0


def test_a_large_file_costs_no_memory_in_proportion(minio_access: S3Access, bucket: str, tmp_path: Path) -> None:
    assert prepare_bucket(minio_access, bucket) == ""
    script = """
import hashlib, sys
from pathlib import Path
from storage.objects.s3 import S3Access, S3Store
from tests.support.memory import peak_mib
endpoint, user, secret, ca_file, bucket, file = sys.argv[1:]
store = S3Store(S3Access(endpoint, user, secret, ca_file=Path(ca_file)), bucket)
before = peak_mib()
stored = store.put_by_content(Path(file), lambda sha256: sha256)
digest = hashlib.sha256()
with store.open(stored.key) as found:
    while chunk := found.read(1 << 20):
        digest.update(chunk)
assert digest.hexdigest() == stored.sha256
print(int(peak_mib() - before))
"""
    large = tmp_path / "large"
    with large.open("wb") as into:
        for _ in range(400):
            into.write(os.urandom(CHUNK))
    used = subprocess.run(
        [sys.executable, "-c", script, minio_access.endpoint, minio_access.access_key, minio_access.secret_key,
         str(minio_access.ca_file), bucket, str(large)],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert int(used.stdout) < 8 * PART // 2**20
