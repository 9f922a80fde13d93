"""An OrgX to practise on: a sample organisation behind the real paths, on loopback, with faults to switch on.

It needs the ``sandbox`` extra (starlette, uvicorn) and imports nothing of the connector, so that both are
independent readings of the same contract.
"""

from orgx_source.sandbox.app import DEFAULT_KEY, RateLimit, Seen, create_sandbox
from orgx_source.sandbox.faults import FAULT_KINDS, Fault
from orgx_source.sandbox.server import Sandbox
from orgx_source.sandbox.webhooks import EventLog, Life, Mischief, Sender
from orgx_source.sandbox.world import SIZES, World

__all__ = [
    "DEFAULT_KEY",
    "FAULT_KINDS",
    "SIZES",
    "EventLog",
    "Fault",
    "Life",
    "Mischief",
    "RateLimit",
    "Sandbox",
    "Seen",
    "Sender",
    "World",
    "create_sandbox",
]
