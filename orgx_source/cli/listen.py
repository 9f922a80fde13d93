"""``orgx-sync listen``: serves the inbox and logs what it does."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

from orgx_source.config import OrgxConfig
from orgx_source.errors import ConfigError
from orgx_source.inbox.signature import Encoding, Signatures, load_secrets
from orgx_source.warehouse.target import Target


def run_listen(
    config: OrgxConfig,
    target: Target,
    *,
    host: str,
    port: int,
    batch_seconds: float,
    inbox: Path | None,
    encoding: Encoding,
    publish: Path | None,
) -> int:
    """Listen until interrupted; return the exit code.

    Raises:
        ConfigError: No secret, a port that is taken, or a package that is not installed.
        MachineError: The inbox cannot be written.
    """
    secrets = load_secrets()
    Signatures(secrets, encoding)
    service = import_service()
    file = inbox or service.inbox_file(target)
    app = service.create_app(
        config=config, target=target, secrets=secrets, encoding=encoding, inbox=file, batch_seconds=batch_seconds,
        publish=publish,
    )  # fmt: skip
    log = logging.getLogger("orgx_source.inbox")
    log.setLevel(logging.INFO)

    def announce(url: str, stop: Callable[[], None]) -> None:
        log.info(
            "listening at %s and %s/webhooks/orgx, %d secret(s); health at %s/healthz", url, url, len(secrets), url
        )
        log.info("events are kept in %s and loaded every %g s; stop with Ctrl-C", file, batch_seconds)

    service.serve(app, host, port, announce)
    log.info("stopped; events that are not loaded yet are in %s", file)
    return 0


def import_service() -> Any:
    """Return the module that serves the inbox.

    Raises:
        ConfigError: Its packages are not installed.
    """
    try:
        from orgx_source.inbox import service
    except ModuleNotFoundError as error:
        raise ConfigError(f"Listening needs the package {error.name!r}: pip install 'orgx-source[events]'") from None
    return service
