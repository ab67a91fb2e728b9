"""A prefix of somebody's bucket is looked through on a schedule, with rights to list and read it and no more."""

from __future__ import annotations

import io
import secrets
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from minio import MinioAdmin
from minio.credentials import StaticProvider

from quality.desk import Desk
from quality.judging import work_queue
from quality.pull import SourceFailed, pull
from quality.region import Source
from storage.objects.s3 import S3Access, S3Store, prepare_bucket
from storage.settings import Settings
from tests.server.support.servers import Haproxy, Minio, free_port
from tests.support.orchestrated import DATASET, SUPPLIER, waste_file

MakeStore = Callable[..., S3Store]


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    made = Desk(Settings(home=tmp_path / "home"))
    yield made
    made.close()


@pytest.fixture
def theirs(make_store: MakeStore, versioned: bool) -> S3Store:
    """Their bucket below `export/`, as its owner writes it."""
    return make_store("export/", versioned=versioned)


@pytest.fixture
def source(theirs: S3Store, monkeypatch: pytest.MonkeyPatch) -> Source:
    return source_at(theirs, theirs.access, monkeypatch)


def source_at(store: S3Store, access: S3Access, monkeypatch: pytest.MonkeyPatch) -> Source:
    let_in(monkeypatch, access.access_key, access.secret_key)
    told = {
        "id": "bucket_export", "supplier": SUPPLIER, "dataset": DATASET, "kind": "s3", "pattern": "*.csv",
        "address": f"s3://{store.bucket}/export", "endpoint": access.endpoint, "credential": "works-export",
    }  # fmt: skip
    return Source.model_validate(told | ({"ca_file": str(access.ca_file)} if access.ca_file else {}))


def let_in(monkeypatch: pytest.MonkeyPatch, key: str, secret: str) -> None:
    lines = f"export AWS_ACCESS_KEY_ID={key}\nAWS_SECRET_ACCESS_KEY={secret}\n"
    monkeypatch.setenv("VERBUND_CREDENTIAL_WORKS_EXPORT", lines)


def put(store: S3Store, key: str, content: bytes) -> None:
    store.put(key, io.BytesIO(content))


def attempts(desk: Desk) -> list[tuple[str, int]]:
    return sorted((delivery.period, delivery.attempt) for delivery in desk.ledger.deliveries())


def test_each_version_of_an_object_is_taken_once(desk: Desk, theirs: S3Store, source: Source) -> None:
    put(theirs, "abfallbilanz_2023.csv", waste_file("2023"))
    put(theirs, "abfallbilanz_2024.csv", waste_file("2024"))
    put(theirs, "notes.txt", b"not asked for")
    put(theirs, "alt/abfallbilanz_2022.csv", waste_file("2022"))
    assert [(d.period, d.attempt, d.origin) for d in pull(desk, source)] == [
        ("2023", 1, "pull:bucket_export"),
        ("2024", 1, "pull:bucket_export"),
    ]
    assert pull(desk, source) == []
    work_queue(desk)
    assert {d.state for d in desk.ledger.deliveries()} == {"accepted"}

    # a changed object is a new attempt, also when it is put back to what it was
    put(theirs, "abfallbilanz_2023.csv", waste_file("2023", tonnes="7,0"))
    assert [d.attempt for d in pull(desk, source)] == [2]
    put(theirs, "abfallbilanz_2023.csv", waste_file("2023"))
    assert [(d.attempt, d.duplicate_of) for d in pull(desk, source)] == [(3, None)]

    # the same bytes again are nothing new, and what is deleted there stays here
    put(theirs, "abfallbilanz_2023.csv", waste_file("2023"))
    theirs.delete("abfallbilanz_2024.csv")
    assert pull(desk, source) == []
    assert attempts(desk) == [("2023", 1), ("2023", 2), ("2023", 3), ("2024", 1)]
    assert not desk.ledger.unsettled()


