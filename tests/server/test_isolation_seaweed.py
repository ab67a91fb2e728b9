"""Who may do what on SeaweedFS behind the front: the tables of `support/matrix.py`, keys, revocation, readers.

Its users are made by AWS's IAM API (`storage/accounts/iam.py`). What a bare SeaweedFS lets through and the front does not
is shown here too.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import urllib3
from botocore.exceptions import ClientError
from minio import Minio
from minio.error import S3Error

from quality.release import readable_files
from storage import stores
from storage.accounts import accounts_of
from storage.accounts.base import End, NoAccount
from storage.accounts.iam import IamAccounts
from storage.logins import WrongName
from storage.objects.base import StoreRefused
from storage.objects.s3 import S3Access
from storage.provision import Step
from tests.server.support.installation import Installation
from tests.server.support.matrix import (
    BUCKET,
    DONE,
    PLATFORM,
    REFUSED,
    S3_BY_NOBODY,
    S3_BY_OWNER,
    SUPPLIERS,
    Hands,
    first,
    fresh,
    outcome,
    put,
)
from tests.server.support.servers import Seaweed


@pytest.fixture(scope="module")
def installed(installed_on_seaweed: Installation) -> Installation:
    return installed_on_seaweed


@pytest.fixture
def accounts(installed: Installation) -> IamAccounts:
    found = accounts_of(installed.settings(admin=True))
    assert isinstance(found, IamAccounts)
    return found


def access(installed: Installation, access_key: str, secret_key: str) -> S3Access:
    return S3Access(installed.front.url, access_key, secret_key, ca_file=installed.front.ca_file)


def key_of(installed: Installation, supplier: str) -> S3Access:
    key = accounts_of(installed.settings(admin=True)).new_key(supplier, overlap=timedelta(days=1))
    return access(installed, key.access_key, key.secret_key)


@pytest.fixture(scope="module")
def left_before(installed: Installation) -> Hands:
    """A supplier that was revoked before the store was killed, with the key it had."""
    accounts = accounts_of(installed.settings(admin=True))
    accounts.make([*SUPPLIERS, "left-before"])
    me = Hands("left-before", key_of(installed, "left-before"))
    assert outcome(lambda: put(fresh("inbox/left-before"))(me)) == DONE
    accounts.revoke("left-before")
    return me


@pytest.fixture(scope="module")
def hands(installed: Installation, left_before: Hands) -> dict[str, Hands]:
    """Every supplier with a key, a file in its inbox and a receipt, in a store that was killed and started since."""
    platform = stores.access(installed.settings()).client()
    for supplier in SUPPLIERS:
        for key in (f"inbox/{supplier}/there.csv", f"receipts/{supplier}/there.json"):
            platform.put_object(BUCKET, key, io.BytesIO(b"there"), 5)
    made = {supplier: Hands(supplier, key_of(installed, supplier)) for supplier in SUPPLIERS}
    installed.store.kill()
    installed.store.start()
    return made


@pytest.mark.parametrize(("action", "own", "other", "do"), S3_BY_OWNER, ids=[row[0] for row in S3_BY_OWNER])
def test_a_supplier_does_with_each_ones_places_what_the_table_says(
    hands: dict[str, Hands], action: str, own: str, other: str, do: Callable[[Hands, str], object]
) -> None:
    found = {(me, whose): outcome(lambda: do(hands[me], whose)) for me in SUPPLIERS for whose in SUPPLIERS}  # noqa: B023
    assert found == {(me, whose): own if me == whose else other for me in SUPPLIERS for whose in SUPPLIERS}


@pytest.mark.parametrize(("action", "do"), S3_BY_NOBODY, ids=[row[0] for row in S3_BY_NOBODY])
def test_no_supplier_does_what_is_nobodys(hands: dict[str, Hands], action: str, do: Callable[[Hands], object]) -> None:
    assert {me: outcome(lambda: do(hands[me])) for me in SUPPLIERS} == dict.fromkeys(SUPPLIERS, REFUSED)  # noqa: B023


@pytest.mark.parametrize(("action", "expected", "do"), PLATFORM, ids=[row[0] for row in PLATFORM])
def test_the_platform_itself_adds_to_the_vault_and_takes_nothing_away(
    installed: Installation, action: str, expected: str, do: Callable[[Minio], object]
) -> None:
    me = stores.access(installed.settings()).client()
    me.put_object("verbund-vault", "sha256/aa/kept", io.BytesIO(b"x"), 1)
    assert outcome(lambda: do(me)) == expected


def test_nobody_without_a_key_does_anything(installed: Installation, hands: dict[str, Hands]) -> None:
    pool = hands["plain-works"].access.pool()
    client = Minio(installed.front.address, secure=True, region="us-east-1", http_client=pool)
    tries: list[Callable[[], object]] = [
        lambda: client.put_object(BUCKET, "inbox/plain-works/x", io.BytesIO(b"x"), 1),
        lambda: client.get_object(BUCKET, "receipts/plain-works/there.json"),
        lambda: first(client.list_objects(BUCKET, prefix="inbox/plain-works/")),
    ]
    assert [outcome(do) for do in tries] == [REFUSED] * 3


# --- what a put can say besides its bytes ---

SAID: list[tuple[str, str, dict[str, Any]]] = [
    ("keep it for years", REFUSED,
     {"ObjectLockMode": "COMPLIANCE", "ObjectLockRetainUntilDate": datetime(2040, 1, 1, tzinfo=UTC)}),
    ("hold it", REFUSED, {"ObjectLockLegalHoldStatus": "ON"}),
    # taken and without effect on who may do what: shown below
    ("let everybody read it", DONE, {"ACL": "public-read"}),
    ("let everybody have it", DONE, {"GrantFullControl": 'uri="http://acs.amazonaws.com/groups/global/AllUsers"'}),
    ("tag it", DONE, {"Tagging": "a=b"}),
]  # fmt: skip


@pytest.mark.parametrize(("what", "expected", "said"), SAID, ids=[row[0] for row in SAID])
def test_what_a_put_says_besides_its_bytes_opens_nothing(
    installed: Installation, hands: dict[str, Hands], what: str, expected: str, said: dict[str, Any]
) -> None:
    me, key = hands["plain-works"], fresh("inbox/plain-works")
    assert outcome(lambda: me.boto.put_object(Bucket=BUCKET, Key=key, Body=b"mine", **said)) == expected
    address = f"{installed.front.url}/{BUCKET}/{key}"
    assert me.access.pool().request("GET", address).status == 403
    for other in ("plain-heirs", "plain-third"):
        assert outcome(lambda: hands[other].minio.get_object(BUCKET, key)) == REFUSED  # noqa: B023
    assert outcome(lambda: me.boto.put_object_acl(Bucket=BUCKET, Key=key, ACL="public-read")) == REFUSED
    # nor does it keep the platform from reading what came
    if expected == DONE:
        assert stores.access(installed.settings()).client().get_object(BUCKET, key).data == b"mine"


def test_a_put_over_what_is_there_leaves_both_versions(installed: Installation, hands: dict[str, Hands]) -> None:
    me, key = hands["plain-works"], fresh("inbox/plain-works")
    versions = [me.boto.put_object(Bucket=BUCKET, Key=key, Body=body)["VersionId"] for body in (b"first", b"second")]
    platform = stores.access(installed.settings()).client()
    assert [platform.get_object(BUCKET, key, version_id=v).data for v in versions] == [b"first", b"second"]
    # and none is replaced by a put that names it, which the front refuses and the store takes for one more
    direct = S3Access(installed.store.url, me.access.access_key, me.access.secret_key)
    direct.client()._put_object(BUCKET, key, b"forged", {}, query_params={"versionId": versions[0]})
    assert platform.get_object(BUCKET, key, version_id=versions[0]).data == b"first"
    assert outcome(lambda: me.minio._put_object(BUCKET, key, b"x", {}, query_params={"versionId": versions[0]})) == (
        REFUSED
    )


def test_a_part_is_not_copied_from_elsewhere(hands: dict[str, Hands]) -> None:
    me, key = hands["plain-works"], fresh("inbox/plain-works")
    upload = me.boto.create_multipart_upload(Bucket=BUCKET, Key=key)["UploadId"]
    for source in ("inbox/plain-heirs/there.csv", "receipts/plain-heirs/there.json", "inbox/plain-works/there.csv"):
        assert outcome(lambda: me.boto.upload_part_copy(
            Bucket=BUCKET, Key=key, UploadId=upload, PartNumber=1, CopySource=f"{BUCKET}/{source}",  # noqa: B023
        )) == REFUSED  # fmt: skip


# --- what a bare SeaweedFS lets through ---


def direct(installed: Installation, me: Hands) -> Hands:
    return Hands(me.supplier, S3Access(installed.store.url, me.access.access_key, me.access.secret_key))


def test_a_supplier_makes_itself_keys_past_the_front_alone_and_revoking_ends_them(
    installed: Installation, accounts: IamAccounts
) -> None:
    accounts.make([*SUPPLIERS, "self-maker"])
    me = Hands("self-maker", key_of(installed, "self-maker"))
    assert outcome(lambda: me.iam.create_access_key()) == REFUSED
    made = direct(installed, me).iam.create_access_key()["AccessKey"]
    own = Hands("self-maker", access(installed, made["AccessKeyId"], made["SecretAccessKey"]))
    assert outcome(lambda: put(fresh("inbox/self-maker"))(own)) == DONE
    assert outcome(lambda: put(fresh("inbox/plain-works"))(own)) == REFUSED
    # it is one of the keys that a new key with no overlap ends, and that revoking does
    assert made["AccessKeyId"] in accounts.new_key("self-maker", overlap=timedelta(0)).ends
    assert outcome(lambda: put(fresh("inbox/self-maker"))(own)) == REFUSED
    later = direct(installed, Hands("self-maker", key_of(installed, "self-maker"))).iam.create_access_key()["AccessKey"]
    own = Hands("self-maker", access(installed, later["AccessKeyId"], later["SecretAccessKey"]))
    assert outcome(lambda: put(fresh("inbox/self-maker"))(own)) == DONE
    # the one it was given, the one before, and the one it made itself
    assert accounts.revoke("self-maker") == 3
    assert outcome(lambda: put(fresh("inbox/self-maker"))(own)) == REFUSED
    with pytest.raises(ClientError):
        direct(installed, own).iam.create_access_key()


@pytest.mark.parametrize("name", ["x.csv.versions/v_1", "x.csv.versions/more/x.csv", ".uploads/x.csv", "a/.versions/x"])
def test_a_name_that_the_store_keeps_for_itself_is_refused_and_not_lost(
    installed: Installation, hands: dict[str, Hands], name: str
) -> None:
    me = hands["plain-third"]
    key = f"inbox/plain-third/{name}"
    # taken with a 200, and in no list afterwards: nobody would ever judge it
    direct(installed, me).boto.put_object(Bucket=BUCKET, Key=key, Body=b"x")
    platform = stores.access(installed.settings()).client()
    listed = [o.object_name for o in platform.list_objects(BUCKET, "inbox/plain-third/", True, include_version=True)]
    assert key not in listed
    assert outcome(lambda: me.boto.put_object(Bucket=BUCKET, Key=key, Body=b"x")) == REFUSED
    assert outcome(lambda: me.boto.create_multipart_upload(Bucket=BUCKET, Key=key)) == REFUSED


def test_a_supplier_named_as_everybody_would_open_its_inbox_to_everybody_and_is_refused(
    installed: Installation, accounts: IamAccounts
) -> None:
    with pytest.raises(WrongName, match="no key"):
        accounts.make([*SUPPLIERS, "anonymous"])
    accounts._make("anonymous")
    try:
        accounts._give_supplier("anonymous")
        address = f"{installed.store.url}/{BUCKET}/inbox/anonymous/x"
        assert urllib3.PoolManager().request("PUT", address, body=b"x").status == 200
        for ask in (accounts.revoke, lambda name: accounts.new_key(name, overlap=timedelta(0))):
            with pytest.raises(WrongName):
                ask("anonymous")
    finally:
        accounts._empty("anonymous")
        accounts._iam.delete_user(UserName="anonymous")


# --- names, keys, revocation ---


@pytest.mark.parametrize(
    "name",
    ["***", "plain-*", "p?ain-works", "plain-works/x", "Plain-Works", "ab", "plain works", "müll-ag", "-plain", "a\n"],
)
def test_a_name_that_could_open_more_than_its_own_is_refused(accounts: IamAccounts, name: str) -> None:
    with pytest.raises(WrongName):
        accounts.make([*SUPPLIERS, name])
    assert set(SUPPLIERS) <= accounts._users() and name not in accounts._users()


def test_no_supplier_takes_the_name_of_a_user_that_was_not_made_here(
    installed: Installation, accounts: IamAccounts
) -> None:
    for name, match in (
        ("operator", "not made here"),
        ("verbundplatformkey", "platform's own"),
        ("verbund", "platform's own"),
    ):
        for ask in (lambda name: accounts.make([name]), lambda name: accounts.new_key(name, overlap=timedelta(0))):
            with pytest.raises((WrongName, NoAccount), match=f"{match}|no account"):
                ask(name)
    # and its keys are not ended by what ends a supplier's
    for ask in (accounts.revoke, lambda name: accounts.end_key(name, "verbund")):
        with pytest.raises(WrongName):
            ask("operator")
    assert "operator" in accounts._users()


def test_a_new_key_follows_the_old_one_without_a_gap_and_the_old_one_is_ended_by_name(
    installed: Installation, accounts: IamAccounts
) -> None:
    def works(key: S3Access) -> str:
        return outcome(lambda: put(fresh("inbox/plain-third"))(Hands("plain-third", key)))

    accounts.new_key("plain-third", overlap=timedelta(0))
    old = key_of(installed, "plain-third")
    said = installed.verbund("server", "key", "plain-third", "--json", admin=True)
    assert said.code == 0, said.err
    new = access(installed, said.document["AWS_ACCESS_KEY_ID"], said.document["AWS_SECRET_ACCESS_KEY"])
    # of the two before it the older had to go; the newer goes on, and nothing says that it would end by itself
    assert said.document["earlier_keys"][old.access_key] == str(End.NOT_BY_ITSELF)
    assert sorted(said.document["earlier_keys"].values()) == ["ended", str(End.NOT_BY_ITSELF)]
    assert [works(old), works(new)] == [DONE, DONE]
    assert outcome(lambda: put(fresh("inbox/plain-works"))(Hands("plain-third", new))) == REFUSED
    told = said.document["to_end_it"].split()
    assert told[:3] == ["verbund", "server", "revoke"]
    assert installed.verbund(*told[1:], admin=True).code == 0
    assert [works(old), works(new)] == [REFUSED, DONE]
    # a key that is not its own is ended by nobody's mistake
    assert installed.verbund("server", "revoke", "plain-works", "--key", new.access_key, admin=True).code == 2
    assert works(new) == DONE
    last = accounts.new_key("plain-third", overlap=timedelta(0))
    assert last.ends == {new.access_key: End.NOW}
    assert [works(new), works(access(installed, last.access_key, last.secret_key))] == [REFUSED, DONE]


def test_a_revoked_supplier_has_nothing_left_until_somebody_says_again(
    installed: Installation, accounts: IamAccounts
) -> None:
    accounts.make([*SUPPLIERS, "leaving-one"])
    key = key_of(installed, "leaving-one")
    client = key.client()
    address = client.get_presigned_url("PUT", BUCKET, "inbox/leaving-one/later.csv")

    def works(client: Minio) -> str:
        return outcome(lambda: client.put_object(BUCKET, fresh("inbox/leaving-one"), io.BytesIO(b"x"), 1))

    assert works(client) == DONE
    said = installed.verbund("server", "revoke", "leaving-one", "--json", admin=True)
    assert (said.code, said.document["keys_ended"]) == (0, 1)
    assert works(client) == REFUSED
    assert urllib3.PoolManager(ca_certs=str(key.ca_file)).request("PUT", address, body=b"x").status == 403
    # what makes users again does not bring it back
    accounts.make([*SUPPLIERS, "leaving-one"])
    with pytest.raises(NoAccount, match="revoked"):
        accounts.new_key("leaving-one", overlap=timedelta(0))
    assert accounts._policies("leaving-one") == ["verbund-revoked"]
    assert "leaving-one" not in accounts.strangers(SUPPLIERS)
    back = accounts.new_key("leaving-one", overlap=timedelta(0), again=True)
    assert works(access(installed, back.access_key, back.secret_key).client()) == DONE
    assert works(client) == REFUSED
    assert "leaving-one" in accounts.strangers(SUPPLIERS)
    accounts.revoke("leaving-one")


def test_a_revoked_supplier_stays_so_when_the_store_was_killed(
    accounts: IamAccounts, hands: dict[str, Hands], left_before: Hands
) -> None:
    assert outcome(lambda: put(fresh("inbox/left-before"))(left_before)) == REFUSED
    accounts.make([*SUPPLIERS, "left-before"])
    assert accounts._policies("left-before") == ["verbund-revoked"] and accounts._keys("left-before") == []


def test_a_policy_somebody_added_is_taken_away_again(
    installed: Installation, hands: dict[str, Hands], accounts: IamAccounts
) -> None:
    text = '{"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": ["s3:*"], "Resource": ["*"]}]}'
    accounts._iam.put_user_policy(UserName="plain-heirs", PolicyName="more", PolicyDocument=text)
    assert outcome(lambda: put(fresh("inbox/plain-works"))(hands["plain-heirs"])) == DONE
    accounts.make(SUPPLIERS)
    assert outcome(lambda: put(fresh("inbox/plain-works"))(hands["plain-heirs"])) == REFUSED
    attached = accounts._iam.create_policy(PolicyName="more", PolicyDocument=text)["Policy"]["Arn"]
    accounts._iam.attach_user_policy(UserName="plain-heirs", PolicyArn=attached)
    assert outcome(lambda: put(fresh("inbox/plain-works"))(hands["plain-heirs"])) == DONE
    accounts.make(SUPPLIERS)
    assert outcome(lambda: put(fresh("inbox/plain-works"))(hands["plain-heirs"])) == REFUSED
    assert outcome(lambda: put(fresh("inbox/plain-heirs"))(hands["plain-heirs"])) == DONE


def test_a_policy_that_is_right_is_not_written_again(accounts: IamAccounts, monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[object] = []
    monkeypatch.setattr(accounts._iam, "put_user_policy", lambda **told: written.append(told))
    accounts.make(SUPPLIERS)
    accounts.make_platform()
    assert written == []


# --- readers ---


@pytest.fixture
def released(installed: Installation) -> Iterator[dict[str, set[str]]]:
    """Files of a release, and the levels that fetch them."""
    levels = readable_files(installed.settings())
    files = {
        f"0001/{file}": {level for level in levels if file in levels[level]} for f in levels.values() for file in f
    }
    files |= {"0001/verbund.duckdb": set(), "current.json": {"open", "region"}}
    platform = stores.access(installed.settings()).client()
    for file in files:
        platform.put_object("verbund-releases", file, io.BytesIO(b"file"), 4)
    yield files


def test_readers_fetch_the_files_of_their_level_change_it_and_go(
    installed: Installation, hands: dict[str, Hands], released: dict[str, set[str]]
) -> None:
    assert {"open", "region"} in released.values() and {"region"} in released.values()
    keys = []
    for level in ("open", "region", "open"):
        said = installed.verbund("server", "reader", "passing_by", "--level", level, "--json", admin=True)
        assert said.code == 0, said.err
        assert said.document["PGPASSWORD"] and "no_files" not in said.document
        me = Hands(
            "reader", access(installed, said.document["AWS_ACCESS_KEY_ID"], said.document["AWS_SECRET_ACCESS_KEY"])
        )
        for file, levels in released.items():
            expected = DONE if level in levels else REFUSED
            assert outcome(lambda: me.minio.get_object("verbund-releases", file)) == expected, (level, file)  # noqa: B023
        for supplier in SUPPLIERS:
            for key in (f"inbox/{supplier}/there.csv", f"receipts/{supplier}/there.json"):
                assert outcome(lambda: me.minio.get_object(BUCKET, key)) == REFUSED  # noqa: B023
            assert outcome(lambda: put(fresh(f"inbox/{supplier}"))(me)) == REFUSED  # noqa: B023
        assert outcome(lambda: me.minio.put_object("verbund-releases", "current.json", io.BytesIO(b"x"), 1)) == REFUSED  # noqa: B023
        assert outcome(lambda: me.minio.remove_object("verbund-releases", "current.json")) == REFUSED  # noqa: B023
        assert outcome(lambda: me.minio.get_object("verbund-vault", "sha256/aa/kept")) == REFUSED  # noqa: B023
        for before in keys:
            assert outcome(lambda: before.minio.get_object("verbund-releases", "current.json")) == REFUSED  # noqa: B023
        keys.append(me)
    assert installed.verbund("server", "reader", "passing_by", "--remove", admin=True).code == 0
    assert outcome(lambda: keys[-1].minio.get_object("verbund-releases", "current.json")) == REFUSED


# --- setting up ---


def steps(installed: Installation, **more: str) -> dict[str, Step]:
    said = installed.verbund("server", "init", "--json", admin=True, **more)
    return {step["what"]: Step(**step) for step in said.document}


def test_setting_up_again_changes_nothing_and_the_doctor_finds_it_sound(
    installed: Installation, hands: dict[str, Hands]
) -> None:
    again = steps(installed)
    assert all(step.well for step in again.values()), again
    assert "new: none" in again["a user of the store for each supplier"].found
    # that nobody tells arrivals is said, and is no fault of this store
    assert "sweep" in again["the store tells arrivals"].found
    assert outcome(lambda: put(fresh("inbox/plain-works"))(hands["plain-works"])) == DONE
    said = installed.verbund("doctor", "--json")
    wrong = [answer for answer in said.document if not answer["well"]]
    assert (said.code, wrong) == (0, [])
    told = {answer["what"]: answer["found"] for answer in said.document}
    assert "sweep" in told["the store tells arrivals"]


def test_a_platform_whose_secret_changed_is_given_it_and_its_old_key_ends(installed: Installation) -> None:
    before = stores.access(installed.settings()).client()
    changed = {"VERBUND_S3_ACCESS_KEY": "changedplatformkey", "VERBUND_S3_SECRET_KEY": "of-today-and-no-other"}
    what = "policies and the platform's user of the store"
    try:
        assert steps(installed, **changed)[what].well
        with pytest.raises(S3Error, match="access key"):
            before.get_bucket_versioning(BUCKET)
        changed["VERBUND_S3_SECRET_KEY"] = "of-tomorrow-and-no-other"
        assert steps(installed, **changed)[what].well
        now = access(installed, changed["VERBUND_S3_ACCESS_KEY"], changed["VERBUND_S3_SECRET_KEY"])
        assert now.client().get_bucket_versioning(BUCKET).status == "Enabled"
    finally:
        assert steps(installed)[what].well
    assert before.get_bucket_versioning(BUCKET).status == "Enabled"


def test_a_key_this_store_does_not_take_is_told_in_words(installed: Installation) -> None:
    told = steps(installed, VERBUND_S3_ACCESS_KEY="verbund-platform")["policies and the platform's user of the store"]
    assert not told.well and "letters and digits" in told.found


def test_a_store_of_the_other_kind_is_told_in_words(installed: Installation) -> None:
    what = "a user of the store for each supplier"
    as_minio = steps(installed, VERBUND_S3_KIND="minio")[what]
    assert not as_minio.well and "VERBUND_S3_KIND=iam" in as_minio.found
    behind_the_front = steps(installed, VERBUND_ADMIN_S3_ENDPOINT=installed.front.url)[what]
    assert not behind_the_front.well and "VERBUND_ADMIN_S3_ENDPOINT" in behind_the_front.found


def test_a_store_that_takes_no_users_says_so(installed: Installation, monkeypatch: pytest.MonkeyPatch) -> None:
    command = Seaweed.command(installed.store)  # type: ignore[arg-type]
    closed = [part for part in command if not part.startswith("-s3.iam")]
    installed.store.kill()
    with monkeypatch.context() as patch:
        patch.setattr(installed.store, "command", lambda: closed)
        installed.store.start()
        with pytest.raises(StoreRefused, match="disabled"):
            accounts_of(installed.settings(admin=True)).make(["never-made"])
        installed.store.kill()
    installed.store.start()


def test_the_operators_secret_at_a_wrong_place_is_told_as_refused(installed: Installation) -> None:
    wrong = steps(installed, VERBUND_ADMIN_S3_SECRET_KEY="x" * 20)["a user of the store for each supplier"]
    assert not wrong.well and "VERBUND_ADMIN" not in wrong.found and "x" * 20 not in wrong.found
