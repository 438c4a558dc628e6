"""Models with MODA's duplex attention: what they answer, and the adapters that they are kept as."""

import json
import shutil

import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file, save_file

import checkpoints
import drawn_faces
import synthetic_clips
from emo import experts
from emo.captions.messages import Turn
from emo.engines.duplex_attention import Marks, Places, layers
from emo.engines.vllm import _lora
from emo.errors import InputError
from emo.finetuning import adapter, adapters, checks, model
from emo.finetuning.checks import base_here
from emo.finetuning.collate import collate
from emo.finetuning.foreign import import_adapter
from emo.finetuning.loss import loss_sum, on_device
from emo.finetuning.masking import Encoder
from emo.finetuning.samples import from_turns
from emo.finetuning.settings import Finetune
from emo.store.storage import Storage

FAMILIES = {
    "internvl": "internvl",
    "qwen-vl": "qwen2.5-vl",
    "qwen-omni": "qwen2.5-omni",
    "qwen-audio": "qwen2-audio",
}


@pytest.fixture(scope="module")
def bases(tmp_path_factory):
    made = {}

    def base(kind):
        if kind not in made:
            made[kind] = checkpoints.FAMILIES[FAMILIES[kind]][1](tmp_path_factory.mktemp(kind))
        return made[kind]

    return base


def settings(base, kind="internvl", **changes):
    values = {
        "lora": {"rank": 4, "dropout": 0.0},
        "attention_module": "moda",
        "gradient_checkpointing": False,
    }
    return Finetune(family=kind, model=str(base), device="cpu", max_frames=2, **{**values, **changes})


def batch_of(base, kind, answer="The person feels calm."):
    """Two rows of different lengths, and what encoded them."""
    encoder = Encoder(kind, base, max_frames=2, max_tokens=1 << 20)
    rows = []
    for number, question in enumerate(("What does the person feel?", "Why?")):
        chat = [Turn("user", question), Turn("assistant", answer)]
        shown = synthetic_clips.clip(number, frames=number + 1)
        rows.append(encoder.encode(from_turns(str(number), chat, None, True), shown))
    return encoder, rows


def scores(made, encoder, rows):
    batch = collate(rows, encoder.preprocessor, encoder.pad_token, None)
    inputs, _ = on_device(batch, encoder.preprocessor, torch.device("cpu"), torch.float32)
    with torch.inference_mode():
        return made.eval()(**inputs, use_cache=False).logits


def shaken(made, size=0.3):
    """Weights as after a training."""
    torch.manual_seed(1)
    with torch.no_grad():
        for value in made.parameters():
            if value.requires_grad:
                value.copy_(torch.randn(value.shape) * size)
    return {name: value.detach() for name, value in made.named_parameters() if value.requires_grad}


@pytest.mark.parametrize("kind", FAMILIES)
def test_a_model_of_each_family_is_its_base_at_the_start_and_another_one_once_it_learnt(bases, kind):
    base = bases(kind)
    encoder, rows = batch_of(base, kind)
    plain = scores(model.prepare(settings(base, kind, attention_module=None), base).model, encoder, rows)
    made = model.prepare(settings(base, kind), base)
    assert torch.equal(scores(made.model, encoder, rows), plain)
    names = [name for name, value in made.model.named_parameters() if value.requires_grad]
    count = len(layers(made.model.get_base_model(), r"model\.language_model\."))
    assert sum(".duplex." in name for name in names) == 2 * count > 0
    with torch.no_grad():
        for name, value in made.model.named_parameters():
            if value.requires_grad and ".duplex." in name:
                value.copy_(torch.randn(value.shape))
    assert (scores(made.model, encoder, rows) - plain).abs().max() > 1e-4


@pytest.mark.parametrize("kind", FAMILIES)
def test_what_is_answered_changes_no_score_before_it_and_no_row_another(bases, kind):
    base = bases(kind)
    made = model.prepare(settings(base, kind), base).model
    shaken(made)
    encoder, rows = batch_of(base, kind)
    together = scores(made, encoder, rows)
    _, others = batch_of(base, kind, "Something else is said, and at length.")
    changed = scores(made, encoder, others)
    for number, row in enumerate(rows):
        assert torch.allclose(together[number, : row.prompt], changed[number, : row.prompt], atol=1e-5)
        # Rounding of the towers, which are given sounds of several lengths at once: without it the same.
        assert torch.allclose(together[number, : len(row)], scores(made, encoder, [row])[0], atol=5e-3)


