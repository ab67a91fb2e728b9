"""Files below a folder of an SFTP server, for reading only. The server's key is known beforehand; any other is refused.

The library speaks asynchronously; its loop runs in a thread of its own, so that it can be used from anywhere.
"""

from __future__ import annotations

import asyncio
import io
import logging
import threading
from collections.abc import Awaitable, Iterator
from contextlib import suppress
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, BinaryIO, Self, TypeVar, cast

import asyncssh
from asyncssh.constants import FILEXFER_TYPE_DIRECTORY, FILEXFER_TYPE_REGULAR, FILEXFER_TYPE_UNKNOWN

from storage.objects.base import (
    CHUNK,
    NoSuchObject,
    ObjectInfo,
    StoreDown,
    StoreRefused,
    StoreUnfit,
    WrongHost,
    checked_key,
)
from storage.objects.pattern import fits, leads_into

log = logging.getLogger("verbund.objects")

#: Seconds for a connection, for logging in, for one answer, and for the whole list of files.
_CONNECT, _LOG_IN, _ANSWER, _LIST = 10.0, 30.0, 60.0, 600.0
#: A server that is silent for so many seconds is asked whether it lives, three times.
_SILENCE = 15.0
#: How a server may prove its key.
_PROOFS = (
    "ssh-ed25519",
    "ecdsa-sha2-nistp256",
    "ecdsa-sha2-nistp384",
    "ecdsa-sha2-nistp521",
    "rsa-sha2-512",
    "rsa-sha2-256",
)
_LATEST = datetime(9999, 1, 1, tzinfo=UTC).timestamp()
_GONE = (asyncssh.SFTPNoSuchFile, asyncssh.SFTPNoSuchPath, asyncssh.SFTPNotADirectory)
_LOST = (asyncssh.SFTPConnectionLost, asyncssh.SFTPNoConnection)
_Answer = TypeVar("_Answer")


