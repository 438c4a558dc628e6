"""docs/cluster.md and the headers of the files: every command runs, as far as it can without a cluster.

Bash runs the blocks, so that quotes, loops and substitutions are real. What they call lies in a folder of
stand-ins, which only note how they were called. Each call is then held against what it speaks to: the parsers
of emo, Ray and the hub, the help of kubectl, the interfaces of AWS, the files.
"""

import base64
import fnmatch
import json
import re
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import NamedTuple

import boto3
import botocore
import pytest
import yaml

from conftest import REPOSITORY
from emo.cli.program import build_parser
from emo.store.s3 import S3Settings
from emo.store.storage import Storage
from emo.store.tables import JUDGMENTS
from kubernetes_schemas import KUBERAY
from labelling import emo, rows

PAGE = (REPOSITORY / "docs/cluster.md").read_text(encoding="utf-8")
MANIFESTS = sorted((REPOSITORY / "cluster").glob("*.yaml"))
HEADED = [*MANIFESTS, REPOSITORY / "cluster/Dockerfile", REPOSITORY / "ray_cluster.yaml"]
TOOLS = ("aws", "docker", "emo", "helm", "kubectl", "make", "ray")
TOKEN = "0123456789abcdef"
STAND_IN = f"""\
#!{sys.executable}
import json, os, sys
name, words = os.path.basename(sys.argv[0]), sys.argv[1:]
with open(os.environ["NOTES"], "a") as notes:
    mode = os.environ.get("RAY_AUTH_MODE"), os.environ.get("RAY_AUTH_TOKEN")
    notes.write(json.dumps([name, words, mode]) + "\\n")
if name == "kubectl" and words[:2] == ["get", "secret"]:
    print("{base64.b64encode(TOKEN.encode()).decode()}", end="")
"""


class Call(NamedTuple):
    """A command as it was called: its name, its words, and the two variables of Ray's token."""

    name: str
    words: list[str]
    token: list[str | None]


