import json
import os
import subprocess
import sys
import time
from pathlib import Path

import boto3
import pytest
from moto.server import ThreadedMotoServer

import checkpoints
from emo.engines.model_cards import described
from emo.engines.models import (
    architecture,
    memory_gib,
    missing_model,
    resolve_model,
    revision_of,
    weight_files,
)
from emo.engines.settings import ModelSettings
from emo.engines.text import TextPreprocessor
from emo.engines.transformers_engine import TransformersEngine
from emo.errors import InputError, StorageError
from emo.store.s3 import S3Settings, s3_filesystem, use_s3


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return checkpoints.make_text(tmp_path_factory.mktemp("text"))


@pytest.fixture
def bucket(monkeypatch, tmp_path):
    """An S3 server on this machine with the bucket `models`, and an empty cache."""
    import s3fs

    server = ThreadedMotoServer(port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    url = f"http://{host}:{port}"
    for name, value in {
        "AWS_ENDPOINT_URL": url,
        "AWS_ACCESS_KEY_ID": "key",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_DEFAULT_REGION": "us-east-1",
        "EMO_CACHE": str(tmp_path / "cache"),
    }.items():
        monkeypatch.setenv(name, value)
    s3_filesystem.cache_clear()
    s3fs.S3FileSystem.clear_instance_cache()
    client = boto3.client("s3", endpoint_url=url)
    client.create_bucket(Bucket="models")
    yield client
    s3_filesystem.cache_clear()
    s3fs.S3FileSystem.clear_instance_cache()
    server.stop()


def upload(client, folder, prefix):
    for path in sorted(folder.iterdir()):
        client.put_object(Bucket="models", Key=f"{prefix}/{path.name}", Body=path.read_bytes())


def settings(model, **changes):
    return ModelSettings(model=str(model), device="cpu", **changes)


def test_a_local_folder_is_taken_as_it_is(folder):
    assert resolve_model(str(folder)) == folder


def test_a_path_that_is_not_there_is_named(tmp_path):
    with pytest.raises(InputError, match="no such folder"):
        resolve_model(str(tmp_path / "gone"))


def test_a_hub_id_that_cannot_be_fetched_is_an_error_of_the_storage(monkeypatch, tmp_path):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(StorageError, match="someone/some-model"):
        resolve_model("someone/some-model")


def test_a_hub_id_in_the_local_cache_needs_no_network(folder, monkeypatch, tmp_path):
    commit = "0123456789abcdef0123456789abcdef01234567"
    root = tmp_path / "models--someone--some-model"
    snapshot = root / "snapshots" / commit
    snapshot.mkdir(parents=True)
    for path in folder.iterdir():
        (snapshot / path.name).write_bytes(path.read_bytes())
    (root / "refs").mkdir()
    (root / "refs" / "main").write_text(commit)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    found = resolve_model("someone/some-model")
    assert found == snapshot
    assert revision_of(found) == commit


def test_an_s3_folder_is_fetched_once_and_again_only_what_changed(bucket, folder):
    upload(bucket, folder, "team/reader")
    local = resolve_model("s3://models/team/reader")
    assert {path.name for path in folder.iterdir()} <= {path.name for path in local.iterdir()}
    assert (local / "model.safetensors").read_bytes() == (folder / "model.safetensors").read_bytes()
    stamps = {path.name: path.stat().st_mtime_ns for path in local.iterdir() if path.name[0] != "."}
    time.sleep(0.05)
    same_size = (folder / "README.md").read_bytes().replace(b"Random", b"Chance")
    bucket.put_object(Bucket="models", Key="team/reader/README.md", Body=same_size)
    assert resolve_model("s3://models/team/reader/") == local
    changed = {name for name, stamp in stamps.items() if (local / name).stat().st_mtime_ns != stamp}
    assert changed == {"README.md"}


def test_a_damaged_file_of_the_cache_is_fetched_again(bucket, folder):
    upload(bucket, folder, "reader")
    local = resolve_model("s3://models/reader")
    (local / "model.safetensors").write_bytes(b"cut")
    resolve_model("s3://models/reader")
    assert (local / "model.safetensors").read_bytes() == (folder / "model.safetensors").read_bytes()


def test_a_model_in_s3_answers(bucket, folder):
    upload(bucket, folder, "reader")
    engine = TransformersEngine(settings("s3://models/reader", max_new_tokens=4), TextPreprocessor)
    assert engine.revision == revision_of(folder)


def test_workers_that_start_together_fetch_once(bucket, folder):
    upload(bucket, folder, "reader")
    code = "from emo.engines.models import resolve_model; print(resolve_model('s3://models/reader'))"
    workers = [
        subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, env=os.environ)
        for _ in range(3)
    ]
    found = {worker.communicate(timeout=60)[0].strip().splitlines()[-1] for worker in workers}
    assert [worker.returncode for worker in workers] == [0, 0, 0]
    (local,) = found
    assert not list(Path(local).glob("*.part"))
    assert weight_files(Path(local))


def test_an_empty_s3_prefix_is_an_error(bucket):
    with pytest.raises(InputError, match="no objects under this prefix"):
        resolve_model("s3://models/nothing")
    assert missing_model(settings("s3://models/nothing"), None)


