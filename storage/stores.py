"""Which store holds what: folders under `VERBUND_HOME`, or buckets and prefixes of the object store."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import SecretStr

from storage.objects.base import ObjectStore
from storage.objects.local import LocalStore
from storage.settings import Settings

if TYPE_CHECKING:
    from storage.objects.s3 import S3Access


def inboxes(settings: Settings) -> ObjectStore:
    """What suppliers put: keys are `<supplier>/…`."""
    return _s3(settings, "", "inbox/") if settings.is_server else LocalStore(settings.paths.inboxes)


def heartbeat_inbox(settings: Settings) -> ObjectStore:
    """The inboxes as the platform's own heartbeat reaches them: as a supplier does, where it was given a key."""
    key, secret = settings.heartbeat_access_key, settings.heartbeat_secret_key
    if not settings.is_server or key is None or secret is None:
        return inboxes(settings)
    from storage.objects.s3 import S3Store

    assert settings.s3_endpoint
    return S3Store(_access(settings, settings.s3_endpoint, key, secret), settings.s3_bucket, "inbox/")


def receipts(settings: Settings) -> ObjectStore:
    """What suppliers are answered: keys are `<supplier>/…`."""
    return _s3(settings, "", "receipts/") if settings.is_server else LocalStore(settings.paths.root / "receipts")


def vault(settings: Settings) -> ObjectStore:
    """The bytes of every delivery, never changed."""
    return _s3(settings, "-vault") if settings.is_server else LocalStore(settings.paths.vault, read_only=True)


def lake_files(settings: Settings) -> ObjectStore:
    """What lies beside the lakes' tables."""
    return _s3(settings, "-lake") if settings.is_server else LocalStore(settings.paths.lake)


def releases(settings: Settings) -> ObjectStore:
    """Frozen states: keys are `<number>/…`."""
    return _s3(settings, "-releases") if settings.is_server else LocalStore(settings.paths.releases)


def buckets(settings: Settings) -> list[str]:
    """Names of the buckets of the server profile: suppliers' files, vault, lake, releases."""
    return [f"{settings.s3_bucket}{suffix}" for suffix in ("", "-vault", "-lake", "-releases")]


def access(settings: Settings) -> S3Access:
    """How the platform reaches the object store of the server profile."""
    assert settings.s3_endpoint and settings.s3_access_key and settings.s3_secret_key
    return _access(settings, settings.s3_endpoint, settings.s3_access_key, settings.s3_secret_key)


def admin_access(settings: Settings) -> S3Access:
    """How its operator does; the platform's own way where none is given."""
    endpoint = settings.admin_s3_endpoint or settings.s3_endpoint
    key, secret = settings.s3_access_key, settings.s3_secret_key
    if settings.admin_s3_access_key and settings.admin_s3_secret_key:
        key, secret = settings.admin_s3_access_key, settings.admin_s3_secret_key
    assert endpoint and key and secret
    return _access(settings, endpoint, key, secret)


def _access(settings: Settings, endpoint: str, key: str, secret: SecretStr) -> S3Access:
    # imported here: the embedded profile has no use for it
    from storage.objects.s3 import S3Access

    return S3Access(endpoint, key, secret.get_secret_value(), settings.s3_region, settings.s3_ca_file)


def _s3(settings: Settings, suffix: str, prefix: str = "") -> ObjectStore:
    from storage.objects.s3 import S3Store

    return S3Store(access(settings), f"{settings.s3_bucket}{suffix}", prefix)
