"""The image installs what the tests ran with, on the Python and for the CUDA that it was tried with."""

import fnmatch
import importlib.util
import re
import shutil
import subprocess
import sys
import tomllib
from importlib.metadata import distribution, packages_distributions
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from conftest import REPOSITORY
from emo.engines.vllm_server import VllmSettings

CLUSTER = REPOSITORY / "cluster"
CONSTRAINTS = (CLUSTER / "constraints.txt").read_text()
DOCKERFILE = (CLUSTER / "Dockerfile").read_text()
PINS = dict(line.split("==") for line in CONSTRAINTS.splitlines() if not line.startswith("#"))
PROJECT = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
MADE_FOR = re.search(r"^# Python (\d+\.\d+)$", CONSTRAINTS, re.MULTILINE)[1]


def instructions():
    lines = DOCKERFILE.replace("\\\n", " ").splitlines()
    return [line.split(None, 1) for line in lines if line and not line.startswith(("#", " "))]


def requirements():
    """Each requirement of pyproject.toml that concerns this machine."""
    groups = [PROJECT["dependencies"], *PROJECT["optional-dependencies"].values()]
    found = [Requirement(line) for group in groups for line in group]
    return [one for one in found if one.marker is None or one.marker.evaluate()]


def test_constraints_are_plain_pins():
    lines = [line for line in CONSTRAINTS.splitlines() if not line.startswith("#")]
    assert list(PINS) == sorted(PINS)
    assert len(PINS) == len(lines) > 100
    for line in lines:
        # No address, no hash, no option, no build of a version.
        assert re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*==[0-9][A-Za-z0-9.]*", line), line


def test_constraints_keep_to_the_bounds_of_the_project():
    for one in requirements():
        pin = PINS.get(canonicalize_name(one.name))
        assert pin is None or one.specifier.contains(pin, prereleases=True), one
    direct = {canonicalize_name(Requirement(line).name) for line in PROJECT["dependencies"]}
    assert direct <= PINS.keys() | {"decord"}


@pytest.fixture
def made_here():
    if f"{sys.version_info[0]}.{sys.version_info[1]}" != MADE_FOR:
        pytest.skip(f"the constraints are of Python {MADE_FOR}")


def test_constraints_are_what_is_installed_here(made_here):
    """`make constraints` makes the file anew after an upgrade or a new dependency."""
    written = subprocess.run(
        [sys.executable, CLUSTER / "constraints.py"], capture_output=True, text=True, check=True
    ).stdout
    here = dict(line.split("==") for line in written.splitlines() if not line.startswith("#"))
    missing = {name: version for name, version in here.items() if PINS.get(name) != version}
    assert not missing, "run `make constraints`"
    assert "ray" in here
    assert "aiobotocore" in here, "what a dependency needs is pinned too"
    assert "pytest" in here, "what the tests need is pinned too"