class SftpFolder:
    """A `Place` on an SFTP server; the connection lives for a `with` block.

    Raises `StoreDown` when the server does not answer, `StoreRefused` when it does not let us, `WrongHost` when it has
    another key, `StoreUnfit` when it has no such folder.

    Args:
        user: Who logs in.
        host: Where.
        port: The server's.
        folder: Absolute on the server.
        host_key: The server's public key, `ssh-ed25519 AAAA…`.
        secret: A password, or the text of a private key without a passphrase; shown nowhere.
    """

    def __init__(self, user: str, host: str, port: int, folder: str, *, host_key: str, secret: str) -> None:
        self._user, self._host, self._port, self._folder = user, host, port, folder
        self.address = f"{host}:{port}"
        try:
            self._host_key = asyncssh.import_public_key(host_key)
        except asyncssh.KeyImportError as error:
            raise WrongHost(expected="a host key", found=f"{host_key!r}, which is none ({error})") from None
        self._secret = secret
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="sftp", daemon=True)

    @property
    def puts_are_whole(self) -> bool:
        return False

    def __enter__(self) -> Self:
        self._thread.start()
        try:
            self._connection, self._client = self._connected()
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with suppress(asyncssh.Error, OSError):
            self._run(_closed(self._connection), _CONNECT)
        self._end()

    def matching(self, pattern: str) -> Iterator[ObjectInfo]:
        yield from self._told(self._walk("", pattern), f"to list {self._folder}", seconds=_LIST)

    def info(self, key: str) -> ObjectInfo:
        attributes = self._told(self._client.lstat(self._path(key)), f"to look at {key!r}", key)
        if attributes.type not in (FILEXFER_TYPE_REGULAR, FILEXFER_TYPE_UNKNOWN):
            raise NoSuchObject(key)
        return _info(key, attributes)

    def open(self, key: str, version: str | None = None) -> BinaryIO:
        file = self._told(self._client.open(self._path(key), encoding=None), f"to read {key!r}", key)
        body = _Body(self, key, file)
        try:
            if version is not None and _info(key, body.attributes()).version != version:
                raise NoSuchObject(key)
        except BaseException:
            body.close()
            raise
        return cast(BinaryIO, io.BufferedReader(body, CHUNK))

    async def _walk(self, under: str, pattern: str) -> list[ObjectInfo]:
        found, folders = [], []
        async for entry in self._client.scandir(self._path(under.removesuffix("/"))):
            # names are bytes; what is no UTF-8 stays what it is
            name = cast(bytes, entry.filename).decode("utf-8", "surrogateescape")
            key, kind = under + name, entry.attrs.type
            if name in (".", "..") or "/" in name or "\0" in name:
                continue
            if kind == FILEXFER_TYPE_DIRECTORY:
                if leads_into(pattern, key):
                    folders.append(f"{key}/")
            # some servers do not say what is what; links are not followed
            elif kind in (FILEXFER_TYPE_REGULAR, FILEXFER_TYPE_UNKNOWN) and fits(pattern, key):
                found.append(_info(key, entry.attrs))
        for folder in folders:
            # it may be gone by now
            with suppress(*_GONE):
                found += await self._walk(folder, pattern)
        return found

    def _path(self, key: str) -> bytes:
        folder = self._folder.rstrip("/")
        path = f"{folder}/{checked_key(key)}" if key else folder or "/"
        return path.encode("utf-8", "surrogateescape")

    def _connected(self) -> tuple[asyncssh.SSHClientConnection, asyncssh.SFTPClient]:
        by_key = self._secret.lstrip().startswith("-----BEGIN")
        watch = _Watch()
        trusted: Any = ([self._host_key], [], [])
        # the known key's first; a server that has none of its kind shows another, so that it can be named
        own = {name.decode() for name in self._host_key.sig_algorithms}
        proofs = sorted(_PROOFS, key=lambda name: name not in own)
        try:
            how: dict[str, Any] = (
                {"client_keys": [asyncssh.import_private_key(self._secret + "\n")], "preferred_auth": ["publickey"]}
                if by_key
                else {"password": self._secret, "client_keys": None,
                      "preferred_auth": ["password", "keyboard-interactive"]}
            )  # fmt: skip
        except (asyncssh.KeyImportError, asyncssh.KeyEncryptionError):
            # its words are left out: they may quote the key
            found = "a private key that cannot be read; it must be whole, in OpenSSH's form, without a passphrase"
            raise StoreRefused(self.address, f"to log in as {self._user}", found) from None

        async def connect() -> tuple[asyncssh.SSHClientConnection, asyncssh.SFTPClient]:
            connection = await asyncssh.connect(
                self._host, self._port, username=self._user, known_hosts=trusted,
                client_factory=lambda: watch, config=None, agent_path=None, gss_host=None, x509_trusted_certs=None,
                server_host_key_algs=proofs,
                connect_timeout=_CONNECT, login_timeout=_LOG_IN, keepalive_interval=_SILENCE, **how,
            )  # fmt: skip
            try:
                return connection, await connection.start_sftp_client()
            except BaseException:
                connection.abort()
                raise

        try:
            return self._run(connect(), _CONNECT + _LOG_IN + _ANSWER)
        except (asyncssh.HostKeyNotVerifiable, asyncssh.KeyExchangeFailed) as error:
            pinned = f"{self._host_key.get_algorithm()} {self._host_key.get_fingerprint()}"
            found = watch.offered or _short(error)
            raise WrongHost(expected=f"the server to have the host key {pinned}", found=found) from None
        except asyncssh.PermissionDenied:
            what, code = f"to log in as {self._user}", f"wrong {'key' if by_key else 'password'}, or no such user"
            raise StoreRefused(self.address, what, code) from None
        except (asyncssh.Error, OSError) as error:
            raise StoreDown(self.address, _short(error)) from None

    def _told(
        self, asked: Awaitable[_Answer], what: str, key: str | None = None, seconds: float | None = None
    ) -> _Answer:
        """The server's answer, or what it means that there is none."""
        try:
            return self._run(asked, seconds or _ANSWER)
        except _GONE as error:
            if key is not None:
                raise NoSuchObject(key) from error
            raise StoreUnfit(expected=f"a folder {self._folder}", found="none") from None
        except asyncssh.SFTPPermissionDenied as error:
            raise StoreRefused(self.address, what, "permission denied") from error
        except asyncssh.SFTPError as error:
            # a file somebody holds open, a folder that was listed as if it were one: the others can be read
            if key is not None and not isinstance(error, _LOST):
                raise StoreRefused(self.address, what, _short(error)) from error
            raise StoreDown(self.address, f"asked {what} it said: {_short(error)}") from error
        except (asyncssh.Error, OSError, EOFError) as error:
            raise StoreDown(self.address, f"asked {what} it said: {_short(error)}") from error

    def _run(self, asked: Awaitable[_Answer], seconds: float) -> _Answer:
        return asyncio.run_coroutine_threadsafe(asyncio.wait_for(asked, seconds), self._loop).result()

    def _end(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


class _Watch(asyncssh.SSHClient):
    """Remembers which key a server had that is not the one we know."""

    offered = ""

    def validate_host_public_key(self, host: str, addr: str, port: int, key: asyncssh.SSHKey) -> bool:
        self.offered = f"{key.get_algorithm()} {key.get_fingerprint()}"
        return False


class _Body(io.RawIOBase):
    """The bytes of one file from the first on."""

    def __init__(self, folder: SftpFolder, key: str, file: asyncssh.SFTPClientFile) -> None:
        self._folder, self._key, self._file = folder, key, file

    def attributes(self) -> asyncssh.SFTPAttrs:
        return self._folder._told(self._file.stat(), f"to look at {self._key!r}", self._key)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        what = f"to read {self._key!r}"
        chunk = cast(bytes, self._folder._told(self._file.read(len(buffer)), what, self._key))
        buffer[: len(chunk)] = chunk
        return len(chunk)

    def close(self) -> None:
        if not self.closed:
            try:
                self._folder._told(self._file.close(), f"to close {self._key!r}")
            except (OSError, StoreUnfit):
                # what was read was read; a connection that is gone closes its files
                log.debug("%s was not closed", self._key)
        super().close()


async def _closed(connection: asyncssh.SSHClientConnection) -> None:
    connection.close()
    await connection.wait_closed()


def _info(key: str, attributes: asyncssh.SFTPAttrs) -> ObjectInfo:
    changed, size = attributes.mtime or 0, attributes.size or 0
    modified_at = datetime.fromtimestamp(min(max(changed, 0), _LATEST), UTC)
    return ObjectInfo(key, size, f"{changed}-{size}", modified_at)


def _short(error: BaseException) -> str:
    """The reason on one line; a server may write anything into it."""
    if isinstance(error, TimeoutError):
        return "nothing in time"
    text = str(getattr(error, "reason", "") or getattr(error, "strerror", "") or error) or type(error).__name__
    return " ".join("".join(sign if sign.isprintable() else " " for sign in text).split())[:200]
