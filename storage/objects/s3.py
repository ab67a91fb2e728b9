"""Objects in a bucket: the object store of the server profile, on any S3 that knows `If-None-Match`.

Nothing here knows which server answers. What only MinIO does (users, policies, notifications) is set up elsewhere.
"""

from __future__ import annotations

import hashlib
import io
import logging
import os
import tempfile
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any, BinaryIO, NoReturn, cast
from urllib.parse import urlsplit

import certifi
import urllib3
from minio import Minio
from minio.commonconfig import COMPLIANCE, ENABLED
from minio.datatypes import Object
from minio.error import InvalidResponseError, MinioException, S3Error, ServerError
from minio.helpers import ObjectWriteResult
from minio.objectlockconfig import DAYS, ObjectLockConfig
from minio.versioningconfig import VersioningConfig
from urllib3.exceptions import HTTPError, MaxRetryError

from storage.objects.base import (
    CHUNK,
    NoSuchObject,
    ObjectInfo,
    Stored,
    StoreDown,
    StoreRefused,
    StoreUnfit,
    TooManyBytes,
    checked_key,
)
from storage.objects.pattern import beginning, fits

log = logging.getLogger("verbund.objects")

#: Objects larger than this go in parts of this size, so 10,000 parts hold 160 GB and three of them wait in memory.
PART = 16 * 1024 * 1024
#: What a key may have at most, in UTF-8.
_KEY_BYTES = 1024
#: An object of ours carries the number of the put that made it: the answer to a put may be lost, and the next try then
#: meets its own first one.
_PUT_ID = "verbund-put"
_MISSING = ("NoSuchKey", "NoSuchVersion")
#: What stores say of a version that is no name of one, that marks a deletion, or (by ETag) that is there no more.
_NO_VERSION = ("InvalidArgument", "InvalidVersionId", "MethodNotAllowed", "PreconditionFailed")
#: How the version of an object begins in a bucket without versions.
_BY_ETAG = "etag:"
_REFUSED = ("AccessDenied", "InvalidAccessKeyId", "SignatureDoesNotMatch", "RequestTimeTooSkewed", "ExpiredToken")
#: How often a broken download is taken up again where it stopped.
_RESUMES = 5


@dataclass(frozen=True)
class S3Access:
    """How to reach an object store.

    Args:
        endpoint: `https://host:port`, without a path.
        access_key: Name of the user.
        secret_key: Its secret; shown nowhere.
        region: Only its name matters; a store of one's own mostly says `us-east-1`.
        ca_file: Certificates to trust, where the store has one of its own making; None for the usual ones.
    """

    endpoint: str
    access_key: str
    secret_key: str = field(repr=False)
    region: str = "us-east-1"
    ca_file: Path | None = None

    def __post_init__(self) -> None:
        parts = urlsplit(self.endpoint)
        if parts.scheme not in ("http", "https") or not parts.netloc or parts.path.strip("/") or "@" in parts.netloc:
            raise ValueError(
                f"{parts.scheme}://{parts.hostname}: an S3 endpoint is http(s)://host:port and nothing else"
            )

    @property
    def secure(self) -> bool:
        return urlsplit(self.endpoint).scheme == "https"

    @property
    def address(self) -> str:
        """Host and port."""
        return urlsplit(self.endpoint).netloc

    def client(self, *, conditional: bool = False) -> Minio:
        """A client with our patience. With `conditional`, whatever it puts it puts only under keys that hold nothing."""
        return Minio(
            self.address,
            self.access_key,
            self.secret_key,
            secure=self.secure,
            region=self.region,
            http_client=self.pool(_ConditionalPool if conditional else urllib3.PoolManager),
        )

    def pool(self, kind: type[urllib3.PoolManager] = urllib3.PoolManager) -> urllib3.PoolManager:
        """Connections to the store with our patience: minio's own would try a dead store for a minute."""
        return kind(
            timeout=urllib3.Timeout(connect=3, read=60),
            maxsize=16,
            cert_reqs="CERT_REQUIRED",
            ca_certs=str(self.ca_file or certifi.where()),
            # completing an upload (POST) is never sent twice
            retries=urllib3.Retry(
                total=3, backoff_factor=0.2, status_forcelist=[500, 502, 503, 504], raise_on_status=False
            ),
        )


