"""Whether a request passes a rule set: the reference model of layer 7. Envoy's configuration must agree with it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple, TypeVar

from weft.model.http import DOTS_WITH_PARAMETERS, HeaderMatch, HttpMatch
from weft.policy.httppath import Unacceptable, normalise
from weft.policy.regex import fits

Permission = TypeVar("Permission", bound=tuple[object, HttpMatch])
"""``HttpPermission``, or an element of ``Side.http``: whose second part is an HttpMatch."""


class Request(NamedTuple):
    method: str
    path: str
    """As the client sends it, query included."""
    host: str = ""
    """Host or :authority, with the port if the client writes one."""
    headers: Mapping[str, str] = {}
    """Names in lower case; several of one name joined by commas, as Envoy compares them."""


class Misfit(NamedTuple):
    """One thing that a match asks for and a request has not."""

    field: str
    """``method``, ``path``, ``host`` or ``header``."""
    expected: str
    actual: str
    header: int = -1
    """Position in ``HttpMatch.headers``."""


def judge(permissions: Iterable[Permission], request: Request) -> Permission | None:
    """The first that allows the request; None: Envoy answers 403, or 400 if the path is unacceptable.

    What is no HTTP to Envoy (over HTTP/1, an unknown method or a missing Host) is answered with 400 before any rule.
    """
    path = normalise(request.path)
    if isinstance(path, Unacceptable) or fits(DOTS_WITH_PARAMETERS, path):
        return None
    return next((one for one in permissions if not misfits(one[1], request._replace(path=path))), None)


def misfits(match: HttpMatch, request: Request) -> tuple[Misfit, ...]:
    """Everything that keeps the request from fitting. ``request.path`` is normalised already."""
    found = [
        Misfit(field, expression, value)
        for field, expression, value in (
            ("method", match.method, request.method),
            ("path", match.path, request.path),
            ("host", match.host, request.host),
        )
        if not fits(expression, value)
    ]
    for index, header in enumerate(match.headers):
        if header.mismatch is None and not has(request, header):
            actual = request.headers.get(header.name)
            said = f"no {header.name}" if actual is None else f"{header.name}: {actual}"
            found.append(Misfit("header", spell_header(header), said, index))
    return tuple(found)


def mismatches(match: HttpMatch, request: Request) -> tuple[HeaderMatch, ...]:
    """The headers that Envoy logs, adds, deletes or replaces when it lets the request pass by this match."""
    return tuple(one for one in match.headers if one.mismatch is not None and not has(request, one))


def has(request: Request, header: HeaderMatch) -> bool:
    """Whether the request has the header, with that value if one is asked for. Values are compared exactly."""
    value = request.headers.get(header.name)
    return value is not None and header.value in (None, value)


def spell_header(header: HeaderMatch) -> str:
    return header.name if header.value is None else f"{header.name}: {header.value}"


def spell_match(match: HttpMatch) -> str:
    """``GET /public/.* with x-team: a``, ``any HTTP request``."""
    words = [match.method, match.path, f"host {match.host}" if match.host else ""]
    wanted = [one for one in match.headers if one.mismatch is None]
    words.append(f"with {', '.join(map(spell_header, wanted))}" if wanted else "")
    return " ".join(filter(None, words)) or "any HTTP request"
