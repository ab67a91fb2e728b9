"""Who may do what in the store, as tables, and the hands it is tried with: real clients, which know nothing of each other.

`own` and `other` are what happens with one's own place and with each of the others'.
"""

from __future__ import annotations

import io
import itertools
import json
import ssl
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import boto3
import botocore.exceptions
import botocore.parsers
from botocore.config import Config
from minio import Minio, MinioAdmin
from minio.commonconfig import ENABLED, CopySource
from minio.credentials.providers import StaticProvider
from minio.deleteobjects import DeleteObject
from minio.error import InvalidResponseError, MinioAdminException, S3Error, ServerError
from minio.notificationconfig import NotificationConfig
from minio.versioningconfig import VersioningConfig

from storage.objects.s3 import PART, S3Access

SUPPLIERS = ("plain-heirs", "plain-third", "plain-works")
BUCKET = "verbund"
DONE, REFUSED, NOTHING = "done", "refused", "nothing there"
_NUMBERS = itertools.count(1)


@dataclass(frozen=True)
class Hands:
    """A supplier's key in two clients that know nothing of each other, and in plain requests."""

    supplier: str
    access: S3Access

    @property
    def minio(self) -> Minio:
        return self.access.client()

    @property
    def boto(self) -> Any:
        return self._boto("s3")

    @property
    def iam(self) -> Any:
        """AWS's IAM API, which some stores answer where they answer S3."""
        return self._boto("iam")

    def _boto(self, service: str) -> Any:
        return boto3.client(
            service,
            endpoint_url=self.access.endpoint,
            aws_access_key_id=self.access.access_key,
            aws_secret_access_key=self.access.secret_key,
            region_name="us-east-1",
            verify=str(self.access.ca_file) if self.access.ca_file else None,
            config=Config(s3={"addressing_style": "path"}, retries={"max_attempts": 1}),
        )

    @property
    def admin(self) -> MinioAdmin:
        """MinIO's administration, through the front."""
        credentials = StaticProvider(self.access.access_key, self.access.secret_key)
        return MinioAdmin(endpoint=self.access.address, credentials=credentials, http_client=self.access.pool())


def outcome(do: Callable[[], object]) -> str:
    """What came of it; anything that is neither success nor refusal fails the test."""
    try:
        do()
    except S3Error as error:
        if error.code == "NoSuchKey":
            return NOTHING
        assert error.code in ("AccessDenied", "InvalidAccessKeyId", "SignatureDoesNotMatch"), error.code
    except botocore.exceptions.ClientError as error:
        code, status = error.response["Error"]["Code"], error.response["ResponseMetadata"]["HTTPStatusCode"]
        if code == "NoSuchKey":
            return NOTHING
        assert status in (400, 403, 501), f"{status} {code}"
    except botocore.parsers.ResponseParserError as error:
        assert "refused: " in str(error), str(error)
    except (InvalidResponseError, ServerError) as error:
        # the front answers in no S3
        assert any(code in str(error) for code in ("400", "403", "501")), str(error)
    except MinioAdminException as error:
        assert error._code in ("400", "403", "501"), str(error)
    except urllib.error.HTTPError as error:
        assert error.code in (400, 403, 501), error.code
    else:
        return DONE
    return REFUSED


def put(key: str, size: int = 4) -> Callable[[Hands], object]:
    return lambda me: me.minio.put_object(BUCKET, key, io.BytesIO(bytes(size)), size, part_size=PART)


def fresh(prefix: str) -> str:
    return f"{prefix}/{next(_NUMBERS)}.csv"


def first(found: Iterator[Any]) -> None:
    next(found, None)


def presigned(me: Hands, method: str, key: str) -> None:
    url = me.minio.get_presigned_url(method, BUCKET, key, expires=timedelta(minutes=5))
    context = ssl.create_default_context(cafile=str(me.access.ca_file))
    request = urllib.request.Request(url, method=method, data=b"x" if method == "PUT" else None)
    urllib.request.urlopen(request, timeout=5, context=context).read()


