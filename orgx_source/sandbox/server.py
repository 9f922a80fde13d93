"""The sandbox on a loopback port: in a thread for tests and the demo, in the foreground for the command."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from types import TracebackType

import uvicorn

from orgx_source.sandbox.app import DEFAULT_KEY, MCP_PATH, RateLimit, SandboxApp, Seen, Sees, create_sandbox
from orgx_source.sandbox.faults import Fault
from orgx_source.sandbox.world import World

HOST = "127.0.0.1"


class Sandbox:
    """A running sandbox; use it as a context manager.

    Attributes:
        world: The world it serves; may be changed while it runs.
        url: Its base URL.
        api_key: The key that can see everything.
        mcp_url: The address of its MCP endpoint.
        oauth: The login of the MCP endpoint.
        mcp: The MCP endpoint itself.
    """

    def __init__(
        self,
        world: World | None = None,
        *,
        port: int = 0,
        api_key: str = DEFAULT_KEY,
        faults: Iterable[Fault] = (),
        rate_limit: RateLimit | None = None,
        page_max: int = 100,
        other_keys: Mapping[str, Sees] | None = None,
    ) -> None:
        """Bind the port; `start` begins serving.

        Args:
            world: The world to serve; by default a small one.
            port: Port; 0 picks a free one.
            api_key: The key that can see everything.
            faults: Faults that are active from the start.
            rate_limit: A limit of requests, reported in headers.
            page_max: Maximum page size.
            other_keys: Further keys, each with the rows it can see.

        Raises:
            OSError: The port is taken.
        """
        self.world = world or World()
        self.api_key = api_key
        self._app: SandboxApp = create_sandbox(
            self.world, api_key=api_key, faults=faults, rate_limit=rate_limit, page_max=page_max, other_keys=other_keys
        )
        self._socket = socket.create_server((HOST, port))
        # Otherwise a body waits 40 ms for the client to acknowledge its headers; asyncio sets this only on
        # sockets that it creates itself.
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.url = f"http://{HOST}:{self._socket.getsockname()[1]}"
        self.mcp_url = f"{self.url}{MCP_PATH}"
        self.oauth, self.mcp = self._app.oauth, self._app.mcp
        config = uvicorn.Config(
            self._app, log_level="critical", access_log=False, lifespan="off", ws="none", date_header=False
        )
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._run, name="orgx-sandbox", daemon=True)

    def __enter__(self) -> Sandbox:
        return self.start()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.stop()

    def start(self) -> Sandbox:
        """Serve in a thread; return once it responds."""
        self._thread.start()
        while not self._server.started and self._thread.is_alive():
            time.sleep(0.002)
        return self

    def stop(self) -> None:
        """Stop serving and free the port."""
        self._server.should_exit = True
        self._server.force_exit = True
        self._thread.join(10)
        self._socket.close()

    def run(self, on_ready: Callable[[], None] = lambda: None) -> None:
        """Serve in this thread until interrupted."""
        on_ready()
        self._run()

    @property
    def requests(self) -> list[Seen]:
        """Return all requests so far, in order."""
        return list(self._app.seen)

    def count(self, path: str = "") -> int:
        """Return the number of requests whose path starts with this."""
        return sum(seen.path.startswith(path) for seen in self._app.seen)

    def forget(self) -> None:
        """Reset the record of requests."""
        self._app.seen.clear()

    def inject(self, *faults: Fault) -> None:
        """Activate faults."""
        self._app.board.faults.extend(faults)

    def heal(self) -> None:
        """Remove all faults."""
        self._app.board.clear()

    def _run(self) -> None:
        self._server.run(sockets=[self._socket])
