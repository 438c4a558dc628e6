"""Every file that a cluster reads is what its reader expects, and none of them opens a door."""

import copy
import json
import re
import shutil
import subprocess

import jsonschema
import pytest
import yaml

from conftest import REPOSITORY
from emo.config import validate

CLUSTER = REPOSITORY / "cluster"
MANIFESTS = sorted(CLUSTER.glob("*.yaml"))

# The fields of KubeRay's own types (v1, operator 1.6), by the API reference.
RAY_CLUSTER = {
    "authOptions",
    "suspend",
    "managedBy",
    "autoscalerOptions",
    "headServiceAnnotations",
    "enableInTreeAutoscaling",
    "gcsFaultToleranceOptions",
    "headGroupSpec",
    "rayVersion",
    "workerGroupSpecs",
}
HEAD = {"serviceType", "headService", "enableIngress", "rayStartParams", "template", "resources", "labels"}
WORKERS = {
    "groupName",
    "suspend",
    "replicas",
    "minReplicas",
    "maxReplicas",
    "idleTimeoutSeconds",
    "rayStartParams",
    "template",
    "scaleStrategy",
    "numOfHosts",
    "resources",
    "labels",
}
RAY_JOB = {
    "activeDeadlineSeconds",
    "backoffLimit",
    "rayClusterSpec",
    "submitterPodTemplate",
    "metadata",
    "clusterSelector",
    "submitterConfig",
    "managedBy",
    "deletionStrategy",
    "entrypoint",
    "runtimeEnvYAML",
    "jobId",
    "submissionMode",
    "entrypointResources",
    "entrypointNumCpus",
    "entrypointNumGpus",
    "ttlSecondsAfterFinished",
    "shutdownAfterJobFinishes",
    "suspend",
}
RAY_CRON_JOB = {"schedule", "timeZone", "suspend", "jobTemplate"}
CRON_JOB = {
    "schedule",
    "timeZone",
    "concurrencyPolicy",
    "startingDeadlineSeconds",
    "successfulJobsHistoryLimit",
    "failedJobsHistoryLimit",
    "suspend",
    "jobTemplate",
}
CONTAINER = {
    "name",
    "image",
    "imagePullPolicy",
    "command",
    "args",
    "env",
    "envFrom",
    "ports",
    "resources",
    "volumeMounts",
    "securityContext",
    "lifecycle",
    "livenessProbe",
    "readinessProbe",
}
POD = {
    "serviceAccountName",
    "automountServiceAccountToken",
    "containers",
    "volumes",
    "tolerations",
    "nodeSelector",
    "affinity",
    "restartPolicy",
    "securityContext",
    "initContainers",
    "imagePullSecrets",
}


class Strict(yaml.SafeLoader):
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


def clusters():
    """Every specification of a Ray cluster, with the file that it stands in."""
    for name, one in everything():
        if one["kind"] == "RayCluster":
            yield name, one["spec"]
        elif one["kind"] == "RayJob":
            yield name, one["spec"]["rayClusterSpec"]
        elif one["kind"] == "RayCronJob":
            yield name, one["spec"]["jobTemplate"]["rayClusterSpec"]


def pods():
    for name, spec in clusters():
        yield name, spec["headGroupSpec"]["template"]["spec"]
        for group in spec["workerGroupSpecs"]:
            yield name, group["template"]["spec"]
    for name, one in everything():
        if one["kind"] == "CronJob":
            yield name, one["spec"]["jobTemplate"]["spec"]["template"]["spec"]


def test_all_kinds_are_there():
    kinds = {one["kind"] for _, one in everything()}
    assert kinds >= {"RayCluster", "RayJob", "RayCronJob", "CronJob", "NetworkPolicy", "PrometheusRule"}


