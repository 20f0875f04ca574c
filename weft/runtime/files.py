"""What a pod reads of itself: resolv.conf, hosts, host name. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from weft.model.kinds.core import PodSpec
from weft.model.net import IPAddress
from weft.model.objects import NamespacedName


@dataclass(frozen=True, slots=True)
class DnsSettings:
    """``servers``: the cluster IPs of kube-system/kube-dns, for dnsPolicy ClusterFirst; none: the node's own are used.
    ``node``: the node's resolv.conf, whole."""

    servers: tuple[IPAddress, ...] = ()
    domain: str = "cluster.local"
    node: str = ""


def hostname(name: str, spec: PodSpec) -> str:
    """spec.hostname, else the pod's name cut to what a host name may have (kubelet, truncatePodHostnameIfNeeded)."""
    return spec.hostname or name[:63].rstrip("-.")


def hosts(key: NamespacedName, spec: PodSpec, addresses: Sequence[IPAddress], domain: str) -> str:
    """The pod's own name, and with a subdomain its whole one (kubelet, managedHostsFileContent)."""
    name = hostname(key.name, spec)
    names = f"{name}.{spec.subdomain}.{key.namespace}.svc.{domain}\t{name}" if spec.subdomain else name
    lines = ["127.0.0.1\tlocalhost", "::1\tlocalhost ip6-localhost ip6-loopback"]
    return "\n".join([*lines, *(f"{address}\t{names}" for address in addresses)]) + "\n"


def resolv_conf(namespace: str, spec: PodSpec, dns: DnsSettings) -> str:
    """resolv.conf(5) by dnsPolicy, with dnsConfig appended (Kubernetes, "DNS for Services and Pods")."""
    servers, searches, options = _base(namespace, spec.dns_policy, dns)
    extra = spec.dns_config
    options |= {option.name: option.value for option in extra.options}
    lines = [f"nameserver {server}" for server in dict.fromkeys([*servers, *extra.nameservers])]
    if names := list(dict.fromkeys([*searches, *extra.searches])):
        lines.append("search " + " ".join(names))
    if options:
        spelled = (name if value is None else f"{name}:{value}" for name, value in options.items())
        lines.append("options " + " ".join(spelled))
    return "\n".join(lines) + "\n"


def _base(namespace: str, policy: str, dns: DnsSettings) -> tuple[list[str], list[str], dict[str, str | None]]:
    if policy == "None":
        return [], [], {}
    servers, searches, options = _parse(dns.node)
    if policy == "Default" or not dns.servers:
        return servers, searches, options
    cluster = [f"{namespace}.svc.{dns.domain}", f"svc.{dns.domain}", dns.domain]
    return [str(server) for server in dns.servers], cluster + searches, {"ndots": "5"}


def _parse(text: str) -> tuple[list[str], list[str], dict[str, str | None]]:
    servers: list[str] = []
    searches: list[str] = []
    options: dict[str, str | None] = {}
    for line in text.splitlines():
        word, _, rest = line.strip().partition(" ")
        if word == "nameserver":
            servers.append(rest.strip())
        elif word == "search":
            searches = [name for name in rest.split() if name != "."]
        elif word == "options":
            for option in rest.split():
                name, colon, value = option.partition(":")
                options[name] = value if colon else None
    return servers, searches, options