def test_pip_finds_no_conflict_between_the_pins_and_the_project(made_here):
    wanted = [str(one) for one in requirements() if canonicalize_name(one.name) in PINS]
    done = subprocess.run(
        [
            *[sys.executable, "-m", "pip", "install", "--dry-run", "--no-index", "--quiet"],
            *["--constraint", CLUSTER / "constraints.txt", *wanted],
        ],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr


def constraints():
    """The module that writes the pins."""
    name = "cluster_constraints"
    found = importlib.util.spec_from_file_location(name, CLUSTER / "constraints.py")
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    return module


def of_vllm():
    """The instruction that makes the environment of vLLM."""
    (line,) = [rest for word, rest in instructions() if word == "RUN" and "VLLM" in rest]
    return line


def installed_extras():
    """Those that the image is made with."""
    (line,) = [rest for word, rest in instructions() if word == "RUN" and "--constraint" in rest]
    return frozenset(re.search(r"'\.\[([\w,-]+)\]'", line)[1].split(","))


ALONE = """\
import importlib, sys
there = set(sys.argv[1].split(","))

class Absent:
    @staticmethod
    def find_spec(name, path=None, target=None):
        if name.partition(".")[0] in there:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Absent)
for name in sys.argv[2].split(","):
    importlib.import_module(name)
"""


def test_what_the_image_installs_is_enough_for_emo_for_its_head_and_for_the_autoscalers():
    """In a Python that finds no package of the tests."""
    image = constraints().closure("emo", installed_extras()).keys() | {"emo", "pip", "setuptools"}

    def brought(owner):
        # Ray has some packages in a folder of its own, which is searched once Ray was imported.
        place = str(distribution(owner).locate_file(""))
        return canonicalize_name(owner) in image or "thirdparty_files" in place

    absent = {
        module
        for module, owners in packages_distributions().items()
        if not any(brought(owner) for owner in owners)
    }
    assert {"pytest", "moto", "fastapi"} <= absent
    assert "boto3" not in absent
    folders = {"emo": REPOSITORY / "emo", "emo.jobs": REPOSITORY / "jobs"}
    ours = [
        ".".join((package, *file.relative_to(folder).with_suffix("").parts))
        for package, folder in folders.items()
        for file in folder.rglob("*.py")
    ]
    ours = [name.removesuffix(".__init__") for name in ours if not name.endswith("__main__")]
    launchers = [
        "ray.autoscaler._private.aws.node_provider",
        "ray.autoscaler._private.kuberay.run_autoscaler",
        "ray.autoscaler._private.monitor",
        "ray.autoscaler.v2.monitor",
        "ray.dashboard.modules.job.job_head",
        "ray.dashboard.modules.reporter.reporter_agent",
        "ray.job_submission",
    ]
    done = subprocess.run(
        [sys.executable, "-c", ALONE, ",".join(absent), ",".join([*ours, *launchers])],
        capture_output=True,
        text=True,
        cwd=REPOSITORY,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    # It would say so.
    done = subprocess.run(
        [sys.executable, "-c", ALONE, ",".join(absent | {"boto3"}), launchers[0]],
        capture_output=True,
        text=True,
    )
    assert "No module named 'boto3'" in done.stderr


# In place of Python: says what pip is asked for, and makes an environment whose Python is it again.
NO_PIP = """#!/bin/sh
if [ "$1 $2" = "-m venv" ]; then mkdir -p "$3/bin" && cp "$0" "$3/bin/python"
elif [ "$1 $2" = "-m pip" ]; then echo "$@"
else exec {python} "$@"
fi
"""


def test_make_installs_by_the_constraints_on_their_python_only(tmp_path):
    """The very Makefile, in a fresh folder that has no environment yet."""
    for name in ("Makefile", "pyproject.toml"):
        shutil.copy(REPOSITORY / name, tmp_path)
    (tmp_path / "cluster").mkdir()
    own = tmp_path / "python"
    own.write_text(NO_PIP.format(python=sys.executable))
    own.chmod(0o755)

    def installs(python):
        shutil.rmtree(tmp_path / ".venv", ignore_errors=True)
        (tmp_path / "cluster/constraints.txt").write_text(f"# By whom.\n# Python {python}\nray==2.60.0\n")
        done = subprocess.run(
            ["make", f"PYTHON={own}", ".venv/.installed"],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=True,
        )
        assert done.stderr == ""
        (line,) = [line for line in done.stdout.splitlines() if line.startswith("-m pip install")]
        return line

    here = f"{sys.version_info[0]}.{sys.version_info[1]}"
    assert "--constraint cluster/constraints.txt" in installs(here)
    assert "--constraint" not in installs(f"{here}0")
    assert "--constraint" not in installs("2.7")


def test_the_manifests_name_the_ray_of_the_image():
    named = [
        match
        for path in CLUSTER.glob("*.yaml")
        for match in re.findall(r'rayVersion: "([^"]*)"', path.read_text())
    ]
    assert len(named) == 3
    assert set(named) == {PINS["ray"]}


def test_the_base_is_the_python_of_the_constraints_and_brings_no_cuda():
    (base,) = [rest for word, rest in instructions() if word == "FROM"]
    assert re.fullmatch(rf"python:{re.escape(MADE_FOR)}-slim-\w+", base)
    minimum = PROJECT["requires-python"].removeprefix(">=")
    assert tuple(map(int, MADE_FOR.split("."))) >= tuple(map(int, minimum.split(".")))
    # PyTorch's packages bring CUDA: the one that comments and the AMI speak of.
    cuda = {name.rpartition("-cu")[2] for name in PINS if re.fullmatch(r"nvidia-.*-cu\d+", name)}
    assert cuda == {"13"}
    assert PINS["cuda-toolkit"].split(".")[0] == "13"
    for path in (CLUSTER / "Dockerfile", REPOSITORY / "ray_cluster.yaml", REPOSITORY / "docs/cluster.md"):
        assert set(re.findall(r"CUDA (\d+)", path.read_text())) == cuda, path
        assert "R580" in path.read_text(), path
    environment = " ".join(rest for word, rest in instructions() if word == "ENV")
    assert "NVIDIA_VISIBLE_DEVICES=all" in environment
    assert "NVIDIA_DRIVER_CAPABILITIES=compute,utility" in environment


def test_torch_was_built_for_the_cuda_of_the_pins(made_here):
    import torch

    if torch.version.cuda is None:
        pytest.skip("this PyTorch is one without CUDA")
    assert torch.version.cuda.split(".")[0] == PINS["cuda-toolkit"].split(".")[0]
    assert torch.__version__.partition("+")[0] == PINS["torch"]


def test_the_image_runs_as_a_user_by_number_and_installs_by_the_constraints():
    words = [word for word, _ in instructions()]
    assert set(words) <= {"FROM", "ARG", "RUN", "USER", "WORKDIR", "ENV", "COPY"}
    assert [rest for word, rest in instructions() if word == "USER"] == ["1000:1000"]
    runs = [rest for word, rest in instructions() if word == "RUN"]
    installs = [line for line in runs if "pip install" in line and line != of_vllm()]
    assert all("--constraint constraints.txt" in line or "--no-deps" in line for line in installs)
    assert any("useradd --create-home --uid 1000 --gid 1000 ray" in line for line in runs)


def test_vllm_has_an_environment_of_its_own_where_the_build_names_a_version_and_none_otherwise(tmp_path):
    """The very line, in a shell that finds stand-ins of the programs that it calls."""
    home = str(Path(VllmSettings().python).parent.parent)
    programs = tmp_path / "programs"
    for place in (programs, tmp_path / "vllm/bin"):
        place.mkdir(parents=True)
    for program in (*(programs / name for name in ("apt-get", "rm", "python")), tmp_path / "vllm/bin/pip"):
        stand_in = (
            f'#!/bin/sh\necho "{program.name} $*" >> {tmp_path}/called\n[ "$FAILS" != {program.name} ]\n'
        )
        program.write_text(stand_in)
        program.chmod(0o755)

    def build(version, fails=""):
        (tmp_path / "called").write_text("")
        done = subprocess.run(
            ["/bin/sh", "-c", of_vllm().replace(home, str(tmp_path / "vllm"))],
            env={"PATH": str(programs), "VLLM": version, "FAILS": fails},
        )
        called = (tmp_path / "called").read_text().replace(str(tmp_path / "vllm"), home)
        return done.returncode, called.splitlines()

    (default,) = [rest for word, rest in instructions() if word == "ARG"]
    assert default == "VLLM="
    assert build("") == (0, [])
    status, called = build("0.33.0")
    assert status == 0
    assert called[1] == "apt-get install -y --no-install-recommends g++"
    assert called[3:] == [f"python -m venv {home}", "pip install --no-cache-dir vllm[audio]==0.33.0"]
    for program in ("apt-get", "python", "pip"):
        assert build("0.33.0", fails=program)[0] == 1, "a step that fails fails the build"
    assert "--build-arg VLLM=" in (REPOSITORY / "docs/cluster.md").read_text()


def test_the_context_is_what_is_copied_and_no_more():
    """By Docker's rules: the last line of .dockerignore that matches decides."""
    lines = [
        line for line in (REPOSITORY / ".dockerignore").read_text().splitlines() if line[:1] not in ("#", "")
    ]

    def sent(path):
        keep = True
        for line in lines:
            pattern = line.removeprefix("!").removeprefix("**/")
            parts = [path, *map(str, Path(path).parents)]
            whole = any(fnmatch.fnmatchcase(part, pattern) for part in parts)
            deep = "**/" in line and any(fnmatch.fnmatchcase(name, pattern) for name in Path(path).parts)
            if whole or deep:
                keep = line.startswith("!")
        return keep

    copied = [part for word, rest in instructions() if word == "COPY" for part in rest.split()[:-1]]
    for part in copied:
        assert (REPOSITORY / part).exists()
        assert sent(part)
    assert sent("emo/cli/__init__.py")
    for path in (
        ".venv/bin/python",
        ".git",
        "tests/conftest.py",
        "labels/clips/a.parquet",
        "cluster/rayjob.yaml",
    ):
        assert not sent(path), path
    assert not sent("emo/__pycache__/config.cpython-311.pyc")


def test_the_linter_of_dockerfiles_has_nothing_to_say():
    tool = shutil.which("hadolint")
    if tool is None:
        pytest.skip("hadolint is not here (.ci/run fetches it; under the GPL, so no part of the test extra)")
    done = subprocess.run([tool, CLUSTER / "Dockerfile"], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "")


def test_the_launchers_shell_finds_ray_where_the_image_installs_it():
    """`ray up` starts Ray in a login shell, whose /etc/profile sets PATH anew: to /usr/local/bin, for one."""
    environment = " ".join(rest for word, rest in instructions() if word == "ENV")
    assert "PATH=" not in environment
    assert "VIRTUAL_ENV" not in environment
    assert "venv" not in " ".join(rest for word, rest in instructions() if rest != of_vllm())


def test_the_sizes_that_the_comment_tells_are_those_of_the_packages(made_here):
    """To a tenth: the packages that emo itself needs, as they lie here."""
    total, cuda = (
        float(one)
        for one in re.search(r"([\d.]+) GB of packages.*?\n?.*?([\d.]+) GB are", DOCKERFILE).groups()
    )
    names = constraints().closure("emo", installed_extras())

    def size(name):
        found = distribution(name)
        files = [Path(str(found.locate_file(file))) for file in found.files or []]
        return sum(file.stat().st_size for file in files if file.exists()) / 1e9

    sizes = {name: size(name) for name in names}
    of_cuda = sum(one for name, one in sizes.items() if name.startswith(("nvidia-", "cuda-")))
    if not of_cuda:
        pytest.skip("this PyTorch is one without CUDA")
    assert sum(sizes.values()) == pytest.approx(total, rel=0.1)
    assert of_cuda == pytest.approx(cuda, rel=0.1)
