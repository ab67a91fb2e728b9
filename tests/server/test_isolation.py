"""Who may do what, tried with real clients through the front: three suppliers, two readers, what is theirs and what is not.

The tables say it; `own` and `other` are what happens with one's own place and with each of the others'.
"""

from __future__ import annotations

import contextlib
import io
import itertools
import json
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import boto3
import botocore.exceptions
import botocore.parsers
import psycopg
import pytest
from botocore.config import Config
from minio import Minio, MinioAdmin
from minio.commonconfig import ENABLED, CopySource
from minio.credentials.providers import StaticProvider
from minio.deleteobjects import DeleteObject
from minio.error import InvalidResponseError, MinioAdminException, S3Error, ServerError
from minio.notificationconfig import NotificationConfig
from minio.versioningconfig import VersioningConfig

from quality.release import release
from storage import stores
from storage.accounts import Accounts, NoAccount, WrongName
from storage.arrivals import end_long_reads
from storage.ledger.ledger import Ledger
from storage.objects.s3 import PART, S3Access
from tests.server.support.installation import Installation
from tests.server.support.servers import wait_for
from tests.support import foundation_lake

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
        return boto3.client(
            "s3",
            endpoint_url=self.access.endpoint,
            aws_access_key_id=self.access.access_key,
            aws_secret_access_key=self.access.secret_key,
            region_name="us-east-1",
            verify=str(self.access.ca_file),
            config=Config(s3={"addressing_style": "path"}, retries={"max_attempts": 1}),
        )

    @property
    def admin(self) -> MinioAdmin:
        """MinIO's administration, through the front."""
        credentials = StaticProvider(self.access.access_key, self.access.secret_key)
        return MinioAdmin(endpoint=self.access.address, credentials=credentials, http_client=self.access.pool())


def key_of(installed: Installation, supplier: str) -> S3Access:
    key = Accounts(installed.settings(admin=True)).new_key(supplier, overlap=timedelta(days=1))
    return S3Access(installed.front.url, key.access_key, key.secret_key, ca_file=installed.front.ca_file)


@pytest.fixture(scope="module")
def hands(installed: Installation) -> dict[str, Hands]:
    """Every supplier with a key, a file in its inbox and a receipt."""
    platform = stores.access(installed.settings()).client()
    for supplier in SUPPLIERS:
        for key in (f"inbox/{supplier}/there.csv", f"receipts/{supplier}/there.json"):
            platform.put_object(BUCKET, key, io.BytesIO(b"there"), 5)
    return {supplier: Hands(supplier, key_of(installed, supplier)) for supplier in SUPPLIERS}


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
    import ssl

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
    ("a session of one's own", lambda me: boto3.client(
        "sts", endpoint_url=me.access.endpoint, aws_access_key_id=me.access.access_key,
        aws_secret_access_key=me.access.secret_key, region_name="us-east-1", verify=str(me.access.ca_file),
    ).assume_role(RoleArn="arn:xxx:xxx:xxx:xxxx", RoleSessionName="mine")),
]  # fmt: skip


@pytest.mark.parametrize(("action", "own", "other", "do"), S3_BY_OWNER, ids=[row[0] for row in S3_BY_OWNER])
def test_a_supplier_does_with_each_ones_places_what_the_table_says(
    hands: dict[str, Hands], action: str, own: str, other: str, do: Callable[[Hands, str], object]
) -> None:
    found = {(me, whose): outcome(lambda: do(hands[me], whose)) for me in SUPPLIERS for whose in SUPPLIERS}  # noqa: B023
    assert found == {(me, whose): own if me == whose else other for me in SUPPLIERS for whose in SUPPLIERS}


@pytest.mark.parametrize(("action", "do"), S3_BY_NOBODY, ids=[row[0] for row in S3_BY_NOBODY])
def test_no_supplier_does_what_is_nobodys(hands: dict[str, Hands], action: str, do: Callable[[Hands], object]) -> None:
    assert {me: outcome(lambda: do(hands[me])) for me in SUPPLIERS} == dict.fromkeys(SUPPLIERS, REFUSED)  # noqa: B023


