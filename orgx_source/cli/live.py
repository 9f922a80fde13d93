"""A sandbox that lives and sends events, for ``orgx-sync sandbox --webhook``."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

from orgx_source.errors import ConfigError

# Switch to what it does, and how its value is read; without a value it takes the one here.
SWITCHES: dict[str, tuple[str, Callable[[str], Any], Any]] = {
    "repeat": ("share of the events that are sent twice", float, 0.2),
    "shuffle": ("events that may change places", int, 5),
    "wrong_signature": ("share that is sent with a wrong signature first", float, 0.2),
    "unknown": ("share of the moments with an event of an unknown type", float, 0.2),
    "burst": ("events that are held back and sent at once", int, 50),
    "upper_case": ("the digest in capitals", lambda text: text != "0", True),
    "base64": ("the digest in base64", lambda text: text != "0", True),
}


@contextmanager
def sending(url: str | None, secret: str | None, faults: Sequence[str]) -> Iterator[Callable[[Any], None] | None]:
    """Give what lets a world live and send events once it is served; None where only the switches were asked for.

    Raises:
        ConfigError: The secret is missing, or a switch or the address is malformed.
    """
    if "list" in faults:
        from orgx_source.cli import console

        for name, (text, _, value) in SWITCHES.items():
            console.out.print(f"{name:<16} {text} ({value})")
        yield None
        return
    chosen = dict(map(_parse, faults))
    if url is not None and not secret:
        raise ConfigError("--webhook needs --webhook-secret: the receiver has the same one in ORGX_WEBHOOK_SECRET.")
    with ExitStack() as stack:

        def live(world: Any) -> None:
            if url is None or secret is None:
                return
            from orgx_source import sandbox

            try:
                sender = sandbox.Sender(url, secret, sandbox.Mischief(**chosen))
            except ValueError as error:
                raise ConfigError(f"--webhook: {error}") from None
            stack.enter_context(sandbox.Life(world, sender, unknown=chosen.get("unknown", 0.0)))

        yield live


def _parse(text: str) -> tuple[str, Any]:
    name, has_value, value = text.partition("=")
    if name not in SWITCHES:
        raise ConfigError(f"--webhook-fault: there is no {name!r}; there are {', '.join(SWITCHES)}")
    _, read, default = SWITCHES[name]
    try:
        return name, read(value) if has_value else default
    except ValueError:
        raise ConfigError(f"--webhook-fault: {value!r} is not a value of {name}") from None
