"""Python that runs inside a pod, for what takes more than a probe: it sees only what the pod's kernel calls give it."""

from __future__ import annotations

import json
import subprocess
from typing import Any

from tests.lab.pods import Pod
from tests.lab.waiting import SLOWNESS

_HEAD = """
import json, os, socket, struct, sys, time
arguments = json.loads(sys.argv[1])
def family(address): return socket.AF_INET6 if ':' in address else socket.AF_INET
def say(value): print(json.dumps(value), flush=True)
"""


def argv(pod: Pod, code: str, *arguments: Any) -> list[str]:
    """The command line; ``code`` finds ``arguments`` (JSON), ``family(address)`` and ``say(value)``."""
    slow = f"socket.setdefaulttimeout({10 * SLOWNESS})\n"
    return pod.argv("python3", "-I", "-S", "-c", _HEAD + slow + code, json.dumps(arguments), stdin=True)


def python(pod: Pod, code: str, *arguments: Any, seconds: float = 20) -> Any:
    """Run ``code`` to its end; what it said. Raises AssertionError with its traceback."""
    done = subprocess.run(
        argv(pod, code, *arguments), stdin=subprocess.DEVNULL, capture_output=True, text=True,
        timeout=seconds * SLOWNESS, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout)


class Process:
    """``code`` that goes on, and says something at certain points; ``tell`` it to go further (a line of its stdin)."""

    def __init__(self, pod: Pod, code: str, *arguments: Any) -> None:
        self._process = subprocess.Popen(
            argv(pod, code, *arguments), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def heard(self) -> Any:
        """What it says next."""
        assert self._process.stdout is not None
        return json.loads(self._process.stdout.readline() or '"ended"')

    def tell(self, line: str = "") -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(line + "\n")
        self._process.stdin.flush()

    def __enter__(self) -> Process:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.communicate()
