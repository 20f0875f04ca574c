"""Every kind, listed and watched, against a real API server."""

from __future__ import annotations

import ipaddress

from tests.sources.kubernetes.conftest import NODE
from tests.sources.kubernetes.following import Following
from tests.sources.kubernetes.rest import Rest, pod_spec, pod_status
from weft.model.net import EndpointId
from weft.model.objects import LocalEndpoint, LocalPod, NamedPort, NamespacedName, ServicePort
from weft.model.policy import PolicyRef
from weft.model.route import RouteRef
from weft.sources.objects import Key
from weft.sources.world import Edit

ADDRESS = ipaddress.ip_address


def test_a_node(rest: Rest, following: Following) -> None:
    rest.create(
        "Node",
        "",
        "far",
        metadata={"labels": {"topology.kubernetes.io/zone": "north"}},
        spec={"podCIDR": "10.9.1.0/24", "podCIDRs": ["10.9.1.0/24", "fd09:0:0:1::/64"]},
        status={
            "addresses": [
                {"type": "Hostname", "address": "far"},
                {"type": "ExternalIP", "address": "203.0.113.9"},
                {"type": "InternalIP", "address": "192.0.2.9"},
                {"type": "InternalIP", "address": "2001:db8::9"},
            ]
        },
    )
    try:
        node = following.until(lambda world: world.nodes["far"] if world.nodes["far"].addresses else None, "the node")
        assert node.addresses == (ADDRESS("192.0.2.9"), ADDRESS("2001:db8::9"), ADDRESS("203.0.113.9"))
        assert [str(cidr) for cidr in node.pod_cidrs] == ["10.9.1.0/24", "fd09:0:0:1::/64"]
        assert node.zone == "north"
    finally:
        rest.delete("Node", "", "far")
    following.until(lambda world: "far" not in world.nodes, "the node is gone")


def test_a_namespace(rest: Rest, following: Following) -> None:
    name = rest.namespace()
    following.until(lambda world: world.namespaces[name], "the namespace")
    rest.patch("Namespace", "", name, metadata={"labels": {"team": "red"}})
    following.until(lambda world: world.namespaces[name].labels.get("team") == "red", "its new label")
    rest.delete("Namespace", "", name)
    following.until(lambda world: name not in world.namespaces, "it is gone")


def test_a_pod_elsewhere(rest: Rest, namespace: str, following: Following) -> None:
    key = NamespacedName(namespace, "web-0")
    rest.create(
        "Pod",
        namespace,
        "web-0",
        metadata={"labels": {"app": "web"}},
        spec=pod_spec(
            "node-2",
            container={"ports": [{"name": "http", "containerPort": 8080}, {"containerPort": 9}]},
            initContainers=[
                {"name": "once", "image": "weft.test/none:1", "ports": [{"name": "init", "containerPort": 1}]},
                {
                    "name": "side",
                    "image": "weft.test/none:1",
                    "restartPolicy": "Always",
                    "ports": [{"name": "side", "containerPort": 7, "protocol": "UDP"}],
                },
            ],
            hostname="web-0",
            subdomain="web",
        ),
    )
    before = following.until(lambda world: world.workloads[key], "the pod")
    assert (before.addresses, before.ready, before.node) == ((), False, "node-2")
    rest.patch("Pod", namespace, "web-0", "status", status=pod_status("10.9.2.7", "fd09::7"))
    pod = following.until(lambda world: world.workloads[key] if world.workloads[key].ready else None, "it is ready")
    assert pod.addresses == (ADDRESS("10.9.2.7"), ADDRESS("fd09::7"))
    assert pod.ports == (NamedPort("http", 8080, 6), NamedPort("side", 7, 17))
    assert (pod.labels, pod.service_account) == ({"app": "web"}, "default")
    assert (pod.hostname, pod.subdomain, pod.local) == ("web-0", "web", None)
    rest.patch("Pod", namespace, "web-0", metadata={"labels": {"app": "db"}})
    following.until(lambda world: world.workloads[key].labels == {"app": "db"}, "its new label")
    rest.patch("Pod", namespace, "web-0", "status", status=pod_status("10.9.2.7", "fd09::7", phase="Succeeded"))
    following.until(lambda world: not world.workloads[key].addresses, "a pod that has ended has no address")
    rest.delete("Pod", namespace, "web-0")
    following.until(lambda world: key not in world.workloads, "it is gone")


def test_a_pod_of_the_hosts_network_has_no_address(rest: Rest, namespace: str, following: Following) -> None:
    rest.create("Pod", namespace, "agent", spec=pod_spec("node-2", hostNetwork=True), status=pod_status("192.0.2.9"))
    key = NamespacedName(namespace, "agent")
    assert following.until(lambda world: world.workloads[key].ready and world.workloads[key], "it").addresses == ()


