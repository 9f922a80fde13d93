"""The listener: the endpoint, and the thread that loads the events."""

from __future__ import annotations

import errno
import logging
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Any

from orgx_source.config import OrgxConfig, load_config
from orgx_source.errors import ConfigError, DatasetTakenError, OrgxError
from orgx_source.explain import explain
from orgx_source.inbox.app import InboxApp
from orgx_source.inbox.batch import BatchLoader, publisher
from orgx_source.inbox.signature import Encoding, Signatures, load_secrets
from orgx_source.inbox.store import Inbox, wait_for
from orgx_source.times import utc_now
from orgx_source.warehouse.target import Target

logger = logging.getLogger(__name__)

BATCH_SECONDS = 3.0
MAX_BATCH_SECONDS = 86_400.0
MAX_EVENTS = 2_000
# Between two batches, so that a waiting run gets its turn.
GAP_SECONDS = 0.5
# Another process may have added events to the inbox.
LOOK_SECONDS = 2.0
TAKEN_SECONDS = 0.5
MAX_PAUSE_SECONDS = 60.0


class Drain:
    """Loads events from the inbox, in its own thread.

    Attributes:
        last_load_at: When it last loaded a batch.
        trouble: Why the last batch failed; None if it did not.
    """

    def __init__(self, inbox: Inbox, loader: BatchLoader, batch_seconds: float = BATCH_SECONDS) -> None:
        """Prepare.

        Args:
            inbox: Holds the events.
            loader: Loads them.
            batch_seconds: Target time to collect and load one batch.
        """
        self.last_load_at: datetime | None = None
        self.trouble: str | None = None
        self._inbox = inbox
        self._loader = loader
        self._batch_seconds = batch_seconds
        self._most = MAX_EVENTS
        self._failures = 0
        self._stopped = threading.Event()
        self._started = threading.Lock()
        self._thread = threading.Thread(target=self._run, name="orgx-events", daemon=True)

    def start(self) -> None:
        """Start, unless started."""
        if self._thread.ident is None and self._started.acquire(blocking=False):
            self._thread.start()

    def stop(self) -> None:
        """Stop after the current batch."""
        self._stopped.set()
        if self._thread.is_alive():
            self._thread.join()

    def _run(self) -> None:
        while not self._stopped.is_set():
            began = time.monotonic()
            self._inbox.arrived.clear()
            pause = self._step()
            if pause is None:
                wait_for(self._inbox.arrived, LOOK_SECONDS, self._stopped)
            else:
                # From the first waiting event to its rows: collecting gets the time left by loading.
                took = time.monotonic() - began
                self._stopped.wait(max(pause, self._batch_seconds - 2 * took))

    def _step(self) -> float | None:
        """Load one batch; return the minimum pause, None if there was nothing to load."""
        try:
            if not self._inbox.waiting().count:
                self._loader.publish()
                return None
            self.load_once()
        except DatasetTakenError as error:
            if self.trouble is None:
                logger.info("events are waiting: %s", error)
            self.trouble = str(error)
            return TAKEN_SECONDS
        except Exception as error:
            failure = explain(error)
            self._note_failure(failure)
            return float(min(2**self._failures, MAX_PAUSE_SECONDS))
        return GAP_SECONDS

    def load_once(self) -> int:
        """Load one batch, and return its number of events.

        Raises:
            OrgxError: It could not be loaded; the events stay in the inbox.
        """
        # A single failing event is loaded without its rows.
        alone = self._most == 1 and self._failures > 1
        events, report = self._loader.load(lambda: self._inbox.oldest(self._most), rows=not alone)
        if events:
            self._inbox.settle(events)
            self.last_load_at = utc_now()
            logger.info("%s", "; ".join([str(report), *report.messages]))
        self.trouble, self._failures = None, 0
        self._most = min(self._most * 2, MAX_EVENTS)
        return len(events)

    def _note_failure(self, failure: OrgxError) -> None:
        if str(failure) != self.trouble:
            logger.error("events are waiting in the inbox: %s", failure)
        self.trouble = str(failure)
        self._failures += 1
        if failure.exit_code == 1:
            # If one of them cannot be loaded, the others should not wait for it.
            self._most = max(1, self._most // 8)


def inbox_file(target: Target) -> Path:
    """Return the default path of a warehouse's inbox: next to a DuckDB file, else in this folder."""
    folder = target.database.parent if target.is_file else Path()
    stem = target.database.stem if target.is_file else target.destination
    return folder / f"{stem}.{target.dataset}.inbox"


def create_app(
    *,
    config: OrgxConfig | None = None,
    target: Target | None = None,
    secrets: Sequence[str] | None = None,
    encoding: Encoding = "hex",
    inbox: Path | None = None,
    batch_seconds: float = BATCH_SECONDS,
    publish: Path | None = None,
    make_loader: Callable[[OrgxConfig, Target], BatchLoader] | None = None,
    **settings: Any,
) -> InboxApp:
    """Return an ASGI application that stores events and loads the rows they name.

    Every argument has a default from the settings: ``uvicorn --factory orgx_source.inbox:create_app`` works. Several
    worker processes may share an inbox; their loads take turns.

    Args:
        config: Key and URL; by default from the settings.
        target: The warehouse; by default ``orgx.duckdb``.
        secrets: The webhook secrets; by default from ``ORGX_WEBHOOK_SECRET`` or ``.dlt/secrets.toml``.
        encoding: Encoding of the digest in the header: ``hex`` or ``base64``.
        inbox: SQLite file of events not yet loaded into the warehouse.
        batch_seconds: Target time to collect and load one batch.
        publish: Copy the DuckDB file here after each batch, for readers.
        make_loader: Creates the batch loader.
        settings: For `load_config`, if ``config`` is not given.

    Raises:
        ConfigError: There is no secret, a setting is missing or malformed, or the destination is unknown or untested.
        MachineError: The inbox cannot be written.
    """
    if not 0 <= batch_seconds <= MAX_BATCH_SECONDS:
        raise ConfigError(f"batch_seconds must be from 0 to {MAX_BATCH_SECONDS:g}, not {batch_seconds:g}")
    target = target or Target()
    try:
        signatures = Signatures(load_secrets() if secrets is None else secrets, encoding)
        config = config or load_config(**settings)
        # Refuses a destination that does not exist or is untested before any event is acknowledged.
        target.pipeline()
    except Exception as error:
        # dlt has its own errors for files that it cannot read.
        raise explain(error) from None
    put = None if publish is None else publisher(target, publish, config.lock_timeout)
    loader = make_loader(config, target) if make_loader else BatchLoader(config, target, publish=put)
    kept = Inbox(inbox or inbox_file(target))
    return InboxApp(kept, signatures, Drain(kept, loader, batch_seconds))


def serve(app: InboxApp, host: str, port: int, on_ready: Callable[[str, Callable[[], None]], None]) -> None:
    """Serve until interrupted or stopped; the current batch is finished first.

    Args:
        app: The application.
        host: Address to bind.
        port: Port to bind; 0 picks a free one.
        on_ready: Called once the socket is bound, with the URL and a thread-safe function that stops the server.

    Raises:
        ConfigError: The host is empty, or the port cannot be used.
    """
    import socket

    import uvicorn

    if not host.strip():  # guard: listen-everywhere-only-if-asked
        raise ConfigError("--host is empty, which would listen on every network; use 0.0.0.0 if that is intended.")
    try:
        bound = socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
    except OSError as error:
        # Errors of a name have negative numbers.
        is_host = (error.errno or 0) < 0 or error.errno == errno.EADDRNOTAVAIL
        option = "--host" if is_host else "--port"
        # Python adds the address to the system's reason.
        reason = str(error.strerror).partition(" (while")[0]
        raise ConfigError(f"Port {port} of {host} cannot be used ({reason}); choose another {option}.") from None
    shown = f"[{host}]" if ":" in host else host
    settings = uvicorn.Config(
        app, log_level="critical", access_log=False, ws="none", lifespan="on", limit_concurrency=512,
        timeout_keep_alive=15, timeout_graceful_shutdown=5,
    )  # fmt: skip
    # Otherwise the body of an answer waits 40 ms for the sender to acknowledge its headers; asyncio sets this only on
    # sockets that it made itself.
    bound.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    server = uvicorn.Server(settings)
    with bound, suppress(KeyboardInterrupt):
        on_ready(f"http://{shown}:{bound.getsockname()[1]}", lambda: setattr(server, "should_exit", True))
        server.run(sockets=[bound])
