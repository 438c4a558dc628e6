"""`ray up ray_cluster.yaml` as far as AWS answers: the bootstrap and the nodes of the launcher itself."""

import copy
import json
import urllib.request

import boto3
import botocore.exceptions
import pytest
import yaml

from conftest import REPOSITORY, aws_server
from emo.store.s3 import S3Settings
from emo.store.storage import Storage

FILE = REPOSITORY / "ray_cluster.yaml"
CLUSTER = REPOSITORY / "cluster"
REGION = "eu-central-1"


@pytest.fixture(scope="module")
def aws(tmp_path_factory):
    """A server of the AWS interfaces of its own, and a home that the launcher may write its key to."""
    home = tmp_path_factory.mktemp("home")
    with aws_server() as address, pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ENDPOINT_URL", address)
        patch.setenv("AWS_DEFAULT_REGION", REGION)
        patch.setenv("HOME", str(home))
        patch.setenv("TMPDIR", str(home))
        patch.setattr(boto3, "DEFAULT_SESSION", None)
        yield address


@pytest.fixture(scope="module")
def launched(aws):
    """What `ray up` makes of the file before it asks for its first node."""
    from ray.autoscaler._private.commands import _bootstrap_config

    return _bootstrap_config(yaml.safe_load(FILE.read_text()), no_config_cache=True)


def provider(launched):
    """The launcher's hands, fresh: with the credentials that the environment has now."""
    from ray.autoscaler._private.aws import node_provider
    from ray.autoscaler._private.aws.utils import resource_cache

    resource_cache.cache_clear()
    return node_provider.AWSNodeProvider(launched["provider"], launched["cluster_name"])


def test_the_bootstrap_takes_the_file_and_leaves_what_it_says(launched):
    written = yaml.safe_load(FILE.read_text())["available_node_types"]
    for name, node in launched["available_node_types"].items():
        config = node["node_config"]
        # None of the launcher's own choices: its images are of Ubuntu 18.04, with a driver for CUDA 11.
        assert config["ImageId"] == written[name]["node_config"]["ImageId"]
        assert config["IamInstanceProfile"] == written[name]["node_config"]["IamInstanceProfile"]
        assert config["SubnetIds"]
        assert config["SecurityGroupIds"]
        assert config["KeyName"]
        for resource, number in written[name]["resources"].items():
            assert node["resources"][resource] == number
    assert launched["available_node_types"]["gpu"]["resources"]["accelerator_type:L40S"] == 1


def test_the_shapes_of_the_nodes_are_those_of_their_instances(launched):
    """One that claims more than its instance has would be filled over."""
    types = {
        name: node["node_config"]["InstanceType"] for name, node in launched["available_node_types"].items()
    }
    ec2 = boto3.client("ec2")
    real = ec2.describe_instance_types(InstanceTypes=list(types.values()))["InstanceTypes"]
    by_type = {one["InstanceType"]: one for one in real}
    for name in ("ingest", "gpu"):
        instance, node = by_type[types[name]], launched["available_node_types"][name]
        assert node["resources"]["CPU"] == instance["VCpuInfo"]["DefaultVCpus"]
        gpus = sum(gpu["Count"] for gpu in instance.get("GpuInfo", {}).get("Gpus", []))
        assert node["resources"].get("GPU", 0) == gpus
    workers = [
        node["max_workers"] for name, node in launched["available_node_types"].items() if name != "head"
    ]
    assert launched["max_workers"] == sum(workers)


def test_without_an_image_of_its_own_the_launcher_takes_one_that_is_too_old(aws):
    """Why the file names one: a test of the launcher, which says when that is no longer so."""
    from ray.autoscaler._private.commands import _bootstrap_config

    config = copy.deepcopy(yaml.safe_load(FILE.read_text()))
    for node in config["available_node_types"].values():
        del node["node_config"]["ImageId"]
    filled = _bootstrap_config(config, no_config_cache=True)
    from ray.autoscaler._private.aws.config import DEFAULT_AMI, DEFAULT_AMI_NAME

    assert filled["available_node_types"]["gpu"]["node_config"]["ImageId"] == DEFAULT_AMI[REGION]
    assert "18.04" in DEFAULT_AMI_NAME


def become(patch, name, document):
    """Be a user who may do what a policy says, and nothing else."""
    iam = boto3.client("iam")
    iam.create_user(UserName=name)
    iam.put_user_policy(UserName=name, PolicyName=name, PolicyDocument=json.dumps(document))
    key = iam.create_access_key(UserName=name)["AccessKey"]
    patch.setenv("AWS_ACCESS_KEY_ID", key["AccessKeyId"])
    patch.setenv("AWS_SECRET_ACCESS_KEY", key["SecretAccessKey"])
    # The session that boto3 keeps would go on with the credentials that it began with.
    patch.setattr(boto3, "DEFAULT_SESSION", None)


@pytest.fixture
def rights(aws):
    """From now on the server asks who may do what."""

    def count(number):
        request = urllib.request.Request(
            f"{aws}/moto-api/reset-auth", data=number.encode(), headers={"Content-Type": "text/plain"}
        )
        urllib.request.urlopen(request, timeout=10).close()

    yield lambda: count("0")
    count("inf")