def test_nobody_without_a_key_does_anything(installed: Installation) -> None:
    stranger = Hands("plain-works", S3Access(installed.front.url, "", "", ca_file=installed.front.ca_file))
    client = Minio(stranger.access.address, secure=True, region="us-east-1", http_client=stranger.access.pool())
    tries: list[Callable[[], object]] = [
        lambda: client.put_object(BUCKET, "inbox/plain-works/x", io.BytesIO(b"x"), 1),
        lambda: client.get_object(BUCKET, "receipts/plain-works/there.json"),
        lambda: first(client.list_objects(BUCKET, prefix="inbox/plain-works/")),
    ]
    assert [outcome(do) for do in tries] == [REFUSED] * 3


def test_a_suppliers_version_is_never_replaced_even_behind_the_front(
    installed: Installation, hands: dict[str, Hands]
) -> None:
    me = hands["plain-works"]
    key = fresh("inbox/plain-works")
    version = me.minio.put_object(BUCKET, key, io.BytesIO(b"first"), 5).version_id
    direct = S3Access(installed.minio.url, me.access.access_key, me.access.secret_key).client()
    with pytest.raises(S3Error, match="AccessDenied"):
        direct._put_object(BUCKET, key, b"forged", {}, query_params={"versionId": str(version)})


# --- the platform's own user ---

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


@pytest.mark.parametrize(("action", "expected", "do"), PLATFORM, ids=[row[0] for row in PLATFORM])
def test_the_platform_itself_adds_to_the_vault_and_takes_nothing_away(
    installed: Installation, action: str, expected: str, do: Callable[[Minio], object]
) -> None:
    me = stores.access(installed.settings()).client()
    me.put_object("verbund-vault", "sha256/aa/kept", io.BytesIO(b"x"), 1)
    assert outcome(lambda: do(me)) == expected


# --- names, keys, revocation ---


@pytest.mark.parametrize(
    "name",
    ["***", "plain-*", "p?ain-works", "plain-works/x", "Plain-Works", "ab", "plain works", "müll-ag", "-plain", "a\n"],
)
def test_a_name_that_could_open_more_than_its_own_is_refused_everywhere(installed: Installation, name: str) -> None:
    with pytest.raises(WrongName):
        Accounts(installed.settings(admin=True)).make([*SUPPLIERS, name])
    assert set(SUPPLIERS) <= set(users(installed)) and name not in users(installed)
    with (
        psycopg.connect(installed.postgres.url("verbund")) as connection,
        pytest.raises(psycopg.errors.CheckViolation),
    ):
        connection.execute("insert into intake.supplier (id) values (%s)", (name,))


def test_no_supplier_takes_the_name_of_the_platform_or_the_operator(installed: Installation) -> None:
    accounts = Accounts(installed.settings(admin=True))
    for name in ("verbund-platform", installed.minio.root_user):
        with pytest.raises(WrongName, match="platform's own"):
            accounts.make([name])


def test_a_new_key_follows_the_old_one_without_a_gap(installed: Installation) -> None:
    old = Hands("plain-third", key_of(installed, "plain-third"))
    new = Hands("plain-third", key_of(installed, "plain-third"))
    for key in (old, new):
        assert outcome(lambda: put(fresh("inbox/plain-third"))(key)) == DONE  # noqa: B023
        # it is the supplier's own key, not the operator's who made it
        assert outcome(lambda: put(fresh("inbox/plain-works"))(key)) == REFUSED  # noqa: B023
    last = Accounts(installed.settings(admin=True)).new_key("plain-third", overlap=timedelta(0))
    assert {old.access.access_key, new.access.access_key} <= set(last.ends)
    for key in (old, new):
        assert wait_for(lambda: outcome(lambda: put(fresh("inbox/plain-third"))(key)) == REFUSED)  # noqa: B023