class S3Store:
    """An `ObjectStore` in a bucket, which must be there (`prepare_bucket`).

    Every method raises `StoreDown` when the store does not answer, `StoreRefused` when it does not let us, and
    `StoreUnfit` when there is no such bucket. `ObjectInfo.version` is the store's version id in a versioned bucket, and
    elsewhere `etag:` and the object's ETag.

    Args:
        access: How to reach the store.
        bucket: Name of the bucket.
        prefix: What all keys in the bucket begin with and no key here does, such as `inbox/`.
        work: Folder for what is on its way up; the system's own without it.
    """

    def __init__(self, access: S3Access, bucket: str, prefix: str = "", work: Path | None = None) -> None:
        if prefix:
            checked_key(prefix.removesuffix("/"))
        self.access, self.bucket, self.prefix = access, bucket, prefix
        self._work = work
        self._clients: tuple[int, Minio, Minio] | None = None

    @property
    def puts_are_whole(self) -> bool:
        return True

    def put_new(self, key: str, source: Path | BinaryIO) -> bool:
        name = self._name(key)
        with _opened(source) as (stream, length):
            # do not send much that will be refused
            return not (length > PART and self.exists(key)) and self._put_new(name, stream, length)

    def put(self, key: str, source: Path | BinaryIO) -> None:
        name = self._name(key)
        with _opened(source) as (stream, length), self._told(f"to put {key!r}"):
            self._upload(self._plain, name, stream, length, {})

    def put_by_content(self, source: Path | BinaryIO, key_of: Callable[[str], str], max_bytes: int = 0) -> Stored:
        digest = hashlib.sha256()
        # the key is known when the last byte is; small ones never touch the disk
        with tempfile.SpooledTemporaryFile(PART, dir=str(self._work) if self._work else None) as copy:
            with _opened(source) as (stream, _):
                size = _copy(stream, copy, digest.update, max_bytes)
            key = key_of(digest.hexdigest())
            name = self._name(key)
            copy.seek(0)
            new = not (size > PART and self.exists(key)) and self._put_new(name, cast(BinaryIO, copy), size)
        return Stored(key, digest.hexdigest(), size, new)

    def open(self, key: str, version: str | None = None) -> BinaryIO:
        """The bytes from the first on, of a version or of the latest; a connection that breaks is taken up again."""
        name = self._name(key)

        etag = version.removeprefix(_BY_ETAG) if version and version.startswith(_BY_ETAG) else None

        def get(offset: int, headers: Mapping[str, str]) -> urllib3.BaseHTTPResponse:
            return self._plain.get_object(
                self.bucket, name, offset=offset, version_id=None if etag else version, request_headers=dict(headers)
            )

        with self._told(f"to read {key!r}", key, _MISSING if version is None else _MISSING + _NO_VERSION):
            first = get(0, {"If-Match": f'"{etag}"'} if etag else {})
        return cast(BinaryIO, io.BufferedReader(_Body(self, key, first, get), CHUNK))

    def exists(self, key: str) -> bool:
        try:
            self.info(key)
        except NoSuchObject:
            return False
        return True

    def info(self, key: str) -> ObjectInfo:
        name = self._name(key)
        with self._told(f"to look at {key!r}", key):
            return self._info(self._plain.stat_object(self.bucket, name))

    def size(self, key: str) -> int:
        return self.info(key).size

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        for found in self._listed(prefix):
            if _latest(found):
                yield self._info(found)

    def matching(self, pattern: str) -> Iterator[ObjectInfo]:
        """Every object whose key fits a pattern, told by ETag: asked without versions, which a reader of somebody else's
        bucket may not list and not every store keeps."""
        for found in self._listed(beginning(pattern), versions=False):
            if fits(pattern, self._key(found)):
                yield self._info(found)

    def versions(self, prefix: str = "") -> Iterator[ObjectInfo]:
        """As everywhere, in no order to rely on; also those whose key was deleted since."""
        for found in self._listed(prefix):
            yield self._info(found)

    def local_path(self, key: str) -> Path | None:
        self._name(key)
        return None

    def delete(self, key: str) -> None:
        """Take the object away; in a versioned bucket its versions stay and can be read by their names."""
        name = self._name(key)
        with self._told(f"to delete {key!r}"):
            self._plain.remove_object(self.bucket, name)

    def _put_new(self, name: str, stream: BinaryIO, length: int) -> bool:
        put_id = uuid.uuid4().hex
        with self._told(f"to put {name!r}"):
            try:
                self._upload(self._conditional, name, stream, length, {_PUT_ID: put_id})
            except S3Error as error:
                # a conflict is told while another writer is not done yet; if there is nothing to look at, nothing is known
                if error.code not in ("PreconditionFailed", "ConditionalRequestConflict"):
                    raise
                there = self._plain.stat_object(self.bucket, name)
                return (there.metadata or {}).get(f"x-amz-meta-{_PUT_ID}") == put_id
        return True

    def _upload(
        self, client: Minio, name: str, stream: BinaryIO, length: int, metadata: dict[str, Any]
    ) -> ObjectWriteResult:
        result = client.put_object(
            self.bucket, name, stream, length, part_size=PART, num_parallel_uploads=2, metadata=metadata
        )
        if not result.etag:
            # S3 may begin to answer "200" and fail then
            raise ServerError("the parts of an upload were not put together", 500)
        return result

    def _listed(self, prefix: str, *, versions: bool = True) -> Iterator[Object]:
        """Every version that holds bytes and can be read here; without `versions` only what is there now."""
        found = self._plain.list_objects(
            self.bucket, prefix=self.prefix + prefix, recursive=True, include_version=versions
        )
        while True:
            with self._told(f"to list {prefix!r}"):
                entry = next(found, None)
            if entry is None:
                return
            if entry.is_delete_marker:
                continue
            try:
                self._name(self._key(entry))
            except ValueError:
                # some stores take "a//b" or "../b" from anybody; such a key must not stop who goes through a list.
                # "a/" is what browsers of buckets leave for a folder
                if entry.size:
                    log.warning("%s holds %r, which is no key and is left alone", self.bucket, entry.object_name)
                continue
            yield entry

    def _info(self, found: Object) -> ObjectInfo:
        version = found.version_id
        return ObjectInfo(
            self._key(found),
            found.size or 0,
            version if version and version != "null" else f"{_BY_ETAG}{found.etag}",
            # lists tell milliseconds, a single look does not
            (found.last_modified or datetime.min).replace(tzinfo=UTC, microsecond=0),
        )

    def _key(self, found: Object) -> str:
        return (found.object_name or "").removeprefix(self.prefix)

    def _name(self, key: str) -> str:
        name = self.prefix + checked_key(key)
        try:
            length = len(name.encode())
        except UnicodeEncodeError as error:
            raise ValueError(f"{key!r} is not a key: it cannot be written in UTF-8") from error
        if length > _KEY_BYTES:
            raise ValueError(f"{key!r} is not a key: more than {_KEY_BYTES} bytes with its prefix")
        return name

    @property
    def _plain(self) -> Minio:
        return self._of_this_process()[1]

    @property
    def _conditional(self) -> Minio:
        return self._of_this_process()[2]

    def _of_this_process(self) -> tuple[int, Minio, Minio]:
        # two processes on one connection would read each other's answers
        if self._clients is None or self._clients[0] != os.getpid():
            self._clients = (os.getpid(), self.access.client(), self.access.client(conditional=True))
        return self._clients

    @contextmanager
    def _told(self, what: str, key: str | None = None, missing: tuple[str, ...] = _MISSING) -> Iterator[None]:
        try:
            yield
        except S3Error as error:
            if key is not None and error.code in missing:
                raise NoSuchObject(key) from error
            _explain(self.access, self.bucket, what, error)
        except (MinioException, HTTPError) as error:
            _explain(self.access, self.bucket, what, error)


