"""Each hole of the last MinIO: open on the server itself, refused by its front. And what clients use goes through."""

from __future__ import annotations

import base64
import datetime
import importlib.resources
import io
import os
import socket
import ssl
import tarfile
import uuid
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import boto3
import botocore.exceptions
import duckdb
import pytest
import urllib3
from boto3.s3.transfer import TransferConfig
from minio import Minio
from minio.credentials import StaticProvider
from minio.error import MinioException
from minio.minioadmin import MinioAdmin
from minio.notificationconfig import NotificationConfig, PrefixFilterRule, QueueConfig

from storage.objects.base import StoreRefused
from storage.objects.s3 import PART, S3Access, S3Store, prepare_bucket
from tests.server.support.door import REGION, Answer, Door
from tests.server.support.servers import Haproxy, Postgres, wait_for
from tests.server.support.servers import Minio as MinioServer

#: Two who deliver, each to a prefix of its own, and one who may do everything.
HONEST, HOSTILE = "works-a", "works-b"
REFUSED = 501


@dataclass(frozen=True)
class Region:
    """A store as it is in service: a versioned bucket, and a user per supplier who may write to its own prefix only."""

    bare: Door
    front: Door
    bucket: str
    secrets: Mapping[str, str]
    root: Minio
    access: S3Access

    def put(self, user: str, key: str, content: bytes = b"as delivered") -> str:
        """Deliver as a plain client does. Returns the version."""
        found = self.bare.signed(user, self.secrets[user], "PUT", f"/{self.bucket}/{key}", body=content)
        assert found.status == 200, found.body
        return found.headers["x-amz-version-id"]

    def attack(self, door: Door, method: str, key: str, query: str = "", **more: object) -> Answer:
        return door.signed(HOSTILE, self.secrets[HOSTILE], method, f"/{self.bucket}/{key}", query, **more)  # type: ignore[arg-type]

    def content(self, key: str, version: str | None = None) -> bytes | None:
        try:
            return bytes(self.root.get_object(self.bucket, key, version_id=version).data)
        except MinioException:
            return None


@pytest.fixture(scope="module")
def region(minio: MinioServer, front: Haproxy) -> Region:
    bucket, secrets = "holes", {HONEST: uuid.uuid4().hex, HOSTILE: uuid.uuid4().hex}
    access = S3Access(front.url, minio.root_user, minio.root_password, ca_file=front.ca_file)
    assert prepare_bucket(access, bucket, versioned=True) == ""
    admin = MinioAdmin(
        endpoint=front.operator_address, credentials=StaticProvider(minio.root_user, minio.root_password), secure=False
    )
    policy = {
        "Version": "2012-10-17",
        "Statement": [
            {"Effect": "Allow", "Action": ["s3:PutObject"], "Resource": [f"arn:aws:s3:::{bucket}/inbox/${{aws:username}}/*"]},
            {"Effect": "Allow", "Action": ["s3:GetObject"], "Resource": [f"arn:aws:s3:::{bucket}/receipts/${{aws:username}}/*"]},
        ],
    }  # fmt: skip
    admin.policy_add("supplier-of-holes", policy=policy)
    for user, secret in secrets.items():
        admin.user_add(user, secret)
        admin.attach_policy(["supplier-of-holes"], user=user)
    root = Minio(minio.address, minio.root_user, minio.root_password, secure=False)
    told = QueueConfig(
        queue="arn:minio:sqs::FAST:postgresql",
        events=["s3:ObjectCreated:*"],
        config_id="fast",
        prefix_filter_rule=PrefixFilterRule("inbox/"),
    )
    root.set_bucket_notification(bucket, NotificationConfig(queue_config_list=[told]))
    return Region(
        Door(minio.address, None),
        Door(front.address, ssl.create_default_context(cafile=str(front.ca_file))),
        bucket,
        secrets,
        root,
        access,
    )


@pytest.fixture
def name() -> str:
    """A file name no other test uses."""
    return f"{uuid.uuid4().hex}.csv"


def archive(key: str, content: bytes) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as into:
        entry = tarfile.TarInfo(key)
        entry.size = len(content)
        into.addfile(entry, io.BytesIO(content))
    return packed.getvalue()


# --- whoever knows a supplier's name writes as that supplier, by an archive whose signature is not looked at