def test_a_revoked_supplier_has_nothing_left_not_even_keys_and_sessions_made_before(installed: Installation) -> None:
    accounts = Accounts(installed.settings(admin=True))
    accounts.make([*SUPPLIERS, "leaving-one"])
    key = key_of(installed, "leaving-one")
    # made past the front, where it is not forbidden to ask for one
    session = boto3.client(
        "sts", endpoint_url=installed.minio.url, aws_access_key_id=key.access_key,
        aws_secret_access_key=key.secret_key, region_name="us-east-1",
    )  # fmt: skip
    tokens = []
    try:
        tokens.append(session.assume_role(RoleArn="arn:xxx:xxx:xxx:xxxx", RoleSessionName="mine")["Credentials"])
    except botocore.exceptions.ClientError as error:
        assert error.response["Error"]["Code"] == "AccessDenied"
    clients = [key.client()] + [
        Minio(key.address, t["AccessKeyId"], t["SecretAccessKey"], t["SessionToken"], region="us-east-1", http_client=key.pool())
        for t in tokens
    ]  # fmt: skip
    address = key.client().get_presigned_url("PUT", BUCKET, "inbox/leaving-one/later.csv")
    for client in clients:
        assert outcome(lambda: client.put_object(BUCKET, "inbox/leaving-one/x", io.BytesIO(b"x"), 1)) == DONE  # noqa: B023
    said = installed.verbund("server", "revoke", "leaving-one", "--json", admin=True)
    assert (said.code, said.document["keys_ended"]) == (0, 1)
    for client in clients:
        assert outcome(lambda: client.put_object(BUCKET, "inbox/leaving-one/x", io.BytesIO(b"x"), 1)) == REFUSED  # noqa: B023
    import urllib3

    assert urllib3.PoolManager(ca_certs=str(key.ca_file)).request("PUT", address, body=b"x").status == 403
    # what makes users again does not bring it back
    accounts.make([*SUPPLIERS, "leaving-one"])
    with pytest.raises(NoAccount, match="revoked"):
        accounts.new_key("leaving-one", overlap=timedelta(0))
    assert outcome(lambda: clients[0].put_object(BUCKET, "inbox/leaving-one/x", io.BytesIO(b"x"), 1)) == REFUSED


def test_a_policy_somebody_added_is_taken_away_again(installed: Installation, hands: dict[str, Hands]) -> None:
    accounts = Accounts(installed.settings(admin=True))
    accounts._admin.attach_policy(["consoleAdmin"], user="plain-heirs")
    assert outcome(lambda: put(fresh("inbox/plain-works"))(hands["plain-heirs"])) == DONE
    accounts.make(SUPPLIERS)
    assert outcome(lambda: put(fresh("inbox/plain-works"))(hands["plain-heirs"])) == REFUSED


def users(installed: Installation) -> list[str]:
    return list(Accounts(installed.settings(admin=True))._users())


# --- the database ---

READERS = {"reader_open": "open", "reader_region": "region"}
#: Tables of a release by the access level of their contracts, beside some that were granted by hand: which readers see them.
RELEASED = {
    "bi.population": {"reader_open", "reader_region"},
    "bi.release": {"reader_open", "reader_region"},
    "bi.waste_balance": {"reader_region"},
    "bi.load_profile": set[str](),
}
GRANTED = {
    "bi.for_anybody": {"reader_open", "reader_region"},
    "bi.for_the_region": {"reader_region"},
    "bi.for_nobody": set[str](),
}
SERVED = RELEASED | GRANTED
#: Files of the same release, and which readers fetch them.
FETCHED = {
    **{
        f"0001/parquet/{table.removeprefix('bi.')}.parquet": who
        for table, who in RELEASED.items()
        if table != "bi.release"
    },
    "0001/manifest.json": {"reader_region"},
    "0001/SHA256SUMS": {"reader_region"},
    # holds tables of every level
    "0001/verbund.duckdb": set[str](),
    "current.json": {"reader_open", "reader_region"},
}


@pytest.fixture(scope="module")
def database(installed: Installation) -> dict[str, str]:
    """Addresses of the logins, in a database with something in every schema."""
    settings = installed.settings()
    ledger = Ledger(settings.ledger_url)
    ledger.migrate()
    ledger.close()
    from storage import lake

    connection = lake.connect(settings)
    for catalog in ("accepted", "foundation"):
        lake.attach(connection, settings, catalog)  # type: ignore[arg-type]
    connection.close()
    with psycopg.connect(platform(installed)) as own:
        own.execute("create table dagster.runs (id int)")
        for table, readers in GRANTED.items():
            own.execute(f"create table {table} (id int)")  # type: ignore[arg-type]
            for reader in readers:
                own.execute(f"grant select on {table} to verbund_bi_{READERS[reader]}")  # type: ignore[arg-type]
    tables = [table.removeprefix("bi.") for table in RELEASED if table != "bi.release"]
    foundation_lake.build(settings, [f"create table {table} as select 1 as id" for table in tables])
    # through the front, with the rights of the platform's own user and role
    assert release(settings).tables.keys() == set(tables)
    logins = {"minio_notify": installed.postgres.url("verbund", "minio_notify", installed.events_password)}
    for reader, level in READERS.items():
        said = installed.verbund("server", "reader", reader, "--level", level, "--json", admin=True)
        assert said.code == 0, said.err
        logins[reader] = installed.postgres.url("verbund", reader, said.document["PGPASSWORD"])
        STORE_ACCESS[reader] = store_access(installed, said.document)
    return logins