@pytest.mark.parametrize("checkpointing", [False, True])
def test_every_weight_of_it_has_a_gradient(bases, checkpointing):
    base = bases("internvl")
    made = model.prepare(settings(base, gradient_checkpointing=checkpointing), base).model.train()
    shaken(made)
    encoder, rows = batch_of(base, "internvl")
    batch = collate(rows, encoder.preprocessor, encoder.pad_token, None)
    inputs, labels = on_device(batch, encoder.preprocessor, torch.device("cpu"), torch.float32)
    loss_sum(made, made.get_base_model().get_output_embeddings(), inputs, labels).backward()
    found = {n: v.grad.abs().max() for n, v in made.named_parameters() if v.requires_grad and "duplex" in n}
    assert found
    assert all(value > 0 for value in found.values())


@pytest.fixture(scope="module")
def tuned(bases, tmp_path_factory):
    """An adapter as a run writes it, with weights that change the answers, and the model that it is of."""
    base = bases("internvl")
    of_run = settings(base)
    made = model.prepare(of_run, base)
    weights = shaken(made.model)
    about = adapter.manifest(
        "faces", of_run, base, targets=made.targets, template=(base / "chat_template.jinja").read_text(),
        data={"fingerprint": "f", "train": 1, "held_out": 0, "refused": {}}, step=1, metrics={},
        attention=made.attention,
    )  # fmt: skip
    folder = tmp_path_factory.mktemp("tuned") / "adapter"
    adapter.write_adapter(folder, made.model, weights, about)
    return folder, made.model


def expert(base, folder, **changes):
    values = {"name": "e", "kind": "internvl", "model": str(base), "device": "cpu", "max_new_tokens": 8}
    adapted = None if folder is None else str(folder)
    return experts.load(experts.settings_of({**values, "adapter": adapted, "max_frames": 2, **changes}))


@pytest.mark.parametrize("merged", [False, True])
def test_an_expert_with_the_adapter_is_the_model_that_was_trained(bases, tuned, merged):
    folder, trained = tuned
    encoder, rows = batch_of(bases("internvl"), "internvl")
    loaded = expert(bases("internvl"), folder, merge_adapter=merged)
    expected = scores(trained, encoder, rows)
    difference = (scores(loaded.engine.model, encoder, rows) - expected).abs().max()
    assert difference / expected.std() < 1e-3
    assert loaded.card.adapter


def test_its_answers_depend_on_no_batch_and_are_others_than_without_it(bases, tuned, tmp_path):
    base, clips = bases("internvl"), [synthetic_clips.clip(number, frames=2) for number in range(4)]
    loaded = expert(base, tuned[0], samples=2)
    together = [[one.text for one in answer] for answer in loaded.describe(clips)]
    assert together == [[one.text for one in loaded.describe([clip])[0]] for clip in clips]
    silent = tmp_path / "silent"
    shutil.copytree(tuned[0], silent)
    weights = load_file(silent / "adapter_model.safetensors")
    zeroed = {name: value * 0 if ".duplex." in name else value for name, value in weights.items()}
    save_file(zeroed, silent / "adapter_model.safetensors")
    without = [[one.text for one in answer] for answer in expert(base, silent, samples=2).describe(clips)]
    assert without != together


def test_what_the_folder_says_of_it(tuned):
    about = adapter.read_manifest(tuned[0])
    assert about["attention_module"]["kind"] == "moda"
    assert about["attention_module"]["media"]
    assert json.loads((tuned[0] / "adapter_config.json").read_text())["modules_to_save"] == ["duplex"]
    assert "Only emo can use it" in (tuned[0] / "README.md").read_text()


def test_an_adapter_that_lost_a_weight_of_it_or_its_manifest_is_refused(bases, tuned, tmp_path):
    lost = tmp_path / "lost"
    shutil.copytree(tuned[0], lost)
    weights = load_file(lost / "adapter_model.safetensors")
    gone = next(name for name in weights if name.endswith(".duplex.values"))
    save_file({n: v for n, v in weights.items() if n != gone}, lost / "adapter_model.safetensors")
    with pytest.raises(InputError, match=f"1 keys that the model needs are missing: {gone}"):
        expert(bases("internvl"), lost)
    bare = tmp_path / "bare"
    shutil.copytree(tuned[0], bare)
    (bare / "emo_adapter.json").unlink()
    with pytest.raises(InputError, match="does not tell what its prompts are made of"):
        expert(bases("internvl"), bare)


def test_it_is_neither_merged_nor_served_nor_imported_and_that_is_said(bases, tuned, tmp_path):
    base = bases("internvl")
    with pytest.raises(InputError, match="cannot be merged"):
        adapter.merge(tuned[0], base, tmp_path / "merged")
    with pytest.raises(InputError, match="which vLLM does not compute"):
        _lora(tuned[0])
    with pytest.raises(InputError, match="with duplex attention; it is used from its own folder"):
        import_adapter(tuned[0], "internvl", base, tmp_path / "imported")
    assert not list(tmp_path.iterdir())