def multipart(me: Hands, key: str) -> None:
    upload = me.boto.create_multipart_upload(Bucket=BUCKET, Key=key)["UploadId"]
    part = me.boto.upload_part(Bucket=BUCKET, Key=key, UploadId=upload, PartNumber=1, Body=b"x")
    parts = {"Parts": [{"PartNumber": 1, "ETag": part["ETag"]}]}
    me.boto.complete_multipart_upload(Bucket=BUCKET, Key=key, UploadId=upload, MultipartUpload=parts)


def aborted(me: Hands, key: str) -> None:
    upload = me.boto.create_multipart_upload(Bucket=BUCKET, Key=key)["UploadId"]
    me.boto.abort_multipart_upload(Bucket=BUCKET, Key=key, UploadId=upload)


def deleted_by_many(me: Hands, key: str) -> None:
    """Deletion of many answers 200 and tells in its body."""
    answer = me.boto.delete_objects(Bucket=BUCKET, Delete={"Objects": [{"Key": key}]})
    codes = {error["Code"] for error in answer.get("Errors", [])}
    if codes:
        raise S3Error(None, codes.pop(), None, None, None, None)  # type: ignore[arg-type]


#: What a supplier does with the places of `whose`: (action, own, other's, how).
S3_BY_OWNER: list[tuple[str, str, str, Callable[[Hands, str], object]]] = [
    ("put into the inbox", DONE, REFUSED, lambda me, whose: put(fresh(f"inbox/{whose}"))(me)),
    ("put into a folder of the inbox", DONE, REFUSED, lambda me, whose: put(fresh(f"inbox/{whose}/2025/müll"))(me)),
    ("put over what is there", DONE, REFUSED, lambda me, whose: put(f"inbox/{whose}/there.csv")(me)),
    ("put by boto3", DONE, REFUSED,
     lambda me, whose: me.boto.put_object(Bucket=BUCKET, Key=fresh(f"inbox/{whose}"), Body=b"x")),
    ("put where nothing is", DONE, REFUSED,
     lambda me, whose: me.boto.put_object(Bucket=BUCKET, Key=fresh(f"inbox/{whose}"), Body=b"x", IfNoneMatch="*")),
    ("put in parts by minio-py", DONE, REFUSED, lambda me, whose: put(fresh(f"inbox/{whose}"), PART + 1)(me)),
    ("put in parts by boto3", DONE, REFUSED, lambda me, whose: multipart(me, fresh(f"inbox/{whose}"))),
    ("give up a put in parts", DONE, REFUSED, lambda me, whose: aborted(me, fresh(f"inbox/{whose}"))),
    ("put by a presigned address", DONE, REFUSED, lambda me, whose: presigned(me, "PUT", fresh(f"inbox/{whose}"))),
    ("list the inbox", DONE, REFUSED,
     lambda me, whose: first(me.minio.list_objects(BUCKET, prefix=f"inbox/{whose}/", recursive=True))),
    ("list the inbox by boto3", DONE, REFUSED,
     lambda me, whose: me.boto.list_objects_v2(Bucket=BUCKET, Prefix=f"inbox/{whose}/")),
    ("list the inbox without its slash", REFUSED, REFUSED,
     lambda me, whose: me.boto.list_objects_v2(Bucket=BUCKET, Prefix=f"inbox/{whose}")),
    ("read from the inbox", REFUSED, REFUSED, lambda me, whose: me.minio.get_object(BUCKET, f"inbox/{whose}/there.csv")),
    ("look at what is in the inbox", REFUSED, REFUSED,
     lambda me, whose: me.boto.head_object(Bucket=BUCKET, Key=f"inbox/{whose}/there.csv")),
    ("delete from the inbox", REFUSED, REFUSED,
     lambda me, whose: me.minio.remove_object(BUCKET, f"inbox/{whose}/there.csv")),
    ("delete many from the inbox", REFUSED, REFUSED, lambda me, whose: deleted_by_many(me, f"inbox/{whose}/there.csv")),
    ("tag what is in the inbox", REFUSED, REFUSED,
     lambda me, whose: me.boto.put_object_tagging(
         Bucket=BUCKET, Key=f"inbox/{whose}/there.csv", Tagging={"TagSet": [{"Key": "a", "Value": "b"}]})),
    ("hold what is in the inbox", REFUSED, REFUSED,
     lambda me, whose: me.boto.put_object_legal_hold(
         Bucket=BUCKET, Key=f"inbox/{whose}/there.csv", LegalHold={"Status": "ON"})),
    ("copy from the inbox", REFUSED, REFUSED,
     lambda me, whose: me.minio.copy_object(
         BUCKET, fresh(f"inbox/{me.supplier}"), CopySource(BUCKET, f"inbox/{whose}/there.csv"))),
    ("copy a receipt into the own inbox", DONE, REFUSED,
     lambda me, whose: me.minio.copy_object(
         BUCKET, fresh(f"inbox/{me.supplier}"), CopySource(BUCKET, f"receipts/{whose}/there.json"))),
    ("read a receipt", DONE, REFUSED, lambda me, whose: me.minio.get_object(BUCKET, f"receipts/{whose}/there.json")),
    ("read a receipt by boto3", DONE, REFUSED,
     lambda me, whose: me.boto.get_object(Bucket=BUCKET, Key=f"receipts/{whose}/there.json")),
    ("read a receipt by a presigned address", DONE, REFUSED,
     lambda me, whose: presigned(me, "GET", f"receipts/{whose}/there.json")),
    # whether another one was answered is not told either
    ("read a receipt that is not there", NOTHING, REFUSED,
     lambda me, whose: me.minio.get_object(BUCKET, f"receipts/{whose}/nowhere.json")),
    ("put a receipt", REFUSED, REFUSED, lambda me, whose: put(fresh(f"receipts/{whose}"))(me)),
    ("put over a receipt", REFUSED, REFUSED, lambda me, whose: put(f"receipts/{whose}/there.json")(me)),
    ("delete a receipt", REFUSED, REFUSED,
     lambda me, whose: me.minio.remove_object(BUCKET, f"receipts/{whose}/there.json")),
    ("list receipts", REFUSED, REFUSED, lambda me, whose: first(me.minio.list_objects(BUCKET, prefix=f"receipts/{whose}/"))),
    ("put beside the inbox", REFUSED, REFUSED, lambda me, whose: put(fresh(f"inbox/{whose}x"))(me)),
    ("put through the inbox", REFUSED, REFUSED,
     lambda me, whose: me.boto.put_object(
         Bucket=BUCKET, Key=fresh(f"inbox/{me.supplier}/../../receipts/{whose}"), Body=b"x")),
]  # fmt: skip

