"""The node's Envoy, as the plan asks for it: there before the kernel sends anybody, gone after the last rule."""

from __future__ import annotations

import asyncio
import logging
import math
import os
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from weft.datapath import cgroups, netns, ways
from weft.datapath.errors import DatapathError
from weft.datapath.kernel import Datapath
from weft.datapath.node import DEFAULT_MTU, NodePaths
from weft.datapath.proxied import cut_proxied
from weft.model.desired import LAST_LISTENER, Desired, Listener
from weft.model.http import HttpRuleSet
from weft.model.net import RuleId
from weft.model.origin import NOWHERE, ManifestError
from weft.model.policy import Rule
from weft.model.route import ClusterEndpoint, ClusterRef
from weft.proxy.launcher import Launcher, socket_path
from weft.proxy.proxy import Proxy
from weft.proxy.said import ProxyStatus, Rejection
from weft.proxy.spawn import ProxyError
from weft.proxy.tracing import Collector
from weft.runtime import cgroup
from weft.sources.errors import ManifestErrors

if TYPE_CHECKING:
    from weft.model.l7 import L7Batch

log = logging.getLogger("weft.layer7")

START_SECONDS = 10.0
"""So long a change may wait for Envoy, which on an idle machine takes 0.1 s to start and 0.02 s to take a listener."""
GRACE_SECONDS = 5.0
"""So long Envoy stays after its last listener."""
FIRST_TRIAL, TRIALS = LAST_LISTENER + 1, 100
"""The kernel sends nobody to these numbers. So many at once."""
RETRY_SECONDS = 60.0
"""From one try that found no Envoy to the next: each may take START_SECONDS of the agent's time."""


class Planned(Protocol):
    """What of a ``weft.plan.Compiled`` matters here."""

    @property
    def desired(self) -> Desired: ...
    @property
    def rules(self) -> Mapping[RuleId, Rule]: ...


