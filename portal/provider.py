"""Sign-in by OpenID Connect: who somebody is, the region's own provider of identities says, and what they may, their groups there.

Authorization code with PKCE, state and nonce; the ID token's signature, issuer, audience and age are checked by Authlib.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Any, cast
from urllib.parse import urlencode

import httpx
from authlib.integrations.base_client import OAuthError
from authlib.integrations.starlette_client import OAuth
from fastapi import Request
from fastapi.responses import Response
from joserfc.errors import JoseError

from storage.people import OF_SUPPLIER, ROLES, Role
from storage.settings import Settings


class NotProved(Exception):
    """The provider does not vouch for this visit. `why` is for the record, not for the visitor."""

    def __init__(self, why: str) -> None:
        self.why = why
        super().__init__(why)


class ProviderAway(Exception):
    """The provider does not answer, or not as one."""


@dataclass(frozen=True)
class Proved:
    """Somebody the provider vouches for."""

    email: str
    name: str
    groups: tuple[str, ...]


class Provider:
    """The provider of identities an installation trusts.

    Args:
        settings: With `oidc_issuer`.
    """

    def __init__(self, settings: Settings) -> None:
        assert settings.oidc_issuer and settings.oidc_client_secret
        self._settings = settings
        self.issuer = settings.oidc_issuer.rstrip("/")
        self.back = f"{settings.portal_address}/anmelden/zurueck"
        self._client = OAuth().register(
            "provider",
            server_metadata_url=f"{self.issuer}/.well-known/openid-configuration",
            client_id=settings.oidc_client_id,
            client_secret=settings.oidc_client_secret.get_secret_value(),
            client_kwargs={"scope": "openid email profile", "code_challenge_method": "S256", "timeout": 10},
        )

    async def ask(self, request: Request) -> Response:
        """On to the provider's page.

        Raises:
            ProviderAway: There is none.
        """
        try:
            return cast(Response, await self._client.authorize_redirect(request, self.back))
        except (httpx.HTTPError, ValueError, RuntimeError) as error:
            raise ProviderAway from error

    async def proved(self, request: Request) -> Proved:
        """Who came back from there.

        Raises:
            NotProved: They were refused, were never sent, or what they bring is not of this provider.
            ProviderAway: It does not answer.
        """
        try:
            token: dict[str, Any] = await self._client.authorize_access_token(request)
        except (OAuthError, JoseError) as error:
            raise NotProved(str(error)) from error
        except (httpx.HTTPError, ValueError, RuntimeError) as error:
            raise ProviderAway from error
        claims = token.get("userinfo") or {}
        if not claims.get("sub"):
            raise NotProved("no ID token")
        email = str(claims.get("email") or "")
        if not email or claims.get("email_verified") is not True:
            raise NotProved("no verified e-mail address")
        groups = claims.get(self._settings.oidc_groups_claim)
        told = tuple(str(group) for group in groups) if isinstance(groups, list) else ()
        return Proved(email, str(claims.get("name") or email), told)

    async def way_out(self) -> str | None:
        """Where somebody ends their session with the provider, who comes back to us then; None where it has no such place."""
        try:
            told = await self._client.load_server_metadata()
        except (httpx.HTTPError, ValueError, RuntimeError):
            return None
        if not (place := told.get("end_session_endpoint")):
            return None
        back = {"client_id": self._settings.oidc_client_id, "post_logout_redirect_uri": self._settings.portal_address}
        return f"{place}?{urlencode(back)}"

    def roles(self, groups: Iterable[str], suppliers: Collection[str]) -> frozenset[tuple[Role, str]]:
        """The roles that groups give: `PREFIX/ROLE` for the region, `PREFIX/ROLE/SUPPLIER` for a supplier there is."""
        found: set[tuple[Role, str]] = set()
        for group in groups:
            told = group.strip("/").split("/")
            if told[0] != self._settings.oidc_group_prefix or len(told) not in (2, 3) or told[1] not in ROLES:
                continue
            supplier = told[2] if len(told) == 3 else ""
            # a role of a supplier for nobody, or one of the region for a supplier, is none
            if (told[1] in OF_SUPPLIER) != bool(supplier) or (supplier and supplier not in suppliers):
                continue
            found.add((cast(Role, told[1]), supplier))
        return frozenset(found)
