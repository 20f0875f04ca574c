"""YAML (and so JSON) text → documents of plain data, with the line of every field.

What a document means is what kubectl would make of it (``scalars``); stricter in that a key may not be given twice.
Anchors, aliases and merge keys work, within bounds.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import yaml
from yaml._yaml import CParser
from yaml.composer import Composer
from yaml.resolver import Resolver

from weft.model.origin import FieldPath, ManifestError, Origin
from weft.sources import scalars
from weft.sources.objects import Document, Excerpt, Json

MAX_BYTES = 8 << 20
"""Of one text."""
MAX_DEPTH = 100
MAX_REPEATS = 10_000
"""How many nodes of one text may come from aliases (a "billion laughs" has more)."""
_TOO_DEEP = f"nested more than {MAX_DEPTH} levels deep"
_EXCERPT_WIDTH = 200
_LINE_BREAK = re.compile("\r\n|[\n\r\x85\u2028\u2029]")
"""What YAML 1.1 counts as the end of a line."""
_LIST_FIELDS = {"apiVersion", "kind", "metadata", "items"}


class _Loader(Composer, CParser, Resolver):
    """libyaml's parser under PyYAML's composer in Python: the composer in C recurses on the C stack, without a bound.

    Leaves the meaning of unquoted scalars to ``scalars``: they all get the tag PLAIN.
    """

    yaml_implicit_resolvers: dict[str | None, list[tuple[str, re.Pattern[str]]]] = {}  # noqa: RUF012

    def __init__(self, text: str) -> None:
        CParser.__init__(self, text)
        Composer.__init__(self)
        Resolver.__init__(self)
        self._depth = 0

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        self._depth += 1
        if self._depth > MAX_DEPTH:
            event: Any = self.peek_event()
            raise yaml.MarkedYAMLError(problem=_TOO_DEEP, problem_mark=event.start_mark)
        node = super().compose_node(parent, index)
        self._depth -= 1
        return node


_Loader.add_implicit_resolver(scalars.PLAIN, re.compile(""), None)


def parse(text: str, file: str) -> list[Document]:
    """The documents of ``text``, empty ones left out and each ``kind: List`` replaced by its items.

    ``file`` is only a name, for messages. Raises ManifestError with the line.
    """
    if len(text) > MAX_BYTES:
        raise ManifestError(Origin(file), (), f"larger than {MAX_BYTES >> 20} MiB", "split it")
    lines = _LINE_BREAK.split(text)
    documents = []
    for node in _compose(text.removeprefix("\ufeff"), file):
        documents += _documents(node, file, lines)
    return documents


def _compose(text: str, file: str) -> Iterator[yaml.Node]:
    try:
        loader = _Loader(text)
        while (node := loader.get_node() if loader.check_node() else None) is not None:
            yield node
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        problem = error.problem or error.context or "not YAML"
        line = min(mark.line, text.rstrip().count("\n")) + 1 if mark else 1  # the end of the text is in its last line
        raise _refused(file, line, f"not valid YAML: {problem}") from None
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise _refused(file, line, f"not valid YAML: {error.reason}") from None
    except UnicodeEncodeError as error:
        line = text.count("\n", 0, error.start) + 1
        raise _refused(file, line, "not valid YAML: not Unicode text") from None


def _refused(file: str, line: int, problem: str) -> ManifestError:
    return ManifestError(Origin(file, {(): line}), (), problem)


def _documents(node: yaml.Node, file: str, lines: list[str]) -> list[Document]:
    builder = _Builder(file)
    data = builder.build(node, ())
    origin = Origin(file, builder.lines)
    if data is None:
        return []
    if not isinstance(data, dict):
        raise ManifestError(origin, (), f"expected an object with apiVersion and kind, got {describe(data)}")
    if data.get("kind") == "List" and "items" in data:
        return _items(data, origin, lines)
    return [Document(origin, data, _excerpt(origin.lines.values(), lines))]


def _items(data: Json, origin: Origin, lines: list[str]) -> list[Document]:
    """The elements of a ``kind: List`` (what ``kubectl get -o yaml`` prints)."""
    if unknown := sorted(data.keys() - _LIST_FIELDS):
        raise ManifestError(origin, (unknown[0],), "unknown field of a List")
    if not isinstance(data["items"], list):
        raise ManifestError(origin, ("items",), f"expected a list of objects, got {describe(data['items'])}")
    below: list[dict[FieldPath, int]] = [{} for _ in data["items"]]
    for path, line in origin.lines.items():
        if len(path) > 1 and path[0] == "items" and isinstance(path[1], int):
            below[path[1]][path[2:]] = line
    documents = []
    for index, item in enumerate(data["items"]):
        if not isinstance(item, dict):
            raise ManifestError(origin, ("items", index), f"expected an object, got {describe(item)}")
        if item.get("kind") == "List":
            raise ManifestError(origin, ("items", index), "a List inside a List")
        documents.append(Document(Origin(origin.file, below[index]), item, _excerpt(below[index].values(), lines)))
    return documents


def _excerpt(numbers: Any, lines: list[str]) -> Excerpt:
    """From the first to the last line that a field stands in."""
    first, last = min(numbers), max(numbers)
    return Excerpt(first, tuple(line[:_EXCERPT_WIDTH] for line in lines[first - 1 : last]))


def describe(value: Any) -> str:
    """``a list``, ``the number 3``, ``the text "x"``: a value in an error message."""
    if isinstance(value, bool):
        return f"the boolean {str(value).lower()}"
    if isinstance(value, int | float):
        return f"the number {value}"
    if isinstance(value, str):
        return f'the text "{value if len(value) <= 60 else value[:57] + "..."}"'
    return "an object" if isinstance(value, dict) else "a list" if isinstance(value, list) else "null"


class _Builder:
    """Turns one document's nodes into plain data and notes the line of each field."""

    def __init__(self, file: str) -> None:
        self.file = file
        self.lines: dict[FieldPath, int] = {}
        self.seen: set[int] = set()
        self.repeats = 0

    def build(self, node: yaml.Node, path: FieldPath, line: int | None = None) -> Any:
        """``line``: where the field's key stands, if the field has one."""
        own = node.start_mark.line + 1
        if len(path) > MAX_DEPTH:
            raise _refused(self.file, own, f"{_TOO_DEEP}, or an alias to its own parent")
        self.repeats += id(node) in self.seen
        if self.repeats > MAX_REPEATS:
            line = self.lines.get(path[:1], own)
            raise _refused(self.file, line, f"aliases that unfold to more than {MAX_REPEATS} nodes")
        self.seen.add(id(node))
        self.lines[path] = line or own
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, path)
        if isinstance(node, yaml.SequenceNode):
            self._standard(node, "seq")
            return [self.build(item, (*path, index)) for index, item in enumerate(node.value)]
        try:
            return scalars.resolve(node.tag, node.value)
        except ValueError as error:
            raise _refused(self.file, own, str(error)) from None

    def _standard(self, node: yaml.Node, name: str) -> None:
        if node.tag != f"tag:yaml.org,2002:{name}":
            raise _refused(self.file, node.start_mark.line + 1, f"unknown tag {node.tag!r}")

    def _mapping(self, node: yaml.MappingNode, path: FieldPath) -> Json:
        self._standard(node, "map")
        data: Json = {}
        merges: list[yaml.Node] = []
        for key_node, value_node in node.value:
            if key_node.tag == scalars.PLAIN and key_node.value == "<<":
                merges += self._merged(value_node, key_node.start_mark.line + 1)
                continue
            key, line = self._key(key_node), key_node.start_mark.line + 1
            if key in data:
                first = self.lines[(*path, key)]
                raise ManifestError(
                    Origin(self.file, {(*path, key): line}), (*path, key), f"given twice (first in line {first})"
                )
            data[key] = self.build(value_node, (*path, key), line)
        for merge in merges:
            for key_node, value_node in merge.value:
                if (key := self._key(key_node)) not in data:
                    data[key] = self.build(value_node, (*path, key), key_node.start_mark.line + 1)
        return data

    def _merged(self, node: yaml.Node, line: int) -> list[yaml.Node]:
        """The mappings that ``<<`` adds; what is given explicitly wins, then the first of them."""
        nodes = node.value if isinstance(node, yaml.SequenceNode) else [node]
        for merge in nodes:
            if not isinstance(merge, yaml.MappingNode):
                raise _refused(self.file, line, "<< expects an object or a list of objects")
            if any(key.value == "<<" for key, _ in merge.value):
                raise _refused(self.file, line, "<< of an object that has a << itself")
        return nodes

    def _key(self, node: yaml.Node) -> str:
        line = node.start_mark.line + 1
        if not isinstance(node, yaml.ScalarNode):
            raise _refused(self.file, line, "a key must be a string")
        try:
            return scalars.key(scalars.resolve(node.tag, node.value))
        except ValueError as error:
            raise _refused(self.file, line, str(error)) from None