class Layer7:
    """One caller at a time. Without a listener in any plan, none of Envoy's types is even imported."""

    def __init__(
        self,
        paths: NodePaths,
        datapath: Datapath,
        take_in: Callable[[L7Batch], None],
        problem: Callable[[str], None],
        call_soon: Callable[..., object],
        log_headers: Sequence[str] = (),
        otlp: Collector | None = None,
        mtu: int = DEFAULT_MTU,
        external: bool = False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """``take_in``: Envoy's access log. ``problem``: what is wrong with Envoy now, or "" for nothing.

        ``external``: a pod of its own starts Envoy (weft.proxy.launcher). ``call_soon``: the agent's loop's
        ``call_soon_threadsafe``, by which Envoy's thread speaks to it.
        """
        self._datapath, self._problem, self._mtu = datapath, problem, mtu
        self._call_soon, self._take_in, self._clock = call_soon, take_in, clock
        launcher = Launcher(socket_path(paths.run_dir)) if external else None
        self._proxy = Proxy(
            _directory(paths),
            _cgroup(paths),
            paths.name,
            on_log=self._take_log,
            on_exit=self._exit,
            log_headers=log_headers,
            otlp=otlp,
            enter=lambda: netns.entered(paths.proxy_netns),
            launcher=launcher,
            on_start=datapath.watch_proxy,
        )
        self._known: dict[int, Listener] = {}
        self._tried: dict[int, Listener] = {}
        """What listeners that are in force will change to."""
        self._clusters: Mapping[ClusterRef, tuple[ClusterEndpoint, ...]] = {}
        self._retry_at = math.inf
        self._open = False
        alive = self._proxy.process.pid() != 0
        if alive and launcher is not None and not netns.exists(paths.proxy_netns):
            _mount_again(launcher, paths.proxy_netns)
        if netns.exists(paths.proxy_netns):
            self._open = self._proxy.recover()
        elif alive:
            self._proxy.process.kill()  # nobody can reach it
        if self._open:
            self._watch()

    @staticmethod
    def end(paths: NodePaths) -> None:
        """No Envoy, and nothing that it left, of a node that goes."""
        if _directory(paths).exists():
            Proxy(_directory(paths), _cgroup(paths), paths.name).stop()
        asyncio.run(cgroup.end(_cgroup(paths)))

    def close(self) -> None:
        """Let go of Envoy, which stays."""
        self._proxy.close()

    def prepare(self, plan: Planned) -> None:
        """Every listener of the plan listens; none that is in force changes: what it will change to, Envoy has taken
        under another number. Errors: ManifestErrors for what Envoy refuses, ProxyError if there is no Envoy."""
        desired = plan.desired
        new = {n: listener for n, listener in desired.listeners.items() if n not in self._known}
        refused = self._ask(new, desired)
        self._known |= {n: listener for n, listener in new.items() if n not in {each.listener for each in refused}}
        untried = [n for n, listener in self._changed(desired).items() if self._tried.get(n) != listener]
        for start in range(0, len(untried), TRIALS):
            trials = dict(enumerate(untried[start : start + TRIALS], FIRST_TRIAL))
            said = self._ask({trial: desired.listeners[n] for trial, n in trials.items()}, desired)
            bad = {trials[each.listener] for each in said}
            self._tried |= {n: desired.listeners[n] for n in trials.values() if n not in bad}
            refused += [each._replace(listener=trials[each.listener]) for each in said]
        if refused:
            raise ManifestErrors([_complaint(each, plan) for each in refused])

    def _ask(self, wanted: Mapping[int, Listener], desired: Desired) -> list[Rejection]:
        """What of it Envoy refuses; all else listens. Errors: ProxyError."""
        if not wanted:
            return []
        try:
            if not self._open:
                self._watch()
                ways.open_proxy_way(self._datapath, self._mtu)
                self._open = True
            return self._proxy.ensure(wanted, desired.clusters, START_SECONDS)
        except (OSError, DatapathError) as error:
            raise ProxyError(f"Envoy cannot be used: {error}") from error

    def _changed(self, desired: Desired) -> dict[int, Listener]:
        """Those that Envoy has with another content."""
        return {n: new for n, new in desired.listeners.items() if n in self._known and self._known[n] != new}

    def prepare_or_report(self, plan: Planned) -> None:
        """As ``prepare``, but it must go on: the kernel refuses whom it would send to a listener that is not there."""
        self._retry_at = math.inf
        try:
            self.prepare(plan)
        except (ManifestErrors, ProxyError) as error:
            log.error("%s", error)
            self._problem(f"connections that need Envoy are refused: {error}")
            if isinstance(error, ProxyError):  # Envoy's own refusal would be the same again
                self._retry_at = self._clock() + RETRY_SECONDS

    @property
    def is_due(self) -> bool:
        """Whether a plan that found no Envoy should be tried again now."""
        return self._clock() >= self._retry_at

    def settle(self, plan: Planned) -> None:
        """The kernel has the plan: what it no longer names may go."""
        if not (self._open or plan.desired.listeners):
            return
        try:
            self._settle(plan.desired)
        except ProxyError as error:
            log.error("%s", error)
            self._problem(f"Envoy does not follow: {error}")
            self._retry_at = self._clock() + RETRY_SECONDS

    def _settle(self, desired: Desired) -> None:
        """Connections through a listener that changes live on, and their next requests go by the new content. It may
        not change before the kernel has the plan: policy about the backends comes first."""
        changed = {n: tried for n, tried in self._changed(desired).items() if self._tried.get(n) == tried}
        self._tried = {}
        if changed:
            self._proxy.ensure(changed, desired.clusters, START_SECONDS)
            self._known |= changed
        if desired.clusters is not self._clusters:
            self._proxy.update_clusters(desired.clusters)
            self._clusters = desired.clusters
        self._proxy.keep_only(desired.listeners.keys())
        self._known = {n: listener for n, listener in self._known.items() if n in desired.listeners}
        if not desired.listeners:
            self._proxy.stop_if_idle(GRACE_SECONDS)
        if self._known == desired.listeners:
            self._problem("")

    def status(self) -> ProxyStatus:
        return self._proxy.status()

    def _take_log(self, batch: L7Batch) -> None:
        """In the proxy's thread."""
        self._call_soon(self._take_in, batch)

    def _exit(self) -> None:
        """In the proxy's thread, before Envoy is started again; the agent's loop may be busy until after that."""
        self._call_soon(self._envoy_ended, time.monotonic_ns())

    def mend(self) -> None:
        """The way to Envoy is whole again, after an agent that may have died making it. Once, when the node comes up.
        Errors: DatapathError."""
        if self._open:
            ways.open_proxy_way(self._datapath, self._mtu)

    def _watch(self) -> None:
        """Sockets that Envoy opens are entered for the kernel from the first on."""
        with self._proxy.process.cgroup() as cgroup:
            self._datapath.watch_proxy(cgroup)

    def _envoy_ended(self, ended_ns: int) -> None:
        cut = cut_proxied(self._datapath, ended_ns)
        log.warning("Envoy ended; %d connections through it were cut, and it is started again", cut.flows)


def _mount_again(launcher: Launcher, path: Path) -> None:
    """Envoy's network namespace, whose mount went with the container of an earlier agent."""
    try:
        kept = launcher.netns()
    except ProxyError as error:
        log.warning("%s", error)
        return
    if kept is not None:
        netns.keep(kept, path)
        os.close(kept)


def _directory(paths: NodePaths) -> Path:
    return paths.run_dir / "envoy"


def _cgroup(paths: NodePaths) -> Path:
    """Beside the pods'; below the agent's own where a process of it can go nowhere else."""
    return (cgroups.confined() or paths.cgroup.parent) / "envoy"


def _complaint(refused: Rejection, plan: Planned) -> ManifestError:
    """Envoy's words, at the rule that asked for the listener."""
    listener = plan.desired.listeners[refused.listener]
    if isinstance(listener, HttpRuleSet):
        rule = plan.rules[listener.permissions[0].rule]
        origin, path = rule.origin, rule.path
    elif listener.rules:
        origin, path = listener.rules[0].origin, listener.rules[0].path
    else:
        origin, path = NOWHERE, ()
    return ManifestError(origin, path, f"Envoy refuses what this comes to: {refused.message}")


__all__ = ["Layer7", "ProxyError"]