def unpacked(region: Region, door: Door, file: str, **headers: str) -> int:
    body = archive(f"inbox/{HONEST}/{file}", b"forged")
    given = {"x-amz-content-sha256": "STREAMING-UNSIGNED-PAYLOAD-TRAILER", **headers}
    return door.signed(
        HONEST, "not the secret", "PUT", f"/{region.bucket}/inbox/{HONEST}/a.tar", headers=given, body=body
    ).status


ARCHIVE = {
    "X-Amz-Meta-Snowball-Auto-Extract": "true",
    "X-Amz-Meta-Minio-Snowball-Prefix": f"inbox/{HONEST}",
}


def test_an_archive_with_a_wrong_signature_is_unpacked_by_the_bare_server_only(region: Region, name: str) -> None:
    assert unpacked(region, region.front, name, **ARCHIVE) == REFUSED
    assert region.content(f"inbox/{HONEST}/inbox/{HONEST}/{name}") is None
    assert unpacked(region, region.bare, name, **ARCHIVE) == 200
    assert region.content(f"inbox/{HONEST}/inbox/{HONEST}/{name}") == b"forged"


@pytest.mark.parametrize("value", ["true", "TRUE", "xtruex", ""])
@pytest.mark.parametrize("header", ["x-amz-meta-snowball-auto-extract", "X-AMZ-META-SNOWBALL-AUTO-EXTRACT"])
def test_no_archive_passes_however_it_is_announced(region: Region, name: str, header: str, value: str) -> None:
    assert unpacked(region, region.front, name, **{header: value}) == REFUSED


# --- the same by credentials in the query and a body without signature


def unsigned(region: Region, door: Door, file: str, **headers: str) -> Answer:
    now = datetime.datetime.now(datetime.UTC).strftime("%Y%m%dT%H%M%SZ")
    checksum = base64.b64encode(zlib.crc32(b"forged").to_bytes(4, "big")).decode()
    body = f"6\r\nforged\r\n0\r\nx-amz-checksum-crc32:{checksum}\r\n\r\n".encode()
    credential = quote(f"{HONEST}/{now[:8]}/{REGION}/s3/aws4_request", safe="")
    given = {
        "x-amz-content-sha256": "STREAMING-UNSIGNED-PAYLOAD-TRAILER",
        "x-amz-decoded-content-length": "6",
        "x-amz-trailer": "x-amz-checksum-crc32",
        "x-amz-date": now,
        "content-encoding": "aws-chunked",
    }
    return door.send(
        "PUT", f"/{region.bucket}/inbox/{HONEST}/{file}?X-Amz-Credential={credential}", {**given, **headers}, body
    )


def test_a_put_without_any_signature_is_taken_by_the_bare_server_only(region: Region, name: str) -> None:
    assert unsigned(region, region.front, name).status == REFUSED
    assert region.content(f"inbox/{HONEST}/{name}") is None
    assert unsigned(region, region.bare, name).status == 200
    assert region.content(f"inbox/{HONEST}/{name}") == b"forged"


@pytest.mark.parametrize("authorization", ["", " ", "AWS x:y", "Bearer x", "aws4-hmac-sha256 x"])
def test_no_body_without_signature_passes_however_it_is_dressed(region: Region, name: str, authorization: str) -> None:
    assert unsigned(region, region.front, name, Authorization=authorization).status == REFUSED


# --- replication headers make an object, and with it every listing, unreadable

REPLICA = {
    "X-Minio-Replication-Server-Side-Encryption-Sealed-Key": "x",
    "X-Minio-Replication-Server-Side-Encryption-Seal-Algorithm": "x",
    "X-Minio-Replication-Server-Side-Encryption-Iv": "x",
}


@pytest.mark.parametrize("way", ["headers", "query"])
def test_an_object_that_spoils_every_listing_is_taken_by_the_bare_server_only(
    region: Region, minio_access: S3Access, bucket: str, way: str
) -> None:
    assert prepare_bucket(minio_access, bucket) == ""
    bare = Minio(region.bare.address, minio_access.access_key, minio_access.secret_key, secure=False)

    def attack(door: Door) -> int:
        query = "&".join(f"{name}={value}" for name, value in REPLICA.items()) if way == "query" else ""
        headers = REPLICA if way == "headers" else None
        return door.signed(
            minio_access.access_key, minio_access.secret_key, "PUT", f"/{bucket}/x", query, headers=headers, body=b"x"
        ).status

    assert attack(region.front) == REFUSED
    assert list(bare.list_objects(bucket)) == []
    assert attack(region.bare) == 200
    # an answer without a list in it, for which minio-py has no better word
    with pytest.raises(ValueError, match="not found"):
        list(bare.list_objects(bucket))