def test_manifests_hold_only_fields_that_their_readers_know():
    for name, one in everything():
        assert {"apiVersion", "kind", "metadata"} <= one.keys(), name
        known = {"RayJob": RAY_JOB, "RayCronJob": RAY_CRON_JOB, "CronJob": CRON_JOB}.get(one["kind"])
        if known:
            assert one["spec"].keys() <= known, name
        if one["kind"] == "RayCronJob":
            assert one["spec"]["jobTemplate"].keys() <= RAY_JOB, name
    for name, spec in clusters():
        assert spec.keys() <= RAY_CLUSTER, name
        assert spec["headGroupSpec"].keys() <= HEAD, name
        assert spec["headGroupSpec"].keys() >= {"rayStartParams", "template"}
        assert all(isinstance(value, str) for value in spec["headGroupSpec"]["rayStartParams"].values())
        for group in spec["workerGroupSpecs"]:
            assert group.keys() <= WORKERS, name
            assert group["minReplicas"] <= group["replicas"] <= group["maxReplicas"]
    for name, pod in pods():
        assert pod.keys() <= POD, name
        volumes = {volume["name"] for volume in pod.get("volumes", [])}
        for container in pod["containers"]:
            assert container.keys() <= CONTAINER, name
            assert {mount["name"] for mount in container.get("volumeMounts", [])} <= volumes, name


def test_every_cluster_scales_from_zero_and_keeps_work_off_its_head():
    for name, spec in clusters():
        assert spec["enableInTreeAutoscaling"] is True, name
        assert spec["headGroupSpec"]["rayStartParams"]["num-cpus"] == "0", name
        assert [group["minReplicas"] for group in spec["workerGroupSpecs"]] == [0, 0], name
        gpus = [
            group["template"]["spec"]["containers"][0]["resources"]["limits"].get("nvidia.com/gpu")
            for group in spec["workerGroupSpecs"]
        ]
        assert sorted(map(str, gpus)) == ["1", "None"], name


def test_every_cluster_asks_for_a_token_and_none_shows_its_dashboard():
    import ray

    for name, spec in clusters():
        assert spec["authOptions"] == {"mode": "token"}, name
        assert spec["rayVersion"] == ray.__version__, name
        assert spec["headGroupSpec"]["serviceType"] == "ClusterIP", name
        assert not spec["headGroupSpec"].get("enableIngress"), name
        assert "dashboard-host" not in spec["headGroupSpec"]["rayStartParams"], name
    assert not [name for name, one in everything() if one["kind"] in {"Ingress", "Service"}]


def test_no_pod_has_more_rights_than_it_needs():
    for name, pod in pods():
        assert not pod.keys() & {"hostNetwork", "hostPID", "hostIPC"}, name
        for container in pod["containers"]:
            rights = container["securityContext"]
            assert rights["allowPrivilegeEscalation"] is False, name
            assert rights["runAsNonRoot"] is True, name
            assert rights["capabilities"] == {"drop": ["ALL"]}, name


def test_no_secret_stands_in_a_manifest():
    for path in [*MANIFESTS, REPOSITORY / "ray_cluster.yaml", CLUSTER / "Dockerfile"]:
        text = path.read_text()
        assert not re.search(r"AKIA[0-9A-Z]{16}|aws_secret|BEGIN [A-Z ]*PRIVATE KEY", text, re.IGNORECASE)
    for _, one in everything():
        assert one["kind"] != "Secret"


def test_the_nights_configurations_are_valid_and_their_entry_points_are_commands():
    seen = 0
    for name, one in everything():
        if one["kind"] == "ConfigMap":
            seen += 1
            config = validate(yaml.safe_load(one["data"]["nightly.yaml"]), name)
            assert config.nightly.source
            assert config.nightly.out
            pools = next(groups for file, groups in _pools() if file in (name, "raycluster.yaml"))
            assert config.ray.grows_to is not None
            assert (config.ray.grows_to.cpus, config.ray.grows_to.gpus) == pools
        spec = one.get("spec", {})
        spec = spec.get("jobTemplate", spec)
        if "entrypoint" in spec:
            assert spec["entrypoint"] == "python -m emo nightly --config /etc/emo/nightly.yaml"
            assert spec["activeDeadlineSeconds"] > 3600 * 8
    assert seen == 3


