"""Hubble's filter rules written down a second time, over the JSON of a flow: slow, plain, and independent."""

from __future__ import annotations

import ipaddress
import re
from typing import Any
from urllib.parse import unquote, urlsplit

Json = dict[str, Any]
TRANSPORTS = ("TCP", "UDP", "SCTP")


def chosen(flow: Json, request: Json) -> bool:
    allow, deny = request.get("whitelist", []), request.get("blacklist", [])
    return (not allow or any(matches(flow, item) for item in allow)) and not any(matches(flow, item) for item in deny)


def matches(flow: Json, item: Json) -> bool:
    return all(any(one(flow, name, value) for value in values) for name, values in item.items() if values)


def one(flow: Json, name: str, value: Any) -> bool:
    if name.startswith("source_"):
        return at_end(flow, "source", name[7:], value)
    if name.startswith("destination_"):
        return at_end(flow, "destination", name[12:], value)
    l4 = flow.get("l4", {})
    if name.startswith("http_") or name == "trace_id":
        return in_http(flow, name, value)
    if name == "verdict":
        return bool(flow["verdict"] == value)
    if name == "drop_reason_desc":
        return value in (flow.get("drop_reason_desc"), flow["extensions"]["value"].get("reason"))
    if name == "event_type":
        event = flow["event_type"]
        if value.get("type") == 1 and flow["verdict"] == "DROPPED" and flow["Type"] == "L3_L4":
            return not value.get("match_sub_type") or value.get("sub_type", 0) == flow["drop_reason"]
        if value.get("type", 0) not in (0, event["type"]):
            return False
        return not value.get("match_sub_type") or value.get("sub_type", 0) == event.get("sub_type", 0)
    if name == "protocol" and value.lower() in ("http", "dns", "kafka"):
        return value.lower() in flow.get("l7", {})
    if name == "protocol":
        names = {"icmp": ["ICMPv4", "ICMPv6"], "icmpv4": ["ICMPv4"], "icmpv6": ["ICMPv6"]}
        return any(known in l4 for known in names.get(value.lower(), [value.upper()]))
    if name == "tcp_flags":
        return "TCP" in l4 and all(l4["TCP"].get("flags", {}).get(flag) for flag in value)
    if name == "ip_version":
        return bool(flow.get("IP", {}).get("ipVersion", "IP_NOT_USED") == value)
    if name == "traffic_direction":
        return bool(flow["traffic_direction"] == value)
    if name == "reply":
        return flow.get("is_reply") is value
    if name == "uuid":
        return bool(flow["uuid"] == value)
    raise KeyError(name)


def in_http(flow: Json, name: str, value: Any) -> bool:
    if name == "trace_id":
        return bool(flow.get("trace_context", {}).get("parent", {}).get("trace_id") == value.lower())
    http = flow.get("l7", {}).get("http")
    if http is None:
        return False
    url, method = http.get("url", ""), http.get("method", "")
    if name == "http_status_code":
        return bool(http.get("code")) and re.match(value.rstrip("+"), str(http["code"])) is not None
    if name == "http_method":
        return bool(method.lower() == value.lower())
    if name == "http_url":
        return bool(url) and re.search(value, url) is not None
    if name == "http_path":
        return bool(url) and re.search(value, unquote(urlsplit(url).path)) is not None
    return {"key": value["key"].lower(), "value": value.get("value", "")} in http.get("headers", [])


def at_end(flow: Json, side: str, field: str, value: Any) -> bool:
    end = flow[side]
    if field == "ip":
        if "IP" not in flow:
            return False
        return ipaddress.ip_address(flow["IP"][side]) in ipaddress.ip_network(value, strict=False)
    if field == "port":
        for transport in TRANSPORTS:
            if transport in flow.get("l4", {}):
                return bool(flow["l4"][transport].get(f"{side}_port", 0) == int(value))
        return False
    if field == "identity":
        return bool(end.get("identity", 0) == value)
    if field in ("pod", "service"):
        service = flow.get(f"{side}_service", {})
        namespace, name = (
            (end.get("namespace"), end.get("pod_name"))
            if field == "pod"
            else (service.get("namespace"), service.get("name"))
        )
        if not namespace and not name:
            return False
        wanted, slash, prefix = value.partition("/")
        wanted, prefix = (wanted, prefix) if slash else ("default", value)
        return wanted in ("", namespace) and str(name).startswith(prefix)
    if field == "workload":
        return any(
            value.get("name", "") in ("", each["name"]) and value.get("kind", "") in ("", each["kind"])
            for each in end.get("workloads", [])
        )
    if field == "label":
        return all(requirement(end.get("labels", []), part.strip()) for part in value.split(","))
    raise KeyError(field)


def requirement(labels: list[str], part: str) -> bool:
    """``[source:]key``, ``!key``, ``key=value`` and ``key!=value``."""
    if part.startswith("!"):
        return not requirement(labels, part[1:])
    if "!=" in part:
        return not requirement(labels, part.replace("!=", "="))
    key, equals, value = part.removeprefix("any:").partition("=")
    for label in labels:
        full, _, has = label.partition("=")
        bare = full.partition(":")[2]
        if key in (full, bare) and (not equals or has == value):
            return True
    return False
