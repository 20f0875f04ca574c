"""Stores with a clock that stands still and ids that count, and resources from short YAML."""

from __future__ import annotations

import ipaddress
from datetime import UTC, datetime
from itertools import count
from pathlib import Path

from hypothesis import settings

from weft.sources.decode import decode_all
from weft.sources.objects import Resource
from weft.sources.store import Store
from weft.sources.yaml import parse

STEADY = settings(deadline=None, derandomize=True)
"""Property tests look at the same cases every time."""
NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
SERVICE_CIDRS = (ipaddress.ip_network("10.96.0.0/24"), ipaddress.ip_network("fd00:96::/112"))


def open_store(folder: Path, cidrs: tuple[ipaddress.IPv4Network | ipaddress.IPv6Network, ...] = SERVICE_CIDRS) -> Store:
    numbers = count(1)
    return Store(folder / "store.db", cidrs, lambda: NOW, lambda: f"uid-{next(numbers)}")


def read(text: str, file: str = "test.yaml") -> list[Resource]:
    return decode_all(parse(text, file))[0]


def pod(name: str, namespace: str = "default", labels: str = "app: web", more: str = "") -> str:
    return f"""
apiVersion: v1
kind: Pod
metadata: {{name: {name}, namespace: {namespace}, labels: {{{labels}}}}}
spec:
  containers:
    - {{name: main, command: [sleep, infinity], ports: [{{name: http, containerPort: 8080}}]}}
{more}
"""


def service(name: str, spec: str = "", namespace: str = "default") -> str:
    return f"""
apiVersion: v1
kind: Service
metadata: {{name: {name}, namespace: {namespace}}}
spec: {{selector: {{app: web}}, ports: [{{port: 80, targetPort: http}}]{", " if spec else ""}{spec}}}
"""
