"""The CNI specification's words: requests, results and errors of versions 0.4.0, 1.0.0 and 1.1.0. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any

import msgspec

from weft.model.net import IPAddress
from weft.model.objects import NamespacedName

VERSIONS = ("0.4.0", "1.0.0", "1.1.0")
_MESSAGE_MAX, _VERSION_MAX = 1000, 15
_SINCE = {"STATUS": "1.1.0", "GC": "1.1.0"}
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.\-]*")
_NOT_A_DEVICE = re.compile(r"\.{0,2}|.*[/:\s].*|.{16,}", re.DOTALL)
_NEEDED = {
    "ADD": ("CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME"),
    "CHECK": ("CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME"),
    "DEL": ("CNI_CONTAINERID", "CNI_IFNAME"),
    "STATUS": (),
    "GC": (),
}


class Code(IntEnum):
    """Well-known error codes of the specification ("Error"); those from 100 on are the plugin's own."""

    INCOMPATIBLE_VERSION = 1
    UNSUPPORTED_FIELD = 2
    UNKNOWN_CONTAINER = 3
    INVALID_ENVIRONMENT = 4
    IO = 5
    DECODE = 6
    INVALID_CONFIG = 7
    TRY_AGAIN = 11
    NETWORK = 100
    """The kernel refused what a pod needs."""
    NOT_AS_EXPECTED = 101
    """CHECK found a pod's network changed."""
    INTERNAL = 999


class CniError(Exception):
    """What the runtime is told, and through it the kubelet's Event."""

    def __init__(self, code: Code, message: str) -> None:
        self.code = code
        super().__init__(message)


@dataclass(frozen=True, slots=True)
class Request:
    """``container`` and ``ifname`` are empty for STATUS and GC; ``netns`` is the path as the runtime sees it."""

    command: str
    version: str
    container: str = ""
    ifname: str = ""
    netns: str = ""
    args: Mapping[str, str] = field(default_factory=dict)
    config: Mapping[str, Any] = field(default_factory=dict)

    def pod(self) -> tuple[NamespacedName, str]:
        """The pod's key and uid, from CNI_ARGS. Errors: CniError."""
        names = ("K8S_POD_NAMESPACE", "K8S_POD_NAME", "K8S_POD_UID")
        if missing := [name for name in names if not self.args.get(name)]:
            raise CniError(Code.INVALID_ENVIRONMENT, f"CNI_ARGS: {', '.join(missing)} missing; weft connects pods only")
        namespace, name, uid = (self.args[name] for name in names)
        return NamespacedName(namespace, name), uid

    def valid_attachments(self) -> set[tuple[str, str]]:
        """(container, interface) of all that GC has to leave alone. Errors: CniError."""
        for name in ("cni.dev/valid-attachments", "cni.dev/attachments"):  # an early 1.1 had the second
            if name in self.config:
                try:
                    return {(one["containerID"], one["ifname"]) for one in self.config[name]}
                except (TypeError, KeyError) as error:
                    raise CniError(
                        Code.INVALID_CONFIG, f'"{name}": not a list of objects with containerID and ifname'
                    ) from error
        raise CniError(Code.INVALID_CONFIG, '"cni.dev/valid-attachments" is missing: nothing is collected without it')

    def unexpected_addresses(self, held: Sequence[IPAddress]) -> str:
        """What prevResult says of the pod's addresses and ``held`` does not, in words; empty if they agree."""
        previous = self.config.get("prevResult")
        if previous is None:
            return ""
        try:
            inside = {i for i, one in enumerate(previous["interfaces"]) if one["name"] == self.ifname}
            said = {one["address"] for one in previous["ips"] if one["interface"] in inside}
        except (TypeError, KeyError, AttributeError):
            return "not a result of ADD"
        texts = {f"{address}/{address.max_prefixlen}" for address in held}
        return "" if said == texts else f"{', '.join(sorted(said)) or 'no address'}, not {', '.join(sorted(texts))}"


