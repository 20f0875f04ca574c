"""``gateway.networking.k8s.io`` manifests: HTTPRoute, GRPCRoute and ReferenceGrant, every field of Gateway API 1.4.

Names, defaults and bounds are those of the experimental channel's CRDs; what their CEL rules ask is in
``weft.sources.rules.gateway``. ``null`` means absent.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from msgspec import Meta, field

from weft.model.kinds.core import Port
from weft.model.kinds.marks import ignored
from weft.model.kinds.meta import ObjectMeta, Strict

GROUP = "gateway.networking.k8s.io"

Name = Annotated[str, Meta(min_length=1, max_length=253)]
HeaderName = Annotated[str, Meta(min_length=1, max_length=256)]
HeaderValue = Annotated[str, Meta(min_length=1, max_length=4096)]
MatchType = Literal["Exact", "RegularExpression"]
Method = Literal["GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH"]
AnyMethod = Literal["GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH", "*"]
Duration = str
"""GEP-2257: ``1h30m``, ``500ms``; at most four parts of at most five digits (checked)."""

_NO_GATEWAYS = "weft serves Services as parents, not Gateways"


class ParentReference(Strict, frozen=True):
    """A Service is ``{group: "", kind: Service}``; the defaults name a Gateway."""

    name: Name
    group: str = GROUP
    kind: str = "Gateway"
    namespace: str = ""
    """Empty = the route's own."""
    section_name: str = ""
    """Of a Service: the port's name."""
    port: Port | None = None


class BackendObjectReference(Strict, frozen=True):
    name: Name
    group: str = ""
    kind: str = "Service"
    namespace: str = ""
    port: Port | None = None
    """A Service's must be given (checked)."""


class LocalObjectReference(Strict, frozen=True):
    group: str
    kind: str
    name: Name


class HTTPPathMatch(Strict, frozen=True):
    type: Literal["Exact", "PathPrefix", "RegularExpression"] = "PathPrefix"
    value: Annotated[str, Meta(max_length=1024)] = "/"


class HeaderMatch(Strict, frozen=True):
    """HTTPHeaderMatch and GRPCHeaderMatch."""

    name: HeaderName
    value: HeaderValue
    type: MatchType = "Exact"


class QueryParamMatch(Strict, frozen=True):
    name: HeaderName
    value: Annotated[str, Meta(min_length=1, max_length=1024)]
    type: MatchType = "Exact"


class HTTPRouteMatch(Strict, frozen=True):
    """All that is given must hold."""

    path: HTTPPathMatch = HTTPPathMatch()
    headers: Annotated[tuple[HeaderMatch, ...], Meta(max_length=16)] = ()
    query_params: Annotated[tuple[QueryParamMatch, ...], Meta(max_length=16)] = ()
    method: Method | None = None


class HTTPHeader(Strict, frozen=True):
    name: HeaderName
    value: HeaderValue


class HeaderModifier(Strict, frozen=True):
    """HTTPHeaderFilter. One header has one action at most (checked)."""

    set: Annotated[tuple[HTTPHeader, ...], Meta(max_length=16)] = ()
    add: Annotated[tuple[HTTPHeader, ...], Meta(max_length=16)] = ()
    remove: Annotated[tuple[str, ...], Meta(max_length=16)] = ()


class Fraction(Strict, frozen=True):
    numerator: Annotated[int, Meta(ge=0)]
    denominator: Annotated[int, Meta(ge=1)] = 100


class RequestMirror(Strict, frozen=True):
    backend_ref: BackendObjectReference
    percent: Annotated[int, Meta(ge=0, le=100)] | None = None
    fraction: Fraction | None = None


class PathModifier(Strict, frozen=True):
    """The field that ``type`` names is there, the other is not (checked)."""

    type: Literal["ReplaceFullPath", "ReplacePrefixMatch"]
    replace_full_path: Annotated[str, Meta(max_length=1024)] | None = None
    replace_prefix_match: Annotated[str, Meta(max_length=1024)] | None = None


class RequestRedirect(Strict, frozen=True):
    scheme: Literal["http", "https"] | None = None
    hostname: Name | None = None
    path: PathModifier | None = None
    port: Port | None = None
    status_code: int = 302
    """301, 302, 303, 307 or 308 (checked)."""


