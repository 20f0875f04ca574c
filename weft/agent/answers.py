"""What the API is answered: reading from the agent, and changing its store."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime
from typing import Any

from weft.agent import conditions, status
from weft.agent.agent import KERNEL, Agent
from weft.agent.quoting import quoting
from weft.api.server import Refusal
from weft.datapath.errors import CapacityError
from weft.datapath.query import Question, ask
from weft.flows.query import FlowsRequest
from weft.model.net import to_wide
from weft.model.origin import ManifestError, Origin
from weft.proxy.process import ProxyError
from weft.runtime.errors import PodError
from weft.sources import table, yaml
from weft.sources.decode import decode, decode_all
from weft.sources.errors import Forbidden, ManifestErrors, NotFound, Notice, StoreError
from weft.sources.objects import Change, Document, Key, Resource, Stored
from weft.sources.registry import KINDS, POD, POLICIES, KindInfo, find
from weft.sources.store import Applied, Guard
from weft.sources.world import policy_ref, updated

Json = Any
_COMMAND_LINE = Origin("<command line>")
DELETE_SECONDS = 60.0
"""How long ``delete`` waits for pods to stop; it goes on without waiting after that."""


class Answers:
    """weft.api.server.Backend."""

    def __init__(self, agent: Agent) -> None:
        self._agent = agent

    # ---- changes --------------------------------------------------------------------------------------------------

    async def apply(self, sources: list[dict[str, str]], dry_run: bool) -> Json:
        resources, notices = _read(sources)
        applied = self._apply(resources, dry_run)
        results = [{"object": table.reference(one.stored), "outcome": one.action.value} for one in applied]
        return {"results": results, "warnings": [str(notice) for notice in notices]}

    async def run(self, pod: Json) -> Json:
        resource, _ = decode(Document(_COMMAND_LINE, pod))
        if self._agent.store.has(resource.key):
            raise Refusal(f'pods "{resource.name}" already exists', status=409)
        self._apply([resource], dry_run=False)
        return {}

    def _apply(self, resources: Sequence[Resource], dry_run: bool) -> list[Applied]:
        """All or nothing: also nothing when the plan would not fit into the kernel's maps."""
        return self._store_apply(resources, dry_run, lambda changes: self._agent.check(changes, dry_run))

    def _store_apply(self, resources: Sequence[Resource], dry_run: bool, guard: Guard) -> list[Applied]:
        try:
            applied = self._agent.store.apply(resources, dry_run, guard)
        except ManifestErrors as error:
            raise Refusal(*map(str, error.errors)) from None
        except ManifestError as error:
            raise Refusal(str(error)) from None
        except ProxyError as error:
            raise Refusal(f"nothing was applied: {error}", status=503) from None
        except CapacityError as error:
            raise Refusal(f"nothing was applied: {error}", status=507) from None
        except StoreError as error:
            raise Refusal(f"nothing was applied: {error}", status=500) from None
        if not dry_run and (problem := self._agent.problems.get(KERNEL)):
            raise Refusal(f"stored, but {problem}; it is tried again until it is in force", status=500)
        return applied

    async def delete(self, body: Json) -> list[str]:
        if body["sources"]:
            keys = [resource.key for resource in _read(body["sources"])[0]]
        else:
            info = _kind(body["kind"])
            keys = [Key(info.kind, body["namespace"] if info.namespaced else "", name) for name in body["names"]]
        store = self._agent.store
        if body.get("ignoreNotFound"):
            keys = list(filter(store.has, keys))
        try:
            store.delete(keys)
        except NotFound as error:
            raise Refusal(str(error), status=404) from None
        except (Forbidden, StoreError) as error:
            raise Refusal(str(error)) from None
        grace = body.get("gracePeriodSeconds", -1)
        for key in keys if grace >= 0 else ():
            if key.kind == POD:
                self._agent.pods.set_grace(key.namespaced, grace)
        await self._agent.waiting.until(lambda: not any(map(store.has, keys)), max(DELETE_SECONDS, grace + 10))
        return [f'{KINDS[key.kind].resource} "{key.name}"' for key in keys]

    # ---- reading --------------------------------------------------------------------------------------------------

    async def status(self) -> Json:
        return status.report(self._agent)

    async def get(self, kind: str, name: str, namespace: str | None, output: str) -> str:
        store = self._agent.store
        if kind.lower() in ("identities", "identity", "ciliumidentities", "ciliumid"):
            return table.identities(status.identities(self._agent), output)
        info = _kind(kind)
        found = store.objects(info.kind, (namespace or "") if info.namespaced else "")
        if name:
            found = [stored for stored in found if stored.key.name == name]
            if not found:
                raise Refusal(f'{info.plural_resource} "{name}" not found', status=404)
        if not found and output in ("", "wide", "name"):
            return ""
        everywhere = namespace is None and info.namespaced
        try:
            return table.render(found, output, datetime.now(UTC), all_namespaces=everywhere, one=bool(name))
        except ValueError as error:
            raise Refusal(str(error)) from None

    async def wait(self, pods: list[dict[str, str]], namespace: str, condition: str, timeout: float) -> None:
        wanted = conditions.parse(pods, namespace, condition)
        store = self._agent.store
        await self._agent.waiting.until(lambda: not wanted.missing(store) or wanted.hopeless(store), timeout)
        if missing := wanted.missing(store):
            raise Refusal(*missing, status=504)

    async def lint(self, sources: list[dict[str, str]]) -> list[Json]:
        """As the world would be with these manifests in it."""
        from weft.policy.lint import lint, lint_document  # as below: an agent that nobody asks does without

        resources, notices = _read(sources)
        changes: list[Change] = []
        self._store_apply(resources, True, changes.extend)
        world = updated(self._agent.engine.world, changes, self._agent.pods.local)
        policies = [one for one in resources if one.kind in POLICIES]
        found = [warning for one in policies for warning in lint_document(one.obj, one.origin)]
        found += lint([spec for one in policies for spec in world.policies[policy_ref(one.key)]], world)
        ignored = [{"code": "no-effect", "text": str(notice)} for notice in notices]
        return ignored + [warning.to_json() | {"text": str(warning)} for warning in found]

    async def explain(self, body: Json) -> Json:
        from weft.agent import explaining

        engine = self._agent.engine

        def ask_kernel(asked: Sequence[explaining.Question]) -> Sequence[explaining.Answer]:
            questions = [Question(to_wide(a), to_wide(b), protocol, port) for a, b, protocol, port in asked]
            return list(map(explaining.Answer.of, ask(self._agent.datapath, questions)))

        def policies() -> list[Stored]:
            return [stored for kind in POLICIES for stored in self._agent.store.objects(kind)]

        find, quote = self._agent.flows.find, quoting(policies)
        return explaining.answer(engine.world, engine.compiled.rules, body, ask_kernel, find, quote)

    async def bpf(self, name: str) -> Json:
        from weft.agent.dumps import DUMPS

        try:
            dump = DUMPS[name]
        except KeyError:
            raise Refusal(f"{name}: not a map; known: {', '.join(DUMPS)}", status=404) from None
        return dump(self._agent)

    async def exec_argv(self, namespace: str, name: str) -> list[str]:
        try:
            return self._agent.pods.exec_argv(namespace, name)
        except PodError as error:
            raise Refusal(str(error), status=404) from None

    def logs(self, namespace: str, name: str, follow: bool, tail: int | None) -> AsyncIterator[bytes]:
        try:
            return self._agent.pods.logs(namespace, name, follow, tail)
        except PodError as error:
            raise Refusal(str(error), status=404) from None

    def flows(self, query: Json) -> AsyncIterator[Json]:
        try:
            request = FlowsRequest.from_json(query)
            self._agent.flows.check(request)
        except ValueError as error:
            raise Refusal(str(error)) from None
        return self._agent.flows.stream(request)


def _read(sources: list[dict[str, str]]) -> tuple[list[Resource], list[Notice]]:
    """Every document of every file, checked. Errors: Refusal with one line for each thing that is wrong."""
    documents: list[Document] = []
    errors: list[str] = []
    for source in sources:
        try:
            documents += yaml.parse(source["text"], source["file"])
        except ManifestError as error:
            errors.append(str(error))
    try:
        resources, notices = decode_all(documents)
    except ManifestErrors as error:
        raise Refusal(*errors, *map(str, error.errors)) from None
    if errors:
        raise Refusal(*errors)
    if not resources:
        raise Refusal("no objects in what was given")
    return resources, notices


def _kind(text: str) -> KindInfo:
    """By any of its names, as kubectl has them. Errors: Refusal with the nearest known one."""
    try:
        return find(text)
    except LookupError as error:
        raise Refusal(str(error.args[0])) from None