def test_the_best_adapter_of_a_run_keeps_it_when_it_is_promoted_and_is_not_merged(bases, tuned, tmp_path):
    out = Storage(str(tmp_path / "out"))
    best = tmp_path / "out/finetune/faces/best"
    shutil.copytree(tuned[0], best)
    record = {
        "outcome": "done", "settings": settings(bases("internvl")).model_dump(mode="json"),
        "result": {"metrics": {"f1": 0.5, "parse_failures": 0.0, "step": 1}},
    }  # fmt: skip
    (best.parent / "run.json").write_text(json.dumps(record))
    where = adapters.promote(out, "faces", Finetune(gate={"better_than_base": False}).gate)
    assert expert(bases("internvl"), where).card.adapter
    with pytest.raises(InputError, match="cannot be merged"):
        adapters.merge(out, "faces", str(tmp_path / "merged"))


def test_training_goes_on_from_it_and_only_with_it(bases, tuned):
    base = bases("internvl")
    of_run = settings(base, adapter=str(tuned[0]))
    assert base_here(of_run)
    encoder, rows = batch_of(base, "internvl")
    begun = model.prepare(of_run, base).model
    assert torch.allclose(scores(begun, encoder, rows), scores(tuned[1], encoder, rows), atol=1e-5)
    with pytest.raises(InputError, match=r"attention_module is null, it has duplex attention"):
        base_here(settings(base, adapter=str(tuned[0]), attention_module=None))


def test_training_with_it_goes_on_from_no_plain_adapter(bases, tmp_path):
    base = bases("internvl")
    plain = settings(base, attention_module=None)
    made = model.prepare(plain, base)
    about = adapter.manifest(
        "faces", plain, base, targets=made.targets, template=(base / "chat_template.jinja").read_text(),
        data={"fingerprint": "f", "train": 1, "held_out": 0, "refused": {}}, step=1, metrics={},
    )  # fmt: skip
    adapter.write_adapter(tmp_path / "plain", made.model, shaken(made.model), about)
    with pytest.raises(InputError, match="attention_module is 'moda', it has none"):
        base_here(settings(base, adapter=str(tmp_path / "plain")))


@pytest.mark.parametrize("changes", [{"lora": None}, {"freeze": {"language": True, "vision": False}}])
def test_without_a_lora_of_the_language_model_it_is_refused(changes):
    with pytest.raises(ValueError, match="attention_module: it is trained beside a LoRA of the language"):
        Finetune(attention_module="moda", **changes)


def test_a_decoder_without_keys_of_its_own_is_refused_with_the_reason(bases, monkeypatch):
    base = bases("internvl")
    skeleton = checks.skeleton

    def fused(*given):
        made = skeleton(*given)
        for name, module in list(made.named_modules()):
            if name.endswith("self_attn") and "language_model" in name:
                module.qkv_proj = torch.nn.Linear(4, 12)
                del module.k_proj
        return made

    monkeypatch.setattr(checks, "skeleton", fused)
    with pytest.raises(InputError, match=r"no layer of the language part of InternVL.* has keys and values"):
        base_here(settings(base))


def test_peft_alone_loads_no_half_of_it(bases, tuned):
    from transformers import InternVLForConditionalGeneration

    plain = InternVLForConditionalGeneration.from_pretrained(bases("internvl"), dtype=torch.float32)
    with pytest.raises((KeyError, ValueError), match="EMO_LORA_WITH_DUPLEX_ATTENTION"):
        PeftModel.from_pretrained(plain, tuned[0])


def test_drawn_faces_are_prompts_with_media_and_words(bases):
    encoder = Encoder("internvl", bases("internvl"), max_frames=1, max_tokens=500)
    chat = [Turn("user", drawn_faces.QUESTION), Turn("assistant", "Calm.")]
    row = encoder.encode(from_turns("s", chat, None, True), drawn_faces.clip(1, "calm"))
    places = Places(Marks(tuple(encoder.media_tokens), encoder.end_token, encoder.pad_token))
    places.read(row.input_ids[None])
    assert places.media.sum() > 0
    assert places.words.sum() > 0
    last = int((places.media | places.words)[0].nonzero().max())
    assert last < row.prompt


def test_an_engine_that_fills_up_on_the_left_gives_the_same_answers(bases, tuned):
    base, clips = (
        bases("internvl"),
        [synthetic_clips.clip(number, frames=number % 2 + 1) for number in range(3)],
    )
    loaded = expert(base, tuned[0], kind="hf")
    together = [answer[0].text for answer in loaded.describe(clips)]
    assert together == [loaded.describe([clip])[0][0].text for clip in clips]
    assert not loaded.engine.one_by_one, "no row changed another"