class URLRewrite(Strict, frozen=True):
    hostname: Name | None = None
    path: PathModifier | None = None


class CORS(Strict, frozen=True):
    allow_origins: Annotated[tuple[str, ...], Meta(max_length=64)] = ()
    allow_credentials: bool = False
    allow_methods: Annotated[tuple[AnyMethod, ...], Meta(max_length=9)] = ()
    allow_headers: Annotated[tuple[HeaderName, ...], Meta(max_length=64)] = ()
    expose_headers: Annotated[tuple[HeaderName, ...], Meta(max_length=64)] = ()
    max_age: Annotated[int, Meta(ge=1, le=2**31 - 1)] = 5


class GRPCAuthConfig(Strict, frozen=True):
    allowed_headers: Annotated[tuple[str, ...], Meta(max_length=64)] = ()


class HTTPAuthConfig(Strict, frozen=True):
    path: Annotated[str, Meta(max_length=1024)] = ""
    allowed_headers: Annotated[tuple[str, ...], Meta(max_length=64)] = ()
    allowed_response_headers: Annotated[tuple[str, ...], Meta(max_length=64)] = ()


class ForwardBody(Strict, frozen=True):
    max_size: Annotated[int, Meta(ge=0)] = 0


class ExternalAuth(Strict, frozen=True):
    """Valid, and not served: a rule that asks for it answers 500 (``weft.routes``)."""

    protocol: Literal["HTTP", "GRPC"]
    backend_ref: BackendObjectReference
    grpc: GRPCAuthConfig | None = None
    http: HTTPAuthConfig | None = None
    forward_body: ForwardBody | None = None


class HTTPRouteFilter(Strict, frozen=True):
    """The field that belongs to ``type`` is there, no other is (checked)."""

    type: Literal[
        "RequestHeaderModifier",
        "ResponseHeaderModifier",
        "RequestMirror",
        "RequestRedirect",
        "URLRewrite",
        "CORS",
        "ExternalAuth",
        "ExtensionRef",
    ]
    request_header_modifier: HeaderModifier | None = None
    response_header_modifier: HeaderModifier | None = None
    request_mirror: RequestMirror | None = None
    request_redirect: RequestRedirect | None = None
    url_rewrite: URLRewrite | None = None
    cors: CORS | None = None
    external_auth: ExternalAuth | None = None
    extension_ref: LocalObjectReference | None = None


class GRPCRouteFilter(Strict, frozen=True):
    """The same, with fewer types."""

    type: Literal["RequestHeaderModifier", "ResponseHeaderModifier", "RequestMirror", "ExtensionRef"]
    request_header_modifier: HeaderModifier | None = None
    response_header_modifier: HeaderModifier | None = None
    request_mirror: RequestMirror | None = None
    extension_ref: LocalObjectReference | None = None


Weight = Annotated[int, Meta(ge=0, le=1_000_000)]


class HTTPBackendRef(BackendObjectReference, frozen=True):
    weight: Weight = 1
    filters: Annotated[tuple[HTTPRouteFilter, ...], Meta(max_length=16)] = ()


class GRPCBackendRef(BackendObjectReference, frozen=True):
    weight: Weight = 1
    filters: Annotated[tuple[GRPCRouteFilter, ...], Meta(max_length=16)] = ()


class Timeouts(Strict, frozen=True):
    request: Duration | None = None
    backend_request: Duration | None = None


class Retry(Strict, frozen=True):
    codes: tuple[Annotated[int, Meta(ge=400, le=599)], ...] = ()
    attempts: int | None = None
    backoff: Duration | None = None


class CookieConfig(Strict, frozen=True):
    lifetime_type: Literal["Session", "Permanent"] = "Session"


class Cookie(CookieConfig, frozen=True):
    name: str = ""
    path: Annotated[str, Meta(max_length=1024)] = "/"


class HeaderConfig(Strict, frozen=True):
    name: str = ""


