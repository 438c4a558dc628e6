"""Every file that a cluster reads is what its reader expects, and none of them opens a door."""

import copy
import re

import jsonschema
import pytest
import yaml

from cluster_manifests import (
    CLUSTER,
    OF_PROMETHEUS,
    RAY_KINDS,
    Strict,
    chosen,
    clusters,
    documents,
    everything,
    job_of,
    of_kind,
    pods,
    ray_pods,
    submitter,
)
from conftest import REPOSITORY
from emo.config import validate
from pod_security import violations


def test_all_kinds_are_there():
    kinds = {one["kind"] for _, one in everything()}
    assert kinds >= {*RAY_KINDS, *OF_PROMETHEUS, "CronJob", "NetworkPolicy", "ConfigMap"}
    assert kinds >= {"Namespace", "ServiceAccount", "PersistentVolumeClaim"}


def test_every_cluster_scales_from_zero_and_keeps_work_off_its_head():
    for name, spec in clusters():
        assert spec["enableInTreeAutoscaling"] is True, name
        assert spec["headGroupSpec"]["rayStartParams"]["num-cpus"] == "0", name
        assert [group["minReplicas"] for group in spec["workerGroupSpecs"]] == [0, 0], name
        for group in spec["workerGroupSpecs"]:
            assert group["minReplicas"] <= group["replicas"] <= group["maxReplicas"], name
        gpus = [
            group["template"]["spec"]["containers"][0]["resources"]["limits"].get("nvidia.com/gpu")
            for group in spec["workerGroupSpecs"]
        ]
        assert sorted(map(str, gpus)) == ["1", "None"], name


def test_where_either_would_do_a_node_without_a_gpu_comes_first():
    paths = [CLUSTER / name for name in ("raycluster.yaml", "rayjob.yaml", "raycronjob.yaml")]
    for one in [one for path in paths for one in chosen(path) if one["kind"] in RAY_KINDS]:
        spec = one["spec"] if one["kind"] == "RayCluster" else job_of(one)["rayClusterSpec"]
        priority = {group["groupName"]: group.get("priority", 0) for group in spec["workerGroupSpecs"]}
        assert priority["ingest"] > priority["gpu"]
    nodes = yaml.safe_load((REPOSITORY / "ray_cluster.yaml").read_text())["available_node_types"]
    assert nodes["ingest"]["priority"] > nodes["gpu"].get("priority", 0)


def test_every_cluster_asks_for_a_token_and_none_shows_its_dashboard():
    for name, spec in clusters():
        assert spec["authOptions"] == {"mode": "token"}, name
        assert spec["headGroupSpec"]["serviceType"] == "ClusterIP", name
        assert not spec["headGroupSpec"].get("enableIngress"), name
        assert "dashboard-host" not in spec["headGroupSpec"]["rayStartParams"], name
    assert not of_kind("Ingress", "Service")


