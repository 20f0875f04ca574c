"""Ten thousand pods are kept once: what replicas have in common is one object, in every mapping."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address

from weft.model.net import Prefix
from weft.model.objects import Namespace, NamespacedName, NodeConfig, Workload
from weft.model.world import World
from weft.plan import Compiler
from weft.plan.identities import KINDS


def pod(number: int, app: str, account: str = "default", namespace: str = "shop") -> Workload:
    key = NamespacedName(namespace, f"pod-{number}")
    return Workload(key, {"app": app}, account, "elsewhere", (ip_address("10.1.0.0") + number,))


def world(*pods: Workload) -> World:
    spaces = {name: Namespace(name) for name in ("shop", "bank")}
    return World(NodeConfig("here"), spaces, {each.key: each for each in pods})


def test_replicas_share_their_labels() -> None:
    assert pod(1, "web").labels is pod(2, "web").labels
    assert pod(1, "web").labels == {"app": "web"} != pod(1, "db").labels


def test_shared_labels_do_not_mix_up_identities() -> None:
    """The same mapping in another namespace, or under another service account, is somebody else."""
    pods = [pod(1, "web"), pod(2, "web", "robot"), pod(3, "web", namespace="bank"), pod(4, "web")]
    ipcache = Compiler().compile(world(*pods)).desired.ipcache
    numbers = [ipcache[Prefix.host(each.addresses[0])].identity for each in pods]
    assert numbers[0] == numbers[3] and len(set(numbers)) == 3


def test_an_address_that_stays_remains_the_same_object() -> None:
    """Else every change of a pod would leave the old 17 bytes in one mapping and put new ones into another."""
    compiler = Compiler()
    first = compiler.compile(world(pod(1, "web"), pod(2, "web"))).desired.ipcache
    changed = replace(pod(1, "web"), labels={"app": "db"})
    second = compiler.compile(world(changed, pod(2, "web"))).desired.ipcache
    assert {id(key) for key in second if key.bits == 128} == {id(key) for key in first if key.bits == 128}
    holder = compiler._identities.holder
    assert {id(key) for key in holder} == {id(key) for key in second if key.bits == 128}


def test_mappings_shrink_when_most_identities_have_gone() -> None:
    compiler, few = Compiler(), [pod(number, "web") for number in range(3)]
    compiler.compile(world(*(pod(number, f"app-{number}") for number in range(500))))
    identities = compiler._identities
    compiler.compile(world(*few))
    for mapping in (identities.at, identities.members, compiler._peers.content):
        assert len(mapping) == 1 + len(KINDS)
        assert mapping.__sizeof__() < 1000
    numbers = compiler._spaces["identity"]
    assert len(numbers._numbers) == len(numbers._taken) == 1
    assert numbers._numbers.__sizeof__() < 1000 and numbers._taken.__sizeof__() < 1000
