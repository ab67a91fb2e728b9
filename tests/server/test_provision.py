"""What `verbund server` makes, says and mends, on servers that had nothing in them."""

from __future__ import annotations

import io
import stat
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import psycopg
import pytest
from minio.error import S3Error

from storage import stores
from storage.accounts import accounts_of
from storage.accounts.minio import MinioAccounts
from storage.objects.s3 import S3Access, locked_days
from tests.server.support.installation import Installation
from tests.server.support.servers import Seaweed, wait_for


def steps(installed: Installation, **more: str) -> dict[str, tuple[bool, str]]:
    """What `verbund server init` says of each step."""
    said = installed.verbund("server", "init", "--json", admin=True, **more)
    found = {step["what"]: (step["well"], step["found"] + " | " + step["remedy"]) for step in said.document}
    assert said.code == (0 if all(well for well, _ in found.values()) else 1)
    return found


def ill(installed: Installation) -> dict[str, str]:
    """What `verbund doctor` finds wrong, and how to mend it."""
    said = installed.verbund("doctor", "--json")
    wrong = {a["what"]: f"{a['found']} | {a['remedy']}" for a in said.document if not a["well"]}
    assert said.code == (3 if wrong else 0)
    assert all(a["remedy"] for a in said.document if not a["well"])
    return wrong


def test_setting_up_again_changes_nothing(installed: Installation) -> None:
    again = steps(installed)
    assert all(well for well, _ in again.values()), again
    assert "new: none" in again["a user of the store for each supplier"][1]


def test_what_was_put_before_stays_through_another_set_up(installed: Installation) -> None:
    client = stores.access(installed.settings()).client()
    version = client.put_object("verbund", "inbox/plain-works/kept.csv", io.BytesIO(b"x"), 1).version_id
    key = accounts_of(installed.settings(admin=True)).new_key("plain-works", overlap=timedelta(1))
    steps(installed)
    assert client.stat_object("verbund", "inbox/plain-works/kept.csv").version_id == version
    access = S3Access(installed.front.url, key.access_key, key.secret_key, ca_file=installed.front.ca_file)
    access.client().put_object("verbund", "inbox/plain-works/more.csv", io.BytesIO(b"x"), 1)


def test_the_doctor_finds_a_new_installation_sound(installed: Installation) -> None:
    assert ill(installed) == {}


def test_a_put_becomes_an_arrival_by_the_stores_own_event(installed: Installation) -> None:
    stores.access(installed.settings()).client().put_object(
        "verbund", "inbox/plain-works/Müll + 100%.csv", io.BytesIO(b"x"), 1
    )
    told = "select count(*) from intake.arrival where key like '%M%C3%BCll%'"
    assert wait_for(lambda: installed.postgres.sql(told, "verbund") == "1")
    assert installed.postgres.sql("select count(*) from intake.bad_event", "verbund") == "0"


def test_the_vault_keeps_even_from_its_operator(installed: Installation) -> None:
    vault = stores.buckets(installed.settings())[1]
    assert locked_days(stores.access(installed.settings()), vault) == 1
    put = stores.access(installed.settings()).client().put_object(vault, "sha256/00/x", io.BytesIO(b"x"), 1)
    with pytest.raises(S3Error, match=r"WORM|locked|retention|AccessDenied"):
        stores.admin_access(installed.settings(admin=True)).client().remove_object(
            vault, "sha256/00/x", version_id=put.version_id
        )


@pytest.fixture
def mended(installed: Installation) -> Iterator[Installation]:
    """Broken by a test; set up again after it, which mends all of it."""
    yield installed
    again = steps(installed)
    assert all(well for well, _ in again.values()), again
    assert ill(installed) == {}


def test_the_doctor_names_what_is_missing_and_setting_up_again_mends_it(mended: Installation) -> None:
    root = stores.admin_access(mended.settings(admin=True)).client()
    root.delete_bucket_notification("verbund")
    with psycopg.connect(mended.postgres.url("verbund"), autocommit=True) as admin:
        admin.execute("drop schema bi cascade")
        admin.execute("revoke all on intake.minio_event from minio_notify")
    accounts = MinioAccounts(mended.settings(admin=True))
    accounts._admin.policy_set("consoleAdmin", user="verbund-platform")
    wrong = ill(mended)
    assert set(wrong) == {
        "the database can be reached and is set up",
        "the store tells arrivals",
        "the receiver takes an event",
        "the platform cannot delete from the vault",
    }
    assert "bi" in wrong["the database can be reached and is set up"]
    assert all("verbund server init" in text or "key of its own" in text for text in wrong.values())