def test_every_pod_passes_the_restricted_standard_also_with_what_the_operator_adds():
    (namespace,) = of_kind("Namespace")
    assert namespace[1]["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"
    seen = [(name, container["name"]) for name, pod in pods() for container in pod["containers"]]
    assert {"autoscaler", "ray-job-submitter", "submit", "ray-head", "ray-worker"} <= {
        name for _, name in seen
    }
    for name, pod in pods():
        assert not violations(pod), name


def test_the_restricted_standard_would_refuse_what_was_forgotten():
    """A test of the test: without our words on the operator's own containers they are refused."""
    (job,) = [one for one in documents(CLUSTER / "rayjob.yaml") if one["kind"] == "RayJob"]
    spec = copy.deepcopy(job["spec"])
    del spec["submitterPodTemplate"]
    assert len(violations(submitter(spec))) == 4
    del spec["rayClusterSpec"]["autoscalerOptions"]["securityContext"]
    head, ingest, _ = ray_pods(spec["rayClusterSpec"])
    assert [line.partition(" ")[0] for line in violations(head)] == ["autoscaler"] * 3
    ingest["containers"][0]["securityContext"] = {"privileged": True, "runAsUser": 0}
    ingest["volumes"].append({"name": "disk", "hostPath": {"path": "/"}})
    assert len(violations(ingest)) > 5


def test_what_the_pods_name_is_in_the_files():
    accounts = {one["metadata"]["name"] for _, one in of_kind("ServiceAccount")}
    claims = {one["metadata"]["name"]: one for _, one in of_kind("PersistentVolumeClaim")}
    settings = {(name, one["metadata"]["name"]) for name, one in of_kind("ConfigMap")}
    namespaces = {one["metadata"]["name"] for _, one in of_kind("Namespace")}
    for name, one in everything():
        if one["kind"] != "Namespace":
            assert one["metadata"]["namespace"] in namespaces, name
    for name, pod in pods():
        assert pod["serviceAccountName"] in accounts, name
        volumes = {volume["name"]: volume for volume in pod.get("volumes", [])}
        assert len(volumes) == len(pod.get("volumes", [])), name
        for volume in volumes.values():
            if "persistentVolumeClaim" in volume:
                # Pods of several nodes mount it at once.
                claim = claims[volume["persistentVolumeClaim"]["claimName"]]
                assert claim["spec"]["accessModes"] == ["ReadWriteMany"]
            if "configMap" in volume:
                assert (name, volume["configMap"]["name"]) in settings
        for container in pod["containers"]:
            mounts = {mount["name"] for mount in container.get("volumeMounts", [])}
            assert mounts <= volumes.keys(), name


def test_the_nightly_pod_reaches_the_standing_cluster_with_its_token():
    ((_, cluster),) = of_kind("RayCluster")
    ((_, cron),) = of_kind("CronJob")
    (container,) = cron["spec"]["jobTemplate"]["spec"]["template"]["spec"]["containers"]
    address = container["args"][container["args"].index("--address") + 1]
    assert address == f"http://{cluster['metadata']['name']}-head-svc:8265"
    (token,) = [one for one in container["env"] if one["name"] == "RAY_AUTH_TOKEN"]
    assert token["valueFrom"]["secretKeyRef"] == {"name": cluster["metadata"]["name"], "key": "auth_token"}


def image_environment():
    lines = (CLUSTER / "Dockerfile").read_text().replace("\\\n", " ").splitlines()
    words = " ".join(line.removeprefix("ENV ") for line in lines if line.startswith("ENV "))
    return dict(word.split("=", 1) for word in words.split())


def test_models_lie_on_the_volume_which_belongs_to_the_user_of_the_image():
    environment = image_environment()
    for variable in ("HF_HOME", "EMO_CACHE"):
        assert environment[variable].startswith("/models/")
    (user,) = re.findall(r"^USER (\d+):(\d+)$", (CLUSTER / "Dockerfile").read_text(), re.MULTILINE)
    for name, spec in clusters():
        for pod in ray_pods(spec):
            ray = pod["containers"][0]
            (volume,) = [mount["name"] for mount in ray["volumeMounts"] if mount["mountPath"] == "/models"]
            assert {"name": volume, "persistentVolumeClaim": {"claimName": "emo-models"}} in pod["volumes"], (
                name
            )
            assert str(ray["securityContext"]["runAsUser"]) == user[0]
            assert str(pod["securityContext"]["fsGroup"]) == user[1]


def test_pods_that_decode_ask_for_disk_and_only_workers_bear_spot_nodes():
    for name, spec in clusters():
        head, *workers = ray_pods(spec)
        assert not head.get("tolerations"), name
        for pod in workers:
            assert pod["containers"][0]["resources"]["requests"]["ephemeral-storage"], name
            kept = {one["key"] for one in pod["tolerations"]}
            assert {"cloud.google.com/gke-spot", "kubernetes.azure.com/scalesetpriority"} <= kept, name


def selects(selector, labels):
    """Whether a label selector of Kubernetes takes these labels."""
    wanted = selector.get("matchLabels", {})
    if any(labels.get(key) != value for key, value in wanted.items()):
        return False
    for one in selector.get("matchExpressions", []):
        value, operator = labels.get(one["key"]), one["operator"]
        holds = {
            "Exists": value is not None,
            "DoesNotExist": value is None,
            "In": value in one.get("values", []),
            "NotIn": value not in one.get("values", []),
        }
        if not holds[operator]:
            return False
    return True


def admits(labels, port, namespace="emo"):
    """Whether the network policy lets a pod with these labels in, to a pod of the cluster."""
    ((_, policy),) = of_kind("NetworkPolicy")
    home = policy["metadata"]["namespace"]
    of_namespace = {"kubernetes.io/metadata.name": namespace}
    for rule in policy["spec"]["ingress"]:
        if "ports" in rule and port not in {one["port"] for one in rule["ports"]}:
            continue
        for peer in rule["from"]:
            where = (
                selects(peer["namespaceSelector"], of_namespace)
                if "namespaceSelector" in peer
                else namespace == home
            )
            if where and selects(peer.get("podSelector", {}), labels):
                return True
    return False


def test_the_network_policy_admits_whom_the_cluster_needs_and_nobody_else():
    ((_, policy),) = of_kind("NetworkPolicy")
    member = {"ray.io/cluster": "emo"}
    assert selects(policy["spec"]["podSelector"], member)
    for port in (6379, 8265, 8080, 10001, 30000):
        assert admits(member, port)
    # The operator, as Helm and as kustomize install it.
    for name in ("kuberay-operator", "kuberay"):
        operator = {"app.kubernetes.io/name": name, "app.kubernetes.io/component": "kuberay-operator"}
        for namespace in ("emo", "kuberay-system", "default"):
            assert admits(operator, 8265, namespace)
            assert not admits(operator, 6379, namespace)
    assert admits({"batch.kubernetes.io/job-name": "emo-night-x"}, 8265)
    ((_, cron),) = of_kind("CronJob")
    assert admits(cron["spec"]["jobTemplate"]["spec"]["template"]["metadata"]["labels"], 8265)
    assert admits({"app.kubernetes.io/name": "prometheus"}, 8080, "monitoring")
    assert not admits({"app.kubernetes.io/name": "prometheus"}, 8265, "monitoring")
    assert not admits({"app": "stranger"}, 8265)
    assert not admits({"app": "emo-submit"}, 8265, "another")


def test_no_secret_stands_in_a_manifest():
    files = [path for path in CLUSTER.iterdir() if path.is_file()]
    for path in [*files, REPOSITORY / "ray_cluster.yaml"]:
        text = path.read_text()
        assert not re.search(r"AKIA[0-9A-Z]{16}|aws_secret|BEGIN [A-Z ]*PRIVATE KEY", text, re.IGNORECASE)
    assert not of_kind("Secret")


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
    (mount,) = [option for option in config["docker"]["run_options"] if option.startswith("-v ")]
    folder, place = mount.removeprefix("-v ").split(":")
    assert place == "/models"
    assert f"mkdir -p {folder}" in config["initialization_commands"]
    # What a user has to change is marked, and little.
    marked = [line for line in (REPOSITORY / "ray_cluster.yaml").read_text().splitlines() if "# <--" in line]
    named = [re.match(r"\s*([\w-]+):", line)[1] for line in marked]
    assert named == [
        "region",
        "image",
        "ImageId",
        "IamInstanceProfile",
        "max_workers",
        "IamInstanceProfile",
        "max_workers",
    ]