def test_a_pod_of_this_node_has_what_weft_connected(rest: Rest, namespace: str, following: Following) -> None:
    key, endpoint = NamespacedName(namespace, "here"), LocalEndpoint(EndpointId(7), 3, b"\2\0\0\0\0\7")
    source = following.source
    made = rest.create("Pod", namespace, "here", spec=pod_spec(NODE), status=pod_status("10.9.1.9"))
    uid = made["metadata"]["uid"]
    assert following.call(source.has_pod(key, uid, 30))
    assert not following.call(source.has_pod(key, "another uid", 0.01))
    seen = following.run(lambda: source.pod(key))
    assert seen and seen.uid == uid
    assert following.until(lambda world: world.workloads[key], "the pod").addresses == ()

    def connect(uid: str) -> list[Edit]:
        """What touch hands out before it returns."""
        following.local[key] = LocalPod(uid, (ADDRESS("10.9.1.5"),), endpoint)
        before = len(following.batches)
        source.touch(key)
        return [edit for batch in following.batches[before:] for edit in batch if edit.key == key]

    assert following.run(lambda: connect("of an earlier pod of the name")) == []
    (edit,) = following.run(lambda: connect(uid))
    assert (edit.value.addresses, edit.value.local) == ((ADDRESS("10.9.1.5"),), endpoint)
    assert following.world.workloads[key].local == endpoint
    rest.delete("Pod", namespace, "here")
    following.until(lambda world: key not in world.workloads, "it is gone")
    assert following.run(lambda: source.pod(key)) is None


def test_a_service(rest: Rest, namespace: str, following: Following) -> None:
    key = NamespacedName(namespace, "web")
    rest.create(
        "Service",
        namespace,
        "web",
        spec={
            "type": "NodePort",
            "selector": {"app": "web"},
            "ports": [
                {"name": "http", "port": 80, "targetPort": "http", "appProtocol": "kubernetes.io/h2c"},
                {"name": "dns", "port": 53, "protocol": "UDP"},
            ],
            "sessionAffinity": "ClientIP",
            "internalTrafficPolicy": "Local",
            "trafficDistribution": "PreferClose",
            "ipFamilyPolicy": "RequireDualStack",
        },
    )
    service = following.until(lambda world: world.services[key], "the service")
    assert service.type == "ClusterIP"
    assert sorted(address.version for address in service.cluster_ips) == [4, 6]
    assert service.ports == (
        ServicePort("http", 80, 6, "http", "kubernetes.io/h2c"),
        ServicePort("dns", 53, 17, 53),
    )
    assert (service.affinity_seconds, service.internal_local, service.by_slices) == (10800, True, True)
    assert service.traffic_distribution == "PreferSameZone"
    rest.delete("Service", namespace, "web")
    following.until(lambda world: key not in world.services, "it is gone")


def test_services_that_are_not_proxied(rest: Rest, namespace: str, following: Following) -> None:
    ports = [{"port": 80}]
    rest.create("Service", namespace, "headless", spec={"clusterIP": "None", "ports": ports})
    rest.create("Service", namespace, "outside", spec={"type": "ExternalName", "externalName": "example.org."})
    other = {"labels": {"service.kubernetes.io/service-proxy-name": "other"}}
    rest.create("Service", namespace, "others", metadata=other, spec={"ports": ports})

    def found(world):  # type: ignore[no-untyped-def]
        return [world.services[NamespacedName(namespace, name)] for name in ("headless", "outside", "others")]

    headless, outside, others = following.until(found, "the services")
    assert (headless.headless, headless.cluster_ips) == (True, ())
    assert (outside.type, outside.external_name, outside.by_slices) == ("ExternalName", "example.org", False)
    assert others.cluster_ips == ()


