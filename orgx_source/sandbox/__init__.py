"""A local OrgX for development: a sample organisation behind OrgX's paths, on loopback, with injectable faults.

Needs the ``sandbox`` extra (starlette, uvicorn). It imports nothing from the connector, so that both implement the
same contract independently.
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
