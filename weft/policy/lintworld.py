"""Warnings that need to know who is there: selectors that nobody matches, DNS cut off, ports nobody listens on."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from weft.model.labels import LabelSet
from weft.model.net import TCP, UDP, to_wide
from weft.model.objects import NamedPort, NamespacedName, Service, Workload
from weft.model.origin import FieldPath, Origin
from weft.model.policy import (
    CidrSelector,
    Direction,
    LabelSelector,
    Operator,
    PolicySpec,
    PortMatch,
    Requirement,
    Rule,
    ServiceSelector,
)
from weft.model.world import World
from weft.policy.decide import decide_side
from weft.policy.lintwarning import LintWarning
from weft.policy.parties import Party, Place, pod_labels
from weft.policy.select import holds, selects, values_of
from weft.policy.services import means, resolve
from weft.policy.spelling import spell_key, spell_requirement, spell_selector
from weft.policy.spot import nearest

DNS_NAMESPACE, DNS_LABELS = "kube-system", {"k8s-app": "kube-dns"}
DNS_PORT = 53


@dataclass(frozen=True, slots=True)
class _Scene:
    """The world, prepared once."""

    pods: tuple[Party, ...]
    services: Mapping[NamespacedName, Service]
    world: World
    in_force: tuple[PolicySpec, ...]
    dns: Party


def lint_world(specs: Iterable[PolicySpec], world: World) -> list[LintWarning]:
    """Without any pod nothing is said of selectors that match nobody: manifests are often linted on their own."""
    scene = _scene(world)
    return [warning for spec in specs for warning in _lint_spec(spec, scene)]


def _scene(world: World) -> _Scene:
    pods = tuple(
        Party(Place.POD, pod_labels(world, workload), _address(workload), workload.ports, workload.key)
        for workload in world.workloads.values()
    )
    in_force = tuple(
        resolve(spec, world.services, world.slices) for policy in world.policies.values() for spec in policy
    )
    dns = next((pod for pod in pods if _is_dns(pod)), None) or _future_dns(world)
    return _Scene(pods, world.services, world, in_force, dns)


def _address(workload: Workload) -> bytes:
    return to_wide(workload.addresses[0]) if workload.addresses else bytes(16)


def _is_dns(pod: Party) -> bool:
    return (
        pod.key is not None and pod.key.namespace == DNS_NAMESPACE and DNS_LABELS.items() <= _bare(pod.labels).items()
    )


def _future_dns(world: World) -> Party:
    """The pod that will answer for kube-dns, somewhere in the pod range."""
    workload = Workload(
        NamespacedName(DNS_NAMESPACE, "dns"),
        DNS_LABELS,
        "coredns",
        world.node.name,
        world.node.router_addresses[:1],
        (NamedPort("dns", DNS_PORT, UDP), NamedPort("dns-tcp", DNS_PORT, TCP)),
    )
    return Party(Place.POD, pod_labels(world, workload), _address(workload), workload.ports, workload.key)


def _lint_spec(spec: PolicySpec, scene: _Scene) -> Iterator[LintWarning]:
    subjects = [pod for pod in scene.pods if selects(spec.subject, pod.labels)]
    if scene.pods and not subjects:
        path = (*spec.path, "podSelector" if spec.policy.kind == "NetworkPolicy" else "endpointSelector")
        yield _matches_nobody(spec.subject, "the policy selects no pod", scene, spec.origin, path)
    yield from _without_dns(spec, subjects, scene)
    for rule in spec.rules:
        yield from _lint_rule(rule, subjects, scene)


def _lint_rule(rule: Rule, subjects: list[Party], scene: _Scene) -> Iterator[LintWarning]:
    for peer, path in zip(rule.peers or (), rule.peer_paths, strict=False):
        match peer:
            case LabelSelector() if scene.pods and _about_pods(peer):
                if not any(selects(peer, pod.labels) for pod in scene.pods):
                    yield _matches_nobody(peer, "this peer is no pod that exists", scene, rule.origin, path)
            case ServiceSelector() if not any(means(peer, service) for service in scene.services.values()):
                text = f"no {spell_selector(peer)}: the rule allows nothing there"
                yield LintWarning("no-such-service", rule.origin, path, text, _near_service(peer, scene))
            case CidrSelector() if not peer.covers_pods:
                yield from _inside_cluster(peer, scene, rule.origin, path)
    yield from _named_ports(rule, subjects, scene)
    yield from _service_ports(rule, scene)


def _about_pods(selector: LabelSelector) -> bool:
    return not any(one.key.startswith("reserved:") for one in selector.requirements)


def _matches_nobody(selector: LabelSelector, what: str, scene: _Scene, origin: Origin, path: FieldPath) -> LintWarning:
    """Points at the requirement that no pod fulfils, if there is one, and at the label that was probably meant."""
    for one in selector.requirements:
        if not any(holds(one, pod.labels) for pod in scene.pods):
            meant = _meant(one, [pod.labels for pod in scene.pods])
            remedy = f"did you mean {meant}?" if meant else "check the spelling, or start such a pod"
            text = f"{what}: none has {spell_requirement(one)}"
            return LintWarning("matches-nothing", origin, one.field_path or path, text, remedy)
    text = f"{what}: none has all of {spell_selector(selector)}"
    return LintWarning("matches-nothing", origin, path, text, "check that the labels belong together")


def _meant(requirement: Requirement, known: list[LabelSet]) -> str:
    """A label that somebody has and that looks like the one asked for."""
    key = spell_key(requirement.key)
    values = {value for labels in known for value in values_of(requirement.key, labels)}
    if values and requirement.operator is Operator.IN:
        near = next((found for value in requirement.values if (found := nearest(value, sorted(values)))), "")
        return f"{key}={near}" if near else ""
    keys = {spell_key(one) for labels in known for one in labels}
    return nearest(key, sorted(keys - {key}))


def _near_service(selector: ServiceSelector, scene: _Scene) -> str:
    names = {key.name: str(key) for key in scene.services}
    near = nearest(selector.name, names) if selector.name else ""
    return f"did you mean {names[near]}?" if near else "create the Service, or check name, labels and namespace"


def _without_dns(spec: PolicySpec, subjects: list[Party], scene: _Scene) -> Iterator[LintWarning]:
    """Asked of the pods that the policy selects, under all policies; of a pod that might be if there is none yet."""
    if Direction.EGRESS not in spec.default_deny:
        return
    imagined = Party(Place.POD, _labels_for(spec.subject), bytes(16), (), NamespacedName("", "any"))
    for subject in subjects or [imagined]:
        if _is_dns(subject):
            continue
        side = decide_side(scene.in_force, Direction.EGRESS, subject, scene.dns, protocol=UDP, port=DNS_PORT)
        if not side.allowed and side.rule is None:
            text = "egress is isolated and no rule allows DNS, so the selected pods can resolve no name"
            remedy = (
                f"allow UDP and TCP port 53 to pods with k8s-app=kube-dns in namespace {DNS_NAMESPACE} (toEndpoints"
                " with k8s:io.kubernetes.pod.namespace, or to with namespaceSelector and podSelector)"
            )
            yield LintWarning("egress-without-dns", spec.origin, _egress_path(spec), text, remedy)
            return


def _egress_path(spec: PolicySpec) -> FieldPath:
    path = (*spec.path, "egress")
    return path if path in spec.origin.lines else spec.path


def _labels_for(selector: LabelSelector) -> LabelSet:
    """Some labels that the selector selects, as far as it asks for any."""
    return LabelSet(
        (one.key.replace("any:", "k8s:", 1), one.values[0] if one.values else "")
        for one in selector.requirements
        if one.operator in (Operator.IN, Operator.EXISTS)
    )


def _bare(labels: LabelSet) -> dict[str, str]:
    return {key.partition(":")[2]: value for key, value in labels.items()}


def _inside_cluster(selector: CidrSelector, scene: _Scene, origin: Origin, path: FieldPath) -> Iterator[LintWarning]:
    network = selector.prefix.network()
    ranges = (
        (scene.world.node.pod_cidrs, "pods", "select them with toEndpoints or fromEndpoints"),
        (
            scene.world.node.service_cidrs,
            "services",
            "policy sees the pods behind a service: select those, or use toServices",
        ),
    )
    for cidrs, what, remedy in ranges:
        for cidr in cidrs:
            if network.version == cidr.version and network.subnet_of(cidr):  # type: ignore[arg-type]
                text = f"{network} is the range of {what}, and a CIDR of a CiliumNetworkPolicy never means those"
                yield LintWarning("cidr-inside-cluster", origin, path, text, remedy)


def _named_ports(rule: Rule, subjects: list[Party], scene: _Scene) -> Iterator[LintWarning]:
    """The destination's ports: the subject's own on ingress, those of any pod on egress."""
    destinations = subjects if rule.direction is Direction.INGRESS else list(scene.pods)
    known = {port.name for pod in destinations for port in pod.ports}
    for match, path in zip(rule.ports or (), rule.port_paths, strict=False):
        if match.name and destinations and match.name not in known:
            near = nearest(match.name, sorted(known))
            remedy = f"did you mean {near}?" if near else "name the port in the pod's containers, or write its number"
            text = f"no pod that this can be about has a port named {match.name}"
            yield LintWarning("no-such-port", rule.origin, (*path, "port"), text, remedy)


def _service_ports(rule: Rule, scene: _Scene) -> Iterator[LintWarning]:
    """Policy sees the pod's port, never the service's: the most common mistake of an egress rule."""
    if rule.direction is not Direction.EGRESS:
        return
    peers = [peer for peer in rule.peers or () if isinstance(peer, LabelSelector) and _about_pods(peer)]
    for match, path in zip(rule.ports or (), rule.port_paths, strict=False):
        for service, target in _behind_other_ports(match, scene):
            backends = [pod for pod in scene.pods if _is_backend(pod, service)]
            meant = [pod for pod in backends if any(selects(peer, pod.labels) for peer in peers)]
            if not meant or any(_listens(pod, match) for pod in meant):
                continue
            text = f"{match.first} is the port of service {service.key}; its pods listen on {target}"
            remedy = f"write {target}: policy applies to the pod's port, after the service's translation"
            yield LintWarning("service-port", rule.origin, (*path, "port"), text, remedy)


def _behind_other_ports(match: PortMatch, scene: _Scene) -> Iterator[tuple[Service, int | str]]:
    """Services that offer this very port and send it on to another one."""
    if match.name or match.first != match.last:
        return
    for service in scene.services.values():
        for port in service.ports:
            if (port.port, port.protocol) == (match.first, match.protocol) and port.target != port.port:
                yield service, port.target


def _is_backend(pod: Party, service: Service) -> bool:
    same_namespace = pod.key is not None and pod.key.namespace == service.key.namespace
    return same_namespace and bool(service.selector) and service.selector.items() <= _bare(pod.labels).items()


def _listens(pod: Party, match: PortMatch) -> bool:
    return any((port.port, port.protocol) == (match.first, match.protocol) for port in pod.ports)
