"""The published checkpoint of affectgpt: what is in the file, and what must not be."""

import os

import pytest
import torch

import affectgpt_checkpoint
from affectgpt_clips import settings
from emo.errors import InputError
from emo.experts import affectgpt_model as parts
from emo.experts.affectgpt import AffectGPTExpert


def test_the_published_sizes_add_up_to_the_published_number_of_weights():
    from transformers import Qwen2Config

    llm = Qwen2Config(
        hidden_size=3584,
        intermediate_size=18_944,
        num_hidden_layers=28,
        num_attention_heads=28,
        num_key_value_heads=4,
    )
    lora = sum(16 * (size_in + size_out) for size_in, size_out in parts.lora_modules(llm).values())
    with torch.device("meta"):
        fusion = sum(p.numel() for p in parts.Fusion(768, 1024, 3584).parameters())
    assert lora == 40_370_176
    assert lora + fusion == 57_168_644


def test_every_key_of_the_file_has_its_place(files):
    state = parts.read_state(files.checkpoint)
    checkpoint = fit(files, state)
    assert checkpoint.rank == affectgpt_checkpoint.RANK
    assert len(checkpoint.fusion) + 2 * len(checkpoint.lora) == len(state)
    assert checkpoint.ignored == ()


def fit(files, state, ignore_unknown=False):
    from transformers import AutoConfig

    return parts.match(state, 24, 32, AutoConfig.from_pretrained(files.llm), ignore_unknown)


@pytest.mark.parametrize(
    "key",
    [
        "fc_att.bias",
        "affectgpt_proj.weight",
        "llama_model.base_model.model.model.layers.1.mlp.up_proj.lora_B.default.weight",
    ],
)
def test_a_missing_weight_is_named(files, key):
    state = parts.read_state(files.checkpoint)
    del state[key]
    with pytest.raises(InputError, match="missing: " + key.replace(".", r"\.")):
        fit(files, state)


def test_weights_of_another_shape_are_named_with_both_shapes(files):
    state = parts.read_state(files.checkpoint)
    state["audio_llama_proj.weight"] = torch.zeros(64, 40)
    name = "llama_model.base_model.model.model.layers.0.self_attn.k_proj.lora_A.default.weight"
    state[name] = torch.zeros(8, 64)
    with pytest.raises(InputError) as caught:
        fit(files, state)
    assert "audio_llama_proj.weight is [64, 40], expected [64, 32]" in str(caught.value)
    assert f"{name} is [8, 64], expected [4, 64]" in str(caught.value)


def test_weights_that_are_not_understood_are_named_and_left_out_only_when_asked(files):
    state = parts.read_state(files.checkpoint)
    state["pose_llama_proj.weight"] = torch.zeros(3)
    with pytest.raises(InputError, match=r"not understood.*pose_llama_proj\.weight"):
        fit(files, state)
    assert fit(files, state, ignore_unknown=True).ignored == ("pose_llama_proj.weight",)


def test_what_was_left_out_stands_on_the_card(files, tmp_path):
    state = parts.read_state(files.checkpoint)
    state["pose_llama_proj.weight"] = torch.zeros(3)
    path = tmp_path / "mercaptionplus_frame_lz" / "more.pth"
    path.parent.mkdir()
    affectgpt_checkpoint.write_checkpoint(path, state)
    card = AffectGPTExpert(settings(files, checkpoint=str(path), ignore_unknown_keys=True)).card
    assert "without pose_llama_proj.weight" in card.adapter
    assert card.trained_on == ("MER-Caption+",)


def test_a_variant_with_a_qformer_is_refused_by_name(files):
    state = parts.read_state(files.checkpoint)
    state["video_Qformer.bert.encoder.layer.0.attention.self.query.weight"] = torch.zeros(3, 3)
    state["video_query_tokens"] = torch.zeros(1, 32, 768)
    with pytest.raises(InputError, match="'qformer' for video"):
        fit(files, state)


def test_a_file_that_would_run_code_is_not_loaded(tmp_path):
    path = tmp_path / "evil.pth"
    marker = tmp_path / "ran"

    class Evil:
        def __reduce__(self):
            return os.mkdir, (str(marker),)

    torch.save({"model": {"fc_att.bias": Evil()}}, path)
    with pytest.raises(InputError, match="more than weights"):
        parts.read_state(path)
    assert not marker.exists()


@pytest.mark.parametrize("content", [b"", b"not a checkpoint at all", b"PK\x03\x04 cut"])
def test_a_file_that_is_no_checkpoint_is_an_input_error(tmp_path, content):
    path = tmp_path / "bad.pth"
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"bad\.pth"):
        parts.read_state(path)


def test_another_models_checkpoint_is_an_input_error(tmp_path):
    path = tmp_path / "other.pth"
    torch.save({"state_dict": {}}, path)
    with pytest.raises(InputError, match="not an AffectGPT checkpoint"):
        parts.read_state(path)


def test_the_merged_lora_answers_as_pefts_own_layers(files):
    from transformers import AutoModelForCausalLM

    # In double precision: how a processor rounds single precision is not what is compared.
    merged = AutoModelForCausalLM.from_pretrained(files.llm, dtype=torch.float64).eval()
    before = merged(torch.arange(40)[None]).logits
    parts.merge_lora(merged, fit(files, parts.read_state(files.checkpoint)))
    ids = torch.arange(40)[None]
    with torch.no_grad():
        expected = affectgpt_checkpoint.published_llm(files).double()(input_ids=ids).logits
        torch.testing.assert_close(merged(ids).logits, expected, rtol=1e-4, atol=1e-4)
    assert (before - expected).abs().max() > 0.1
