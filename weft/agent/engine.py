"""World → kernel and Envoy: compile, check, apply the difference, cut what is no longer allowed.

One caller at a time.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import NamedTuple

from weft.agent.layer7 import Layer7
from weft.agent.numberfile import NumberFile
from weft.datapath import capacity
from weft.datapath.errors import DatapathError
from weft.datapath.kernel import Datapath
from weft.datapath.nodes import Nodes
from weft.datapath.sweep import sweep
from weft.model.desired import BumpRevision, Step
from weft.model.world import World
from weft.plan import Compiled, Compiler, transition
from weft.sources.errors import StoreError

log = logging.getLogger("weft.engine")

Listener = Callable[[World, Compiled], None]


class Plan(NamedTuple):
    """What it takes to put a world in force, from what the kernel holds now."""

    world: World
    compiled: Compiled
    steps: tuple[Step, ...]


class Engine:
    """Keeps the kernel equal to the last world that it was given. ``listeners`` are told after each change."""

    def __init__(self, datapath: Datapath, layer7: Layer7, numbers: NumberFile, world: World) -> None:
        self._datapath, self._layer7, self._numbers = datapath, layer7, numbers
        self._compiler = Compiler(numbers.read())
        self._held = datapath.read()
        self._planned: Plan | None = None
        self.world = world
        self.compiled = Compiled()
        self.in_force = False
        """Whether ``world`` is what the kernel holds; before the first commit it holds what an earlier agent left."""
        self._nodes: Nodes | None = None
        self.unreachable: tuple[str, ...] = ()
        """Nodes whose pods nothing leads to, for people."""
        self.listeners: list[Listener] = []

    def check(self, world: World, dry_run: bool = False) -> None:
        """Whether ``world`` could be put in force whole. Changes nothing that is in force. Errors: CapacityError;
        unless ``dry_run``, Envoy is asked too, and then has what is new: ManifestErrors, ProxyError, StoreError.

        To commit the same object next costs no second plan.
        """
        plan = self._plan(world)
        self._check_room(plan.steps)
        if not dry_run:
            self._numbers.keep(plan.compiled.numbering)
            self._layer7.prepare(plan.compiled)

    def _check_room(self, steps: Sequence[Step]) -> None:
        capacity.check(self._held, steps, {name: opened.max_entries for name, opened in self._datapath.maps.items()})

    def _plan(self, world: World) -> Plan:
        if self._planned is None or self._planned.world is not world:
            compiled = self._compiler.compile(world)
            self._planned = Plan(world, compiled, transition(self._held, compiled.desired))
        return self._planned

    def commit(self, world: World) -> None:
        """Puts ``world`` in force; returns when the kernel has it and what it forbids is cut.

        Errors: CapacityError before anything changed. After a failed write (DatapathError) the maps are safe: old
        verdicts or "no". The next commit starts from what they hold.
        """
        _, compiled, steps = self._plan(world)
        self._planned = None
        try:
            self._check_room(steps)  # before Envoy is asked for what would not come into force
            try:
                self._numbers.keep(compiled.numbering)
            except StoreError as error:  # of use to the next agent only
                log.error("%s", error)
            self._layer7.prepare_or_report(compiled)
            bumped = self._datapath.apply(self._held, steps)
        except Exception:  # the kernel may hold more or less than we thought
            self._held = self._datapath.read()
            raise
        self._held = compiled.desired
        same_nodes = compiled.nodes is self.compiled.nodes
        self.world, self.compiled, self.in_force = world, compiled, True
        self._layer7.settle(compiled)
        if not same_nodes:
            self.keep_routes()
        for step in steps:
            if isinstance(step, BumpRevision):
                log.info("policy revision %d: %s", self._datapath.revision, step.reason)
        for listener in self.listeners:
            listener(world, compiled)
        if bumped and (swept := sweep(self._datapath)).refused:
            log.info("%d open connections are no longer allowed and were cut", swept.refused)

    def connect_nodes(self) -> None:
        """Make the ways to other nodes' pods, and change them with the nodes from now on. After ``node.bring_up``."""
        self._nodes = Nodes()
        self.keep_routes()

    def keep_routes(self) -> None:
        """Also repairs them. What is wrong is logged once and shown by ``unreachable``."""
        if self._nodes is None or not self.in_force:
            return
        try:
            problems = self._nodes.keep(self.compiled.nodes)
        except DatapathError as error:
            problems = (f"the ways to other nodes: {error}",)
        for text in problems:
            if text not in self.unreachable:
                log.warning("%s", text)
        self.unreachable = problems
