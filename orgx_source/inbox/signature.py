"""Verifies that a body was signed with one of the secrets: HMAC-SHA256 over the bytes as received."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import os
import re
from collections.abc import Iterable, Sequence
from typing import Any, Literal

from orgx_source.config import dlt_defaults
from orgx_source.errors import ConfigError

HEADER = "x-orgx-signature"
VARIABLE = "ORGX_WEBHOOK_SECRET"
Encoding = Literal["hex", "base64"]

_PREFIX = "sha256="
_HEX = re.compile(r"[0-9a-fA-F]{64}")
_BASE64 = re.compile(r"[0-9A-Za-z+/]{43}=")


class Signatures:
    """Holds the secrets; never in a repr, log or error."""

    def __init__(self, secrets: Sequence[str], encoding: Encoding = "hex") -> None:
        """Prepare.

        Args:
            secrets: One or several, the current one first: during a rotation, both are valid.
            encoding: Encoding of the digest in the header.

        Raises:
            ConfigError: There is none, or one of them is empty.
        """
        if not secrets or not all(secrets):
            raise ConfigError(
                f"No webhook secret. Set {VARIABLE}, or webhook_secret under [sources.orgx] in .dlt/secrets.toml; "
                "OrgX support gives it to you when webhooks are switched on."
            )
        # Bytes of the environment that are not UTF-8 stay as they are.
        self._secrets = [secret.encode(errors="surrogateescape") for secret in secrets]
        self._encoding = encoding

    def key_of(self, body: bytes, headers: Sequence[str]) -> int | None:
        """Return the number of the secret that signed a body, from 1; None if none did.

        Takes constant time, wherever a digest differs and whichever secret matches.

        Args:
            body: The bytes as received.
            headers: All values of the header ``X-OrgX-Signature``; more than one is refused.

        Source: webhooks page (``X-OrgX-Signature: sha256=<digest>``); the encoding is not documented.
        """
        given = self._digest(headers[0]) if len(headers) == 1 else None
        if given is None:
            return None
        matches = [
            hmac.compare_digest(hmac.new(secret, body, hashlib.sha256).digest(), given) for secret in self._secrets
        ]
        return matches.index(True) + 1 if any(matches) else None

    def _digest(self, header: str) -> bytes | None:
        """Return the digest in a header; None if there is none in the expected encoding."""
        if not header.startswith(_PREFIX):
            return None
        text = header[len(_PREFIX) :]
        if self._encoding == "hex":
            return bytes.fromhex(text) if _HEX.fullmatch(text) else None
        try:
            return base64.b64decode(text, validate=True) if _BASE64.fullmatch(text) else None
        except binascii.Error:
            return None


def sign(body: bytes, secret: str, encoding: Encoding = "hex") -> str:
    """Return the signature header of a body."""
    digest = hmac.new(secret.encode(), body, hashlib.sha256).digest()
    return _PREFIX + (digest.hex() if encoding == "hex" else base64.b64encode(digest).decode())


def load_secrets() -> list[str]:
    """Return the secrets from ``ORGX_WEBHOOK_SECRET`` or ``.dlt/secrets.toml``; several are separated by commas.

    In ``secrets.toml``, a list is also allowed. The environment takes precedence.
    """
    found: Any = os.environ.get(VARIABLE)
    if not found:
        import dlt

        with dlt_defaults():
            found = dlt.secrets.get("sources.orgx.webhook_secret")
    texts: Iterable[Any] = found if isinstance(found, list) else str(found or "").split(",")
    return [text for each in texts if (text := str(each).strip())]
