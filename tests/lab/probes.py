"""What a pod can reach, asked from inside it: the C programs ``probe`` and ``hold`` behind Python's hands."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from typing import NamedTuple

from tests.lab.waiting import SLOWNESS

TIMEOUT_MS, PATIENT_MS = int(400 * SLOWNESS), int(900 * SLOWNESS)
"""How long a probe of many, and a single one, waits before it calls the answer "timeout": refused SYNs are dropped
silently, so this is the price of every "no". A single one can afford that a busy machine stands still, but not so long
that its SYN is sent again (a second)."""


class Question(NamedTuple):
    protocol: str
    """``tcp`` or ``udp``."""
    address: str
    port: int


class Outcome(NamedTuple):
    outcome: str
    """``open refused reset timeout unreachable forbidden closed``, or the system's words."""
    server: str = ""
    """The name of the server that answered."""
    seen_as: str = ""
    """The client's address as the server saw it."""


def _outcome(line: str) -> Outcome:
    words = line.split()
    return Outcome(*words) if len(words) == 3 and words[0] == "open" else Outcome(line.strip())


class Prober:
    """One process in a pod that tries any number of questions at once, batch after batch."""

    def __init__(self, argv: Sequence[str]) -> None:
        self._process = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def begin(self, questions: Sequence[Question], timeout_ms: int = TIMEOUT_MS) -> None:
        """Start a batch; ``finish`` gives its outcomes. Several probers can be at work at the same time."""
        assert self._process.stdin is not None
        lines = "".join(f"{q.protocol} {q.address} {q.port} {timeout_ms}\n" for q in questions)
        self._process.stdin.write(lines + "\n")
        self._process.stdin.flush()

    def finish(self) -> list[Outcome]:
        """The outcomes of the batch that was begun first, in its order."""
        assert self._process.stdout is not None
        outcomes = []
        while (line := self._process.stdout.readline()) != "\n":
            if not line:
                raise RuntimeError(f"the prober ended with exit code {self._process.wait()}")
            outcomes.append(_outcome(line))
        return outcomes

    def ask(self, questions: Sequence[Question], timeout_ms: int = TIMEOUT_MS) -> list[Outcome]:
        self.begin(questions, timeout_ms)
        return self.finish()

    def close(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(timeout=10 * SLOWNESS)
        assert self._process.stdout is not None
        self._process.stdout.close()


class Ending(NamedTuple):
    rounds: int
    """Echoes that came back."""
    outcome: str
    """``held`` (we asked it to stop), ``closed``, ``reset``, ``timeout``..."""
    longest_ms: int
    """The longest wait for one echo."""


class Held:
    """An open TCP connection to a lab server: idle, or with an exchange every ``interval_ms``."""

    def __init__(self, argv: Sequence[str]) -> None:
        self._process = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self._process.stdout is not None
        first = self._process.stdout.readline().strip()
        if first != "open":
            self._process.kill()
            self._process.wait()
            raise AssertionError(f"the connection to hold did not open: {first}")

    def stop(self) -> Ending:
        """End it by our own will (outcome ``held``), or learn how it ended before that."""
        return self._ending("\n", 10)

    def ended(self, seconds: float) -> Ending:
        """Wait until the connection ends by itself. Raises subprocess.TimeoutExpired after ``seconds``."""
        self._process.wait(timeout=seconds * SLOWNESS)
        return self._ending(None, 10)

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()

    def _ending(self, say: str | None, seconds: float) -> Ending:
        text, _ = self._process.communicate(say, timeout=seconds * SLOWNESS)
        rounds, rest = text.strip().split(" ", 1)
        outcome, longest = rest.rsplit(" ", 1)
        return Ending(int(rounds), outcome, int(longest))