def test_an_endpoint_slice(rest: Rest, namespace: str, following: Following) -> None:
    rest.create(
        "EndpointSlice",
        namespace,
        "web-1",
        metadata={"labels": {"kubernetes.io/service-name": "web"}},
        addressType="IPv6",
        ports=[{"name": "http", "port": 8080}, {"name": "any"}],
        endpoints=[
            {"addresses": ["fd09::1"]},
            {
                "addresses": ["fd09::2"],
                "conditions": {"ready": False, "serving": True, "terminating": True},
                "nodeName": "node-2",
                "targetRef": {"kind": "Pod", "namespace": namespace, "name": "web-0"},
                "hints": {"forZones": [{"name": "north"}], "forNodes": [{"name": "node-2"}]},
            },
            {"addresses": ["fd09::3"], "conditions": {"ready": False}},
        ],
    )
    key = NamespacedName(namespace, "web-1")
    found = following.until(lambda world: world.slices[key], "the slice")
    assert (found.service, found.ports) == ("web", (NamedPort("http", 8080, 6),))
    plain, going, unready = found.endpoints
    assert plain.addresses == (ADDRESS("fd09::1"),)
    assert (plain.ready, plain.serving, plain.terminating) == (True, True, False)
    assert (going.ready, going.serving, going.terminating) == (False, True, True)
    assert (going.node, going.zones, going.nodes) == ("node-2", ("north",), ("node-2",))
    assert going.target == NamespacedName(namespace, "web-0")
    assert not found.other_proxy
    labels = {"kubernetes.io/service-name": "web", "service.kubernetes.io/headless": ""}
    rest.create("EndpointSlice", namespace, "web-2", metadata={"labels": labels}, addressType="IPv4", endpoints=[])
    assert following.until(lambda world: world.slices[NamespacedName(namespace, "web-2")], "the other").other_proxy
    assert (unready.ready, unready.serving) == (False, False)
    rest.patch("EndpointSlice", namespace, "web-1", endpoints=[])
    following.until(lambda world: world.slices[key].endpoints == (), "a slice without endpoints")


def test_policies(rest: Rest, namespace: str, following: Following) -> None:
    spec = {"endpointSelector": {"matchLabels": {"app": "web"}}, "ingress": [{"fromEndpoints": [{}]}]}
    rest.create("NetworkPolicy", namespace, "deny", spec={"podSelector": {}, "policyTypes": ["Ingress"]})
    rest.create("CiliumNetworkPolicy", namespace, "web", spec=spec)
    rest.create("CiliumClusterwideNetworkPolicy", "", namespace, spec=spec)
    refs = (
        PolicyRef("NetworkPolicy", namespace, "deny"),
        PolicyRef("CiliumNetworkPolicy", namespace, "web"),
        PolicyRef("CiliumClusterwideNetworkPolicy", "", namespace),
    )
    try:
        following.until(lambda world: all(world.policies[ref] for ref in refs), "the policies")
        (written,) = following.world.policies[refs[1]]
        rule = written.rules[0]
        assert rule.origin.at(rule.path) == f"CiliumNetworkPolicy {namespace}/web: spec.ingress[0]"
        stored = following.run(lambda: following.source.get(Key("CiliumNetworkPolicy", namespace, "web")))
        assert stored.resource.raw["spec"] == spec
        assert [one.key.name for one in following.source.objects("CiliumNetworkPolicy", namespace)] == ["web"]
    finally:
        rest.delete("CiliumClusterwideNetworkPolicy", "", namespace)
    rest.delete("Namespace", "", namespace)
    following.until(lambda world: not any(ref in world.policies for ref in refs), "they went with their namespace")


def test_routes_and_grants(rest: Rest, namespace: str, following: Following) -> None:
    spec = {
        "parentRefs": [{"group": "", "kind": "Service", "name": "web"}],
        "rules": [{"backendRefs": [{"name": "web", "port": 80}]}],
    }
    rest.create("HTTPRoute", namespace, "http", spec=spec)
    rest.create("GRPCRoute", namespace, "grpc", spec=spec)
    sources = [{"group": "gateway.networking.k8s.io", "kind": "HTTPRoute", "namespace": "default"}]
    rest.create("ReferenceGrant", namespace, "grant", spec={"from": sources, "to": [{"group": "", "kind": "Service"}]})
    http, grpc = RouteRef("HTTPRoute", namespace, "http"), RouteRef("GRPCRoute", namespace, "grpc")
    grant = NamespacedName(namespace, "grant")
    following.until(lambda world: world.routes[http] and world.routes[grpc] and world.grants[grant], "all of them")
    parent = following.world.routes[http].parents[0]
    assert parent.service == NamespacedName(namespace, "web")
    rest.delete("HTTPRoute", namespace, "http")
    following.until(lambda world: http not in world.routes, "the route is gone")


def test_what_comes_together_is_one_batch(rest: Rest, namespace: str, following: Following) -> None:
    for number in range(200):
        rest.create("Pod", namespace, f"p{number}", spec=pod_spec("node-2"))
    following.until(lambda world: sum(key.namespace == namespace for key in world.workloads) == 200, "200 pods")
    with Following(following._kubeconfig, NODE) as other:
        assert len(other.batches) == 1, "all that there is comes in one call"
        assert sum(key.namespace == namespace for key in other.world.workloads) == 200