def _pools():
    """What the pools of each cluster can grow to: CPUs of the ingest pool, GPUs of the other."""
    for name, spec in clusters():
        cpus = gpus = 0
        for group in spec["workerGroupSpecs"]:
            limits = group["template"]["spec"]["containers"][0]["resources"]["limits"]
            if "nvidia.com/gpu" in limits:
                gpus += group["maxReplicas"] * int(limits["nvidia.com/gpu"])
            else:
                cpus += group["maxReplicas"] * int(limits["cpu"])
        yield name, (cpus, gpus)


def test_the_launchers_own_validator_takes_the_cluster_file():
    from ray.autoscaler._private.util import fill_node_type_min_max_workers, fillout_defaults, validate_config

    config = yaml.load((REPOSITORY / "ray_cluster.yaml").read_text(), Loader=Strict)
    filled = fillout_defaults(copy.deepcopy(config))
    fill_node_type_min_max_workers(filled)
    validate_config(filled)
    # It would say so where a word is wrong.
    broken = copy.deepcopy(filled)
    broken["min_wrkers"] = 1
    with pytest.raises(jsonschema.ValidationError, match="min_wrkers"):
        validate_config(broken)
    workers = [node for name, node in config["available_node_types"].items() if name != "head"]
    assert all(node["min_workers"] == 0 for node in workers)
    assert all(node["node_config"]["InstanceMarketOptions"] == {"MarketType": "spot"} for node in workers)
    for command in [*config["head_start_ray_commands"], *config["worker_start_ray_commands"]]:
        assert "ray start" not in command or command.startswith("RAY_AUTH_MODE=token ")
    assert "--dashboard-host=127.0.0.1" in config["head_start_ray_commands"][1]
    # What a user has to change is marked, and little.
    assert (REPOSITORY / "ray_cluster.yaml").read_text().count("# <--") == 5


def test_the_image_has_what_its_users_expect():
    lines = (CLUSTER / "Dockerfile").read_text().replace("\\\n", " ").splitlines()
    instructions = [line.split()[0] for line in lines if line and not line.startswith(("#", " "))]
    assert set(instructions) <= {"FROM", "RUN", "USER", "WORKDIR", "ENV", "COPY"}
    assert [line for line in lines if line.startswith("USER")][-1] == "USER ray"
    copied = [part for line in lines if line.startswith("COPY") for part in line.split()[2:-1]]
    assert not [part for part in copied if not (REPOSITORY / part).exists()]


def test_rules_and_dashboard_ask_only_for_metrics_that_are_there():
    """The names are those of the metric objects themselves, in the form in which Ray exports them."""
    made = {"ray_emo_clips_total", "ray_emo_tokens_total", "ray_emo_retries_total", "ray_emo_waiting"}
    made.add("ray_emo_seconds_per_clip_bucket")
    source = (REPOSITORY / "jobs/metrics.py").read_text()
    for name in made:
        plain = name.removeprefix("ray_").removesuffix("_total").removesuffix("_bucket")
        assert f'"{plain}"' in source
    rules = [
        rule["expr"]
        for name, one in everything()
        if one["kind"] == "PrometheusRule"
        for group in one["spec"]["groups"]
        for rule in group["rules"]
    ]
    dashboard = json.loads((CLUSTER / "grafana-dashboard.json").read_text())
    shown = [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
    asked = {name for expression in [*rules, *shown] for name in re.findall(r"ray_emo_\w+", expression)}
    assert asked == made
    for expression in [*rules, *shown]:
        assert expression.count("(") == expression.count(")")
        if shutil.which("promtool"):
            subprocess.run(["promtool", "promql", "format", expression], check=True, capture_output=True)
    assert len({panel["id"] for panel in dashboard["panels"]}) == len(dashboard["panels"])
    places = {(panel["gridPos"]["x"], panel["gridPos"]["y"]) for panel in dashboard["panels"]}
    assert len(places) == len(dashboard["panels"])