#: Of the readers of `database`, in the store.
STORE_ACCESS: dict[str, S3Access] = {}


def store_access(installed: Installation, told: Any) -> S3Access:
    key = (told["AWS_ACCESS_KEY_ID"], told["AWS_SECRET_ACCESS_KEY"])
    return S3Access(told["AWS_ENDPOINT_URL"], *key, told["AWS_REGION"], installed.front.ca_file)


@pytest.fixture
def readers_hands(database: dict[str, str]) -> dict[str, Hands]:
    return {reader: Hands(reader, access) for reader, access in STORE_ACCESS.items()}


def platform(installed: Installation) -> str:
    return installed.database_url


def may(address: str, statement: str) -> bool:
    """Whether the statement runs; it is taken back. Anything but a missing right fails the test."""
    with psycopg.connect(address) as connection:
        if statement.startswith("create database"):
            connection.autocommit = True
            connection.execute("set default_transaction_read_only = off")
        else:
            connection.execute("set transaction read write")
        try:
            connection.execute(statement)  # type: ignore[arg-type]
        except (psycopg.errors.InsufficientPrivilege, psycopg.errors.InvalidAuthorizationSpecification):
            return False
        finally:
            connection.rollback()
    return True


def relations(installed: Installation) -> list[str]:
    """Every table and view of the database that is not PostgreSQL's own."""
    found = installed.postgres.sql(
        """
        select format('%I.%I', n.nspname, c.relname) from pg_class as c join pg_namespace as n on n.oid = c.relnamespace
        where c.relkind in ('r', 'p', 'v', 'm', 'f') and n.nspname not in ('pg_catalog', 'information_schema', 'pg_toast')
        order by 1;
        """,
        "verbund",
    )
    return found.splitlines()


def test_readers_read_what_is_served_to_their_level_and_nothing_else(
    installed: Installation, database: dict[str, str]
) -> None:
    tables = relations(installed)
    schemas = {table.split(".")[0] for table in tables}
    assert {"public", "intake", "lake_accepted", "lake_foundation", "dagster", "bi"} <= schemas
    for reader in READERS:
        seen = {table for table in tables if may(database[reader], f"select from {table}")}
        assert seen == {table for table, readers in SERVED.items() if reader in readers}


def test_the_stores_role_reads_and_writes_the_view_of_events_and_nothing_else(
    installed: Installation, database: dict[str, str]
) -> None:
    tables = relations(installed)
    assert [t for t in tables if may(database["minio_notify"], f"select from {t}")] == ["intake.minio_event"]
    assert may(database["minio_notify"], "insert into intake.minio_event values (now(), '{}')")


#: What no login but the platform's may do.
SQL_BY_NOBODY = [
    "create table public.mine (id int)", "create table bi.mine (id int)", "create table intake.mine (id int)",
    "create temporary table mine (id int)", "create schema mine", "create extension dblink", "create role mine",
    "create database mine", "create function public.mine() returns int language sql as 'select 1'",
    "drop table bi.for_anybody", "drop schema bi cascade", "alter table bi.for_anybody add column more int",
    "create index on bi.for_anybody (id)", "create view bi.mine as select 1",
    "set role verbund", "set role postgres", "set session authorization verbund", "grant verbund to current_user",
    "grant select on bi.for_nobody to current_user", "alter role verbund password 'mine'",
    "alter role current_user superuser", "alter role current_user set temp_file_limit = -1", "set temp_file_limit = -1",
    "copy bi.for_anybody to program 'true'", "copy bi.for_anybody from '/etc/passwd'", "select pg_read_file('/etc/passwd')",
    "select * from pg_authid", "select pg_advisory_lock(1)", "select pg_try_advisory_lock(1)",
    "select pg_advisory_xact_lock(1)", "select lo_create(0)", "select lo_from_bytea(0, 'x')", "select pg_reload_conf()",
    "select pg_terminate_backend(pid) from pg_stat_activity where usename = 'verbund'",
    "lock table bi.for_anybody in access exclusive mode", "select * from intake.arrival",
]  # fmt: skip


