"""How a FHIR server knows us: a fixed token, or one from its token server, renewed before it ends.

The token server (RFC 6749, 4.4: client credentials) is told who we are with a secret, or as SMART Backend Services wants it
(https://hl7.org/fhir/smart-app-launch/backend-services.html) with a JWT signed by our private key (RFC 7523).
"""

from __future__ import annotations

import asyncio
import re
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Literal, Self
from urllib.parse import quote_plus

import httpx
import jwt
import msgspec
from pydantic import Field, SecretStr, field_validator, model_validator

from interop_engine.connectors.addresses import is_safe_url
from interop_engine.connectors.options import Options

_ASSERTION = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
_ASSERTED = 240.0  # seconds that a signed JWT is good for; SMART allows five minutes at most
_LIFE = 300.0  # seconds of a token whose server does not say
_EARLY = 60.0  # seconds before its end at which a token is renewed, or a quarter of its life where that is less
_LARGEST = 65_536  # bytes of a token server's reply
_NONE_GRANTED = "the token server's reply holds no token"
_CODE = re.compile(r"[a-z_]{1,40}")
_LATER = frozenset({408, 425, 429})


class FhirOAuth(Options):
    """A token server, and what it knows us by: a secret, or a private key (SMART Backend Services)."""

    token_url: str = Field(description="Where tokens are given out.", examples=["https://hub.example/oauth2/token"])
    client_id: str = Field(description="What we are registered as.", examples=["hospital-24001"], min_length=1)
    client_secret: SecretStr | None = Field(None, description="The secret that was given out.", examples=["${HUB_SECRET}"])
    private_key: str = Field(
        "",
        description="Instead of a secret: our private key, PEM; its public half is registered.",
        examples=["tls/hub-client.key"],
    )
    key_id: str = Field("", description="What the key is called where it is registered (kid).", examples=["2026-11"])
    algorithm: Literal["RS384", "ES384"] = Field("RS384", description="What the key signs with: RSA, or ECDSA on P-384.")
    scope: str = Field("", description="What we ask to be allowed.", examples=["system/*.write"])
    audience: str = Field("", description="Whom a signed assertion is for, where that is not the token URL.")

    @field_validator("token_url")
    @classmethod
    def _is_safe(cls, url: str) -> str:
        if not is_safe_url(url):
            raise ValueError("credentials go to an https:// URL without user and password")
        return url

    @model_validator(mode="after")
    def _one_proof(self) -> Self:
        if (self.client_secret is None) == (not self.private_key):
            raise ValueError("give client_secret or private_key: one of them says who we are")
        return self

    def sign(self, root: str, now: float) -> str:
        """The assertion of who we are. Raises OSError and ValueError where the key cannot be read, or does not sign so."""
        key = Path(root, self.private_key).read_bytes()
        claims = {
            "iss": self.client_id,
            "sub": self.client_id,
            "aud": self.audience or self.token_url,
            "iat": int(now),
            "exp": int(now + _ASSERTED),
            "jti": str(uuid.uuid4()),
        }
        try:
            return jwt.encode(claims, key, self.algorithm, headers={"kid": self.key_id} if self.key_id else None)
        except (jwt.PyJWTError, TypeError, ValueError) as error:
            raise ValueError(f"it is no private key in PEM that signs {self.algorithm}") from error


class FhirAuth(Options):
    """How the server knows us: one of the two."""

    bearer: SecretStr | None = Field(None, description="A token that the server gave out.", examples=["${HUB_TOKEN}"])
    oauth: FhirOAuth | None = Field(None, description="A token server that gives out tokens.")

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if (self.bearer is None) == (self.oauth is None):
            raise ValueError("give bearer or oauth, one of them")
        return self


class TokenRefused(Exception):  # noqa: N818 - an answer, not an accident
    """The token server will have none of us, or we cannot say who we are: a person must act."""


class TokenServerDown(Exception):  # noqa: N818 - an answer, not an accident
    """The token server cannot work at present."""


class Tokens:
    """Gives the token to send; without ``auth`` there is none. One request at a time asks for a new one."""

    def __init__(self, auth: FhirAuth | None, root: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._oauth = auth.oauth if auth is not None else None
        self._token = auth.bearer.get_secret_value() if auth is not None and auth.bearer is not None else ""
        self._root = root
        self._clock = clock
        self._until = 0.0
        self._asking = asyncio.Lock()

    async def get(self, client: httpx.AsyncClient) -> str:
        """The token, '' where the server wants none. Raises TokenRefused, TokenServerDown and httpx.HTTPError."""
        if self._oauth is None:
            return self._token
        async with self._asking:
            if self._clock() >= self._until:
                self._token, life = await self._ask(client, self._oauth)
                self._until = self._clock() + life - min(_EARLY, life / 4)
            return self._token

    def refused(self, token: str) -> bool:
        """The server did not take this token: True where asking for another one may help."""
        if self._oauth is None:
            return False
        if token == self._token:  # else somebody has asked meanwhile
            self._until = 0.0
        return True

    async def _ask(self, client: httpx.AsyncClient, oauth: FhirOAuth) -> tuple[str, float]:
        form, headers = {"grant_type": "client_credentials"}, {"Accept": "application/json"}
        if oauth.scope:
            form["scope"] = oauth.scope
        basic: httpx.BasicAuth | None = None
        if oauth.client_secret is not None:
            secret = oauth.client_secret.get_secret_value()
            basic = httpx.BasicAuth(quote_plus(oauth.client_id), quote_plus(secret))  # RFC 6749, 2.3.1
        else:
            form |= {"client_assertion_type": _ASSERTION, "client_assertion": await self._assertion(oauth)}
        async with client.stream("POST", oauth.token_url, data=form, headers=headers, auth=basic) as response:
            body = bytearray()
            async for piece in response.aiter_raw():
                body += piece
                if len(body) > _LARGEST:
                    raise TokenServerDown(_NONE_GRANTED)
        return _read(response.status_code, bytes(body))

    async def _assertion(self, oauth: FhirOAuth) -> str:
        try:
            return await asyncio.to_thread(oauth.sign, self._root, time.time())
        except OSError:
            raise TokenRefused("our private key cannot be read") from None
        except ValueError:
            raise TokenRefused(f"our private key does not sign {oauth.algorithm}") from None


class _Granted(msgspec.Struct):
    access_token: str
    expires_in: float | str = _LIFE


def _read(status: int, body: bytes) -> tuple[str, float]:
    """The token and its seconds of life. What the server says beside an error's code is not repeated."""
    if status >= 500 or status in _LATER:
        raise TokenServerDown(f"the token server answered {status}")
    if status != 200:
        try:
            error = str(msgspec.json.decode(body, type=dict[str, object]).get("error", ""))
        except (msgspec.DecodeError, UnicodeDecodeError):
            error = ""
        raise TokenRefused(f"the token server answered {status}{f' {error}' if _CODE.fullmatch(error) else ''}")
    try:
        granted = msgspec.json.decode(body, type=_Granted)
        life = float(granted.expires_in)
        granted.access_token.encode("ascii")
    except (msgspec.DecodeError, ValueError):
        raise TokenServerDown(_NONE_GRANTED) from None
    if not granted.access_token or not granted.access_token.isprintable():
        raise TokenServerDown(_NONE_GRANTED)
    return granted.access_token, max(life, 0.0)