def prepare_bucket(access: S3Access, bucket: str, *, versioned: bool = False, lock_days: int = 0) -> str:
    """Make a bucket, or bring the one there to what is asked. May be done again at any time.

    Args:
        access: Credentials that may make buckets.
        bucket: Its name.
        versioned: Keep what is overwritten or deleted.
        lock_days: For so many days nobody, the operator included, can delete or change a version that is written from
            now on (object lock, mode COMPLIANCE). 0: no lock is asked for, and one that is there stays.

    Returns:
        What could not be had and why; empty if all could.

    Raises:
        StoreDown, StoreRefused: As everywhere.
    """
    client = access.client()
    missing = []
    try:
        if not client.bucket_exists(bucket):
            with _unless_taken():
                client.make_bucket(bucket, object_lock=lock_days > 0)
        if versioned or lock_days:
            if client.get_bucket_versioning(bucket).status != ENABLED:
                client.set_bucket_versioning(bucket, VersioningConfig(ENABLED))
            if client.get_bucket_versioning(bucket).status != ENABLED:
                missing.append("the store keeps no versions")
        if lock_days:
            try:
                client.set_object_lock_config(bucket, ObjectLockConfig(COMPLIANCE, lock_days, DAYS))
                found = client.get_object_lock_config(bucket)
                if (found.mode, found.duration, found.duration_unit) != (COMPLIANCE, lock_days, DAYS):
                    missing.append(f"the lock of {bucket!r} is {found.mode} for {found.duration} {found.duration_unit}")
            except S3Error as error:
                if error.code in _REFUSED:
                    raise
                missing.append(f"the store cannot lock what is in {bucket!r}: {error.code}")
    except (MinioException, HTTPError) as error:
        _explain(access, bucket, f"to set up the bucket {bucket!r}", error)
    return "; ".join(missing)


