"""A sandbox with simulated activity that sends events: for ``orgx-sync sandbox --webhook``, and for the live demo."""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from orgx_source.errors import ConfigError

if TYPE_CHECKING:
    from orgx_source.config import OrgxConfig
    from orgx_source.warehouse.target import Target

# Fault to its description, the parser of its value, and its default value.
SWITCHES: dict[str, tuple[str, Callable[[str], Any], Any]] = {
    "repeat": ("share of events that are sent twice", float, 0.2),
    "shuffle": ("number of events that may be reordered", int, 5),
    "wrong_signature": ("share of events that are first sent with a wrong signature", float, 0.2),
    "unknown": ("share of steps with an event of an unknown type", float, 0.2),
    "burst": ("number of events that are held back and sent together", int, 50),
    "upper_case": ("digest in upper case", lambda text: text != "0", True),
    "base64": ("digest in base64", lambda text: text != "0", True),
}
# The newest first, so that new decisions appear at the top and settled ones disappear.
QUEUE = """
select urgency, title, asked_by, asked_at, count(*) over () as waiting
from decision_latency where is_open order by asked_at desc, decision_id limit 5
"""
# The names come from the tables: an event names a row only by its id.
EVENTS = """
select webhook_events.created_at, webhook_events.type, epoch(loaded_at) - epoch(webhook_events.created_at) as lag,
    coalesce(decisions.title, initiatives.title, artifacts.name, agents.name) as about
from webhook_events
left join decisions on decisions.id = body ->> '$.data.id'
left join initiatives on initiatives.id = body ->> '$.data.id'
left join artifacts on artifacts.id = body ->> '$.data.id'
left join agents on agents.id = body ->> '$.data.id'
order by loaded_at, webhook_events.created_at, webhook_events.id offset {seen}
"""


@contextmanager
def sending(url: str | None, secret: str | None, faults: Sequence[str]) -> Iterator[Callable[[Any], None] | None]:
    """Yield a function that starts a world's activity and sends its events; None for ``list``, which prints the faults.

    Raises:
        ConfigError: The secret is missing, or a fault or the address is malformed.
    """
    if "list" in faults:
        from orgx_source.cli import console

        for name, (text, _, value) in SWITCHES.items():
            console.out.print(f"{name:<16} {text} ({value})")
        yield None
        return
    chosen = dict(map(_parse, faults))
    sender = None if url is None else _sender(url, secret, chosen)
    with ExitStack() as stack:

        def live(world: Any) -> None:
            if sender is not None:
                life = import_sandbox().Life(world, sender, unknown=chosen.get("unknown", 0.0))
                stack.enter_context(life)

        yield live


def _sender(url: str, secret: str | None, faults: Mapping[str, Any]) -> Any:
    if not secret:
        raise ConfigError("--webhook needs --webhook-secret, the value of ORGX_WEBHOOK_SECRET at the receiver.")
    sandbox = import_sandbox()
    try:
        return sandbox.Sender(url, secret, sandbox.Mischief(**faults))
    except ValueError as error:
        raise ConfigError(f"--webhook: {error}, such as http://127.0.0.1:8787") from None


def import_sandbox() -> Any:
    """Return the package `orgx_source.sandbox`.

    Raises:
        ConfigError: Its packages are not installed.
    """
    try:
        from orgx_source import sandbox
    except ImportError as error:
        raise ConfigError(
            f"The sandbox needs the package {error.name!r}. Install it with: pip install 'orgx-source[sandbox]'"
        ) from None
    return sandbox


def _parse(text: str) -> tuple[str, Any]:
    name, has_value, value = text.partition("=")
    if name not in SWITCHES:
        raise ConfigError(f"--webhook-fault: unknown fault {name!r}; known faults: {', '.join(SWITCHES)}")
    _, read, default = SWITCHES[name]
    try:
        return name, read(value) if has_value else default
    except ValueError:
        raise ConfigError(f"--webhook-fault: {value!r} is not a value of {name}") from None


def watch_events(box: Any, config: OrgxConfig, target: Target, seconds: float) -> None:
    """Simulate activity in a sandbox, load its events and show what they change, until the time is up or Ctrl-C.

    Args:
        box: A running sandbox.
        config: Settings with its key and address.
        target: A DuckDB file that was synced with it.
        seconds: How long to load events.
    """
    from orgx_source import sandbox
    from orgx_source.cli import console
    from orgx_source.cli.listen import import_service
    from orgx_source.inbox.batch import BatchLoader

    service, secret = import_service(), secrets.token_hex()
    box.forget()
    with TemporaryDirectory() as place, ExitStack() as life, console.event_board(time.monotonic() + seconds) as board:

        def show(pipeline: Any) -> None:
            board.show(_ask(target, QUEUE), _ask(target, EVENTS.format(seen=len(board.lags))))

        def loader(config: OrgxConfig, target: Target) -> BatchLoader:
            return BatchLoader(config, target, publish=show)

        def begin(url: str, stop: Callable[[], None]) -> None:
            # The first batch creates webhook_events.
            board.show(_ask(target, QUEUE), [])
            life.enter_context(sandbox.Life(box.world, sandbox.Sender(url, secret)))
            timer = threading.Timer(seconds, stop)
            timer.start()
            life.callback(timer.cancel)

        app = service.create_app(
            config=config, target=target, secrets=[secret], inbox=Path(place) / "events.inbox", make_loader=loader
        )
        service.serve(app, "127.0.0.1", 0, begin)
    console.print_events(board, box.count())


def _ask(target: Target, sql: str) -> list[tuple[Any, ...]]:
    from orgx_source.commands.query import run_query

    return run_query(target, sql, lambda columns, rows: list(rows))
