"""``v1`` manifests: Pod (and the template of others) and Namespace. Names and defaults are Kubernetes' core/v1.

Every field that weft honours is typed; the others carry a mark (``kinds.marks``). ``null`` means absent.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from msgspec import Meta, field

from weft.model.kinds.marks import ignored, refused
from weft.model.kinds.meta import ObjectMeta, Strict

Port = Annotated[int, Meta(ge=1, le=65535)]
Seconds = Annotated[int, Meta(ge=0)]
Positive = Annotated[int, Meta(ge=1)]
UserId = Annotated[int, Meta(ge=0, le=2**31 - 1)]
Protocol = Literal["TCP", "UDP", "SCTP"]
IPFamily = Literal["IPv4", "IPv6"]

_HOST_PORTS = "a later weft brings host ports; use a Service"
_ON_HOST = "start the process on the host"
_HOST_PATH = "weft mounts folders and files of the host; use hostPath"
_NO_IMAGE = "the host's own files are the image"
_ONE_NODE = "weft runs pods on its own node"
_NO_LIMITS = "weft does not limit CPU or memory yet"


class FieldRef(Strict, frozen=True):
    """``metadata.name``, ``.namespace``, ``.uid``, ``.labels['k']``, ``.annotations['k']``, ``spec.nodeName``,
    ``spec.serviceAccountName``, ``status.podIP``, ``status.podIPs``, ``status.hostIP``."""

    field_path: str
    api_version: str = "v1"


class EnvVarSource(Strict, frozen=True):
    field_ref: FieldRef | None = None
    resource_field_ref: Annotated[Any, refused(_NO_LIMITS)] = None
    secret_key_ref: Annotated[Any, refused("weft has no Secrets; write the value, or mount a file by hostPath")] = None
    config_map_key_ref: Annotated[Any, refused("weft has no ConfigMaps; write the value")] = None


class EnvVar(Strict, frozen=True):
    """``value`` may hold ``$(NAME)`` of an earlier variable, as command and args may; ``$$(`` is a literal ``$(``."""

    name: Annotated[str, Meta(min_length=1)]
    value: str = ""
    value_from: EnvVarSource | None = None


class ContainerPort(Strict, frozen=True):
    container_port: Port
    name: str = ""
    protocol: Protocol = "TCP"
    host_port: Annotated[Any, refused(_HOST_PORTS)] = None
    host_ip: Annotated[Any, refused(_HOST_PORTS)] = field(default=None, name="hostIP")


class ExecAction(Strict, frozen=True):
    command: Annotated[tuple[str, ...], Meta(min_length=1)]


class TCPSocketAction(Strict, frozen=True):
    port: int | str
    """A number, or the name of a port of this container."""
    host: str = ""
    """Empty = the pod's own address."""


class HTTPHeader(Strict, frozen=True):
    name: str
    value: str


class HTTPGetAction(Strict, frozen=True):
    port: int | str
    path: str = "/"
    host: str = ""
    scheme: Literal["HTTP", "HTTPS"] = "HTTP"
    http_headers: tuple[HTTPHeader, ...] = ()


class Probe(Strict, frozen=True):
    """Exactly one of exec, httpGet and tcpSocket (checked). Times in seconds."""

    exec: ExecAction | None = None
    http_get: HTTPGetAction | None = None
    tcp_socket: TCPSocketAction | None = None
    grpc: Annotated[Any, refused("use tcpSocket, httpGet or exec")] = None
    initial_delay_seconds: Seconds = 0
    period_seconds: Positive = 10
    timeout_seconds: Positive = 1
    success_threshold: Positive = 1
    failure_threshold: Positive = 3
    termination_grace_period_seconds: Annotated[Any, refused("only for liveness probes, which weft has not")] = None


class Capabilities(Strict, frozen=True):
    """Names without ``CAP_``; ``ALL`` means all."""

    add: tuple[str, ...] = ()
    drop: tuple[str, ...] = ()


class SecurityContext(Strict, frozen=True):
    """Of one container; its runAsUser and runAsGroup win over the pod's."""

    capabilities: Capabilities = Capabilities()
    run_as_user: UserId | None = None
    run_as_group: UserId | None = None
    run_as_non_root: bool | None = None
    """True: a runAsUser other than 0 must be given (checked)."""
    allow_privilege_escalation: bool | None = None
    """False: the process is started with no_new_privs."""
    privileged: Annotated[Any, refused("list what it needs in capabilities.add")] = None
    read_only_root_filesystem: Annotated[Any, refused("a pod shares the host's files; mount hostPath read-only")] = None
    seccomp_profile: Annotated[Any, refused("weft sets no seccomp profile")] = None
    app_armor_profile: Annotated[Any, refused("weft sets no AppArmor profile")] = None
    se_linux_options: Annotated[Any, refused("weft sets no SELinux label")] = None
    proc_mount: Annotated[Any, refused("weft keeps /proc as it is")] = None
    windows_options: Annotated[Any, refused("pods are Linux processes")] = None


class VolumeMount(Strict, frozen=True):
    name: str
    mount_path: Annotated[str, Meta(min_length=1)]
    """Absolute (checked)."""
    read_only: bool = False
    sub_path: Annotated[Any, refused("write the whole path into the volume's hostPath")] = None
    sub_path_expr: Annotated[Any, refused("write the whole path into the volume's hostPath")] = None
    mount_propagation: Annotated[Any, refused("mounts are private")] = None
    recursive_read_only: Annotated[Any, refused("use readOnly")] = None


class Container(Strict, frozen=True):
    """One process tree. All containers of a pod share its network namespace. ``command`` + ``args`` is the argv."""

    name: str
    command: tuple[str, ...] = ()
    args: tuple[str, ...] = ()
    env: tuple[EnvVar, ...] = ()
    working_dir: str = ""
    ports: tuple[ContainerPort, ...] = ()
    readiness_probe: Probe | None = None
    security_context: SecurityContext = SecurityContext()
    volume_mounts: tuple[VolumeMount, ...] = ()
    image: Annotated[Any, ignored(_NO_IMAGE)] = None
    image_pull_policy: Annotated[Any, ignored(_NO_IMAGE)] = None
    resources: Annotated[Any, ignored(_NO_LIMITS)] = None
    resize_policy: Annotated[Any, ignored(_NO_LIMITS)] = None
    liveness_probe: Annotated[Any, ignored("weft restarts a process when it exits, not when a probe fails")] = None
    startup_probe: Annotated[Any, ignored("readinessProbe alone decides readiness")] = None
    termination_message_path: Annotated[Any, ignored("read the reason in `weft logs`")] = None
    termination_message_policy: Annotated[Any, ignored("read the reason in `weft logs`")] = None
    env_from: Annotated[Any, refused("weft has no ConfigMaps and Secrets; list the variables in env")] = None
    lifecycle: Annotated[Any, refused("hooks would not run; put them into the command")] = None
    volume_devices: Annotated[Any, refused("mount a hostPath volume")] = None
    stdin: Annotated[Any, refused("use `weft exec`")] = None
    stdin_once: Annotated[Any, refused("use `weft exec`")] = None
    tty: Annotated[Any, refused("use `weft exec`")] = None
    restart_policy: Annotated[Any, refused("set the pod's restartPolicy")] = None


class HostPath(Strict, frozen=True):
    path: Annotated[str, Meta(min_length=1)]
    type: Literal["", "Directory", "DirectoryOrCreate", "File", "FileOrCreate", "Socket"] = ""


class Volume(Strict, frozen=True):
    name: str
    host_path: HostPath
    config_map: Annotated[Any, refused(_HOST_PATH)] = None
    csi: Annotated[Any, refused(_HOST_PATH)] = None
    downward_api: Annotated[Any, refused(_HOST_PATH)] = field(default=None, name="downwardAPI")
    empty_dir: Annotated[Any, refused(_HOST_PATH)] = None
    ephemeral: Annotated[Any, refused(_HOST_PATH)] = None
    nfs: Annotated[Any, refused(_HOST_PATH)] = None
    persistent_volume_claim: Annotated[Any, refused(_HOST_PATH)] = None
    projected: Annotated[Any, refused(_HOST_PATH)] = None
    secret: Annotated[Any, refused(_HOST_PATH)] = None


class PodSecurityContext(Strict, frozen=True):
    run_as_user: UserId | None = None
    run_as_group: UserId | None = None
    run_as_non_root: bool | None = None
    supplemental_groups: Annotated[Any, refused("weft sets runAsUser and runAsGroup only")] = None
    fs_group: Annotated[Any, refused("weft leaves the owner of files alone")] = None
    fs_group_change_policy: Annotated[Any, refused("weft leaves the owner of files alone")] = None
    seccomp_profile: Annotated[Any, refused("weft sets no seccomp profile")] = None
    app_armor_profile: Annotated[Any, refused("weft sets no AppArmor profile")] = None
    se_linux_options: Annotated[Any, refused("weft sets no SELinux label")] = None
    sysctls: Annotated[Any, refused("weft sets no sysctls")] = None
    windows_options: Annotated[Any, refused("pods are Linux processes")] = None


class DNSOption(Strict, frozen=True):
    name: str
    value: str | None = None


class PodDNSConfig(Strict, frozen=True):
    """Appended to what dnsPolicy gives; all there is with dnsPolicy None."""

    nameservers: tuple[str, ...] = ()
    searches: tuple[str, ...] = ()
    options: tuple[DNSOption, ...] = ()


class PodSpec(Strict, frozen=True):
    containers: Annotated[tuple[Container, ...], Meta(min_length=1)]
    restart_policy: Literal["Always", "OnFailure", "Never"] = "Always"
    termination_grace_period_seconds: Seconds = 30
    service_account_name: str = ""
    """Empty = ``default``."""
    service_account: str = ""
    """The old spelling; must equal serviceAccountName when both are given (checked)."""
    hostname: str = ""
    subdomain: str = ""
    security_context: PodSecurityContext = PodSecurityContext()
    volumes: tuple[Volume, ...] = ()
    dns_policy: Literal["ClusterFirst", "Default", "None"] = "ClusterFirst"
    dns_config: PodDNSConfig = PodDNSConfig()

    node_name: str = ""
    """Of nodes that share a store; any name means this node where there is but one."""
    node_selector: Annotated[Any, ignored(_ONE_NODE)] = None
    affinity: Annotated[Any, ignored(_ONE_NODE)] = None
    tolerations: Annotated[Any, ignored(_ONE_NODE)] = None
    topology_spread_constraints: Annotated[Any, ignored(_ONE_NODE)] = None
    scheduler_name: Annotated[Any, ignored(_ONE_NODE)] = None
    scheduling_gates: Annotated[Any, refused(_ONE_NODE)] = None
    priority: Annotated[Any, ignored(_ONE_NODE)] = None
    priority_class_name: Annotated[Any, ignored(_ONE_NODE)] = None
    preemption_policy: Annotated[Any, ignored(_ONE_NODE)] = None
    runtime_class_name: Annotated[Any, refused("pods are plain processes")] = None
    overhead: Annotated[Any, ignored(_NO_LIMITS)] = None
    resources: Annotated[Any, ignored(_NO_LIMITS)] = None
    image_pull_secrets: Annotated[Any, ignored(_NO_IMAGE)] = None
    automount_service_account_token: Annotated[Any, ignored("weft mounts no tokens")] = None
    enable_service_links: Annotated[Any, ignored("weft sets no service variables; use DNS")] = None
    os: Annotated[Any, ignored("pods are Linux processes")] = None
    init_containers: Annotated[Any, refused("run the preparation in the container's own command")] = None
    ephemeral_containers: Annotated[Any, refused("use `weft exec`")] = None
    host_network: Annotated[Any, refused(_ON_HOST)] = None
    host_ipc: Annotated[Any, refused(_ON_HOST)] = field(default=None, name="hostIPC")
    host_pid: Annotated[Any, refused(_ON_HOST)] = field(default=None, name="hostPID")
    host_users: Annotated[bool | None, ignored("weft uses no user namespaces")] = None
    share_process_namespace: Annotated[Any, refused("use one container")] = None
    active_deadline_seconds: Annotated[Any, refused("run the command under timeout(1)")] = None
    host_aliases: Annotated[Any, refused("use a Service")] = None
    readiness_gates: Annotated[Any, refused("readinessProbe alone decides readiness")] = None
    resource_claims: Annotated[Any, refused("weft hands out no devices")] = None
    set_hostname_as_fqdn: Annotated[Any, refused("use hostname")] = field(default=None, name="setHostnameAsFQDN")
    hostname_override: Annotated[Any, refused("use hostname")] = None


class Pod(Strict, frozen=True):
    api_version: str
    kind: str
    metadata: ObjectMeta
    spec: PodSpec
    status: Any = None
    """Written by the runtime, never read from a manifest."""


class PodTemplateSpec(Strict, frozen=True):
    spec: PodSpec
    metadata: ObjectMeta = ObjectMeta()


class NamespaceSpec(Strict, frozen=True):
    finalizers: tuple[str, ...] = ()


class Namespace(Strict, frozen=True):
    """``metadata.labels`` take part in the identity of its pods."""

    api_version: str
    kind: str
    metadata: ObjectMeta
    spec: NamespaceSpec = NamespaceSpec()
    status: Any = None
