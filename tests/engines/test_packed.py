"""Packed layers give what the layers gave."""

import pytest
import torch
import transformers
from torch import nn

import classifier_checkpoints
from emo.engines.classification import Classifier, ClassifierSettings
from emo.engines.packed import PackedLinear, pack

pytestmark = pytest.mark.skipif(not torch.backends.mkldnn.is_available(), reason="PyTorch without oneDNN")
SMALL = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}


@pytest.mark.parametrize("shape", [(5,), (3, 5), (2, 3, 5), (0, 5)])
@pytest.mark.parametrize("bias", [True, False])
def test_a_layer_gives_what_it_gave_for_inputs_of_any_shape(shape, bias):
    layer, inputs = nn.Linear(5, 7, bias=bias), torch.randn(shape)
    with torch.inference_mode():
        packed = PackedLinear(layer)
        assert packed(inputs).shape == (*shape[:-1], 7)
        assert torch.allclose(packed(inputs), layer(inputs), atol=1e-6)
        assert torch.equal(packed.weight, layer.weight)


def test_a_model_whose_attention_reads_the_weights_of_its_layers_answers_as_before():
    config = transformers.WavLMConfig(
        **SMALL, conv_dim=(32,) * 2, conv_kernel=(10, 3), conv_stride=(5, 2), num_conv_pos_embeddings=8,
        num_conv_pos_embedding_groups=2, classifier_proj_size=8, num_labels=3, num_feat_extract_layers=2,
    )  # fmt: skip
    model = transformers.WavLMForSequenceClassification(config).eval()
    sound = torch.randn(2, 1600)
    with torch.inference_mode():
        before = model(sound).logits
        pack(model)
        assert any(isinstance(layer, PackedLinear) for layer in model.modules())
        assert torch.allclose(model(sound).logits, before, atol=1e-5)


def test_a_layer_whose_weights_are_made_at_each_pass_stays_as_it_is(recwarn):
    model = nn.Sequential(nn.utils.weight_norm(nn.Linear(4, 4)), nn.Linear(4, 4))
    inputs = torch.randn(2, 4)
    with torch.inference_mode():
        before = model(inputs)
        pack(model)
        assert [type(layer) for layer in model] == [nn.Linear, PackedLinear]
        assert torch.allclose(model(inputs), before, atol=1e-6)


def test_where_pytorch_names_its_operators_otherwise_nothing_is_packed(monkeypatch):
    monkeypatch.setattr(torch.ops, "mkldnn", object())
    model = nn.Sequential(nn.Linear(4, 4))
    pack(model)
    assert type(model[0]) is nn.Linear


@pytest.mark.parametrize("sees", classifier_checkpoints.MAKERS)
def test_a_classifier_on_a_cpu_has_no_layer_left_but_the_one_whose_input_is_kept(sees, tmp_path):
    folder = classifier_checkpoints.MAKERS[sees](tmp_path / sees)
    medium = {"audio": "audio", "transcript": "text"}.get(sees, "image")
    classifier = Classifier(ClassifierSettings(model=str(folder)), medium, keep_vectors=True)
    left = [layer for layer in classifier._model.modules() if type(layer) is nn.Linear]
    assert left == [classifier._last]
    half = Classifier(ClassifierSettings(model=str(folder), dtype="bfloat16"), medium)
    assert not any(isinstance(layer, PackedLinear) for layer in half._model.modules())