def is_versioned(access: S3Access, bucket: str) -> bool:
    """Whether what is overwritten or deleted stays as a version.

    Raises:
        StoreDown, StoreRefused, StoreUnfit: As everywhere; here and below.
    """
    with _asked(access, bucket, "how it keeps versions"):
        return bool(access.client().get_bucket_versioning(bucket).status == ENABLED)


def locked_days(access: S3Access, bucket: str) -> int:
    """For how many days nobody deletes what is put there; 0 if there is no such lock."""
    with _asked(access, bucket, "for its lock"):
        try:
            found = access.client().get_object_lock_config(bucket)
        except S3Error as error:
            if error.code in _REFUSED:
                raise
            # every store has its own word for "none"
            return 0
    return (found.duration or 0) if found.mode == COMPLIANCE and found.duration_unit == DAYS else 0


def may_delete(access: S3Access, bucket: str) -> bool:
    """Whether these credentials may delete versions. Tried on one that cannot be there, so nothing is deleted."""
    with _asked(access, bucket, "to delete nothing"):
        try:
            access.client().remove_object(bucket, f"doctor/{uuid.uuid4()}", version_id=str(uuid.uuid4()))
        except S3Error as error:
            if error.code == "AccessDenied":
                return False
            if error.code not in _MISSING:
                raise
    return True


def told_arrivals(access: S3Access, bucket: str, prefix: str) -> list[str]:
    """Where the store tells that something was put under a prefix."""
    with _asked(access, bucket, "for its notifications"):
        config = access.client().get_bucket_notification(bucket)
    return [
        queue.queue
        for queue in config.queue_config_list
        if queue.queue and queue.prefix_filter_rule and queue.prefix_filter_rule.value == prefix
    ]


@contextmanager
def _asked(access: S3Access, bucket: str, what: str) -> Iterator[None]:
    try:
        yield
    except (MinioException, HTTPError) as error:
        _explain(access, bucket, what, error)


@contextmanager
def _unless_taken() -> Iterator[None]:
    """Two that make the same bucket at once both have it then."""
    try:
        yield
    except S3Error as error:
        if error.code not in ("BucketAlreadyOwnedByYou", "BucketAlreadyExists"):
            raise


