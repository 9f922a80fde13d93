"""A sandbox with simulated activity that sends events, for ``orgx-sync sandbox --webhook``."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

from orgx_source.errors import ConfigError

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
    if url is not None and not secret:
        raise ConfigError("--webhook needs --webhook-secret, the value of ORGX_WEBHOOK_SECRET at the receiver.")
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
        raise ConfigError(f"--webhook-fault: unknown fault {name!r}; known faults: {', '.join(SWITCHES)}")
    _, read, default = SWITCHES[name]
    try:
        return name, read(value) if has_value else default
    except ValueError:
        raise ConfigError(f"--webhook-fault: {value!r} is not a valid value for {name}") from None
