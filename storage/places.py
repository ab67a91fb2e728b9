"""Places of other organisations that files are fetched from: what their addresses mean, and opening them.

An address and a host key stand in a region pack and are no secrets. What lets us in is a credential (`storage.settings`).
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

from pydantic import SecretStr

from storage.objects.base import Place, checked_key
from storage.objects.local import LocalStore

HOST_KEYS = ("ssh-ed25519", "ecdsa-sha2-nistp256", "ecdsa-sha2-nistp384", "ecdsa-sha2-nistp521", "ssh-rsa")
#: What a credential of an object store holds, one `NAME=value` a line, as such stores hand it out.
S3_NAMES = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")


class UnusableCredential(Exception):
    """A credential is not there, or not what it should be. What it holds is shown nowhere."""

    def __init__(self, expected: str, found: str) -> None:
        self.expected, self.found = expected, found
        super().__init__(f"expected {expected}, found {found}")


@dataclass(frozen=True)
class BucketAddress:
    """A bucket and what keys in it begin with: empty, or with a `/` at its end."""

    bucket: str
    prefix: str


@dataclass(frozen=True)
class SftpAddress:
    """Who reads what where; `folder` is absolute on the server."""

    user: str
    host: str
    port: int
    folder: str


def bucket_address(text: str) -> BucketAddress:
    """Read `s3://bucket/prefix`.

    Raises:
        ValueError: It is none.
    """
    match = re.fullmatch(r"s3://([a-z0-9][a-z0-9.-]{1,61}[a-z0-9])(?:/(.*))?", text)
    if match is None:
        raise ValueError("a source of kind s3 needs an address like s3://bucket/prefix")
    prefix = (match[2] or "").removesuffix("/")
    return BucketAddress(match[1], f"{checked_key(prefix)}/" if prefix else "")


def sftp_address(text: str) -> SftpAddress:
    """Read `sftp://user@host:port/folder`; the folder is absolute, the port 22 unless it is named.

    Raises:
        ValueError: It is none, or holds a password. The text is not repeated.
    """
    try:
        parts = urlsplit(text)
        port = parts.port or 22
    except ValueError:
        raise ValueError(_SFTP) from None
    if parts.password is not None:
        raise ValueError("no password stands in an address; name a credential")
    if parts.scheme != "sftp" or not parts.username or not parts.hostname or not parts.path or parts.query:
        raise ValueError(_SFTP)
    return SftpAddress(unquote(parts.username), parts.hostname, port, unquote(parts.path))


_SFTP = "a source of kind sftp needs an address like sftp://user@host:22/folder"


def host_key(text: str) -> str:
    """Read a server's public key, as `ssh-keyscan` and known_hosts write it: type and Base64; a comment is left out.

    Raises:
        ValueError: It is none.
    """
    words = text.split()
    if len(words) >= 2 and words[0] in HOST_KEYS:
        try:
            content = base64.b64decode(words[1], validate=True)
        except binascii.Error:
            content = b""
        named = len(words[0]).to_bytes(4) + words[0].encode()
        if content.startswith(named) and len(content) > len(named) + 32:
            return f"{words[0]} {words[1]}"
    raise ValueError(f"a host key is a type ({', '.join(HOST_KEYS)}) and the key in Base64, like ssh-ed25519 AAAA…")


def folder(path: Path) -> Place:
    """A folder that this machine sees."""
    return LocalStore(path)


def bucket(address: BucketAddress, endpoint: str, secret: SecretStr, *, region: str, ca_file: Path | None) -> Place:
    """What lies in somebody's bucket under a prefix.

    Raises:
        UnusableCredential: The credential is no access key with its secret.
    """
    from storage.objects.s3 import S3Access, S3Store

    held = _named(secret.get_secret_value())
    if any(not held.get(name) for name in S3_NAMES):
        raise UnusableCredential(f"a credential of the lines {'=… and '.join(S3_NAMES)}=…", "another text")
    key, secret_key = (held[name] for name in S3_NAMES)
    access = S3Access(endpoint, key, secret_key, region, ca_file)
    return S3Store(access, address.bucket, address.prefix)


@contextmanager
def sftp(address: SftpAddress, known_as: str, secret: SecretStr) -> Iterator[Place]:
    """A folder of an SFTP server, with a connection for the block.

    Raises:
        StoreDown, StoreRefused, StoreUnfit: As `SftpFolder` does.
    """
    from storage.objects.sftp import SftpFolder

    at = (address.user, address.host, address.port, address.folder)
    with SftpFolder(*at, host_key=known_as, secret=secret.get_secret_value()) as place:
        yield place


def _named(text: str) -> Mapping[str, str]:
    lines = (line.removeprefix("export ").partition("=") for line in text.splitlines())
    return {name.strip(): value.strip().strip("\"'") for name, _, value in lines}
