"""Who may do what, tried with real clients through the front: three suppliers, two readers, what is theirs and what is not.

The tables of `support/matrix.py` say it. On MinIO here, on SeaweedFS in test_isolation_seaweed.py.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import boto3
import botocore.exceptions
import botocore.parsers
import psycopg
import pytest
from minio import Minio
from minio.error import S3Error

from quality.release import release
from storage import stores
from storage.accounts import accounts_of
from storage.accounts.base import NoAccount
from storage.accounts.minio import MinioAccounts
from storage.arrivals import end_long_reads
from storage.ledger.ledger import Ledger
from storage.logins import WrongName
from storage.objects.s3 import S3Access
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
from tests.server.support.servers import wait_for
from tests.support import foundation_lake


def key_of(installed: Installation, supplier: str) -> S3Access:
    key = accounts_of(installed.settings(admin=True)).new_key(supplier, overlap=timedelta(days=1))
    return S3Access(installed.front.url, key.access_key, key.secret_key, ca_file=installed.front.ca_file)


@pytest.fixture(scope="module")
def hands(installed: Installation) -> dict[str, Hands]:
    """Every supplier with a key, a file in its inbox and a receipt."""
    platform = stores.access(installed.settings()).client()
    for supplier in SUPPLIERS:
        for key in (f"inbox/{supplier}/there.csv", f"receipts/{supplier}/there.json"):
            platform.put_object(BUCKET, key, io.BytesIO(b"there"), 5)
    return {supplier: Hands(supplier, key_of(installed, supplier)) for supplier in SUPPLIERS}


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
        accounts_of(installed.settings(admin=True)).make([*SUPPLIERS, name])
    assert set(SUPPLIERS) <= set(users(installed)) and name not in users(installed)
    with (
        psycopg.connect(installed.postgres.url("verbund")) as connection,
        pytest.raises(psycopg.errors.CheckViolation),
    ):
        connection.execute("insert into intake.supplier (id) values (%s)", (name,))


def test_no_supplier_takes_the_name_of_the_platform_or_the_operator(installed: Installation) -> None:
    accounts = accounts_of(installed.settings(admin=True))
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
    last = accounts_of(installed.settings(admin=True)).new_key("plain-third", overlap=timedelta(0))
    assert {old.access.access_key, new.access.access_key} <= set(last.ends)
    for key in (old, new):
        assert wait_for(lambda: outcome(lambda: put(fresh("inbox/plain-third"))(key)) == REFUSED)  # noqa: B023


def test_a_revoked_supplier_has_nothing_left_not_even_keys_and_sessions_made_before(installed: Installation) -> None:
    accounts = accounts_of(installed.settings(admin=True))
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
    accounts = MinioAccounts(installed.settings(admin=True))
    accounts._admin.attach_policy(["consoleAdmin"], user="plain-heirs")
    assert outcome(lambda: put(fresh("inbox/plain-works"))(hands["plain-heirs"])) == DONE
    accounts.make(SUPPLIERS)
    assert outcome(lambda: put(fresh("inbox/plain-works"))(hands["plain-heirs"])) == REFUSED


def users(installed: Installation) -> list[str]:
    return list(MinioAccounts(installed.settings(admin=True))._users())


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