def fenced(kind):
    return re.findall(rf"^```{kind}\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)


def header_of(path):
    """The commands in the comment that a file begins with: what is indented in it."""
    lines = []
    for line in path.read_text(encoding="utf-8").splitlines():
        if not line.startswith("#"):
            break
        if line.startswith("#     "):
            lines.append(line.removeprefix("#"))
    return textwrap.dedent("\n".join(lines))


@pytest.fixture(scope="module")
def called(tmp_path_factory):
    """What is called: by the blocks of the page, in one shell as a person types them, and by each header."""
    folder = tmp_path_factory.mktemp("called")
    for name in TOOLS:
        (folder / name).write_text(STAND_IN)
        (folder / name).chmod(0o755)

    def run(script):
        notes = folder / "notes"
        notes.write_text("")
        subprocess.run(
            ["bash", "-euo", "pipefail", "-c", script],
            cwd=REPOSITORY,
            # No other tool than those, and what every shell has.
            env={"PATH": f"{folder}:/usr/bin:/bin", "NOTES": str(notes), "HOME": str(folder)},
            check=True,
        )
        return [Call(*json.loads(line)) for line in notes.read_text().splitlines()]

    found = {"docs/cluster.md": run("\n".join(fenced("bash")))}
    found |= {path.name: run(header_of(path)) for path in HEADED}
    return found


@pytest.fixture
def of(called):
    """The calls of one tool, each with where it stands."""

    def find(name):
        found = [(place, call) for place, calls in called.items() for call in calls if call.name == name]
        assert found
        return found

    return find


def documents():
    return [one for path in MANIFESTS for one in yaml.safe_load_all(path.read_text()) if one]


def test_every_file_tells_how_it_is_used_and_the_page_uses_each_tool(called):
    for path in HEADED:
        assert called[path.name], path
    assert {call.name for call in called["docs/cluster.md"]} == set(TOOLS)


def test_the_page_goes_in_the_order_in_which_somebody_does_it():
    headings = re.findall(r"^## (.*)$", PAGE, re.MULTILINE)
    words = [
        "image",
        "place",
        "models",
        "Start",
        "first job",
        "Look",
        "night",
        "costs",
        "S3 servers",
        "behaves",
    ]
    assert len(headings) == len(words)
    for word, heading in zip(words, headings, strict=True):
        assert word in heading
    assert "(docs/cluster.md)" in (REPOSITORY / "README.md").read_text()


def test_the_page_names_every_file_and_the_operator_that_it_needs():
    table = dict(re.findall(r"^\| (`.*?) \| .* \| (.*?) ?\|$", PAGE, re.MULTILINE))
    patterns = {name: needs for cell, needs in table.items() for name in re.findall(r"`([^`]+)`", cell)}
    for path in [*(REPOSITORY / "cluster").iterdir(), REPOSITORY / "ray_cluster.yaml"]:
        if path.is_file():
            name = str(path.relative_to(REPOSITORY))
            assert [one for one in patterns if fnmatch.fnmatchcase(name, one)] or f"`{name}`" in PAGE, name
    for name, needs in patterns.items():
        if "KubeRay" in needs:
            version = re.search(r"KubeRay \d\.\d", needs)[0]
            assert f"{version} or later" in (REPOSITORY / name).read_text().replace("\n# ", " ")


def test_commands_of_emo_are_understood(of):
    for _, call in of("emo"):
        options = build_parser().parse_args(call.words)
        if call.words[0] == "submit" and not getattr(options, "attach", None):
            inner = build_parser().parse_args([options.job, *options.arguments])
            places = [getattr(inner, "source", None), inner.out]
            assert all(place is None or place.startswith("s3://") for place in places)


def test_whoever_sends_a_job_has_the_clusters_token(called):
    """On the page it is fetched before the first job, and in each header that sends one."""
    for place in ("docs/cluster.md", "raycluster.yaml"):
        sent = [call for call in called[place] if (call.name, call.words[0]) == ("emo", "submit")]
        assert sent
        assert all(call.token == ["token", TOKEN] for call in sent)
    (sent,) = [call for call in called["ray_cluster.yaml"] if call.name == "emo"]
    assert sent.token[0] == "token"


def options_of(words):
    """The flags of a command line and the words that are none."""
    before = words[: words.index("--")] if "--" in words else words
    return [word.partition("=")[0] for word in before if word.startswith("-")]


def test_kubectl_is_called_with_what_it_knows(of):
    tool = shutil.which("kubectl")
    if tool is None:
        pytest.skip("kubectl is not here: its flags cannot be looked up")
    helps = {}
    for place, call in of("kubectl"):
        verb = " ".join(call.words[:2]) if call.words[0] == "create" else call.words[0]
        if verb not in helps:
            done = subprocess.run([tool, *verb.split(), "--help"], capture_output=True, text=True, check=True)
            general = subprocess.run([tool, "options"], capture_output=True, text=True, check=True)
            helps[verb] = done.stdout + general.stdout
            assert "Usage:" in done.stdout, verb
        for option in options_of(call.words[1:]):
            assert re.search(rf"(^|\s){re.escape(option)}[=,\s]", helps[verb]), (place, call.words)


def test_kubectl_is_called_with_files_and_objects_that_are_there(of):
    there = {(one["kind"].lower(), one["metadata"]["name"]) for one in documents()}
    # Made by the operator for a cluster: its service, and the secret of its token.
    for kind, name in list(there):
        if kind == "raycluster":
            there |= {("service", f"{name}-head-svc"), ("secret", name)}
    namespaces = {name for kind, name in there if kind == "namespace"} | {"monitoring"}
    applied = set()
    for place, call in of("kubectl"):
        verb, *rest = call.words
        files = [rest[index + 1] for index, word in enumerate(rest) if word == "-f"]
        files += [word.partition("=")[2] for word in rest if word.startswith("--from-file")]
        for file in files:
            assert (REPOSITORY / file).is_file(), (place, call.words)
        applied |= {file for file in files if verb == "apply"}
        if "-n" in rest:
            assert rest[rest.index("-n") + 1] in namespaces
        else:
            # The files say themselves where their objects go.
            assert verb in ("apply", "delete"), call.words
        plain = _without_options(rest)
        if verb == "create":
            there.add((plain[0], plain[1]))
        named = {
            "get": [tuple(plain[:2])],
            "delete": [tuple(plain[:2])] if plain else [],
            "label": [tuple(plain[:2])],
            "port-forward": [tuple(plain[0].split("/"))] if plain else [],
            "exec": [("pod", plain[0])] if plain else [],
            "cp": [("pod", plain[1].partition(":")[0])] if verb == "cp" else [],
        }
        for one in named.get(verb, []):
            assert one in there, (place, call.words)
        for word in rest:
            if word.startswith("--from=cronjob/"):
                assert ("cronjob", word.partition("/")[2]) in there
    assert applied == {f"cluster/{path.name}" for path in MANIFESTS}


def _without_options(words):
    """The words of a kubectl command that name objects."""
    plain, skip = [], False
    for word in words[: words.index("--")] if "--" in words else words:
        if skip:
            skip = False
        elif word in ("-n", "-f", "-o"):
            skip = True
        elif not word.startswith("-"):
            plain.append(word)
    return plain


def test_models_are_put_where_the_pods_read_them(of):
    """By the hub's own parser; to the folder that the volume is mounted at, and that jobs name."""
    jobs = " ".join(" ".join(call.words) for _, call in of("emo"))
    for place, call in of("kubectl"):
        if call.words[0] == "exec":
            name, *words = call.words[call.words.index("--") + 1 :]
            assert name == "hf"
            # It reads the whole line before it helps: an option that it does not know ends it.
            hub = Path(sys.executable).with_name(name)
            subprocess.run([hub, *words, "--help"], check=True, capture_output=True)
            folder = words[words.index("--local-dir") + 1]
        elif call.words[0] == "cp":
            folder = call.words[-1].partition(":")[2]
        else:
            continue
        assert str(folder).startswith("/models/")
        assert place == "models.yaml" or f"={folder}" in jobs


def test_the_image_is_built_as_the_manifests_name_it(of):
    images = set(re.findall(r"image: (\S+)", "\n".join(path.read_text() for path in HEADED)))
    assert len(images) == 1
    for _, call in of("docker"):
        if call.words[0] == "build":
            assert (REPOSITORY / call.words[call.words.index("-f") + 1]).is_file()
            assert call.words[-1] == "."
            assert {call.words[call.words.index("-t") + 1]} == images
        else:
            assert call.words == ["push", *images]


def test_helm_installs_an_operator_that_the_files_were_held_against(of):
    versions = [
        call.words[call.words.index("--version") + 1] for _, call in of("helm") if "install" in call.words
    ]
    assert versions
    assert set(versions) <= set(KUBERAY)


def test_ray_understands_its_commands(of):
    from ray.scripts.scripts import cli

    for _, call in of("ray"):
        verb, *rest = call.words
        assert verb in cli.commands
        cli.commands[verb].make_context(verb, rest)
        for word in rest:
            assert word.startswith("-") or (REPOSITORY / word).is_file()


def test_make_knows_what_it_is_asked_for(of):
    targets = re.search(r"^\.PHONY: (.*)$", (REPOSITORY / "Makefile").read_text(), re.MULTILINE)[1].split()
    for _, call in of("make"):
        assert set(call.words) <= set(targets)


def test_aws_does_what_it_is_told(of, s3_endpoint, monkeypatch):
    """By the descriptions of the interfaces, which the command line is made of, and against a server."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", s3_endpoint)
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-central-1")
    session = boto3.Session()
    said = {}
    for _, call in of("aws"):
        service, operation, *rest = call.words
        client = session.client(service)
        method = operation.replace("-", "_")
        model = client.meta.service_model.operation_model(client.meta.method_to_api_mapping[method])
        members = {botocore.xform_name(name, "-"): name for name in model.input_shape.members}
        members |= {"a-w-s-service-name": "AWSServiceName", "aws-service-name": "AWSServiceName"}
        arguments = {}
        for option, value in zip(rest[::2], rest[1::2], strict=True):
            name = option.removeprefix("--")
            if name in ("region", "query", "output"):
                continue
            if value.startswith("file://"):
                value = (REPOSITORY / value.removeprefix("file://")).read_text()
            arguments[members[name]] = value
        if service == "ssm":
            said["parameter"] = arguments["Name"]
            continue  # A parameter that AWS publishes: a server of ours has none.
        said[method] = [*said.get(method, []), getattr(client, method)(**arguments)]
    assert said["parameter"].endswith("/ami-id")
    iam = session.client("iam")
    launcher = yaml.safe_load((REPOSITORY / "ray_cluster.yaml").read_text())["available_node_types"]
    for node in launcher.values():
        name = node["node_config"]["IamInstanceProfile"]["Name"]
        profile = iam.get_instance_profile(InstanceProfileName=name)["InstanceProfile"]
        (role,) = [one["RoleName"] for one in profile["Roles"]]
        assert iam.list_role_policies(RoleName=role)["PolicyNames"] == ["emo"]


def test_prometheus_takes_the_configuration_of_the_page(tmp_path):
    tool = shutil.which("promtool")
    if tool is None:
        pytest.skip("promtool is not here: it comes with Debian's package prometheus (.ci/run installs it)")
    (text,) = fenced("yaml")
    config = yaml.safe_load(text)
    (job,) = config["scrape_configs"]
    # Debian builds its Prometheus without Kubernetes: a list of addresses takes the place of the pods.
    (pods,) = job.pop("kubernetes_sd_configs")
    assert pods == {"role": "pod", "namespaces": {"names": ["emo"]}}
    job["static_configs"] = [{"targets": ["localhost:8080"]}]
    (tmp_path / "prometheus.yml").write_text(yaml.safe_dump(config))
    shutil.copy(REPOSITORY / "cluster/alert-rules.yml", tmp_path)
    done = subprocess.run(
        [tool, "check", "config", "prometheus.yml"], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "1 rule files found" in done.stdout
    alerts = {
        rule["alert"]
        for rule in yaml.safe_load((tmp_path / "alert-rules.yml").read_text())["groups"][0]["rules"]
        if "alert" in rule
    }
    assert alerts == set(re.findall(r"^\| `(Emo\w+)`", PAGE, re.MULTILINE))


@pytest.mark.long
def test_the_first_job_and_what_is_looked_at_work_as_they_stand(called, ray_cluster, s3_endpoint):
    """The commands themselves, on a bucket of that name; what is sent to a cluster joins one here."""
    surroundings = {"AWS_ENDPOINT_URL": s3_endpoint, **ray_cluster}
    s3 = boto3.client("s3", endpoint_url=s3_endpoint, region_name="us-east-1")
    s3.create_bucket(Bucket="example-bucket")
    samples = REPOSITORY / "samples"
    s3.upload_file(str(samples / "manifest.csv"), "example-bucket", "ten.csv")
    for path in (samples / "clips").iterdir():
        s3.upload_file(str(path), "example-bucket", f"clips/{path.name}")
        s3.upload_file(str(path), "example-bucket", f"videos/{path.name}")
    calls = [
        call for call in called["docs/cluster.md"] if call.name == "emo" and "--preset" not in call.words
    ]
    commands = [call.words for call in calls if "nightly" not in call.words]
    assert [words[0] for words in commands] == ["plan", "submit", "status", "failures", "plan"]
    for words in commands:
        # Workers have the surroundings of their cluster, not those of who sends the job.
        here = [*words[1:], "--set", f"s3.endpoint_url={s3_endpoint}"] if words[0] == "submit" else words
        done = emo(*here, env=surroundings)
        assert done.returncode == 0, done.stderr
    out = Storage("s3://example-bucket/try", S3Settings(endpoint_url=s3_endpoint, region="us-east-1"))
    assert len(rows(out, JUDGMENTS)) == 13
