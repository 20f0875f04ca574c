"""What the API is answered by an agent of either kind: reading. ``EmbeddedAnswers`` changes the store as well."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime
from typing import Any

from weft.agent import status
from weft.agent.agent import Agent
from weft.agent.quoting import quoting
from weft.api.server import Refusal
from weft.datapath.query import Question, ask
from weft.flows.query import FlowsRequest
from weft.model.net import to_wide
from weft.model.origin import ManifestError
from weft.model.world import World
from weft.sources import table, yaml
from weft.sources.decode import decode_all
from weft.sources.errors import ManifestErrors, Notice
from weft.sources.objects import Document, Resource, Stored
from weft.sources.registry import POLICIES, KindInfo, find
from weft.sources.world import policy_ref

Json = Any


class Answers(ABC):
    """The reading half of weft.api.server.Backend."""

    def __init__(self, agent: Agent) -> None:
        self._agent = agent

    @abstractmethod
    def _with(self, resources: Sequence[Resource]) -> World:
        """The world as it would be with these objects in it. Errors: Refusal."""

    async def status(self) -> Json:
        return await status.report(self._agent)

    async def get(self, kind: str, name: str, namespace: str | None, output: str) -> str:
        store = self._agent.source
        if kind.lower() in ("identities", "identity", "ciliumidentities", "ciliumid"):
            return table.identities(status.identities(self._agent), output)
        info = kind_of(kind)
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

    async def lint(self, sources: list[dict[str, str]]) -> list[Json]:
        """As the world would be with these manifests in it."""
        from weft.policy.lint import lint, lint_document  # as below: an agent that nobody asks does without

        resources, notices = read(sources)
        world = self._with(resources)
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
            return [stored for kind in POLICIES for stored in self._agent.source.objects(kind)]

        find, quote = self._agent.flows.find, quoting(policies)
        return explaining.answer(engine.world, engine.compiled, body, ask_kernel, find, quote)

    async def bpf(self, name: str) -> Json:
        from weft.agent.dumps import DUMPS

        try:
            dump = DUMPS[name]
        except KeyError:
            raise Refusal(f"{name}: not a map; known: {', '.join(DUMPS)}", status=404) from None
        return dump(self._agent)

    def flows(self, query: Json) -> AsyncIterator[Json]:
        try:
            request = FlowsRequest.from_json(query)
            self._agent.flows.check(request)
        except ValueError as error:
            raise Refusal(str(error)) from None
        return self._agent.flows.stream(request)


def read(sources: list[dict[str, str]]) -> tuple[list[Resource], list[Notice]]:
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


def kind_of(text: str) -> KindInfo:
    """By any of its names, as kubectl has them. Errors: Refusal with the nearest known one."""
    try:
        return find(text)
    except LookupError as error:
        raise Refusal(str(error.args[0])) from None