@pytest.fixture(scope="module")
def platform_is_there(installed: Installation) -> Iterator[None]:
    with psycopg.connect(platform(installed)):
        yield


@pytest.mark.parametrize("statement", SQL_BY_NOBODY)
def test_no_reader_and_not_the_stores_role_does_what_is_the_platforms(
    database: dict[str, str], platform_is_there: None, statement: str
) -> None:
    assert {login: may(address, statement) for login, address in database.items()} == dict.fromkeys(database, False)


@pytest.mark.parametrize(
    "change", ["insert into {} values (1)", "update {} set id = 1", "delete from {}", "truncate {}"]
)
def test_no_reader_changes_what_it_reads(database: dict[str, str], change: str) -> None:
    for reader in READERS:
        assert not any(may(database[reader], change.format(table)) for table in GRANTED)


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize(
    "change",
    ["delete from {}", "drop view {}", "alter view {} rename to mine", "create or replace view {} as select 1"],
)
def test_no_reader_changes_a_released_table(database: dict[str, str], reader: str, change: str) -> None:
    assert not any(may(database[reader], change.format(table)) for table in RELEASED)


def test_a_reader_that_asks_too_much_is_ended_and_the_platform_is_not(
    installed: Installation, database: dict[str, str]
) -> None:
    def setting(address: str, name: str) -> str:
        with psycopg.connect(address) as connection:
            row = connection.execute("select current_setting(%s)", (name,)).fetchone()
            return str(row[0]) if row else ""

    for reader in READERS:
        assert setting(database[reader], "statement_timeout") == "1min"
        assert setting(database[reader], "default_transaction_read_only") == "on"
        assert setting(database[reader], "temp_file_limit") == "4GB"
    assert setting(platform(installed), "statement_timeout") == "0"


def test_a_reader_that_lifts_its_limits_is_ended_all_the_same_and_nobody_else(
    installed: Installation, database: dict[str, str]
) -> None:
    with contextlib.ExitStack() as stack:
        readers = [stack.enter_context(psycopg.connect(database[reader])) for reader in READERS]
        ours = stack.enter_context(psycopg.connect(platform(installed)))
        for connection in (*readers, ours):
            connection.execute("set statement_timeout = 0")
            connection.execute("set idle_in_transaction_session_timeout = 0")
            connection.execute("select 1")
        assert end_long_reads(installed.settings(), timedelta(hours=1)) == 0
        assert end_long_reads(installed.settings(), timedelta(0)) == len(readers)
        for connection in readers:
            with pytest.raises(psycopg.OperationalError):
                connection.execute("select 1")
        ours.execute("select 1")
        # a reader ends nobody
        with (
            psycopg.connect(database[next(iter(READERS))]) as reader,
            pytest.raises(psycopg.errors.InsufficientPrivilege),
        ):
            reader.execute("select intake.end_long_reads('0')")


# --- the same release as files ---


@pytest.mark.parametrize(("file", "readers"), FETCHED.items())
def test_readers_fetch_the_files_of_their_level_and_no_others(
    readers_hands: dict[str, Hands], file: str, readers: set[str]
) -> None:
    for reader, me in readers_hands.items():
        expected = DONE if reader in readers else REFUSED
        assert outcome(lambda: me.minio.get_object("verbund-releases", file)) == expected, reader  # noqa: B023
        address = me.minio.presigned_get_object("verbund-releases", file)
        got = me.access.pool().request("GET", address, headers={"Range": "bytes=-4"})
        assert got.status == (206 if reader in readers else 403), reader


