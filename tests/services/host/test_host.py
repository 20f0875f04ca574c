"""Programs of the node itself reach services: those below the cgroup that ``weft agent --cgroup-root`` names."""

from __future__ import annotations

from tests.lab import Lab, Pod
from tests.lab.inside import python
from tests.lab.traces import mount_points
from tests.lab.waiting import until
from tests.services.host.conftest import host_lab, program
from tests.services.manifests import ASK, WEB, apply, cluster_ips, endpoint_slice, service
from tests.services.test_backends import answering
from tests.services.test_calls import ASKS, DIALS


def test_every_kind_of_call(lab: Lab, host: Pod) -> None:
    """TCP and UDP, connected and not, both families and IPv4 over IPv6 sockets; what is read is what was dialled."""
    lab.serve("server", "tcp:8080", "udp:8080", labels={"app": "server"})
    apply(lab, service("web"))
    v4, v6 = cluster_ips(lab, "web")
    dials = [
        (kind, address, port, mapped)
        for kind, port in (("SOCK_STREAM", 80), ("SOCK_DGRAM", 53))
        for address, mapped in ((v4, False), (v6, False), (v4, True))
    ]
    for (_, address, port, mapped), seen in zip(dials, python(host, DIALS, *dials), strict=True):
        assert seen[:2] == ["server", [f"::ffff:{address}" if mapped else address, port]]
    for asked in ([v4, 53], [v6, 53], [f"::ffff:{v4}", 53]):
        assert python(host, ASKS, asked) == [["server", *asked]]


def test_it_arrives_as_the_host(lab: Lab, host: Pod) -> None:
    """So it passes whatever the pods' policies say, as Kubernetes rules for a node's own pods."""
    lab.serve("server", "tcp:8080", labels={"app": "server"})
    apply(lab, service("web", WEB))
    lab.apply(
        "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {name: closed}\nspec: {podSelector: {}}\n"
    )
    assert answering(host, cluster_ips(lab, "web")[0], 1) == {"server"}
    assert answering(lab.run("client"), cluster_ips(lab, "web")[0], 1) == {"timeout"}

    def sources() -> set[str]:
        flows = lab.observe(destination_pod=["default/server"], destination_port=["8080"], verdict=["FORWARDED"])
        return {label for flow in flows for label in flow["source"].get("labels", ()) if not flow.get("is_reply")}

    until(lambda: "reserved:host" in sources(), "the flow is in the log")


def test_backends_outside_and_none(lab: Lab, host: Pod) -> None:
    """As the API server's service has: an address that is no pod's."""
    apply(lab, service("kubernetes", WEB, app=None), endpoint_slice("kubernetes", 4, 8080, "203.0.113.77"))
    apply(lab, service("nobody", WEB, ASK, app="nobody"))
    v4, v6 = cluster_ips(lab, "kubernetes")
    assert answering(host, v4, 3) == answering(lab.run("client"), v4, 3) == {"outside"}
    assert answering(host, v6, 1) == {"refused"}
    for address in cluster_ips(lab, "nobody"):
        assert answering(host, address, 1) == {"refused"}
        assert answering(host, address, 1, "udp", 53) == {"refused"}


def test_the_host_is_one_client_to_affinity(lab: Lab, host: Pod) -> None:
    for name in ("one", "two", "three", "four"):
        lab.serve(name, "tcp:8080", labels={"app": "server"})
    apply(lab, service("web", WEB, sessionAffinity="ClientIP"))
    address = cluster_ips(lab, "web")[0]
    (chosen,) = answering(host, address)
    host.forget()  # another process is the same client
    assert answering(host, address) == {chosen}


def test_programs_elsewhere_are_left_alone(lab: Lab) -> None:
    """Their packets find a closed door at once."""
    lab.serve("server", "tcp:8080", labels={"app": "server"})
    apply(lab, service("web", WEB))
    elsewhere = program(lab, mount_points("cgroup2")[0] / f"{lab.name}-elsewhere")
    try:
        assert answering(elsewhere, cluster_ips(lab, "web")[0], 1) <= {"unreachable", "refused"}
    finally:
        elsewhere.forget()
        (mount_points("cgroup2")[0] / f"{lab.name}-elsewhere").rmdir()


def test_routes_are_for_pods(lab: Lab, host: Pod) -> None:
    """No door of weft's sees a program of the node, so what it dials is the service, without the route."""
    for name in ("old", "new"):
        lab.serve(name, "tcp:8080", labels={"app": name})
    apply(lab, service("web", WEB, app="old"), service("next", WEB, app="new"))
    parent = {"group": "", "kind": "Service", "name": "web"}
    spec = {"parentRefs": [parent], "rules": [{"backendRefs": [{"name": "next", "port": 80}]}]}
    version = "gateway.networking.k8s.io/v1"
    apply(lab, {"apiVersion": version, "kind": "HTTPRoute", "metadata": {"name": "web"}, "spec": spec})
    address = cluster_ips(lab, "web")[0]
    assert answering(host, address, 4) == {"old"}
    assert "old" not in answering(lab.run("client"), address, 4)  # who speaks no HTTP to Envoy


def test_two_nodes_on_one_machine_do_not_meet(lab: Lab, host: Pod) -> None:
    """Both have the same addresses."""
    lab.serve("mine", "tcp:8080", labels={"app": "server"})
    apply(lab, service("web", WEB, clusterIPs=["10.96.1.1", "fd00:96::1:1"], clusterIP="10.96.1.1"))
    with host_lab() as (other, other_host):
        other.serve("theirs", "tcp:8080", labels={"app": "server"})
        apply(other, service("web", WEB, clusterIPs=["10.96.1.1", "fd00:96::1:1"], clusterIP="10.96.1.1"))
        for address in ("10.96.1.1", "fd00:96::1:1"):
            assert (answering(host, address, 4), answering(other_host, address, 4)) == ({"mine"}, {"theirs"})
    assert answering(host, "10.96.1.1", 4) == {"mine"}
