"""The manifests of `cluster/` for tests, as documents and as pods."""

import copy
import re

import yaml

from conftest import REPOSITORY

CLUSTER = REPOSITORY / "cluster"
MANIFESTS = sorted(CLUSTER.glob("*.yaml"))
RAY_KINDS = ("RayCluster", "RayJob", "RayCronJob")
# The kinds of Prometheus' operator, with the files of their definitions.
OF_PROMETHEUS = {"PodMonitor": "podmonitors.yaml", "PrometheusRule": "prometheusrules.yaml"}


class Strict(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):
    """YAML in which a key that is there twice is an error, as it is for the API server."""


def _mapping(loader, node):
    keys = [key.value for key, _ in node.value]
    twice = {key for key in keys if keys.count(key) > 1}
    assert not twice, f"{node.start_mark}: there twice: {twice}"
    return loader.construct_mapping(node, deep=True)


Strict.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _mapping)


def documents(path):
    return [one for one in yaml.load_all(path.read_text(), Loader=Strict) if one]


def everything():
    return [(path.name, one) for path in MANIFESTS for one in documents(path)]


def chosen(path):
    """The documents of a file in which every choice was taken: lines with # and no space after it.

    Of choices that exclude each other (the same key at the same place) the first is taken.
    """
    lines, taken = [], set()
    for line in path.read_text().splitlines():
        choice = re.match(r"(\s*)#([A-Za-z][\w-]*):", line)
        if choice and choice.groups() not in taken:
            taken.add(choice.groups())
            line = line.replace("#", "", 1)
        lines.append(line)
    return [one for one in yaml.load_all("\n".join(lines), Loader=Strict) if one]


def of_kind(*kinds):
    return [(name, one) for name, one in everything() if one["kind"] in kinds]


def job_of(one):
    """The specification of a RayJob or of those that a RayCronJob makes."""
    return one["spec"]["jobTemplate"] if one["kind"] == "RayCronJob" else one["spec"]


def clusters():
    """Every specification of a Ray cluster, with the file that it stands in."""
    for name, one in of_kind(*RAY_KINDS):
        yield name, one["spec"] if one["kind"] == "RayCluster" else job_of(one)["rayClusterSpec"]


def as_made(pod, *beside, init=()):
    """A pod as KubeRay makes it of a template: with its own volumes, and containers of its own."""
    pod = copy.deepcopy(pod)
    pod["volumes"] = [*pod.get("volumes", []), {"name": "shared-mem", "emptyDir": {"medium": "Memory"}}]
    pod["volumes"].append({"name": "ray-logs", "emptyDir": {}})
    pod["containers"] += beside
    pod["initContainers"] = [*pod.get("initContainers", []), *init]
    return pod


def ray_pods(spec):
    """The pods of a cluster, with the container that scales it and those that wait for the head."""
    rights = spec["autoscalerOptions"].get("securityContext", {})
    autoscaler = {"name": "autoscaler", "securityContext": rights}
    yield as_made(spec["headGroupSpec"]["template"]["spec"], autoscaler)
    for group in spec["workerGroupSpecs"]:
        pod = group["template"]["spec"]
        waits = {"name": "wait-gcs-ready", "securityContext": pod["containers"][0].get("securityContext", {})}
        yield as_made(pod, init=[waits])


def submitter(job):
    """The pod that sends the entry point of a RayJob: KubeRay's own has no security context."""
    template = job.get("submitterPodTemplate")
    return template["spec"] if template else {"containers": [{"name": "ray-job-submitter"}]}


def pods():
    """Every pod that comes of these files, as it is made."""
    for name, spec in clusters():
        for pod in ray_pods(spec):
            yield name, pod
    for name, one in of_kind("RayJob", "RayCronJob"):
        yield name, submitter(job_of(one))
    for name, one in of_kind("CronJob"):
        yield name, one["spec"]["jobTemplate"]["spec"]["template"]["spec"]
    for name, one in of_kind("Pod"):
        yield name, one["spec"]