READERS_MAY_NOT: list[tuple[str, Callable[[Hands], object]]] = [
    *S3_BY_NOBODY[:2],
    ("put into releases", lambda me: me.minio.put_object("verbund-releases", "0001/x", io.BytesIO(b"x"), 1)),
    ("put over a release", lambda me: me.minio.put_object("verbund-releases", "current.json", io.BytesIO(b"x"), 1)),
    ("delete from a release", lambda me: me.minio.remove_object("verbund-releases", "0001/parquet/population.parquet")),
    ("read an inbox", lambda me: me.minio.get_object(BUCKET, "inbox/plain-works/there.csv")),
    ("read a receipt", lambda me: me.minio.get_object(BUCKET, "receipts/plain-works/there.json")),
    ("list inboxes", lambda me: first(me.minio.list_objects(BUCKET, prefix="inbox/"))),
    ("read from the vault", lambda me: me.minio.get_object("verbund-vault", "sha256/aa/x")),
    ("read from the lake", lambda me: me.minio.get_object("verbund-lake", "x")),
    ("list the lake", lambda me: first(me.minio.list_objects("verbund-lake"))),
    *[row for row in S3_BY_NOBODY if row[0].startswith(("administer", "a session"))],
]  # fmt: skip


@pytest.mark.parametrize(("action", "do"), READERS_MAY_NOT, ids=[row[0] for row in READERS_MAY_NOT])
def test_readers_do_nothing_else_in_the_store(
    hands: dict[str, Hands], readers_hands: dict[str, Hands], action: str, do: Callable[[Hands], object]
) -> None:
    assert {name: outcome(lambda: do(me)) for name, me in readers_hands.items()} == dict.fromkeys(  # noqa: B023
        readers_hands, REFUSED
    )


def test_the_keys_of_one_world_open_nothing_in_the_other(
    installed: Installation, hands: dict[str, Hands], database: dict[str, str]
) -> None:
    from urllib.parse import urlsplit

    for supplier, me in hands.items():
        for user, password in ((supplier, me.access.secret_key), (me.access.access_key, me.access.secret_key)):
            with pytest.raises(psycopg.OperationalError, match="authentication failed"):
                psycopg.connect(installed.postgres.url("verbund", user, password))
    for login, address in database.items():
        access = S3Access(installed.front.url, login, urlsplit(address).password or "", ca_file=installed.front.ca_file)
        tried = Hands(login, access)
        for supplier in SUPPLIERS:
            assert outcome(lambda: put(fresh(f"inbox/{supplier}"))(tried)) == REFUSED  # noqa: B023


def test_a_readers_login_changes_its_level_and_goes(installed: Installation, database: dict[str, str]) -> None:
    keys: list[Minio] = []

    def level(to: str) -> str:
        said = installed.verbund("server", "reader", "passing_by", "--level", to, "--json", admin=True)
        keys.append(store_access(installed, said.document).client())
        return installed.postgres.url("verbund", "passing_by", said.document["PGPASSWORD"])

    assert may(level("region"), "select from bi.for_the_region")
    assert outcome(lambda: keys[-1].get_object("verbund-releases", "0001/manifest.json")) == DONE
    assert not may(level("open"), "select from bi.for_the_region")
    for key in keys:
        assert outcome(lambda: key.get_object("verbund-releases", "0001/manifest.json")) == REFUSED  # noqa: B023
    gone = level("open")
    assert outcome(lambda: keys[-1].get_object("verbund-releases", "current.json")) == DONE
    assert installed.verbund("server", "reader", "passing_by", "--remove", admin=True).code == 0
    with pytest.raises(psycopg.OperationalError):
        psycopg.connect(gone)
    assert wait_for(lambda: outcome(lambda: keys[-1].get_object("verbund-releases", "current.json")) == REFUSED)


def test_where_the_store_has_no_users_a_reader_reads_the_database_and_is_told_so(installed: Installation) -> None:
    """The front shows MinIO's administration to nobody, as another store that has none."""
    said = installed.verbund(
        "server", "reader", "without_files", "--json", admin=True, VERBUND_ADMIN_S3_ENDPOINT=installed.front.url
    )
    assert said.code == 0
    assert "PGPASSWORD" in said.document and "AWS_ACCESS_KEY_ID" not in said.document
    assert "no MinIO administration" in said.document["no_files"]
    for _ in range(2):
        removed = installed.verbund("server", "reader", "without_files", "--remove", admin=True)
    assert removed.code != 0


@pytest.mark.parametrize(
    "name", ["verbund", "postgres", "minio_notify", "verbund_bi_open", "a", "x; drop table y", 'x"y']
)
def test_no_readers_login_is_made_of_a_role_that_is_something_else(installed: Installation, name: str) -> None:
    said = installed.verbund("server", "reader", name, "--json", admin=True)
    assert said.code == 2 and "error" in said.document
