"""What http rules say that their authors may not have meant: expressions are over the whole, normalised value."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple, TypeVar

from msgspec import UNSET

from weft.model.http import HttpMatch
from weft.model.kinds.cilium import CiliumNetworkPolicy, CiliumRule, EgressRule, IngressRule
from weft.model.origin import FieldPath, Origin
from weft.model.policy import PortMatch, Rule
from weft.policy.lintwarning import LintWarning
from weft.policy.regex import fits

T = TypeVar("T")

METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT")
_OPEN_END = re.compile(r"[A-Za-z0-9_-]\.\*\$?$")
_ANYTHING = re.compile(r"(?<!\\)\.|\[\^|\\[DWSP?]|\[[^\]]*\?")
"""What may match a question mark."""
_NEVER_THERE = (
    (re.compile("//"), "two slashes in a row"),
    (re.compile(r"/(\\\.){1,2}(/|$)"), "dot segments"),
    (re.compile(r"%(2f|5c)", re.IGNORECASE), "escaped slashes (such requests are refused)"),
    (
        re.compile(r"%(4[1-9a-f]|5[0-9a]|6[1-9a-f]|7[0-9ae]|3[0-9]|2[de]|5f)", re.IGNORECASE),
        "escaped letters or digits",
    ),
    (re.compile("#"), "a fragment"),
)
_LITERAL_HOST = re.compile(r"[\w-]+(\\?\.[\w-]+)*", re.ASCII)


class _Field(NamedTuple):
    """One expression."""

    origin: Origin
    path: FieldPath
    text: str

    def warn(self, code: str, text: str, remedy: str) -> LintWarning:
        return LintWarning(code, self.origin, self.path, text, remedy)


def lint_http(rule: Rule) -> Iterator[LintWarning]:
    for port in rule.ports or ():
        for match in port.http or ():
            yield from _match(match, port, rule.origin)


def _match(match: HttpMatch, port: PortMatch, origin: Origin) -> Iterator[LintWarning]:
    fields = {name: _Field(origin, (*match.field_path, name), getattr(match, name)) for name in _CHECKS}
    for name, check in _CHECKS.items():
        field = fields[name]
        if field.text:
            yield from _anchors(field)
            yield from check(field)
    host = fields["host"]
    if _LITERAL_HOST.fullmatch(host.text) and not port.name and (port.first, port.last) != (80, 80):
        yield host.warn(
            "host-without-port",
            f"clients send the port with the host unless it is 80, as in {host.text.replace(chr(92), '')}:{port.first}",
            f"write {host.text}(:[0-9]+)?",
        )


def _anchors(field: _Field) -> Iterator[LintWarning]:
    bare = field.text.removeprefix("^")
    bare = bare[:-1] if re.search(r"(?<!\\)\$$", bare) else bare
    if bare != field.text and "|" not in bare:
        yield field.warn("superfluous-anchor", "an expression is over the whole value anyway", f"write {bare}")


def _path(field: _Field) -> Iterator[LintWarning]:
    text = field.text.removeprefix("^")
    if re.match(r"[A-Za-z0-9_-]", text):
        yield field.warn("path-without-slash", "every path begins with a slash, so this matches none", f"write /{text}")
        return
    for pattern, what in _NEVER_THERE:
        if pattern.search(text):
            yield field.warn(
                "path-not-normalised",
                f"no request has {what}: paths are normalised before a rule sees them",
                "write the path as the server reads it",
            )
    if _OPEN_END.search(text):
        stem = text.rstrip("$")[:-2]
        yield field.warn(
            "path-open-end",
            f"this matches everything that begins with {stem}, such as {stem}x/y",
            rf"for {stem} and what is below it write {stem}([/?].*)?",
        )
    elif not _ANYTHING.search(text):
        bare = text.rstrip("$")
        yield field.warn(
            "path-without-query",
            "the query is part of what is compared, so this matches no request that has one (?x=1)",
            rf"write {bare}(\?.*)? if it may",
        )


def _method(field: _Field) -> Iterator[LintWarning]:
    if not any(fits(field.text, one) for one in METHODS) and any(fits(field.text.upper(), one) for one in METHODS):
        yield field.warn("method-in-lower-case", "methods are written in upper case", f"write {field.text.upper()}")


def _host(field: _Field) -> Iterator[LintWarning]:
    if _LITERAL_HOST.fullmatch(field.text) and re.search(r"(?<!\\)\.", field.text):
        other = re.sub(r"(?<!\\)\.", "x", field.text, count=1).replace("\\", "")
        escaped = re.sub(r"(?<!\\)\.", r"\\.", field.text)
        yield field.warn("dot-means-anything", f"a dot stands for any character: {other} fits too", f"write {escaped}")
    if field.text != field.text.lower() and "(?i)" not in field.text and "\\" not in field.text.replace("\\.", ""):
        yield field.warn(
            "host-in-upper-case",
            "hosts are compared as clients write them, mostly in lower case",
            "write (?i) before it",
        )


_CHECKS = {"method": _method, "path": _path, "host": _host}


def lint_empty_http(document: CiliumNetworkPolicy, origin: Origin) -> Iterator[LintWarning]:
    """``http: []`` leaves no trace in a rule."""
    written: list[tuple[FieldPath, CiliumRule]] = [] if document.spec is UNSET else [(("spec",), document.spec)]
    written += [(("specs", index), one) for index, one in enumerate(document.specs or ())]
    for path, spec in written:
        lists: dict[str, Sequence[IngressRule | EgressRule]] = {
            "ingress": spec.ingress or (),
            "egress": spec.egress or (),
        }
        for at, rule in ((at, rule) for name in lists for at, rule in _enumerate((*path, name), lists[name])):
            for port_at, port in _enumerate((*at, "toPorts"), rule.to_ports or ()):
                if port.rules is not UNSET and not port.rules.http:
                    text = "no rules: the whole port is allowed, whatever is said over it"
                    remedy = "write http: [{}] for any HTTP request, or leave rules out"
                    yield LintWarning("no-http-rules", origin, (*port_at, "rules"), text, remedy)


def _enumerate(path: FieldPath, elements: Iterable[T]) -> Iterator[tuple[FieldPath, T]]:
    return (((*path, index), element) for index, element in enumerate(elements))
