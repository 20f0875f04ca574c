"""Pods and pod templates (Kubernetes' pkg/apis/core/validation, ValidatePodSpec)."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from weft.model.kinds.capabilities import ALL, CAPABILITIES
from weft.model.kinds.core import Container, EnvVar, Pod, PodDNSConfig, PodSecurityContext, PodSpec, Probe
from weft.model.origin import FieldPath
from weft.sources.check import Check, nearest
from weft.sources.rules import names

_FIELD_REFS = {
    "metadata.name",
    "metadata.namespace",
    "metadata.uid",
    "spec.nodeName",
    "spec.serviceAccountName",
    "status.hostIP",
    "status.podIP",
    "status.podIPs",
}
_FIELD_REF_OF_KEY = re.compile(r"metadata\.(labels|annotations)\['[^']+'\]")
_DNS_OPTION = re.compile(r"[!-~]+")
_ENV_NAME = re.compile(r"[-._a-zA-Z][-._a-zA-Z0-9]*", re.ASCII)


def check(pod: Pod, found: Check) -> None:
    check_spec(pod.spec, found, ("spec",))


def check_spec(spec: PodSpec, found: Check, path: FieldPath) -> None:
    for name in ("hostname", "subdomain"):
        if (value := getattr(spec, name)) and (problem := names.dns_label(value)):
            found.error((*path, name), f"invalid name {value!r}", problem)
    account, old = spec.service_account_name, spec.service_account
    if old and account and old != account:
        found.error((*path, "serviceAccount"), f"differs from serviceAccountName {account!r}", "leave it out")
    if (value := account or old) and (problem := names.subdomain(value)):
        found.error((*path, "serviceAccountName" if account else "serviceAccount"), f"invalid name {value!r}", problem)
    if spec.dns_policy == "None" and not spec.dns_config.nameservers:
        found.error((*path, "dnsConfig", "nameservers"), "must name a server when dnsPolicy is None")
    _check_dns(spec.dns_config, found, (*path, "dnsConfig"))
    _check_unique((volume.name for volume in spec.volumes), found, (*path, "volumes"), "name")
    for index, volume in enumerate(spec.volumes):
        _check_label(volume.name, found, (*path, "volumes", index, "name"))
        if not volume.host_path.path.startswith("/") or ".." in volume.host_path.path.split("/"):
            found.error((*path, "volumes", index, "hostPath", "path"), "must be an absolute path without '..'")
    _check_unique((container.name for container in spec.containers), found, (*path, "containers"), "name")
    volumes = {volume.name for volume in spec.volumes}
    for index, container in enumerate(spec.containers):
        _check_container(container, volumes, found, (*path, "containers", index))
        _check_non_root(container, spec.security_context, found, (*path, "containers", index))
    _check_ports(spec, found, path)


def _check_dns(config: PodDNSConfig, found: Check, path: FieldPath) -> None:
    for index, server in enumerate(config.nameservers):
        if names.address(server) is None:
            found.error((*path, "nameservers", index), f"not an address: {server!r}")
    for index, search in enumerate(config.searches):
        if problem := names.subdomain(search.removesuffix(".")):
            found.error((*path, "searches", index), f"invalid domain {search!r}", problem)
    for index, option in enumerate(config.options):
        if not _DNS_OPTION.fullmatch(option.name) or not _DNS_OPTION.fullmatch(option.value or "0"):
            found.error((*path, "options", index), "expected a name and a value without blanks")


def _check_label(name: str, found: Check, path: FieldPath) -> None:
    if problem := names.dns_label(name):
        found.error(path, f"invalid name {name!r}", problem)


def _check_unique(values: Iterable[Any], found: Check, path: FieldPath, name: str) -> None:
    seen: set[Any] = set()
    for index, value in enumerate(values):
        if value in seen:
            found.error((*path, index, name), f"{value!r} is there twice")
        seen.add(value)


def _check_container(container: Container, volumes: set[str], found: Check, path: FieldPath) -> None:
    _check_label(container.name, found, (*path, "name"))
    if not container.command and not container.args:
        found.error(path, "command is missing", "weft runs a program of this host, so there is no image to name one")
    if container.working_dir and not container.working_dir.startswith("/"):
        found.error((*path, "workingDir"), "must be an absolute path")
    for index, variable in enumerate(container.env):
        _check_variable(variable, found, (*path, "env", index))
    _check_unique((mount.mount_path for mount in container.volume_mounts), found, (*path, "volumeMounts"), "mountPath")
    for index, mount in enumerate(container.volume_mounts):
        at = (*path, "volumeMounts", index)
        if not mount.mount_path.startswith("/"):
            found.error((*at, "mountPath"), "must be an absolute path")
        if mount.name not in volumes:
            found.error((*at, "name"), f"no volume {mount.name!r} in spec.volumes", nearest(mount.name, volumes))
    capabilities = container.security_context.capabilities
    for where, wanted in (("add", capabilities.add), ("drop", capabilities.drop)):
        for index, name in enumerate(wanted):
            if (plain := name.upper().removeprefix("CAP_")) not in (*CAPABILITIES, ALL):
                at = (*path, "securityContext", "capabilities", where, index)
                found.error(at, f"unknown capability {name!r}", nearest(plain, CAPABILITIES))
    if container.readiness_probe is not None:
        _check_probe(container.readiness_probe, container, found, (*path, "readinessProbe"))


def _check_variable(variable: EnvVar, found: Check, path: FieldPath) -> None:
    if not _ENV_NAME.fullmatch(variable.name):
        found.error(
            (*path, "name"), f"invalid name {variable.name!r}", "letters, digits, '_', '-', '.', no digit first"
        )
    if variable.value_from is None:
        return
    if variable.value:
        found.error((*path, "valueFrom"), "not together with value")
    reference = variable.value_from.field_ref
    if reference is None:
        found.error((*path, "valueFrom"), "fieldRef is missing")
    elif reference.field_path not in _FIELD_REFS and not _FIELD_REF_OF_KEY.fullmatch(reference.field_path):
        at = (*path, "valueFrom", "fieldRef", "fieldPath")
        found.error(at, f"unknown field {reference.field_path!r}", nearest(reference.field_path, _FIELD_REFS))


def _check_probe(probe: Probe, container: Container, found: Check, path: FieldPath) -> None:
    actions = {"exec": probe.exec, "httpGet": probe.http_get, "tcpSocket": probe.tcp_socket}
    given = [name for name, action in actions.items() if action is not None]
    if len(given) != 1:
        problem = f"has {' and '.join(given)}" if given else "says nothing to do"
        found.error(path, f"{problem}; expected exactly one of {', '.join(actions)}")
    for name, action in (("httpGet", probe.http_get), ("tcpSocket", probe.tcp_socket)):
        if action is not None:
            known = {port.name for port in container.ports if port.name}
            check_port(action.port, known, found, (*path, name, "port"))


def check_port(port: int | str, known: set[str] | None, found: Check, path: FieldPath) -> None:
    """A number or a name; ``known``: the names that exist, or None if that is decided elsewhere."""
    if isinstance(port, int):
        if not 1 <= port <= 65535:
            found.error(path, f"expected 1 to 65535, got {port}")
    elif known is None:
        if problem := names.port_name(port):
            found.error(path, f"invalid port name {port!r}", problem)
    elif port not in known:
        found.error(path, f"no port {port!r} in this container's ports", nearest(port, known) if known else "")


def _check_ports(spec: PodSpec, found: Check, path: FieldPath) -> None:
    """Names are unique in a container; all containers share one network namespace, so numbers are in the pod."""
    taken: dict[tuple[int, str], FieldPath] = {}
    for index, container in enumerate(spec.containers):
        at = (*path, "containers", index, "ports")
        _check_unique((port.name or position for position, port in enumerate(container.ports)), found, at, "name")
        for position, port in enumerate(container.ports):
            if port.name and (problem := names.port_name(port.name)):
                found.error((*at, position, "name"), f"invalid port name {port.name!r}", problem)
            where = (*at, position, "containerPort")
            if (port.container_port, port.protocol) in taken:
                found.error(where, f"{port.container_port}/{port.protocol} is there twice")
            taken[port.container_port, port.protocol] = where


def _check_non_root(container: Container, pod: PodSecurityContext, found: Check, path: FieldPath) -> None:
    own = container.security_context
    required = own.run_as_non_root if own.run_as_non_root is not None else pod.run_as_non_root
    user = own.run_as_user if own.run_as_user is not None else pod.run_as_user
    if required and not user:
        remedy = "set runAsUser to another user than 0; weft itself runs as root"
        found.error((*path, "securityContext"), "runAsNonRoot is true but the process would be root", remedy)
