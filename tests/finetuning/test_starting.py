"""A run that goes on from an earlier adapter, and learning rates of single parts."""

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file

import checkpoints
from emo.errors import InputError
from emo.experts.in_process import finetunable
from emo.finetuning import adapter, model, parts
from emo.finetuning.checks import base_here
from emo.finetuning.settings import Finetune


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return checkpoints.make_internvl(tmp_path_factory.mktemp("base"))


def settings(base, **changes):
    return Finetune(model=str(base), device="cpu", **{"lora": {"rank": 4}, **changes})


@pytest.fixture(scope="module")
def earlier(base, tmp_path_factory):
    """An adapter as a run writes it, with weights that are not those of a new one."""
    of_run = settings(base)
    made = model.prepare(of_run, base)
    weights = {
        name: torch.randn(value.shape, generator=torch.Generator().manual_seed(number))
        for number, (name, value) in enumerate(made.model.named_parameters())
        if value.requires_grad
    }
    about = adapter.manifest(
        "faces", of_run, base, targets=made.targets, template=(base / "chat_template.jinja").read_text(),
        data={"fingerprint": "f", "train": 1, "held_out": 0, "refused": {}}, step=1, metrics={},
    )  # fmt: skip
    folder = tmp_path_factory.mktemp("earlier") / "adapter"
    adapter.write_adapter(folder, made.model, weights, about)
    return folder


def test_training_begins_with_the_weights_of_the_earlier_adapter(base, earlier):
    made = model.prepare(settings(base, adapter=str(earlier)), base)
    given = load_file(earlier / "adapter_model.safetensors")
    found = {
        name.replace(".default", ""): value
        for name, value in made.model.named_parameters()
        if value.requires_grad
    }
    assert found.keys() == given.keys()
    assert all(torch.equal(found[name].detach(), given[name]) for name in given)


def test_another_adapter_is_another_run(base, earlier, tmp_path):
    plain, going_on = base_here(settings(base)), base_here(settings(base, adapter=str(earlier)))
    assert going_on.startswith(plain)
    shutil.copytree(earlier, tmp_path / "other")
    weights = load_file(tmp_path / "other/adapter_model.safetensors")
    save_file(
        {name: value + 1 for name, value in weights.items()}, tmp_path / "other/adapter_model.safetensors"
    )
    assert base_here(settings(base, adapter=str(tmp_path / "other"))) not in (plain, going_on)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"lora": {"rank": 8}}, "finetune.lora.rank is 8, it has 4"),
        ({"lora": {"rank": 4, "alpha": 5}}, "finetune.lora.alpha is 5, it has 32"),
    ],
)
def test_an_adapter_of_another_shape_is_refused_before_anything_starts(changes, told, base, earlier):
    with pytest.raises(InputError, match=told):
        base_here(settings(base, adapter=str(earlier), **changes))


def test_an_adapter_of_another_base_or_a_dora_is_refused(base, earlier, tmp_path):
    other = checkpoints.make_internvl(tmp_path / "other", end_bias=1.0)
    with pytest.raises(InputError, match="made for"):
        base_here(settings(other, adapter=str(earlier)))
    shutil.copytree(earlier, tmp_path / "dora")
    path = tmp_path / "dora/adapter_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "use_dora": True}))
    with pytest.raises(InputError, match="its use_dora is True, which is not trained here"):
        base_here(settings(base, adapter=str(tmp_path / "dora")))
    with pytest.raises(InputError, match="no such folder"):
        base_here(settings(base, adapter=str(tmp_path / "nowhere")))


def test_an_adapter_of_other_layers_is_refused_with_one_of_them(base, earlier):
    both = settings(base, adapter=str(earlier), freeze={"vision": False})
    with pytest.raises(InputError, match=r"layers that are trained here are not in it, such as .*vision"):
        model.prepare(both, base)


@pytest.mark.parametrize("lora", [None, {"rank": 4}])
def test_every_part_has_its_own_learning_rate(lora, base):
    rates = {"vision": 1e-6, "projector": 2e-5}
    freeze = {"vision": False, "projector": False}
    of_run = settings(base, lora=lora, freeze=freeze, learning_rates=rates, learning_rate=3e-4)
    made = model.prepare(of_run, base).model
    family = finetunable("internvl").family
    groups = parts.optimizer_groups(made, of_run, family)
    rate_of = {id(value): group["lr"] for group in groups for value in group["params"]}
    seen = set()
    for name, value in made.named_parameters():
        if value.requires_grad:
            part = parts.part_of(name.removeprefix("base_model.model."), family)
            assert rate_of.pop(id(value)) == {**rates, "language": 3e-4}[part]
            seen.add(part)
    assert seen == {"vision", "projector", "language"}
    assert not rate_of, "nothing else is trained"
    decays = {group["weight_decay"] for group in groups for value in group["params"] if value.ndim == 1}
    assert decays == (set() if lora else {0.0})


def test_a_rate_of_a_part_that_is_frozen_is_refused():
    with pytest.raises(ValueError, match=r"freeze.vision is true, the part is not trained"):
        Finetune(learning_rates={"vision": 1e-5})
