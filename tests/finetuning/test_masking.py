import json

import pytest
import torch

import checkpoints
import synthetic_clips
from emo import experts
from emo.captions.messages import Turn
from emo.errors import InputError, RowError
from emo.finetuning.masking import IGNORED, Encoder
from emo.finetuning.samples import from_turns

CHAT = [
    Turn("system", "Be exact."),
    Turn("user", "<video>What is felt?"),
    Turn("assistant", "She frowns."),
    Turn("user", "And then?"),
    Turn("assistant", "She smiles."),
]


@pytest.fixture(scope="module")
def encoders(tmp_path_factory):
    made = {}

    def get(family: str, max_tokens: int = 2000) -> Encoder:
        kind, make = checkpoints.FAMILIES[family]
        if family not in made:
            made[family] = make(tmp_path_factory.mktemp(family))
        return Encoder(kind, made[family], max_frames=2, max_tokens=max_tokens)

    get.folders = made
    return get


def one_answer(text="She frowns.", has_media=True):
    return from_turns("s", [Turn("user", "What is felt?"), Turn("assistant", text)], None, has_media)


@pytest.mark.parametrize("family", checkpoints.FAMILIES)
def test_only_the_answers_and_their_end_tokens_are_trained(encoders, family):
    encoder = encoders(family)
    made = encoder.encode(from_turns("s", CHAT, None, True), synthetic_clips.clip(1))
    shown = encoder.show(made)
    print(f"\n{family}\n{shown}")
    trained = [part.split("»")[0] for part in shown.split("«")[1:]]
    assert trained == ["She frowns.<|im_end|>", "She smiles.<|im_end|>"]
    assert "·" in shown.split("«")[0], "the clip is in the prompt"
    assert not set(made.labels.tolist()) & encoder.media_tokens, "no media token is trained"
    assert made.positions.shape[1] == len(made) == len(made.labels)
    assert made.trained == int((made.labels != IGNORED).sum())


@pytest.mark.parametrize("family", checkpoints.FAMILIES)
def test_the_prompt_is_token_for_token_the_one_that_the_expert_asks_with(encoders, family, tmp_path):
    encoder = encoders(family)
    kind, _ = checkpoints.FAMILIES[family]
    cls = experts.expert_class(kind)
    prompt = tmp_path / "prompt.txt"
    prompt.write_text("What is felt?")
    frames = {"max_frames": 2} if "max_frames" in cls.Settings.model_fields else {}
    model = str(encoders.folders[family])
    expert = cls(cls.Settings(name="e", kind=kind, model=model, device="cpu", prompt=str(prompt), **frames))
    clip = synthetic_clips.clip(3)
    asked = expert.engine.preprocessor.prepare(clip)
    made = encoder.encode(one_answer(), clip)
    assert made.input_ids[: made.prompt].tolist() == asked.input_ids.tolist()
    assert torch.equal(made.positions[:, : made.prompt], asked.positions)
    assert {name: value.shape for name, value in made.features.items()} == {
        name: value.shape for name, value in asked.features.items()
    }
    for name, value in asked.features.items():
        assert torch.equal(made.features[name], value)


@pytest.mark.parametrize("family", checkpoints.FAMILIES)
def test_a_sample_without_media_is_text_alone(encoders, family):
    made = encoders(family).encode(one_answer(has_media=False), None)
    assert not made.features
    assert encoders(family).show(made).endswith("«She frowns.<|im_end|>»")


def test_a_turn_with_loss_false_is_shown_and_not_trained(encoders):
    encoder = encoders("internvl")
    chat = [*CHAT[:2], Turn("assistant", "She frowns.", loss=False), *CHAT[3:]]
    shown = encoder.show(encoder.encode(from_turns("s", chat, None, True), synthetic_clips.clip(1)))
    assert [part.split("»")[0] for part in shown.split("«")[1:]] == ["She smiles.<|im_end|>"]
    assert "She frowns." in shown


def test_a_sample_that_is_too_long_is_refused_and_never_cut(encoders):
    with pytest.raises(RowError, match="max_tokens is 40; nothing is cut") as caught:
        encoders("internvl", max_tokens=40).encode(one_answer("so " * 40), synthetic_clips.clip(1))
    assert caught.value.code == "too_long"


def test_a_chat_without_an_answer_to_train_is_refused():
    with pytest.raises(RowError) as caught:
        from_turns("s", [Turn("user", "?"), Turn("assistant", "No.", loss=False)], None, False)
    assert caught.value.code == "untrained"


@pytest.mark.parametrize(
    ("chat", "what"),
    [
        ([Turn("user", "a"), Turn("user", "b"), Turn("assistant", "c")], "turn 1 is of 'user'"),
        ([Turn("assistant", "c")], "turn 0 is of 'assistant'"),
        (
            [Turn("user", "a"), Turn("assistant", "b"), Turn("user", "<image>"), Turn("assistant", "c")],
            "turn 2 has media",
        ),
    ],
)
def test_a_chat_that_cannot_be_laid_out_is_refused_with_its_turn(chat, what):
    with pytest.raises(RowError, match=what):
        from_turns("s", chat, None, True)


def test_an_answer_with_a_media_placeholder_is_refused(encoders):
    with pytest.raises(RowError, match="placeholder of media"):
        encoders("internvl").encode(one_answer("She <IMG_CONTEXT> frowns."), synthetic_clips.clip(1))


def test_a_clip_without_what_the_family_needs_is_refused(encoders):
    with pytest.raises(RowError) as caught:
        encoders("qwen2-audio").encode(one_answer(), synthetic_clips.clip(1, sound=False))
    assert caught.value.code == "modality_missing"


def test_a_template_that_never_ends_an_answer_is_refused(tmp_path):
    folder = checkpoints.make_internvl(tmp_path / "base")
    path = folder / "chat_template.jinja"
    path.write_text(path.read_text().replace("<|im_end|>\n{% endfor %}", "\n{% endfor %}"))
    with pytest.raises(InputError, match="no token that ends writing"):
        Encoder("internvl", folder, max_frames=1, max_tokens=100)


def test_a_template_that_rewrites_the_answer_is_refused(tmp_path):
    folder = checkpoints.make_internvl(tmp_path / "base")
    path = folder / "chat_template.jinja"
    text = path.read_text()
    assert "{{ part['text'] }}" in text
    path.write_text(text.replace("{{ part['text'] }}", "{{ part['text'] | upper }}"))
    with pytest.raises(InputError, match="otherwise than the model does"):
        Encoder("internvl", folder, max_frames=1, max_tokens=100)


def test_the_end_of_writing_may_be_named_by_the_generation_config_alone(tmp_path):
    folder = checkpoints.make_internvl(tmp_path / "base")
    path = folder / "tokenizer_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "eos_token": "<|endoftext|>"}))
    encoder = Encoder("internvl", folder, max_frames=1, max_tokens=500)
    assert encoder.tokenizer.decode([encoder.end_token]) == "<|im_end|>"
