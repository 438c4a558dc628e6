"""The Pod Security standard *restricted* as code, control by control, in the order of its published page.

https://kubernetes.io/docs/concepts/security/pod-security-standards/
"""

from collections.abc import Iterator
from typing import Any

CAPABILITIES = {
    "AUDIT_WRITE",
    "CHOWN",
    "DAC_OVERRIDE",
    "FOWNER",
    "FSETID",
    "KILL",
    "MKNOD",
    "NET_BIND_SERVICE",
    "SETFCAP",
    "SETGID",
    "SETPCAP",
    "SETUID",
    "SYS_CHROOT",
}
VOLUMES = {
    "configMap",
    "csi",
    "downwardAPI",
    "emptyDir",
    "ephemeral",
    "image",
    "persistentVolumeClaim",
    "projected",
    "secret",
}
SYSCTLS = {
    "kernel.shm_rmid_forced",
    "net.ipv4.ip_local_port_range",
    "net.ipv4.ip_unprivileged_port_start",
    "net.ipv4.tcp_syncookies",
    "net.ipv4.ping_group_range",
    "net.ipv4.ip_local_reserved_ports",
    "net.ipv4.tcp_keepalive_time",
    "net.ipv4.tcp_fin_timeout",
    "net.ipv4.tcp_keepalive_intvl",
    "net.ipv4.tcp_keepalive_probes",
    "net.ipv4.tcp_rmem",
    "net.ipv4.tcp_wmem",
}
SELINUX_TYPES = {"", "container_t", "container_init_t", "container_kvm_t", "container_engine_t"}
SECCOMP = {"RuntimeDefault", "Localhost"}


def violations(pod: dict[str, Any]) -> list[str]:
    """What the standard has against a pod's `spec`; nothing where the namespace would admit it."""
    return [*_baseline(pod), *_restricted(pod)]


def _containers(pod: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any], dict[str, Any]]]:
    """Every container: its name, itself, its security context."""
    for kind in ("initContainers", "containers", "ephemeralContainers"):
        for container in pod.get(kind, []):
            yield container["name"], container, container.get("securityContext", {})


def _baseline(pod: dict[str, Any]) -> Iterator[str]:
    of_pod = pod.get("securityContext", {})
    for field in ("hostNetwork", "hostPID", "hostIPC"):
        if pod.get(field):
            yield f"{field} is set"
    for volume in pod.get("volumes", []):
        if "hostPath" in volume:
            yield f"volume {volume['name']} is a hostPath"
    for sysctl in of_pod.get("sysctls", []):
        if sysctl["name"] not in SYSCTLS:
            yield f"sysctl {sysctl['name']}"
    yield from _of_both("the pod", of_pod)
    for name, container, rights in _containers(pod):
        yield from _of_both(name, rights)
        if rights.get("privileged"):
            yield f"{name} is privileged"
        if extra := set(rights.get("capabilities", {}).get("add", [])) - CAPABILITIES:
            yield f"{name} adds the capabilities {sorted(extra)}"
        if rights.get("procMount", "Default") != "Default":
            yield f"{name}: procMount"
        for port in container.get("ports", []):
            if port.get("hostPort"):
                yield f"{name} has a hostPort"
        probes = [container.get(kind, {}) for kind in ("livenessProbe", "readinessProbe", "startupProbe")]
        for handler in [*probes, *container.get("lifecycle", {}).values()]:
            if any(handler.get(kind, {}).get("host") for kind in ("httpGet", "tcpSocket")):
                yield f"{name}: a probe or hook names a host"


def _of_both(name: str, rights: dict[str, Any]) -> Iterator[str]:
    if rights.get("windowsOptions", {}).get("hostProcess"):
        yield f"{name}: hostProcess"
    selinux = rights.get("seLinuxOptions", {})
    if selinux.get("type", "") not in SELINUX_TYPES or selinux.get("user") or selinux.get("role"):
        yield f"{name}: seLinuxOptions"
    if rights.get("appArmorProfile", {}).get("type", "RuntimeDefault") == "Unconfined":
        yield f"{name}: appArmorProfile"
    if rights.get("seccompProfile", {}).get("type", "RuntimeDefault") not in SECCOMP:
        yield f"{name}: seccompProfile"


def _restricted(pod: dict[str, Any]) -> Iterator[str]:
    of_pod = pod.get("securityContext", {})
    for volume in pod.get("volumes", []):
        if kinds := volume.keys() - {"name"} - VOLUMES:
            yield f"volume {volume['name']} is of the kind {sorted(kinds)}"
    if of_pod.get("runAsUser") == 0:
        yield "the pod runs as root"
    for name, _, rights in _containers(pod):
        if rights.get("allowPrivilegeEscalation") is not False:
            yield f"{name} allows privilege escalation"
        if rights.get("runAsNonRoot", of_pod.get("runAsNonRoot")) is not True:
            yield f"{name} may run as root"
        if rights.get("runAsUser") == 0:
            yield f"{name} runs as root"
        profile = rights.get("seccompProfile", of_pod.get("seccompProfile", {}))
        if profile.get("type") not in SECCOMP:
            yield f"{name} has no seccomp profile"
        capabilities = rights.get("capabilities", {})
        if "ALL" not in capabilities.get("drop", []):
            yield f"{name} keeps capabilities"
        if set(capabilities.get("add", [])) - {"NET_BIND_SERVICE"}:
            yield f"{name} adds capabilities"
