"""A Ray cluster whose real autoscaler (version 2) starts nodes on this machine when they are asked for."""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from ray._private.services import get_node_ip_address

from conftest import free_port, ray_head
from standing import TestCluster

# How Ray's provider of nodes on one machine knows the head.
_HEAD = "fffffffffffffffffffffffffffffffffffffffffffffffffff00000"


@contextmanager
def autoscaled(types: Mapping[str, Mapping[str, float]], most: int = 2) -> Iterator[TestCluster]:
    """A head without CPUs, and no other node yet; the variables that lead there.

    types: what a node of each type has; most: nodes of each type at most.
    """
    port = free_port()
    # Ray's socket names must not exceed 107 characters.
    folder = Path(f"/tmp/emo-test-grow-{port}")
    folder.mkdir()
    configuration = folder / "cluster.json"
    configuration.write_text(json.dumps(_configuration(types, most, port)))
    options = ["--num-cpus=0", "--num-gpus=0", "--object-store-memory=100000000"]
    options += [f"--autoscaling-config={configuration}"]
    # Names of Ray alone: its warm workers are then those of the tests' other clusters.
    environment = {
        "RAY_FAKE_CLUSTER": "1",
        "RAY_enable_autoscaler_v2": "1",
        "RAY_CLOUD_INSTANCE_ID": _HEAD,
        "RAY_OVERRIDE_NODE_ID_FOR_TESTING": _HEAD,
    }
    with ray_head(port, folder, options, environment), TestCluster(f"127.0.0.1:{port}") as joined:
        yield joined


def _configuration(types: Mapping[str, Mapping[str, float]], most: int, port: int) -> dict[str, object]:
    workers = {
        name: {"resources": dict(has), "node_config": {}, "min_workers": 0, "max_workers": most}
        for name, has in types.items()
    }
    head = {"resources": {"CPU": 0}, "node_config": {}, "max_workers": 0}
    return {
        "cluster_name": "grows",
        "max_workers": most * len(types),
        "idle_timeout_minutes": 5,
        "provider": {
            # Named as one from outside: Ray's wheel leaves out the defaults of its own name for it.
            "type": "external",
            "module": "ray.autoscaler._private.fake_multi_node.node_provider.FakeMultiNodeProvider",
            "launch_multiple": True,
            "head_node_id": _HEAD,
            "gcs_address": f"{get_node_ip_address()}:{port}",
        },
        "auth": {},
        "docker": {},
        "available_node_types": {**workers, "ray.head.default": head},
        "head_node_type": "ray.head.default",
        "file_mounts": {},
        "cluster_synced_files": [],
        "initialization_commands": [],
        "setup_commands": [],
        "head_setup_commands": [],
        "worker_setup_commands": [],
        "head_start_ray_commands": [],
        "worker_start_ray_commands": [],
        "upscaling_speed": 100.0,
    }
