"""Operators and Kubernetes take every manifest and know each of its fields."""

import json
import re

import kubernetes_validate
import pytest

from cluster_manifests import (
    CLUSTER,
    MANIFESTS,
    OF_PROMETHEUS,
    RAY_KINDS,
    chosen,
    documents,
    everything,
    of_kind,
    pods,
)
from kubernetes_schemas import KUBERAY, refusals, schema, strict

# An old and a new Kubernetes that KubeRay 1.6 and 1.7 run on.
KUBERNETES = ("1.30", "1.34")


def named_version(path):
    """The oldest KubeRay that the header of a file names."""
    comments = " ".join(re.findall(r"^# ?(.*)$", path.read_text().split("apiVersion")[0], re.MULTILINE))
    return re.search(r"KubeRay (\d\.\d) or later", comments)[1]


@pytest.mark.parametrize("path", MANIFESTS, ids=lambda path: path.name)
@pytest.mark.parametrize("version", KUBERAY)
def test_every_operator_that_a_file_names_takes_it_and_knows_each_field(path, version):
    mine = [one for one in documents(path) if one["kind"] in RAY_KINDS]
    for one in mine:
        wrong = refusals(one, schema(f"kuberay-v{version}-{one['kind'].lower()}s.yaml.gz", one["apiVersion"]))
        if version.startswith("1.6") and named_version(path) != "1.6":
            # It says so because it must: an older operator would refuse it.
            assert wrong
            assert all("timeZone" in line or "priority" in line for line in wrong)
        else:
            assert not wrong


@pytest.mark.parametrize("path", MANIFESTS, ids=lambda path: path.name)
def test_the_newest_operators_take_every_choice_too(path):
    if path.name in {"namespace.yaml", "raycluster.yaml", "rayjob.yaml", "raycronjob.yaml"}:
        assert chosen(path) != documents(path)
    for one in chosen(path):
        if one["kind"] in RAY_KINDS:
            wrong = refusals(
                one, schema(f"kuberay-v{KUBERAY[-1]}-{one['kind'].lower()}s.yaml.gz", one["apiVersion"])
            )
            assert not wrong
        elif one["kind"] not in OF_PROMETHEUS:
            kubernetes_validate.validate(one, KUBERNETES[-1], strict=True)


def test_the_operator_of_prometheus_takes_its_kinds():
    for name, one in of_kind(*OF_PROMETHEUS):
        assert not refusals(one, schema(OF_PROMETHEUS[one["kind"]], one["apiVersion"])), name


@pytest.mark.parametrize("version", KUBERNETES)
def test_kubernetes_takes_its_own_kinds_and_the_templates_of_all_pods(version):
    for _, one in everything():
        if one["kind"] not in {*RAY_KINDS, *OF_PROMETHEUS}:
            kubernetes_validate.validate(one, version, strict=True)
    for _, pod in pods():
        whole = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "pod"}, "spec": pod}
        kubernetes_validate.validate(whole, version, strict=True)


@pytest.mark.parametrize(
    ("place", "said"),
    [
        ((), "timezone"),
        (("headGroupSpec",), "rayStartParam"),
        (("headGroupSpec", "template", "spec", "containers", 0), "volumeMount"),
        (("workerGroupSpecs", 1, "template", "spec", "securityContext"), "fsgroup"),
    ],
)
def test_a_field_that_the_operator_does_not_know_is_refused_wherever_it_stands(place, said):
    """A test of the test: `kubectl apply` refuses what the API server would drop."""
    # Through text, so that no two places are one object.
    (cluster,) = json.loads(json.dumps(documents(CLUSTER / "raycluster.yaml")))
    whole = schema(f"kuberay-v{KUBERAY[-1]}-rayclusters.yaml.gz", cluster["apiVersion"])
    node = cluster["spec"]
    for key in place:
        node = node[key]
    node[said] = "x"
    (wrong,) = refusals(cluster, whole)
    assert repr(said) in wrong


def test_fields_that_a_definition_leaves_open_stay_open():
    """A test of the test: what `kubectl apply` takes is not refused."""
    whole = strict(
        {
            "type": "object",
            "properties": {
                "open": {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
                "port": {
                    "x-kubernetes-int-or-string": True,
                    "anyOf": [{"type": "integer"}, {"type": "string"}],
                },
                "labels": {"type": "object", "additionalProperties": {"type": "string"}},
                "closed": {"type": "object"},
            },
        }
    )
    assert not refusals({"open": {"any": 1}, "port": "http", "labels": {"a": "b"}}, whole)
    assert not refusals({"port": 8080}, whole)
    assert refusals({"port": 1.5}, whole)
    assert refusals({"labels": {"a": 1}}, whole)
    assert refusals({"closed": {"any": 1}}, whole)
