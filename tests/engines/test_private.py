"""One test for each part of transformers that emo leans on and that is not promised.

Where a new release fails one of them, emo/engines/private.py says who needs it.
"""

import json

import pytest
import torch
import transformers

import checkpoints
import hf_checkpoints
from emo.engines import private
from emo.engines.cache import BufferLayer, Clock


def config_of(folder):
    return transformers.AutoConfig.from_pretrained(folder)


@pytest.fixture(scope="module")
def text(tmp_path_factory):
    return checkpoints.make_text(tmp_path_factory.mktemp("text"))


@pytest.fixture(scope="module")
def model(text):
    return transformers.AutoModelForCausalLM.from_pretrained(text, dtype=torch.float32).eval()


def test_a_model_with_pictures_makes_positions_of_four_axes(tmp_path):
    folder = checkpoints.make_qwen2_5_vl(tmp_path)
    model = transformers.Qwen2_5_VLForConditionalGeneration.from_pretrained(folder)
    ids = torch.tensor([[5, 6, 7]])
    made = private.positions(model, ids, {"input_ids": ids, "attention_mask": torch.ones_like(ids)})
    assert made.shape == (4, 1, 3)
    assert made[1:, 0].tolist() == [[0, 1, 2]] * 3


def test_a_configuration_names_the_kernel_of_its_attention(text, model):
    assert private.attention_of(model.config.get_text_config(decoder=True)) == "sdpa"
    eager = transformers.AutoModelForCausalLM.from_pretrained(text, attn_implementation="eager")
    assert private.attention_of(eager.config.get_text_config(decoder=True)) == "eager"


def test_a_configuration_names_the_kinds_of_its_layers(text, tmp_path):
    assert private.kinds_of_layers(config_of(text)) <= {"full_attention"}
    folder = hf_checkpoints.make_qwen3_5(tmp_path)
    kinds = private.kinds_of_layers(config_of(folder).get_text_config(decoder=True))
    assert kinds == {"linear_attention", "full_attention"}


def test_a_model_with_a_recurrent_state_says_so(model):
    assert not private.keeps_state(model)
    sizes = {"vocab_size": 64, "hidden_size": 16, "num_hidden_layers": 1, "state_size": 4}
    assert private.keeps_state(transformers.MambaForCausalLM(transformers.MambaConfig(**sizes)))


def test_a_cache_holds_keys_and_values_of_each_layer(model):
    cache = private.DynamicCache()
    with torch.inference_mode():
        model(input_ids=torch.tensor([[1, 2, 3]]), past_key_values=cache, use_cache=True)
    assert len(cache.layers) == model.config.num_hidden_layers
    for layer in cache.layers:
        assert layer.keys.shape == layer.values.shape == (1, 2, 3, 8)


def test_a_layer_of_our_own_takes_the_place_of_one_of_a_cache(model):
    """Written at the clock's position, it gives the scores that the model's own cache gives."""
    ids = torch.tensor([[1, 2, 3, 4]])
    with torch.inference_mode():
        wanted = model(input_ids=ids).logits[0, -1]
        own = private.DynamicCache()
        model(input_ids=ids[:, :3], past_key_values=own, use_cache=True)
        clock = Clock(3)
        layers = []
        for layer in own.layers:
            keys, values = (torch.zeros(1, 2, 8, 8) for _ in range(2))
            keys[:, :, :3], values[:, :, :3] = layer.keys, layer.values
            layers.append(BufferLayer(keys, values, clock))
        cache = private.Cache(layers=layers)
        found = model(
            input_ids=ids[:, 3:],
            past_key_values=cache,
            position_ids=torch.tensor([[3]]),
            attention_mask=torch.ones((1, 4), dtype=torch.bool)[:, None, None],
            use_cache=True,
        ).logits[0, -1]
    assert torch.allclose(found, wanted, atol=1e-5)


def test_the_scores_of_one_position_are_all_that_the_last_layer_makes(model):
    """What `Generator` does by a hook: the output embeddings see one position of a prompt."""
    seen = []

    def keep_last(_, arguments):
        seen.append(arguments[0].shape[1])
        return (arguments[0][:, -1:], *arguments[1:])

    hook = model.get_output_embeddings().register_forward_pre_hook(keep_last)
    with torch.inference_mode():
        out = model(input_ids=torch.tensor([[1, 2, 3, 4]])).logits
    hook.remove()
    assert seen == [4]
    assert out.shape[1] == 1


def test_each_family_has_its_class_and_its_processor():
    classes, processors = private.class_of_family(), private.processor_of_family()
    assert classes["qwen2_vl"] == "Qwen2VLForConditionalGeneration"
    assert processors["qwen2_vl"] == "Qwen2VLProcessor"
    for name in classes.values():
        assert hasattr(transformers, name), name


def test_a_class_of_a_checkpoints_own_code_is_found(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"auto_map": {"AutoModel": "own.Own"}}))
    (tmp_path / "own.py").write_text("class Own:\n    made = 'here'\n")
    assert private.class_of_own_code("own.Own", str(tmp_path)).made == "here"
