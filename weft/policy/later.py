"""Features of Cilium's API that this version does not enforce: refused wherever they are written, never ignored."""

from __future__ import annotations

from msgspec import UNSET, Struct

from weft.policy.spot import Spot

_WHOLE_PORT = "leave rules out to allow the whole port"
LATER = {
    **{name: (f"layer-7 rules ({name})", _WHOLE_PORT) for name in ("kafka", "dns", "l7proto", "l7")},
    "secret": ("header values from Secrets", "write the value"),
    "terminatingTLS": ("TLS termination", "leave it out"),
    "originatingTLS": ("TLS origination", "leave it out"),
    "serverNames": ("TLS server names", "leave serverNames out to allow the whole port"),
    "listener": ("a custom Envoy listener", "leave it out"),
    "authentication": ("mutual authentication", "leave it out to allow without authentication"),
    "toFQDNs": ("DNS names as peers", "use toCIDR or toEntities: [world]"),
    "fromNodes": ("peers by node labels", "use fromEntities: [host, remote-node]"),
    "toNodes": ("peers by node labels", "use toEntities: [host, remote-node]"),
    "fromGroups": ("groups of a cloud provider", "use fromCIDR"),
    "toGroups": ("groups of a cloud provider", "use toCIDR"),
    "fromRequires": ("fromRequires (deprecated by Cilium)", "use ingressDeny"),
    "toRequires": ("toRequires (deprecated by Cilium)", "use egressDeny"),
    "cidrGroupRef": ("CiliumCIDRGroup", "write the blocks as cidr"),
    "cidrGroupSelector": ("CiliumCIDRGroup", "write the blocks as cidr"),
    "nodeSelector": ("policy for nodes (the host firewall)", "select pods with endpointSelector"),
    "log": ("a policy's own log text", "leave it out; flows name the policy that decided"),
}


def refuse_later(written: Struct, spot: Spot) -> None:
    """Raises ManifestError for the first field of ``written`` that a later version will bring."""
    names = zip(written.__struct_fields__, written.__struct_encode_fields__, strict=True)
    for attribute, name in names:
        value = getattr(written, attribute)
        if name not in LATER or value is UNSET:
            continue
        feature, remedy = LATER[name]
        raise spot.at(name).error(f"this version of weft does not enforce {feature} yet", remedy)