class SessionPersistence(Strict, frozen=True):
    """Gateway API 1.7 says ``cookie`` and ``header`` where 1.6 said ``sessionName`` and ``cookieConfig``."""

    session_name: Annotated[str, Meta(max_length=128)] = ""
    absolute_timeout: Duration | None = None
    idle_timeout: Annotated[Duration | None, ignored("a session lasts as long as its cookie or header")] = None
    type: Literal["Cookie", "Header"] = "Cookie"
    cookie_config: CookieConfig | None = None
    cookie: Cookie | None = None
    header: HeaderConfig | None = None

    @property
    def any_cookie(self) -> Cookie:
        return self.cookie or Cookie(lifetime_type=(self.cookie_config or CookieConfig()).lifetime_type)

    @property
    def name(self) -> str:
        """Empty: not given."""
        own = (self.header or HeaderConfig()) if self.type == "Header" else self.any_cookie
        return own.name or self.session_name


class HTTPRouteRule(Strict, frozen=True):
    """``matches`` empty: every request. ``backendRefs`` empty without a redirect: 500."""

    name: str = ""
    matches: Annotated[tuple[HTTPRouteMatch, ...], Meta(max_length=64)] = ()
    filters: Annotated[tuple[HTTPRouteFilter, ...], Meta(max_length=16)] = ()
    backend_refs: Annotated[tuple[HTTPBackendRef, ...], Meta(max_length=16)] = ()
    timeouts: Timeouts | None = None
    retry: Retry | None = None
    session_persistence: SessionPersistence | None = None


class HTTPRouteSpec(Strict, frozen=True):
    parent_refs: Annotated[tuple[ParentReference, ...], Meta(max_length=32)] = ()
    hostnames: Annotated[tuple[str, ...], Meta(max_length=16)] = ()
    """Play no part for a Service as the parent (GEP-1294)."""
    rules: Annotated[tuple[HTTPRouteRule, ...], Meta(max_length=16)] = (HTTPRouteRule(),)
    use_default_gateways: Annotated[Any, ignored(_NO_GATEWAYS)] = None


class HTTPRoute(Strict, frozen=True):
    api_version: str
    kind: str
    metadata: ObjectMeta
    spec: HTTPRouteSpec
    status: Any = None


class GRPCMethodMatch(Strict, frozen=True):
    type: MatchType = "Exact"
    service: Annotated[str, Meta(max_length=1024)] = ""
    method: Annotated[str, Meta(max_length=1024)] = ""


class GRPCRouteMatch(Strict, frozen=True):
    method: GRPCMethodMatch | None = None
    headers: Annotated[tuple[HeaderMatch, ...], Meta(max_length=16)] = ()


class GRPCRouteRule(Strict, frozen=True):
    name: str = ""
    matches: Annotated[tuple[GRPCRouteMatch, ...], Meta(max_length=64)] = ()
    filters: Annotated[tuple[GRPCRouteFilter, ...], Meta(max_length=16)] = ()
    backend_refs: Annotated[tuple[GRPCBackendRef, ...], Meta(max_length=16)] = ()
    session_persistence: SessionPersistence | None = None


class GRPCRouteSpec(Strict, frozen=True):
    parent_refs: Annotated[tuple[ParentReference, ...], Meta(max_length=32)] = ()
    hostnames: Annotated[tuple[str, ...], Meta(max_length=16)] = ()
    rules: Annotated[tuple[GRPCRouteRule, ...], Meta(max_length=16)] = (GRPCRouteRule(),)
    use_default_gateways: Annotated[Any, ignored(_NO_GATEWAYS)] = None


class GRPCRoute(Strict, frozen=True):
    api_version: str
    kind: str
    metadata: ObjectMeta
    spec: GRPCRouteSpec = GRPCRouteSpec()
    status: Any = None


class ReferenceGrantFrom(Strict, frozen=True):
    group: str
    kind: str
    namespace: str


class ReferenceGrantTo(Strict, frozen=True):
    group: str
    kind: str
    name: str = ""
    """Empty = all of the kind in the grant's namespace."""


class ReferenceGrantSpec(Strict, frozen=True):
    from_: Annotated[tuple[ReferenceGrantFrom, ...], Meta(min_length=1, max_length=16)] = field(name="from")
    to: Annotated[tuple[ReferenceGrantTo, ...], Meta(min_length=1, max_length=16)]


class ReferenceGrant(Strict, frozen=True):
    """Lives in the namespace of what may be referred to."""

    api_version: str
    kind: str
    metadata: ObjectMeta
    spec: ReferenceGrantSpec