def policy(kind):
    return json.loads((CLUSTER / f"aws-{kind}-policy.json").read_text())


@pytest.fixture
def roles(aws):
    iam = boto3.client("iam")
    for name in ("emo-head", "emo-worker"):
        if name not in {one["RoleName"] for one in iam.list_roles()["Roles"]}:
            iam.create_role(RoleName=name, AssumeRolePolicyDocument="{}")
            iam.create_instance_profile(InstanceProfileName=name)
            iam.add_role_to_instance_profile(InstanceProfileName=name, RoleName=name)


def test_the_heads_policy_is_enough_for_the_life_of_its_nodes(launched, roles, rights, monkeypatch):
    """Every kind of node comes, is seen, is labelled and goes, with the rights of the head alone."""
    become(monkeypatch, "head", policy("head"))
    rights()
    hands = provider(launched)
    for kind in ("head", "ingest", "gpu"):
        config = launched["available_node_types"][kind]["node_config"]
        made = hands.create_node(config, {"ray-node-type": "worker", "ray-user-node-type": kind}, 1)
        assert len(made) == 1
    nodes = hands.non_terminated_nodes({"ray-user-node-type": "gpu"})
    assert len(nodes) == 1
    assert hands.is_running(nodes[0])
    assert hands.internal_ip(nodes[0])
    hands.set_node_tags(nodes[0], {"ray-node-status": "up-to-date"})
    assert hands.node_tags(nodes[0])["ray-node-status"] == "up-to-date"
    spot = hands.ec2.meta.client.describe_instances(InstanceIds=nodes)["Reservations"][0]["Instances"][0]
    assert spot["ImageId"] == launched["available_node_types"]["gpu"]["node_config"]["ImageId"]
    assert spot["IamInstanceProfile"]["Arn"].endswith("/emo-worker")
    hands.terminate_nodes(hands.non_terminated_nodes({}))
    assert not hands.non_terminated_nodes({})


@pytest.mark.parametrize("action", ["ec2:DescribeInstances", "ec2:RunInstances", "ec2:TerminateInstances"])
def test_the_server_of_these_tests_refuses_what_a_policy_leaves_out(
    launched, roles, rights, monkeypatch, action
):
    """A test of the test: the policy is enough because it names the action."""
    short = policy("head")
    for statement in short["Statement"]:
        actions = statement["Action"] if isinstance(statement["Action"], list) else [statement["Action"]]
        statement["Action"] = [one for one in actions if one != action] or ["ec2:DescribeRegions"]
    become(monkeypatch, f"without-{action.partition(':')[2]}", short)
    rights()
    config = launched["available_node_types"]["ingest"]["node_config"]

    def life():
        hands = provider(launched)
        hands.create_node(config, {"ray-node-type": "worker", "ray-user-node-type": "ingest"}, 1)
        hands.terminate_nodes(hands.non_terminated_nodes({}))

    with pytest.raises(Exception, match=r"not authorized|UnauthorizedOperation|abort"):
        life()


def test_the_head_may_hand_on_the_workers_role_and_no_other(launched):
    (statement,) = [one for one in policy("head")["Statement"] if one["Action"] == "iam:PassRole"]
    profiles = {
        node["node_config"]["IamInstanceProfile"]["Name"]
        for name, node in launched["available_node_types"].items()
        if name != "head"
    }
    assert {statement["Resource"]} == {f"arn:aws:iam::*:role/{name}" for name in profiles}
    assert not [one for one in policy("worker")["Statement"] if not str(one["Action"]).count("s3:")]


@pytest.mark.parametrize("kind", ["head", "worker"])
def test_either_policy_is_enough_for_the_bucket(aws, rights, monkeypatch, kind):
    bucket = "example-bucket"
    place = {"LocationConstraint": REGION}
    if not boto3.client("s3").list_buckets()["Buckets"]:
        boto3.client("s3").create_bucket(Bucket=bucket, CreateBucketConfiguration=place)
    become(monkeypatch, f"bucket-{kind}", policy(kind))
    rights()
    out = Storage(f"s3://{bucket}/out-{kind}", S3Settings(endpoint_url=aws, region=REGION))
    out.check()
    out.write("table/small", b"a row")
    # Of a size that goes up in parts.
    out.write("table/large", bytes(60 * 2**20))
    assert out.read("table/small") == b"a row"
    assert {entry.path: entry.size for entry in out.entries()} == {
        "table/small": 5,
        "table/large": 60 * 2**20,
    }
    version = out.replace_if("lease.json", None, b"mine")
    assert version is not None
    assert out.read_versioned("lease.json") == (b"mine", version)
    out.delete("table/large")
    assert out.sweep("table", older_than_s=0.0) == 0
    with pytest.raises(botocore.exceptions.ClientError, match="AccessDenied"):
        boto3.client("s3").create_bucket(Bucket="another", CreateBucketConfiguration=place)