@pytest.mark.parametrize(
    "header",
    ["X-Minio-Replication-Anything", "x-minio-source-etag", "X-MINIO-SOURCE-MTIME", "x-amz-bucket-replication-status",
     "X-Minio-Fanout-List", "x-minio-force-delete", "x-minio-meta-x"],
)  # fmt: skip
def test_no_header_between_servers_passes(region: Region, name: str, header: str) -> None:
    assert region.attack(region.front, "PUT", f"inbox/{HOSTILE}/{name}", headers={header: "x"}).status == REFUSED
    assert region.content(f"inbox/{HOSTILE}/{name}") is None


@pytest.mark.parametrize(
    "query",
    ["X-Minio-Replication-Server-Side-Encryption-Iv=x", "x-minio-source-mtime=x", "a=b&X-MINIO-x=y", "%58-Minio-x=y",
     "x%2Dminio%2dx", "X-Amz-Bucket-Replication-Status=REPLICA", "a;x-minio-x=y"],
)  # fmt: skip
def test_no_parameter_that_stands_for_such_a_header_passes(region: Region, name: str, query: str) -> None:
    assert region.attack(region.front, "PUT", f"inbox/{HOSTILE}/{name}", query).status == REFUSED


# --- a version that was stored is replaced in place


def test_a_stored_version_is_replaced_on_the_bare_server_only(region: Region, name: str) -> None:
    key = f"inbox/{HOSTILE}/{name}"
    version = region.put(HOSTILE, key)
    for query in (f"versionId={version}", f"%76ersionId={version}"):
        found = region.attack(region.front, "PUT", key, query, body=b"replaced", signed_query=f"versionId={version}")
        assert found.status == REFUSED
        assert region.content(key, version) == b"as delivered"
    assert region.attack(region.bare, "PUT", key, f"versionId={version}", body=b"replaced").status == 200
    assert region.content(key, version) == b"replaced"


@pytest.mark.parametrize(
    "query",
    ["versionId=v", "%76ersionId=v", "versionI%64=v", "%76%65%72%73%69%6f%6E%49%64=v", "a=b&versionId=v", "versionId",
     "VERSIONID=v", "versionId%3Dv", "a;versionId=v", "x=%00&versionId=v", "retention&versionId=v", "acl=x&versionId=v",
     "tagging&versionId=v", "legal-hold&versionId=v", "x=%2&versionId=v", "x=%zz&versionId=v", "versionId=v&x=%"],
)  # fmt: skip
@pytest.mark.parametrize(("method", "more"), [("PUT", ""), ("POST", "uploads&"), ("POST", "uploadId=u&")])
def test_no_write_that_names_a_version_passes(region: Region, name: str, method: str, more: str, query: str) -> None:
    found = region.attack(region.front, method, f"inbox/{HOSTILE}/{name}", more + query)
    assert found.status in (400, REFUSED)
    assert found.body.startswith(b"refused")


# --- a delivery that claims another time, and one that nobody is told of


def test_the_time_of_a_delivery_is_forged_on_the_bare_server_only(region: Region, name: str) -> None:
    key, forged = f"inbox/{HOSTILE}/{name}", {"X-Minio-Source-Mtime": "2001-01-01T00:00:00Z"}
    assert region.attack(region.front, "PUT", key, headers=forged).status == REFUSED
    assert region.content(key) is None
    assert region.attack(region.bare, "PUT", key, headers=forged).status == 200
    modified = region.root.stat_object(region.bucket, key).last_modified
    assert modified is not None
    assert modified.year == 2001


