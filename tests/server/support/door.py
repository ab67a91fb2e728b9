"""Requests signed and sent by hand, as a hostile client would: with every spelling, and nothing tidied up."""

from __future__ import annotations

import datetime
import hashlib
import hmac
import http.client
import ssl
from collections.abc import Mapping
from dataclasses import dataclass

REGION = "us-east-1"


@dataclass(frozen=True)
class Answer:
    status: int
    body: bytes
    headers: Mapping[str, str]


@dataclass(frozen=True)
class Door:
    """One way to the store: the server itself, or its front."""

    address: str
    context: ssl.SSLContext | None

    def send(self, method: str, target: str, headers: Mapping[str, str] | None = None, body: bytes = b"") -> Answer:
        """Send exactly this; `target` is path and query as they go over the wire."""
        connection = (
            http.client.HTTPSConnection(self.address, context=self.context, timeout=20)
            if self.context
            else http.client.HTTPConnection(self.address, timeout=20)
        )
        try:
            connection.putrequest(method, target, skip_accept_encoding=True)
            for name, value in {**(headers or {}), "Content-Length": str(len(body))}.items():
                connection.putheader(name, value)
            connection.endheaders(body)
            answer = connection.getresponse()
            return Answer(answer.status, answer.read(), {name.lower(): value for name, value in answer.getheaders()})
        finally:
            connection.close()

    def signed(
        self,
        user: str,
        secret: str,
        method: str,
        path: str,
        query: str = "",
        headers: Mapping[str, str] | None = None,
        body: bytes = b"",
        signed_query: str | None = None,
    ) -> Answer:
        """Send with a signature in the header. The query is signed as `signed_query`, its canonical spelling."""
        now = datetime.datetime.now(datetime.UTC).strftime("%Y%m%dT%H%M%SZ")
        content = hashlib.sha256(body).hexdigest()
        all_headers = {"x-amz-date": now, "x-amz-content-sha256": content, **(headers or {})}
        signing = {"host": self.address, **{name.lower(): value for name, value in all_headers.items()}}
        names = ";".join(sorted(signing))
        canonical_query = "&".join(
            sorted(
                pair if "=" in pair else f"{pair}="
                for pair in (query if signed_query is None else signed_query).split("&")
                if pair
            )
        )
        canonical = "\n".join(
            [method, path, canonical_query, *(f"{name}:{signing[name]}" for name in sorted(signing)), "", names,
             all_headers["x-amz-content-sha256"]]
        )  # fmt: skip
        scope = f"{now[:8]}/{REGION}/s3/aws4_request"
        to_sign = f"AWS4-HMAC-SHA256\n{now}\n{scope}\n{hashlib.sha256(canonical.encode()).hexdigest()}"
        key = f"AWS4{secret}".encode()
        for step in (now[:8], REGION, "s3", "aws4_request", to_sign):
            key = hmac.new(key, step.encode(), hashlib.sha256).digest()
        authorization = f"AWS4-HMAC-SHA256 Credential={user}/{scope},SignedHeaders={names},Signature={key.hex()}"
        target = f"{path}?{query}" if query else path
        return self.send(method, target, {**all_headers, "Authorization": authorization}, body)