def test_a_file_that_cannot_be_taken_is_named_beside_good_ones(tmp_path: Path, theirs: S3Store, source: Source) -> None:
    desk = Desk(Settings(home=tmp_path / "small", max_file_bytes=300))
    put(theirs, "abfallbilanz_2022.csv", waste_file("2022") * 10)
    put(theirs, "abfallbilanz_neu.csv", waste_file("2024"))
    put(theirs, "zuletzt_2024.csv", waste_file("2024"))
    with pytest.raises(SourceFailed) as failed:
        pull(desk, source)
    assert [d.period for d in failed.value.caught] == ["2024"]
    assert [(t.expected, t.found) for t in failed.value.troubles] == [
        ("at most 300 bytes", "more in 'abfallbilanz_2022.csv'"),
        ("a period in the file's name", "'abfallbilanz_neu.csv'"),
    ]
    desk.close()


def test_folders_below_the_prefix_may_tell_the_period(desk: Desk, theirs: S3Store, source: Source) -> None:
    put(theirs, "2023/bilanz.csv", waste_file("2023"))
    S3Store(theirs.access, theirs.bucket).put("other/2022/bilanz.csv", io.BytesIO(waste_file("2022")))
    deep = source.model_copy(update={"pattern": "20*/*.csv"})
    assert [(d.period, d.file_name) for d in pull(desk, deep)] == [("2023", "bilanz.csv")]


def test_a_wrong_secret_and_a_missing_bucket_are_told(
    desk: Desk, theirs: S3Store, source: Source, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    put(theirs, "abfallbilanz_2023.csv", waste_file("2023"))
    with caplog.at_level("DEBUG"):
        let_in(monkeypatch, theirs.access.access_key, "falsch-9Zq-und-lang")
        with pytest.raises(SourceFailed, match="Check the credential 'works-export'") as failed:
            pull(desk, source)
        monkeypatch.setenv("VERBUND_CREDENTIAL_WORKS_EXPORT", "falsch-9Zq-und-lang")
        with pytest.raises(SourceFailed, match="AWS_ACCESS_KEY_ID=… and AWS_SECRET_ACCESS_KEY=…") as unreadable:
            pull(desk, source)
    let_in(monkeypatch, theirs.access.access_key, theirs.access.secret_key)
    with pytest.raises(SourceFailed, match="bucket 'nobodys'"):
        pull(desk, source.model_copy(update={"address": "s3://nobodys/export"}))
    assert "9Zq" not in f"{failed.value!r} {unreadable.value!r} {caplog.text}"
    assert len(pull(desk, source)) == 1


def test_a_store_that_is_away_is_told(desk: Desk, source: Source) -> None:
    with pytest.raises(SourceFailed, match=r"expected an answer, found .*The next try is at its usual time"):
        pull(desk, source.model_copy(update={"endpoint": f"http://127.0.0.1:{free_port()}", "ca_file": None}))
    assert not desk.ledger.deliveries()


def test_a_source_needs_no_more_rights_than_to_list_and_read_its_prefix(
    desk: Desk, minio: Minio, front: Haproxy, minio_access: S3Access, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not even to list versions, which the owner of a bucket seldom grants."""
    prepare_bucket(minio_access, bucket, versioned=True)
    owner = S3Store(minio_access, bucket, "export/")
    put(owner, "abfallbilanz_2023.csv", waste_file("2023"))
    put(owner, "secret/abfallbilanz_2023.csv", waste_file("2023"))
    allowed = {
        "Version": "2012-10-17",
        "Statement": [
            {"Effect": "Allow", "Action": ["s3:ListBucket"], "Resource": [f"arn:aws:s3:::{bucket}"],
             "Condition": {"StringLike": {"s3:prefix": ["export/*"]}}},
            {"Effect": "Allow", "Action": ["s3:GetObject"], "Resource": [f"arn:aws:s3:::{bucket}/export/abf*"]},
        ],
    }  # fmt: skip
    operator = StaticProvider(minio.root_user, minio.root_password)
    admin = MinioAdmin(endpoint=minio.address, credentials=operator, secure=False)
    name, secret = f"reader-{bucket}", secrets.token_hex(16)
    admin.user_add(name, secret)
    admin.policy_add(name, policy=allowed)
    admin.attach_policy([name], user=name)
    source = source_at(owner, S3Access(front.url, name, secret, ca_file=front.ca_file), monkeypatch)
    assert [d.period for d in pull(desk, source)] == ["2023"]

    # what it may list and not read is named
    with pytest.raises(SourceFailed, match=r"AccessDenied for 'secret/abfallbilanz_2023\.csv'"):
        pull(desk, source.model_copy(update={"pattern": "**/*.csv"}))
    assert attempts(desk) == [("2023", 1)]