def parse(environment: bytes, config: bytes) -> Request:
    """``environment``: NAME=value, each ends in NUL. Errors: CniError; its answer has the version that ``version_of``
    finds."""
    variables = _variables(environment)
    command = variables.get("CNI_COMMAND", "")
    if command not in _NEEDED:
        raise CniError(Code.INVALID_ENVIRONMENT, f"CNI_COMMAND {command!r} is none of {', '.join(_NEEDED)}")
    fields = _fields(config)
    version = str(fields.get("cniVersion", "0.1.0"))
    if version not in VERSIONS:
        raise CniError(Code.INCOMPATIBLE_VERSION, f"cniVersion {version}: weft speaks {', '.join(VERSIONS)}")
    if version < _SINCE.get(command, ""):
        raise CniError(Code.INCOMPATIBLE_VERSION, f"cniVersion {version} has no {command}; give {_SINCE[command]}")
    _check_config(command, fields)
    if missing := [name for name in _NEEDED[command] if not variables.get(name)]:
        raise CniError(Code.INVALID_ENVIRONMENT, f"{', '.join(missing)}: not set")
    container, ifname = variables.get("CNI_CONTAINERID", ""), variables.get("CNI_IFNAME", "")
    if _NEEDED[command]:
        if not _NAME.fullmatch(container) or len(container) > 200:
            raise CniError(Code.INVALID_ENVIRONMENT, f"CNI_CONTAINERID {container!r}: not a container's id")
        if _NOT_A_DEVICE.fullmatch(ifname):
            raise CniError(Code.INVALID_ENVIRONMENT, f"CNI_IFNAME {ifname!r}: not a name of a device")
    return Request(
        command,
        version,
        container,
        ifname,
        variables.get("CNI_NETNS", ""),
        _args(variables.get("CNI_ARGS", "")),
        fields,
    )


def version_of(config: bytes) -> str:
    """The version in which an error is answered: the request's if it can be read, else the newest."""
    try:
        return str(_fields(config)["cniVersion"])
    except (CniError, KeyError):
        return VERSIONS[-1]


def _variables(environment: bytes) -> dict[str, str]:
    try:
        lines = environment.decode().split("\0")
    except UnicodeDecodeError as error:
        raise CniError(Code.INVALID_ENVIRONMENT, f"CNI_ variables: {error}") from error
    return dict(line.split("=", 1) for line in lines if "=" in line)


def _fields(config: bytes) -> dict[str, Any]:
    try:
        return msgspec.json.decode(config, type=dict[str, Any])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise CniError(Code.DECODE, f"network configuration: {error}") from error


def _check_config(command: str, fields: Mapping[str, Any]) -> None:
    name = fields.get("name", "")
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise CniError(Code.INVALID_CONFIG, f'network configuration: "name" {name!r} is missing or no network\'s name')
    if fields.get("ipam"):
        raise CniError(
            Code.UNSUPPORTED_FIELD,
            f'network configuration: "ipam": {msgspec.json.encode(fields["ipam"]).decode()} is not supported: '
            "addresses come from the node's podCIDRs",
        )
    if command == "ADD" and fields.get("prevResult"):
        raise CniError(
            Code.UNSUPPORTED_FIELD,
            f'network configuration: "prevResult": {msgspec.json.encode(fields["prevResult"]).decode()[:200]} is not '
            "supported: weft makes the pod's interface, so it has to be the first plugin of the list",
        )


def _args(text: str) -> dict[str, str]:
    pairs = [part.split("=", 1) for part in text.split(";") if part]
    if any(len(pair) != 2 for pair in pairs):
        raise CniError(Code.INVALID_ENVIRONMENT, f"CNI_ARGS {text!r}: not NAME=value;NAME=value")
    return dict(pairs)


# ---- answers --------------------------------------------------------------------------------------------------------


def mac_text(mac: bytes) -> str:
    return mac.hex(":")


def result(
    request: Request,
    host: tuple[str, bytes],
    mac: bytes,
    mtu: int,
    addresses: Sequence[tuple[IPAddress, IPAddress]],
) -> dict[str, Any]:
    """The answer to ADD. ``host``: device and MAC of the host side; ``addresses``: each with its gateway."""
    interfaces: list[dict[str, Any]] = [
        {"name": host[0], "mac": mac_text(host[1])},
        {"name": request.ifname, "mac": mac_text(mac), "sandbox": request.netns},
    ]
    if request.version >= "1.1.0":
        for interface in interfaces:
            interface["mtu"] = mtu
    ips: list[dict[str, Any]] = [
        {"address": f"{address}/{address.max_prefixlen}", "gateway": str(gateway), "interface": 1}
        for address, gateway in addresses
    ]
    if request.version < "1.0.0":
        for ip, (address, _) in zip(ips, addresses, strict=True):
            ip["version"] = str(address.version)
    routes = [
        {"dst": "0.0.0.0/0" if address.version == 4 else "::/0", "gw": str(gateway)} for address, gateway in addresses
    ]
    return {"cniVersion": request.version, "interfaces": interfaces, "ips": ips, "routes": routes, "dns": {}}


def error(version: str, code: Code, message: str) -> dict[str, Any]:
    """The error object. What it quotes of the request may be of any length, and it has to fit cni/main.c's memory."""
    text = message if len(message) <= _MESSAGE_MAX else f"{message[:_MESSAGE_MAX]}..."
    return {"cniVersion": version[:_VERSION_MAX], "code": int(code), "msg": f"weft: {text}"}
