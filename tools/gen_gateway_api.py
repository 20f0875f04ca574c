"""docs/GATEWAY-API.md: which of the Gateway API's mesh features weft has, by upstream's names, each with its test.

The features are those of sigs.k8s.io/gateway-api pkg/features, the conformance tests those of conformance/tests/mesh.
Tests say by ``@shows(...)`` (tests/gateway/features.py) what they show. The part above MARK is written by hand.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parent.parent
OUTPUT = ROOT / "docs/GATEWAY-API.md"
TESTS = ROOT / "tests/gateway"

FEATURES = {
    "Mesh": "Mesh MeshClusterIPMatching MeshConsumerRoute MeshHTTPRouteRewritePath MeshHTTPRouteSchemeRedirect "
    "MeshHTTPRouteRedirectPort MeshHTTPRouteRedirectPath MeshHTTPRouteBackendRequestHeaderModification "
    "MeshHTTPRouteQueryParamMatching MeshHTTPRouteNamedRouteRule",
    "HTTPRoute": "HTTPRoute HTTPRouteBackendRequestHeaderModification HTTPRouteQueryParamMatching "
    "HTTPRouteMethodMatching HTTPRouteResponseHeaderModification HTTPRoutePortRedirect HTTPRouteSchemeRedirect "
    "HTTPRoutePathRedirect HTTPRouteHostRewrite HTTPRoutePathRewrite HTTPRouteRequestMirror "
    "HTTPRouteRequestMultipleMirrors HTTPRouteRequestPercentageMirror HTTPRouteRequestTimeout HTTPRouteBackendTimeout "
    "HTTPRouteRetry HTTPRouteRetryBackendTimeout HTTPRouteRetryConnectionError "
    "HTTPRouteParentRefPort HTTPRouteNamedRouteRule HTTPRouteCORS HTTPRoute303RedirectStatusCode "
    "HTTPRoute307RedirectStatusCode HTTPRoute308RedirectStatusCode HTTPRouteBackendProtocolH2C "
    "HTTPRouteBackendProtocolWebSocket HTTPRouteDestinationPortMatching",
    "GRPCRoute": "GRPCRoute GRPCRouteNamedRouteRule",
    "ReferenceGrant": "ReferenceGrant",
}
CONFORMANCE = (
    "MeshBasic MeshConsumerRoute MeshFrontend MeshFrontendHostname MeshGRPCRouteRequestHeaderModifier "
    "MeshGRPCRouteRequestMirror MeshGRPCRouteWeight MeshHTTPRoute303Redirect MeshHTTPRoute307Redirect "
    "MeshHTTPRoute308Redirect MeshHTTPRouteBackendRequestHeaderModifier MeshHTTPRouteMatching MeshHTTPRouteNamedRule "
    "MeshHTTPRouteQueryParamMatching MeshHTTPRouteRedirectHostAndStatus MeshHTTPRouteRedirectPath "
    "MeshHTTPRouteRedirectPort MeshHTTPRouteRequestHeaderModifier MeshHTTPRouteRewritePath "
    "MeshHTTPRouteSchemeRedirect MeshHTTPRouteSimpleSameNamespace MeshHTTPRouteWeight MeshPorts MeshTrafficSplit"
)
WITHOUT = {
    "HTTPRouteBackendProtocolWebSocket": "upgrades pass whatever appProtocol says (tests/proxy/test_protocols.py)",
    "HTTPRouteDestinationPortMatching": "no: the API has no field for it",
}
MARK = "<!-- From here on written by tools/gen_gateway_api.py. -->"


def shown() -> dict[str, list[str]]:
    """Name → the tests that show it, ``tests/gateway/test_mesh.py::test_ports``."""
    found: dict[str, list[str]] = {}
    for file in sorted(TESTS.glob("test_*.py")):
        for node in ast.parse(file.read_text()).body:
            if isinstance(node, ast.FunctionDef):
                for name in _names(node):
                    found.setdefault(name, []).append(f"{file.relative_to(ROOT)}::{node.name}")
    return found


def _names(test: ast.FunctionDef) -> Iterator[str]:
    for decorator in test.decorator_list:
        if isinstance(decorator, ast.Call) and isinstance(decorator.func, ast.Name) and decorator.func.id == "shows":
            yield from (str(word.value) for word in decorator.args if isinstance(word, ast.Constant))


def text() -> str:
    tests = shown()
    known = {name for names in FEATURES.values() for name in names.split()} | set(CONFORMANCE.split())
    if unknown := sorted(tests.keys() - known):
        raise SystemExit(f"tests show what is no name of upstream's: {', '.join(unknown)}")
    kept = OUTPUT.read_text().partition(MARK)[0].rstrip()
    lines = [kept, "", MARK, "", "## Features", "| feature | shown by |", "|---|---|"]
    lines += [_row(name, tests) for names in FEATURES.values() for name in names.split()]
    lines += ["", "## Upstream's mesh conformance tests, and the test here that asks the same"]
    lines += ["| test | here |", "|---|---|"]
    lines += [_row(name, tests) for name in CONFORMANCE.split()]
    return "\n".join(lines) + "\n"


def _row(name: str, tests: dict[str, list[str]]) -> str:
    where = ", ".join(f"`{test}`" for test in tests.get(name, ()))
    return f"| {name} | {where or WITHOUT.get(name, 'no test yet')} |"


def main() -> None:
    if "--check" in sys.argv[1:]:
        if text() != OUTPUT.read_text():
            raise SystemExit(f"{OUTPUT} is out of date: run python tools/gen_gateway_api.py")
    else:
        OUTPUT.write_text(text())


if __name__ == "__main__":
    main()