def test_nothing_is_missing_from_a_whole_checkpoint(folder):
    assert missing_model(settings(folder), None) == []
    assert missing_model(settings(folder), ["Qwen2ForCausalLM"]) == []


def test_another_architecture_is_named_with_the_expected_one(folder):
    (line,) = missing_model(settings(folder), ["InternVLForConditionalGeneration"])
    assert "Qwen2ForCausalLM" in line
    assert "InternVLForConditionalGeneration" in line
    with pytest.raises(InputError, match="Qwen2ForCausalLM"):
        architecture(folder, ["InternVLForConditionalGeneration"])


def test_cuda_that_is_not_there_is_missing(folder):
    import torch

    if torch.cuda.is_available():
        pytest.skip("this machine has a CUDA device")
    (line,) = missing_model(ModelSettings(model=str(folder)), None)
    assert "sees no CUDA device" in line


def test_weights_that_the_index_names_and_that_are_absent_are_listed(tmp_path):
    folder = checkpoints.make_text(tmp_path)
    index = {"weight_map": {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}}
    (folder / "model.safetensors").rename(folder / "model-00001-of-00002.safetensors")
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    (line,) = missing_model(settings(folder), None)
    assert "model-00002-of-00002.safetensors" in line


def test_pickled_weights_are_not_loaded(tmp_path):
    folder = checkpoints.make_text(tmp_path)
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    (line,) = missing_model(settings(folder), None)
    assert "safetensors" in line
    with pytest.raises(InputError, match="only the safetensors format"):
        TransformersEngine(settings(folder), TextPreprocessor)


def test_weights_that_the_checkpoint_lacks_are_an_error_and_not_drawn_at_random(tmp_path):
    from safetensors.torch import load_file, save_file

    folder = checkpoints.make_text(tmp_path)
    weights = load_file(folder / "model.safetensors")
    del weights["model.layers.0.mlp.up_proj.weight"]
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(InputError, match=r"1 weights are not in the checkpoint: .*up_proj"):
        TransformersEngine(settings(folder), TextPreprocessor)


def test_a_weight_of_another_shape_is_named(tmp_path):
    from safetensors.torch import load_file, save_file

    folder = checkpoints.make_text(tmp_path)
    weights = load_file(folder / "model.safetensors")
    name = "model.layers.0.mlp.up_proj.weight"
    weights[name] = weights[name][:-1].clone()
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    told = rf"1 weights have another shape: {name} is \[\d+, \d+\], expected \[\d+, \d+\]"
    with pytest.raises(InputError, match=told):
        TransformersEngine(settings(folder), TextPreprocessor)


def test_a_model_larger_than_the_free_memory_is_said_to_be_so(tmp_path, folder, monkeypatch):
    import psutil

    free = psutil.virtual_memory()
    monkeypatch.setattr(psutil, "virtual_memory", lambda: free._replace(available=1000))
    (line,) = missing_model(settings(folder), None)
    assert "GiB" in line


def test_an_adapter_without_its_files_is_missing(folder, tmp_path):
    lines = missing_model(settings(folder, adapter=str(tmp_path)), None)
    assert [line.rsplit(": ")[-1] for line in lines] == [
        "adapter_config.json is missing",
        "adapter_model.safetensors is missing",
    ]


def test_a_broken_config_is_named(tmp_path):
    folder = checkpoints.make_text(tmp_path)
    (folder / "config.json").write_text("{")
    (line,) = missing_model(settings(folder), None)
    assert "config.json: not JSON" in line


def test_the_revision_of_a_local_folder_follows_its_content(folder, tmp_path):
    other = checkpoints.make_text(tmp_path, num_hidden_layers=1)
    assert revision_of(folder) == revision_of(folder)
    assert revision_of(folder) != revision_of(other)


def test_the_readme_says_licence_and_data(folder, tmp_path):
    assert described(folder) == {"license": "apache-2.0", "datasets": ["random/none"]}
    (tmp_path / "README.md").write_text("no front matter\n---\nhere\n---\n")
    assert described(tmp_path) == {}


def test_memory_follows_the_size_of_the_weights(folder):
    assert memory_gib(folder) * 1024**3 == pytest.approx(1.25 * (folder / "model.safetensors").stat().st_size)


def test_experts_are_configured_without_importing_torch():
    code = (
        "import sys; from emo import experts\n"
        "for kind in ('internvl', 'qwen-vl', 'qwen-omni', 'qwen-audio'):\n"
        "    cls = experts.expert_class(kind)\n"
        "    made = cls.Settings(name='e', kind=kind, model='some/model')\n"
        "    assert cls.resources(made).gpus == 1.0\n"
        "assert 'torch' not in sys.modules and 'transformers' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_model_in_s3_is_reached_as_the_configuration_says(bucket, folder, monkeypatch):
    """No variable of the environment leads there."""
    upload(bucket, folder, "reader")
    reach = S3Settings(
        endpoint_url=os.environ["AWS_ENDPOINT_URL"], region="us-east-1", key="key", secret="secret"
    )
    for name in ("AWS_ENDPOINT_URL", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_DEFAULT_REGION"):
        monkeypatch.delenv(name)
    use_s3(reach)
    try:
        assert missing_model(settings("s3://models/reader"), None) == []
        assert (resolve_model("s3://models/reader") / "config.json").exists()
    finally:
        use_s3(S3Settings())
