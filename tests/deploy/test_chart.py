"""The chart: what it renders, what it refuses, and that the agent understands what it is told."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

import weft
from tests.deploy.helm import CHART, helm, one, rendered, template
from weft.cli.agent import MAP_ENTRIES, MAPS, arguments
from weft.cli.arguments import Parser

GOLDEN = Path(__file__).parent / "golden"
SERVER = "k8sServiceHost=192.0.2.1"
EVERYTHING = (
    SERVER,
    "k8sServicePort=6444",
    "cluster.name=east",
    "routingMode=native",
    "serviceCIDRs={10.96.0.0/16,fd00:96::/108}",
    "prometheus.enabled=true",
    "prometheus.port=9000",
    "debug.enabled=true",
    "envoy.enabled=false",
    "logOptions.format=json",
    "bpf.autoMount.enabled=false",
    "bpf.mapSizes.policy=65536",
    "bpf.mapSizes.flows=2000000",
    "extraArgs={--log-http-header=x-request-id}",
    "resources.requests.memory=64Mi",
    "imagePullSecrets[0].name=registry",
    "podLabels.team=net",
    "podAnnotations.seen=yes",
    "cni.binPath=/usr/libexec/cni",
    "cgroup.hostRoot=/run/cgroup",
)


@pytest.mark.parametrize(("name", "settings"), [("default", (SERVER,)), ("everything", EVERYTHING)])
def test_what_is_rendered(name: str, settings: tuple[str, ...], golden: Callable[[Path, str], None]) -> None:
    done = template(*settings)
    assert done.returncode == 0, done.stderr
    golden(GOLDEN / f"{name}.yaml", done.stdout)


def test_lint() -> None:
    done = helm("lint", "--strict", str(CHART), "--set", SERVER)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_chart_is_of_this_version() -> None:
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    assert chart["appVersion"] == chart["version"] == weft.__version__


@pytest.mark.parametrize("settings", [(SERVER,), EVERYTHING])
def test_the_agent_understands_its_arguments(settings: tuple[str, ...]) -> None:
    (agent,) = one(rendered(*settings), "DaemonSet")["spec"]["template"]["spec"]["containers"]
    assert agent["command"] == ["weft", "agent"]
    options = Parser("weft agent", "").parse_words(arguments, agent["args"])
    assert options.kubernetes and options.node_name == "$(K8S_NODE_NAME)" and options.daemonset == "weft"
    assert options.health_port == agent["livenessProbe"]["httpGet"]["port"]
    assert options.external_envoy_proxy == (settings is not EVERYTHING)
    assert options.tunnel == ("" if settings is EVERYTHING else "vxlan")
    if settings is EVERYTHING:
        assert dict(options.map_size) == {"policy": 65536, "flows": 2000000}
        assert options.service_cidr == ["10.96.0.0/16", "fd00:96::/108"]


@pytest.mark.parametrize("name", ["weft", "weft-envoy"])
def test_no_container_that_stays_is_privileged(name: str) -> None:
    pod = one(rendered(SERVER), "DaemonSet", name)["spec"]["template"]["spec"]
    for container in pod["containers"]:
        allowed = container["securityContext"]
        assert "privileged" not in allowed and allowed["readOnlyRootFilesystem"]
        assert allowed["capabilities"]["drop"] == ["ALL"] and "ALL" not in allowed["capabilities"]["add"]


def test_no_right_to_secrets_and_none_to_everything() -> None:
    manifests = rendered(SERVER)
    for kind in ("ClusterRole", "Role"):
        for rule in one(manifests, kind)["rules"]:
            assert "*" not in rule["resources"] + rule["verbs"] + rule["apiGroups"]
            assert not {"secrets", "configmaps"} & set(rule["resources"])


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("hubble.enabled=true", "additional properties 'hubble' not allowed"),
        ("kubeProxyReplacement=false", "at '/kubeProxyReplacement': value must be one of true"),
        ("ipam.mode=cluster-pool", "at '/ipam/mode': value must be 'kubernetes'"),
        ("tunnelProtocol=geneve", "at '/tunnelProtocol': value must be 'vxlan'"),
        ("routingMode=vxlan", "at '/routingMode': value must be one of 'tunnel', 'native'"),
        ("l7Proxy=false", "at '/l7Proxy': value must be true"),
        ("bpf.mapSizes.polcy=4096", "at '/bpf/mapSizes': additional properties 'polcy' not allowed"),
        ("bpf.mapSizes.policy=1", "at '/bpf/mapSizes/policy': minimum: got 1, want 256"),
        ("healthPort=70000", "at '/healthPort': maximum: got 70,000, want 65,535"),
        ("cni.confPath=etc", "at '/cni/confPath'"),
    ],
)
def test_refused(setting: str, message: str) -> None:
    done = template(SERVER, setting)
    assert done.returncode != 0
    assert message in done.stderr


def test_every_map_can_be_sized() -> None:
    schema = json.loads((CHART / "values.schema.json").read_text())
    sizes = schema["properties"]["bpf"]["properties"]["mapSizes"]["properties"]
    assert tuple(sizes) == MAPS
    assert {(size["minimum"], size["maximum"]) for size in sizes.values()} == {(MAP_ENTRIES[0], MAP_ENTRIES[-1])}


def test_the_api_server_must_be_known() -> None:
    done = template()
    assert done.returncode != 0
    assert "k8sServiceHost is needed" in done.stderr and "--set k8sServiceHost=ADDRESS" in done.stderr


def test_native_routing_without_routes_is_refused() -> None:
    done = template(SERVER, "routingMode=native", "autoDirectNodeRoutes=false")
    assert done.returncode != 0
    assert "autoDirectNodeRoutes" in done.stderr