def test_a_delivery_is_kept_secret_on_the_bare_server_only(
    region: Region, postgres: Postgres, minio: MinioServer, name: str
) -> None:
    def told(key: str) -> bool:
        count = f"select count(*) from intake.arrival where key like '%{key}%'"
        return int(postgres.sql(count, "verbund")) > 0

    silent = {"X-Minio-Source-Replication-Request": "true"}
    assert region.attack(region.front, "PUT", f"inbox/{HOSTILE}/front-{name}", headers=silent).status == REFUSED
    assert region.attack(region.bare, "PUT", f"inbox/{HOSTILE}/silent-{name}", headers=silent).status == 200
    assert region.attack(region.front, "PUT", f"inbox/{HOSTILE}/loud-{name}").status == 200
    assert wait_for(lambda: told(f"loud-{name}"), 30), minio.tail()
    assert region.content(f"inbox/{HOSTILE}/silent-{name}") == b""
    assert not told(f"silent-{name}")


# --- what nobody needs and nobody can look into


def test_a_second_signature_in_one_request_is_refused(region: Region) -> None:
    with socket.create_connection(tuple(region.front.address.split(":")), timeout=20) as plain:  # type: ignore[arg-type]
        assert region.front.context is not None
        with region.front.context.wrap_socket(plain, server_hostname="localhost") as to:
            to.sendall(
                b"PUT /holes/x HTTP/1.1\r\nHost: x\r\nAuthorization:\r\nAuthorization: AWS4-HMAC-SHA256 x\r\n\r\n"
            )
            assert b"refused: malformed" in to.recv(1000)


@pytest.mark.parametrize(
    ("method", "query"),
    [
        ("PATCH", ""),
        ("TRACE", ""),
        ("PROPFIND", ""),
        ("POST", ""),
        ("POST", "restore"),
        ("POST", "select&select-type=2"),
    ],
)
def test_what_no_client_of_ours_asks_for_is_not_offered(region: Region, name: str, method: str, query: str) -> None:
    found = region.attack(region.front, method, f"inbox/{HOSTILE}/{name}", query)
    assert found.status in (400, REFUSED)
    assert found.body.startswith(b"refused")


def test_a_browsers_form_whose_fields_nobody_can_look_at_is_refused(region: Region) -> None:
    for kind in ("multipart/form-data; boundary=x", "Multipart/Form-Data;boundary=x"):
        for query in ("", "?delete", "?uploads"):
            found = region.front.send("POST", f"/{region.bucket}{query}", {"Content-Type": kind}, b"--x--")
            assert found.status == REFUSED


def test_sessions_that_would_outlive_a_key_are_not_given_out(region: Region) -> None:
    body = b"Action=AssumeRole&Version=2011-06-15"
    kind = {"Content-Type": "application/x-www-form-urlencoded"}
    for path in ("/", "//", "/?Action=AssumeRole", "/?delete"):
        found = region.front.send("POST", path, kind, body)
        assert found.status == (400 if path == "//" else REFUSED)


# --- administration


@pytest.mark.parametrize(
    "path",
    ["/minio/admin/v3/info", "/minio/v2/metrics/cluster", "/%6dinio/admin/v3/info", "//minio/admin/v3/info", "/MINIO/admin",
     "/minio", "/minio/", "/minio/health/cluster", "/x/../minio/admin/v3/info", "/./minio/admin", "/x/%2e%2e/minio/admin"],
)  # fmt: skip
def test_administration_is_not_reached_from_outside(region: Region, path: str) -> None:
    found = region.front.send("GET", path)
    assert found.status in (400, 403)
    assert found.body.startswith(b"refused")


def test_whether_the_store_lives_may_be_asked_by_all(region: Region) -> None:
    assert region.front.send("GET", "/minio/health/live").status == 200
    assert region.front.send("GET", "/minio/health/ready").status == 200


def test_the_operator_reaches_administration_on_loopback(front: Haproxy, minio: MinioServer) -> None:
    admin = MinioAdmin(
        endpoint=front.operator_address, credentials=StaticProvider(minio.root_user, minio.root_password), secure=False
    )
    assert "deploymentID" in admin.info()


# --- what clients use goes through


@pytest.fixture
def s3(region: Region) -> Any:
    return boto3.client(
        "s3",
        endpoint_url=region.access.endpoint,
        aws_access_key_id=region.access.access_key,
        aws_secret_access_key=region.access.secret_key,
        region_name=REGION,
        verify=str(region.access.ca_file),
    )


