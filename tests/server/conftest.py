"""The servers of these tests, started once a session, and the stores the contract of `ObjectStore` is held to."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from storage.objects.s3 import S3Access, S3Store, prepare_bucket
from tests.server.support.installation import Installation, installation
from tests.server.support.servers import Haproxy, Minio, Postgres, Seaweed, minio_behind_haproxy
from tests.support.profiles import SERVERS

_NUMBERS = itertools.count(1)


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    with Postgres() as server:
        yield server


@pytest.fixture(scope="session")
def minio_and_front(postgres: Postgres) -> Iterator[tuple[Minio, Haproxy]]:
    with minio_behind_haproxy(postgres) as servers:
        yield servers


@pytest.fixture(scope="session")
def minio(minio_and_front: tuple[Minio, Haproxy]) -> Minio:
    """MinIO itself, as nobody but its operator reaches it."""
    return minio_and_front[0]


@pytest.fixture(scope="session")
def front(minio_and_front: tuple[Minio, Haproxy]) -> Haproxy:
    """What clients reach."""
    return minio_and_front[1]


@pytest.fixture(scope="session")
def seaweed() -> Iterator[Seaweed]:
    with Seaweed() as server:
        yield server


@pytest.fixture(scope="session")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    """A server profile with three suppliers, set up by `verbund server init` and by nothing else."""
    pack = Path(__file__).parents[1] / "packs" / "plain"
    with installation(tmp_path_factory.mktemp("installed") / "home", pack) as made:
        said = made.verbund("server", "init", "--json", admin=True)
        assert said.code == 0, said.out + said.err
        yield made


@pytest.fixture(scope="session")
def installed_on_seaweed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    """The same on SeaweedFS behind the same front."""
    pack = Path(__file__).parents[1] / "packs" / "plain"
    with installation(tmp_path_factory.mktemp("on_seaweed") / "home", pack, "seaweed") as made:
        said = made.verbund("server", "init", "--json", admin=True)
        assert said.code == 0, said.out + said.err
        yield made


@pytest.fixture(scope="session")
def minio_access(minio: Minio, front: Haproxy) -> S3Access:
    return S3Access(front.url, minio.root_user, minio.root_password, ca_file=front.ca_file)


@pytest.fixture(scope="session")
def seaweed_access(seaweed: Seaweed) -> S3Access:
    return S3Access(seaweed.url, seaweed.access_key, seaweed.secret_key)


@pytest.fixture(scope="session")
def servers(request: pytest.FixtureRequest) -> dict[str, str]:
    """Servers for whole homes, as `tests.support.profiles` takes them: those named to us, else our own."""
    if SERVERS is not None:
        return dict(SERVERS)
    postgres: Postgres = request.getfixturevalue("postgres")
    minio: Minio = request.getfixturevalue("minio")
    return {
        "database": postgres.url(), "endpoint": minio.url, "access_key": minio.root_user,
        "secret_key": minio.root_password,
    }  # fmt: skip


@pytest.fixture(params=["minio", "seaweed"])
def access(request: pytest.FixtureRequest) -> S3Access:
    """Each store in turn; only what is asked for is started."""
    found: S3Access = request.getfixturevalue(f"{request.param}_access")
    return found


@pytest.fixture
def bucket() -> str:
    """A name no other test uses."""
    return f"bucket-{next(_NUMBERS)}"


@pytest.fixture(params=["versioned", "unversioned"])
def versioned(request: pytest.FixtureRequest) -> bool:
    return bool(request.param == "versioned")


@pytest.fixture
def make_store(access: S3Access, bucket: str) -> Callable[..., S3Store]:
    """Make a bucket and a store in it; arguments as `prepare_bucket` takes them, and the store's prefix."""

    def make(prefix: str = "", *, versioned: bool = True, lock_days: int = 0) -> S3Store:
        assert prepare_bucket(access, bucket, versioned=versioned, lock_days=lock_days) == ""
        return S3Store(access, bucket, prefix)

    return make
