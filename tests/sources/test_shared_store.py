"""Several stores on one file: each sees what the others did, and none decides on what is no longer so."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from tests.sources.builders import SERVICE_CIDRS, pod, read, service
from weft.sources.errors import StoreError
from weft.sources.objects import Change, Key
from weft.sources.store import Store

WEB = Key("Pod", "default", "web")


@pytest.fixture
def stores(tmp_path: Path) -> Iterator[list[Store]]:
    made = [Store(tmp_path / "store.db", SERVICE_CIDRS, shared=True) for _ in range(3)]
    yield made
    for store in made:
        store.close()


def heard(store: Store) -> list[str]:
    """Filled with what subscribers are told."""
    found: list[str] = []

    def note(changes: Sequence[Change]) -> None:
        found.extend(f"{change.action.value} {change.key.name}" for change in changes)

    store.subscribe(note)
    return found


def test_everybody_hears_of_every_change_once(stores: list[Store]) -> None:
    one, two, _ = stores
    told, mine = heard(two), heard(one)
    one.apply(read(pod("web") + "---" + service("web")))
    assert not told
    two.refresh()
    two.refresh()
    assert told == mine == ["created web", "created web"]
    assert two.get(WEB) == one.get(WEB)
    unchanged = two.get(WEB).resource
    one.set_status({WEB: {"phase": "Running"}})
    two.refresh()
    assert two.get(WEB).status == {"phase": "Running"} and two.get(WEB).resource is unchanged
    one.delete([WEB])
    two.refresh()
    assert two.get(WEB).deleting
    two.remove(WEB)
    one.refresh()
    assert not one.has(WEB) and mine[-1] == "deleted web"


def test_a_write_knows_all_that_went_before(stores: list[Store]) -> None:
    """Without a refresh in between: no two services have one address, and nobody overwrites what he has not seen."""
    for number in range(30):
        stores[number % 3].apply(read(service(f"s{number}", "clusterIP: 10.96.0.9" if not number else "")))
    stores[0].refresh()
    found = [one.obj.spec.cluster_ip for one in stores[0].objects("Service")]
    assert len(set(found)) == 30
    stores[0].apply(read(pod("web")))
    told = heard(stores[1])
    assert stores[1].apply(read(pod("web", labels="app: other")))[0].action.value == "configured"
    assert "created web" in told and told[-1] == "configured web"
    assert stores[1].get(WEB).uid == stores[0].get(WEB).uid


def test_a_refused_write_has_still_taken_in_the_news(stores: list[Store]) -> None:
    stores[0].apply(read(pod("web")))
    told = heard(stores[1])
    with pytest.raises(RuntimeError):
        stores[1].apply(read(pod("other")), guard=_refuse)
    assert told == ["created web"] and not stores[1].has(Key("Pod", "default", "other"))
    stores[2].apply(read(pod("third")))  # nobody holds the file


def _refuse(changes: Sequence[Change]) -> None:
    raise RuntimeError


def test_pods_go_where_the_fewest_are(stores: list[Store]) -> None:
    nodes = "---".join(f"\napiVersion: v1\nkind: Node\nmetadata: {{name: {name}}}\n" for name in ("n1", "n2"))
    stores[0].apply(read(nodes))
    for number in range(4):
        stores[number % 2].apply(read(pod(f"p{number}")))
    stores[2].apply(read(pod("there", more="  nodeName: n2")))
    stores[2].apply(read(pod("p0", labels="app: moved")))  # an apply that names no node leaves it where it is
    found = {one.key.name: one.obj.spec.node_name for one in stores[2].objects("Pod")}
    assert found == {"p0": "n1", "p1": "n2", "p2": "n1", "p3": "n2", "there": "n2"}


def test_a_store_of_ones_own_is_not_shared(stores: list[Store], tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="another agent has it open"):
        Store(tmp_path / "store.db", SERVICE_CIDRS)