#: What no supplier may do, wherever.
S3_BY_NOBODY: list[tuple[str, Callable[[Hands], object]]] = [
    ("put at the root", put("root.csv")),
    ("put at the root of inboxes", put("inbox/root.csv")),
    ("put into the vault", lambda me: me.minio.put_object("verbund-vault", "sha256/aa/x", io.BytesIO(b"x"), 1)),
    ("put into the lake", lambda me: me.minio.put_object("verbund-lake", "x", io.BytesIO(b"x"), 1)),
    ("put into releases", lambda me: me.minio.put_object("verbund-releases", "x", io.BytesIO(b"x"), 1)),
    ("read from the vault", lambda me: me.minio.get_object("verbund-vault", "sha256/aa/x")),
    ("read from the lake", lambda me: me.minio.get_object("verbund-lake", "x")),
    ("read from releases", lambda me: me.minio.get_object("verbund-releases", "x")),
    ("list the bucket", lambda me: first(me.minio.list_objects(BUCKET))),
    ("list all inboxes", lambda me: first(me.minio.list_objects(BUCKET, prefix="inbox/"))),
    ("list the vault", lambda me: first(me.minio.list_objects("verbund-vault", recursive=True))),
    ("list uploads", lambda me: me.boto.list_multipart_uploads(Bucket=BUCKET)),
    ("make a bucket", lambda me: me.minio.make_bucket("mine")),
    ("remove a bucket", lambda me: me.minio.remove_bucket("verbund-lake")),
    ("read the bucket's policy", lambda me: me.minio.get_bucket_policy(BUCKET)),
    ("open the bucket to all", lambda me: me.minio.set_bucket_policy(BUCKET, json.dumps({
        "Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Principal": {"AWS": ["*"]},
        "Action": ["s3:GetObject"], "Resource": [f"arn:aws:s3:::{BUCKET}/*"]}]}))),
    ("silence events", lambda me: me.minio.set_bucket_notification(BUCKET, NotificationConfig())),
    ("listen to events", lambda me: first(me.minio.listen_bucket_notification(BUCKET))),
    ("set versioning", lambda me: me.minio.set_bucket_versioning(BUCKET, VersioningConfig(ENABLED))),
    ("unlock the vault", lambda me: me.minio.delete_object_lock_config("verbund-vault")),
    ("let objects expire", lambda me: me.minio.delete_bucket_lifecycle(BUCKET)),
    ("administer: list users", lambda me: me.admin.user_list()),
    ("administer: make a user", lambda me: me.admin.user_add("another-one", "secret-secret")),
    ("administer: make a key", lambda me: me.admin.add_service_account(access_key="another", secret_key="secret-secret")),
    ("administer: take a policy", lambda me: me.admin.policy_set("consoleAdmin", user=me.supplier)),
    ("administer: information", lambda me: me.admin.info()),
    ("administer by IAM: list users", lambda me: me.iam.list_users()),
    ("administer by IAM: make a user", lambda me: me.iam.create_user(UserName="another-one")),
    ("administer by IAM: make a key for oneself", lambda me: me.iam.create_access_key()),
    ("administer by IAM: make a key for another", lambda me: me.iam.create_access_key(UserName="plain-works")),
    ("administer by IAM: see one's keys", lambda me: me.iam.list_access_keys()),
    ("administer by IAM: end a key", lambda me: me.iam.delete_access_key(AccessKeyId="A" * 20)),
    ("administer by IAM: take a policy", lambda me: me.iam.put_user_policy(
        UserName=me.supplier, PolicyName="mine", PolicyDocument=json.dumps({"Version": "2012-10-17", "Statement": [
            {"Effect": "Allow", "Action": ["s3:*"], "Resource": ["*"]}]}))),
    ("a session of one's own", lambda me: boto3.client(
        "sts", endpoint_url=me.access.endpoint, aws_access_key_id=me.access.access_key,
        aws_secret_access_key=me.access.secret_key, region_name="us-east-1", verify=str(me.access.ca_file),
    ).assume_role(RoleArn="arn:xxx:xxx:xxx:xxxx", RoleSessionName="mine")),
]  # fmt: skip

