"""The node's Envoy as the agent uses it: ``ensure`` before the kernel sends anybody, ``keep_only`` afterwards.

Envoy, its configuration stream and its access log live in a thread with an event loop of its own
(``weft.proxy.worker``), made when first needed: an agent without rules of layer 7 has neither the thread nor Envoy's
types in memory.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Collection, Coroutine, Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from weft.model.desired import Listener
from weft.model.l7 import L7Batch
from weft.model.route import ClusterEndpoint, ClusterRef
from weft.proxy.bootstrap import Paths
from weft.proxy.launcher import Launcher
from weft.proxy.process import Enter, Limits, Process
from weft.proxy.said import ProxyStatus, Rejection
from weft.proxy.spawn import ProxyError
from weft.proxy.tracing import Collector

if TYPE_CHECKING:
    from weft.proxy.worker import Worker

T = TypeVar("T")
Clusters = Mapping[ClusterRef, tuple[ClusterEndpoint, ...]]


def _ignore(*_: object) -> None:
    return


class Proxy:
    """Every method may be called from any one thread at a time, and none returns before it is done.

    ``directory``: Envoy's run directory, made 0700 for its user. ``cgroup``: its control group, made if missing.
    ``on_log`` and ``on_exit`` are called in the proxy's own thread and must neither block nor call the proxy;
    ``on_exit`` once for each end of Envoy that was not asked for, before it is started again. ``otlp``: who gets
    spans; None: there are none. ``enter``: for the time of the context it returns, the calling thread is in the
    network namespace that Envoy runs in.
    ``launcher``: who starts Envoy; None: this process. ``on_start``: called in the
    proxy's own thread with the control group of an Envoy that the launcher is about to start.
    """

    def __init__(
        self,
        directory: Path,
        cgroup: Path,
        node: str,
        *,
        on_log: Callable[[L7Batch], None] = _ignore,
        on_exit: Callable[[], None] = _ignore,
        log_headers: Sequence[str] = (),
        otlp: Collector | None = None,
        limits: Limits = Limits(),  # noqa: B008
        enter: Enter = nullcontext,
        launcher: Launcher | None = None,
        on_start: Callable[[Path], None] = _ignore,
    ) -> None:
        self.paths = Paths(directory)
        self.process = Process(self.paths, cgroup, node, limits, enter, launcher, on_start)
        self._options = (on_log, on_exit, tuple(log_headers), otlp)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._worker: Worker | None = None

    def recover(self) -> bool:
        """Finds the Envoy of an earlier agent, listens for it again and watches it. Whether there is one.

        Nothing is taken from that Envoy before the first ``keep_only``.
        """
        handle = self.process.find()
        if handle is None:
            return False
        worker = self._start()
        self._run(worker.adopt(handle))
        return True

    def ensure(self, listeners: Mapping[int, Listener], clusters: Clusters, timeout: float) -> list[Rejection]:
        """Returns when each of ``listeners`` listens with this content, or was refused. Others stay as they are.

        Starts Envoy if none runs. A number that is in force already gets its new content without cutting connections
        (as far as Envoy can: not if it changes between routes and none). Errors: ProxyError, and then anything between
        nothing and all of it may be in force.
        """
        if not listeners and self._worker is None:
            return []
        return self._run(self._start().ensure(dict(listeners), dict(clusters), timeout), timeout + 5)

    def update_clusters(self, clusters: Clusters) -> None:
        """New endpoints, for the clusters of listeners that are in force. Does not wait for Envoy."""
        if self._worker is not None:
            self._run(self._worker.update_clusters(dict(clusters)))

    def keep_only(self, listeners: Collection[int]) -> None:
        """All other listeners go, also those that an earlier agent left; their connections end within 5 s.

        Call it when the kernel sends nobody there any more, and once after a start.
        """
        if self._worker is not None:
            self._run(self._worker.keep_only(set(listeners)))

    def stop_if_idle(self, grace: float) -> None:
        """With no listener left, Envoy is stopped after ``grace`` seconds, unless ``ensure`` comes in between."""
        if self._worker is not None:
            self._run(self._worker.stop_if_idle(grace))

    def stop(self) -> None:
        """Ends Envoy now; its connections are cut."""
        if self._worker is None and not self.recover():
            return
        assert self._worker is not None
        self._run(self._worker.stop())
        self.close()

    def close(self) -> None:
        """The agent goes; Envoy stays, with what it has."""
        if self._loop is None or self._worker is None:
            return
        self._run(self._worker.close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
        self._loop = self._worker = None

    def status(self) -> ProxyStatus:
        if self._worker is None:
            return ProxyStatus(0)
        return self._run(self._worker.status())

    def _start(self) -> Worker:
        if self._worker is not None:
            return self._worker
        from weft.proxy.worker import Worker

        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="proxy", daemon=True)
        self._thread.start()

        async def make() -> Worker:
            worker = Worker(self.paths, self.process, *self._options)
            await worker.open()
            return worker

        self._worker = self._run(make())
        return self._worker

    def _run(self, work: Coroutine[Any, Any, T], timeout: float = 30.0) -> T:
        assert self._loop is not None
        future = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            return future.result(timeout)
        except TimeoutError:
            future.cancel()
            raise ProxyError("Envoy's thread does not answer") from None