def test_a_stopped_store_is_told_in_words_and_stops_nothing_else(installed: Installation) -> None:
    installed.minio.stop()
    try:
        made = steps(installed)
        assert made["roles of readers and of the store's events"][0]
        assert not made["the other buckets"][0]
        wrong = ill(installed)
        assert "the object store keeps its promises" in wrong
        assert "the database can be reached and is set up" not in wrong
    finally:
        installed.minio.start()


def test_a_stopped_database_is_told_in_words_and_stops_nothing_else(installed: Installation) -> None:
    installed.postgres.stop()
    try:
        made = steps(installed)
        assert not made["schemas and the receiver of events"][0]
        assert made["the other buckets"][0]
        wrong = ill(installed)
        assert "the database can be reached and is set up" in wrong
        assert "the object store keeps its promises" not in wrong
    finally:
        installed.postgres.start()


def test_the_front_does_not_administer(installed: Installation) -> None:
    made = steps(installed, VERBUND_ADMIN_S3_ENDPOINT=installed.front.url)
    well, told = made["a user of the store for each supplier"]
    assert not well and "VERBUND_ADMIN_S3_ENDPOINT" in told


def test_a_platform_with_the_operators_key_is_told_so(installed: Installation) -> None:
    own = {"VERBUND_S3_ACCESS_KEY": installed.minio.root_user, "VERBUND_S3_SECRET_KEY": installed.minio.root_password}
    well, told = steps(installed, **own)["policies and the platform's user of the store"]
    assert not well and "key of its own" in told


def test_an_account_of_who_left_the_pack_is_told_and_stays_revoked(installed: Installation) -> None:
    accounts_of(installed.settings(admin=True)).make(["gone-works"])
    well, told = steps(installed)["a user of the store for each supplier"]
    assert not well and "verbund server revoke gone-works" in told
    assert installed.verbund("server", "revoke", "gone-works", admin=True).code == 0
    assert all(well for well, _ in steps(installed).values())


def test_a_store_that_is_no_minio_gets_its_buckets_and_says_what_is_left_to_do(
    installed: Installation, seaweed: Seaweed
) -> None:
    keys = {"ACCESS_KEY": seaweed.access_key, "SECRET_KEY": seaweed.secret_key, "ENDPOINT": seaweed.url}
    told = {f"VERBUND_{who}S3_{name}": value for who in ("", "ADMIN_") for name, value in keys.items()}
    made = steps(installed, **told)
    assert made["the vault's bucket, versioned and locked"][0], made
    assert made["the other buckets"][0], made
    assert not made["a user of the store for each supplier"][0]
    assert "MinIO" in made["a user of the store for each supplier"][1]


def test_a_secret_is_written_for_its_owner_alone_and_over_nothing(installed: Installation, tmp_path: Path) -> None:
    file = tmp_path / "key.env"
    said = installed.verbund("server", "key", "plain-heirs", "--to", str(file), admin=True)
    assert said.code == 0
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    secret = dict(line.split("=", 1) for line in file.read_text().splitlines())
    assert secret["AWS_SECRET_ACCESS_KEY"] not in said.out + said.err
    access = S3Access(
        secret["AWS_ENDPOINT_URL"], secret["AWS_ACCESS_KEY_ID"], secret["AWS_SECRET_ACCESS_KEY"],
        ca_file=installed.front.ca_file,
    )  # fmt: skip
    access.client().put_object("verbund", "inbox/plain-heirs/x.csv", io.BytesIO(b"x"), 1)
    before = file.read_text()
    again = installed.verbund("server", "key", "plain-heirs", "--to", str(file), admin=True)
    assert (again.code, file.read_text()) == (2, before)


@pytest.mark.parametrize(
    "arguments",
    [["key", "nobody-known"], ["key", "***"], ["revoke", "nobody-known"], ["reader", "nobody_known", "--remove"]],
    ids=" ".join,
)
def test_a_name_nobody_has_ends_with_2_and_a_sentence(installed: Installation, arguments: list[str]) -> None:
    said = installed.verbund("server", *arguments, "--json", admin=True)
    assert said.code == 2 and said.document["error"] and "Traceback" not in said.err


def test_these_commands_are_for_the_server_profile(installed: Installation) -> None:
    said = installed.verbund("server", "init", "--json", VERBUND_PROFILE="local")
    assert said.code == 2 and "VERBUND_PROFILE" in said.document["error"]


def test_the_demo_puts_nothing_into_a_servers_locked_vault(installed: Installation) -> None:
    said = installed.verbund("demo", "--json")
    assert said.code == 2 and "embedded profile" in said.document["error"]