#: What the platform's own user does.
PLATFORM: list[tuple[str, str, Callable[[Minio], object]]] = [
    ("put into the vault", DONE, lambda me: me.put_object("verbund-vault", "sha256/aa/new", io.BytesIO(b"x"), 1)),
    ("read from the vault", DONE, lambda me: me.get_object("verbund-vault", "sha256/aa/kept")),
    ("hide what is in the vault", REFUSED, lambda me: me.remove_object("verbund-vault", "sha256/aa/kept")),
    ("delete a version of the vault", REFUSED, lambda me: me.remove_object(
        "verbund-vault", "sha256/aa/kept", version_id=me.stat_object("verbund-vault", "sha256/aa/kept").version_id)),
    ("delete many from the vault", REFUSED, lambda me: [
        (_ for _ in ()).throw(S3Error(None, error.code, None, None, None, None))  # type: ignore[arg-type]
        for error in me.remove_objects("verbund-vault", iter([DeleteObject("sha256/aa/kept")]))]),
    ("unlock the vault", REFUSED, lambda me: me.delete_object_lock_config("verbund-vault")),
    ("remove the vault", REFUSED, lambda me: me.remove_bucket("verbund-vault")),
    ("delete from an inbox", REFUSED, lambda me: me.remove_object(BUCKET, "inbox/plain-works/there.csv")),
    ("delete from a release", REFUSED, lambda me: me.remove_object("verbund-releases", "0001/x")),
    ("delete a version of a release", REFUSED, lambda me: me.remove_object(
        "verbund-releases", "0001/x",
        version_id=me.put_object("verbund-releases", "0001/x", io.BytesIO(b"x"), 1).version_id)),
    ("delete a receipt", DONE, lambda me: me.remove_object(BUCKET, "receipts/plain-works/nothing")),
    ("delete from the lake", DONE, lambda me: me.remove_object("verbund-lake", "nothing")),
    ("silence events", REFUSED, lambda me: me.set_bucket_notification(BUCKET, NotificationConfig())),
]  # fmt: skip