def test_boto3_puts_gets_lists_and_deletes(region: Region, s3: Any, name: str) -> None:
    s3.put_object(Bucket=region.bucket, Key=f"b/{name}", Body=b"content", Metadata={"a": "b"})
    assert s3.get_object(Bucket=region.bucket, Key=f"b/{name}")["Body"].read() == b"content"
    with pytest.raises(botocore.exceptions.ClientError, match="PreconditionFailed"):
        s3.put_object(Bucket=region.bucket, Key=f"b/{name}", Body=b"other", IfNoneMatch="*")
    listed = s3.list_object_versions(Bucket=region.bucket, Prefix=f"b/{name}")["Versions"]
    assert len(listed) == 1
    s3.copy_object(Bucket=region.bucket, Key=f"c/{name}", CopySource={"Bucket": region.bucket, "Key": f"b/{name}"})
    version = listed[0]["VersionId"]
    assert s3.get_object(Bucket=region.bucket, Key=f"b/{name}", VersionId=version)["Body"].read() == b"content"
    s3.delete_objects(Bucket=region.bucket, Delete={"Objects": [{"Key": f"b/{name}"}, {"Key": f"c/{name}"}]})
    assert "Contents" not in s3.list_objects_v2(Bucket=region.bucket, Prefix=f"b/{name}")


def test_boto3_sends_large_files_in_parts(region: Region, s3: Any, name: str) -> None:
    content = os.urandom(12 * 1024 * 1024)
    s3.upload_fileobj(
        io.BytesIO(content), region.bucket, name, Config=TransferConfig(multipart_threshold=6 * 1024 * 1024)
    )
    assert s3.get_object(Bucket=region.bucket, Key=name)["Body"].read() == content
    assert "-" in s3.head_object(Bucket=region.bucket, Key=name)["ETag"]


@pytest.mark.parametrize("client", ["boto3", "minio"])
def test_presigned_addresses_work(region: Region, s3: Any, name: str, client: str) -> None:
    ours = region.access.client()
    if client == "boto3":
        put, get = (
            s3.generate_presigned_url(action, Params={"Bucket": region.bucket, "Key": name})
            for action in ("put_object", "get_object")
        )
    else:
        put, get = ours.presigned_put_object(region.bucket, name), ours.presigned_get_object(region.bucket, name)
    http = urllib3.PoolManager(ca_certs=str(region.access.ca_file))
    assert http.request("PUT", put, body=b"content").status == 200
    assert http.request("GET", get).data == b"content"
    assert http.request("GET", get.replace("Signature=", "Signature=0")).status == 403


def test_duckdb_writes_and_reads_parquet(region: Region, name: str) -> None:
    wheel = importlib.resources.files("duckdb_extension_httpfs")
    with duckdb.connect(config={"autoinstall_known_extensions": "false"}) as con:
        con.execute(f"load '{wheel}/extensions/v{duckdb.__version__}/httpfs.duckdb_extension'")
        con.execute(f"set ca_cert_file = '{region.access.ca_file}'")
        con.execute("set enable_server_cert_verification = true")
        con.execute(
            f"create secret (type s3, key_id '{region.access.access_key}', secret '{region.access.secret_key}', "
            f"endpoint '{region.access.address}', url_style 'path', use_ssl true, region '{REGION}')"
        )
        # large enough for several parts
        con.execute(
            f"copy (select i, random() as r from range(3000000) t(i)) to 's3://{region.bucket}/d/{name}.parquet'"
        )
        found = con.execute(f"select count(*), sum(i) from 's3://{region.bucket}/d/*.parquet'").fetchone()
    assert found == (3_000_000, 3_000_000 * 2_999_999 // 2)


def test_a_supplier_works_through_the_front_as_the_policy_says(region: Region, name: str) -> None:
    access = S3Access(region.access.endpoint, HONEST, region.secrets[HONEST], ca_file=region.access.ca_file)
    store = S3Store(access, region.bucket, f"inbox/{HONEST}/")
    store.put(name, io.BytesIO(bytes(PART + 1)))
    assert len(region.content(f"inbox/{HONEST}/{name}") or b"") == PART + 1
    with pytest.raises(StoreRefused):
        S3Store(access, region.bucket, f"inbox/{HOSTILE}/").put(name, io.BytesIO(b"x"))
