"""What Envoy is, and what it says of its configuration."""

from __future__ import annotations

from typing import NamedTuple


class Rejection(NamedTuple):
    """Envoy refuses a listener's configuration; if the number was in force before, that content still is."""

    listener: int
    message: str
    """Envoy's words."""


class ProxyStatus(NamedTuple):
    pid: int
    """0: no Envoy runs; all else is 0 then, except ``restarts``."""
    memory_bytes: int = 0
    """Resident."""
    listeners: int = 0
    """That Envoy has acknowledged."""
    connections: int = 0
    """From clients, open now."""
    restarts: int = 0
    """Times that Envoy ended by itself, since this agent began."""