class _ConditionalPool(urllib3.PoolManager):
    """Adds `If-None-Match: *` to what makes an object: its put, or the request that puts its parts together.

    minio-py has no way to say it; as metadata it would become `x-amz-meta-if-none-match`, and overwrite.
    """

    def urlopen(self, method: str, url: str, redirect: bool = True, **kw: Any) -> urllib3.BaseHTTPResponse:  # type: ignore[override]
        query = urlsplit(url).query
        if (method == "PUT" and "partNumber=" not in query) or (method == "POST" and "uploadId=" in query):
            headers = urllib3.HTTPHeaderDict(kw.get("headers"))
            headers["If-None-Match"] = "*"
            kw["headers"] = headers
        return super().urlopen(method, url, redirect, **kw)


class _Body(io.RawIOBase):
    """The bytes of one object, over as many connections as it takes. All are of the same object: its ETag must match."""

    def __init__(
        self,
        store: S3Store,
        key: str,
        answer: urllib3.BaseHTTPResponse,
        get: Callable[[int, Mapping[str, str]], urllib3.BaseHTTPResponse],
    ) -> None:
        self._store, self._key, self._answer, self._get = store, key, answer, get
        self._etag = answer.headers.get("etag", "")
        self._size = int(answer.headers.get("content-length", "-1"))
        self._read = self._resumed = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while True:
            try:
                chunk = self._answer.read(len(buffer))
                if not chunk and self._read < self._size:
                    raise HTTPError(f"{self._read} of {self._size} bytes came")
            except (HTTPError, OSError) as error:
                self._resume(error)
                continue
            buffer[: len(chunk)] = chunk
            self._read += len(chunk)
            return len(chunk)

    def _resume(self, error: Exception) -> None:
        self._answer.close()
        if self._resumed == _RESUMES or not self._etag:
            raise StoreDown(self._store.access.address, f"a download broke off ({_short(error)})") from error
        self._resumed += 1
        with self._store._told(f"to go on reading {self._key!r}"):
            self._answer = self._get(self._read, {"If-Match": self._etag})

    def close(self) -> None:
        if not self.closed:
            # the rest of a large object is not read to save a connection
            self._answer.close()
            self._answer.release_conn()
        super().close()


def _explain(access: S3Access, bucket: str, what: str, error: Exception) -> NoReturn:
    """Raise what the library found in words for people, without its address lines, which may hold signatures."""
    if isinstance(error, S3Error):
        if error.code == "NoSuchBucket":
            raise StoreUnfit(expected=f"a bucket {bucket!r} at {access.address}", found="none") from None
        if error.code in _REFUSED:
            raise StoreRefused(access.address, what, error.code or "") from None
        raise StoreDown(access.address, f"asked {what} it said {error.code}") from None
    if isinstance(error, InvalidResponseError):
        raise StoreDown(access.address, f"asked {what} it said {_status(error)} and not in S3's words") from None
    if isinstance(error, ServerError):
        raise StoreDown(access.address, f"asked {what} it said {error.status_code}") from None
    raise StoreDown(access.address, _short(error)) from None


def _status(error: InvalidResponseError) -> str:
    return str(error._code)


def _short(error: Exception) -> str:
    """The reason under urllib3's wrappings, without the URL."""
    reason: object = error.reason if isinstance(error, MaxRetryError) and error.reason else error
    text = str(reason).rpartition(": ")[2] if isinstance(reason, Exception) else str(reason)
    return text.split("?", 1)[0] or type(reason).__name__


def _latest(found: Object) -> bool:
    return (found.is_latest or "true").lower() == "true"


@contextmanager
def _opened(source: Path | BinaryIO) -> Iterator[tuple[BinaryIO, int]]:
    """The source as a stream, and its length, -1 if only reading tells."""
    if isinstance(source, Path):
        with source.open("rb") as stream:
            yield stream, os.fstat(stream.fileno()).st_size
    else:
        yield source, -1


def _copy(source: BinaryIO, into: IO[bytes], see: Callable[[bytes], object], max_bytes: int) -> int:
    size = 0
    while chunk := source.read(CHUNK):
        size += len(chunk)
        if 0 < max_bytes < size:
            raise TooManyBytes(max_bytes)
        see(chunk)
        into.write(chunk)
    return size
