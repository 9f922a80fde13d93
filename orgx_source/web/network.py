"""Network settings: proxy, certificates, and a total timeout per response."""

from __future__ import annotations

import os
import ssl
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx

from orgx_source.config import is_loopback
from orgx_source.errors import ConfigError

Clock = Callable[[], float]


class OverdueError(Exception):
    """A response was not complete within its time limit."""


@dataclass(frozen=True, slots=True)
class ProxySetting:
    """The proxy to OrgX, and where it was set.

    Attributes:
        address: Its URL, which may contain a password.
        variable: Where it is set: an environment variable, or the system's settings.
    """

    address: str
    variable: str

    @property
    def is_address(self) -> bool:
        """Whether it has a host and a valid port."""
        try:
            parts = urlsplit(self.address)
            return bool(parts.hostname) and parts.port != 0
        except ValueError:
            return False

    def __str__(self) -> str:
        """Return its description: scheme, host, port and the variable."""
        try:
            parts = urlsplit(self.address)
            port = f":{parts.port}" if parts.port else ""
        except ValueError:
            return f"the proxy in {self.variable}"
        return f"the proxy {parts.scheme}://{parts.hostname}{port} ({self.variable})"


def find_proxy(base_url: str) -> ProxySetting | None:
    """Return the proxy that the environment or system sets for a URL; never one for loopback."""
    parts = urlsplit(base_url)
    host = parts.hostname or ""
    if is_loopback(host):  # guard: loopback-without-proxy
        return None
    found = urllib.request.getproxies()
    scheme = parts.scheme if found.get(parts.scheme) else "all"
    address = found.get(scheme)
    if not address or urllib.request.proxy_bypass(host):
        return None
    return ProxySetting(address if "://" in address else f"http://{address}", _variable(scheme))


def _variable(scheme: str) -> str:
    names = (f"{scheme}_proxy", f"{scheme}_PROXY", f"{scheme}_proxy".upper())
    return next((name for name in names if os.environ.get(name)), "the system's proxy settings")


class Patience:
    """Limits the total time that a thread waits within `until`; timeouts per read and write have no total limit."""

    def __init__(self, clock: Clock = time.monotonic) -> None:
        """Prepare.

        Args:
            clock: Monotonic time in seconds.
        """
        self._clock = clock
        self._own = threading.local()

    @contextmanager
    def until(self, seconds: float) -> Iterator[None]:
        """Limit the time of this thread inside the block."""
        self._own.end = self._clock() + seconds
        try:
            yield
        finally:
            self._own.end = None

    @property
    def is_over(self) -> bool:
        """Whether this thread has used up its time."""
        end: float | None = getattr(self._own, "end", None)
        return end is not None and self._clock() >= end

    def left(self, timeout: float | None) -> float | None:
        """Return the timeout of one step, in seconds.

        Args:
            timeout: Maximum seconds for the step; None for no limit.

        Raises:
            OverdueError: No time is left.
        """
        end: float | None = getattr(self._own, "end", None)
        if end is None:
            return timeout
        left = end - self._clock()
        if left <= 0:  # guard: overdue-answer
            raise OverdueError
        return left if timeout is None else min(left, timeout)


class PatientStream:
    """An httpcore stream whose steps share one deadline."""

    def __init__(self, stream: Any, patience: Patience) -> None:
        self._stream = stream
        self._patience = patience

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        """Read available bytes."""
        data: bytes = self._stream.read(max_bytes, self._patience.left(timeout))
        return data

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        """Write all."""
        self._stream.write(buffer, self._patience.left(timeout))

    def close(self) -> None:
        """Close."""
        self._stream.close()

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> PatientStream:
        """Return the same stream with TLS."""
        encrypted = self._stream.start_tls(ssl_context, server_hostname, self._patience.left(timeout))
        return PatientStream(encrypted, self._patience)

    def get_extra_info(self, info: str) -> Any:
        """Return information about the connection for httpcore."""
        return self._stream.get_extra_info(info)


class PatientBackend:
    """An httpcore network backend that creates streams with a deadline."""

    def __init__(self, backend: Any, patience: Patience) -> None:
        self._backend = backend
        self._patience = patience

    def connect_tcp(self, host: str, port: int, timeout: float | None = None, **options: Any) -> PatientStream:
        """Connect."""
        stream = self._backend.connect_tcp(host, port, timeout=self._patience.left(timeout), **options)
        return PatientStream(stream, self._patience)

    def sleep(self, seconds: float) -> None:
        """Sleep."""
        self._backend.sleep(seconds)


def make_network(
    base_url: str, limits: httpx.Limits, proxy: ProxySetting | None, patience: Patience
) -> httpx.HTTPTransport:
    """Return an httpx transport that keeps the deadlines of a patience.

    Raises:
        ConfigError: The proxy or certificates set in the environment cannot be used.
    """
    certificates = _trusted(base_url)
    try:
        if proxy is not None and not proxy.is_address:
            raise ValueError("no host, or an invalid port")
        network = httpx.HTTPTransport(
            verify=certificates, limits=limits, proxy=proxy.address if proxy else None, trust_env=False
        )
    except ImportError:
        raise ConfigError(
            f"{proxy} uses SOCKS, which needs a package: pip install 'httpx[socks]', or change the setting"
        ) from None
    except (ValueError, httpx.InvalidURL):
        named = proxy.variable if proxy else "the address"
        raise ConfigError(
            f"The proxy in {named} cannot be used: it must look like http://host:port or socks5://host:port. Fix or "
            f"unset {named}"
        ) from None
    # httpx cannot pass a backend to httpcore; a test fails if either changes this signature.
    pool: Any = network._pool
    pool._network_backend = PatientBackend(pool._network_backend, patience)
    return network


def _trusted(base_url: str) -> ssl.SSLContext:
    """Return the trusted certificates: from SSL_CERT_FILE or SSL_CERT_DIR, else certifi's."""
    if urlsplit(base_url).scheme == "http":
        # Plain http is used for loopback; this context trusts no certificate.
        return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    named = [name for name in ("SSL_CERT_FILE", "SSL_CERT_DIR", "SSLKEYLOGFILE") if os.environ.get(name)]
    directory = os.environ.get("SSL_CERT_DIR")
    if "SSL_CERT_FILE" not in named and directory and not Path(directory).is_dir():
        raise ConfigError(f"SSL_CERT_DIR is not a directory: {directory}. Fix or unset it")
    try:
        return httpx.create_ssl_context()
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or type(error).__name__
        raise ConfigError(
            f"The certificates to trust cannot be loaded ({reason}). Check {' and '.join(named) or 'certifi'}: "
            f"{', '.join(os.environ[name] for name in named) or 'the package may be damaged'}"
        ) from None


def check_network(url: str) -> None:
    """Check that the proxy and the certificates that the environment sets for a URL can be used.

    Raises:
        ConfigError: They cannot; the message names the variable.
    """
    make_network(url, httpx.Limits(), find_proxy(url), Patience()).close()
