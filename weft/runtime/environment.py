"""A container's environment and command line, with ``$(NAME)`` and fieldRef resolved. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from weft.model.kinds.core import Container, FieldRef, Pod
from weft.model.net import IPAddress
from weft.model.objects import NamespacedName
from weft.runtime.errors import PodError
from weft.runtime.files import hostname

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_REFERENCE = re.compile(r"\$\$|\$\(([^()]*)\)")
_KEYED = re.compile(r"metadata\.(labels|annotations)\['([^']+)'\]")


@dataclass(frozen=True, slots=True)
class Downward:
    """What a pod may learn of itself: the values behind its fieldRefs."""

    key: NamespacedName
    pod: Pod
    uid: str
    node: str
    addresses: tuple[IPAddress, ...]
    host: IPAddress | None

    def value(self, ref: FieldRef) -> str:
        """Errors: PodError for a path that Kubernetes' downward API has not."""
        path, metadata = ref.field_path, self.pod.metadata
        if keyed := _KEYED.fullmatch(path):
            texts = metadata.labels if keyed[1] == "labels" else metadata.annotations
            return (texts or {}).get(keyed[2], "")
        account = self.pod.spec.service_account_name or self.pod.spec.service_account or "default"
        values = {
            "metadata.name": self.key.name,
            "metadata.namespace": self.key.namespace,
            "metadata.uid": self.uid,
            "spec.nodeName": self.node,
            "spec.serviceAccountName": account,
            "status.podIP": str(self.addresses[0]) if self.addresses else "",
            "status.podIPs": ",".join(map(str, self.addresses)),
            "status.hostIP": str(self.host or ""),
        }
        if path not in values:
            raise PodError(f"fieldRef {path}: not a field that a pod may read; known are {', '.join(values)}")
        return values[path]


def expand(text: str, known: Mapping[str, str]) -> str:
    """``$(NAME)`` → its value; an unknown one stays as it is, ``$$`` is ``$`` (k8s.io/kubernetes/third_party/forked/
    golang/expansion)."""
    return _REFERENCE.sub(lambda found: "$" if found[0] == "$$" else known.get(found[1], found[0]), text)


def environment(container: Container, downward: Downward, home: str) -> dict[str, str]:
    """PATH, HOME, HOSTNAME, then what ``env`` says, each of its values seeing those before it."""
    spec = downward.pod.spec
    values = {"PATH": PATH, "HOME": home, "HOSTNAME": hostname(downward.key.name, spec)}
    for variable in container.env:
        source = variable.value_from.field_ref if variable.value_from else None
        values[variable.name] = downward.value(source) if source else expand(variable.value, values)
    return values


def command_line(container: Container, known: Mapping[str, str]) -> list[str]:
    return [expand(word, known) for word in (*container.command, *container.args)]
