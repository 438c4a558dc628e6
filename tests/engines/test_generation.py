import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoModelForCausalLM, AutoTokenizer
from transformers.utils import is_flash_attn_2_available

import checkpoint_parts
import checkpoints
from emo.engines.generation import Completion
from emo.engines.settings import ModelSettings
from emo.engines.text import Chat, TextPreprocessor
from emo.engines.transformers_engine import TransformersEngine
from emo.errors import InputError, RowError


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return checkpoints.make_text(tmp_path_factory.mktemp("text"))


@pytest.fixture(scope="module")
def ending_folder(tmp_path_factory):
    """A model whose answers end after a varying number of tokens."""
    return checkpoints.make_text(tmp_path_factory.mktemp("ending"), end_bias=1.0)


def engine_for(folder, **changes):
    return TransformersEngine(
        ModelSettings(model=str(folder), device="cpu", **{"max_new_tokens": 16, **changes}), TextPreprocessor
    )


def texts(engine, questions, **changes):
    answers = engine.generate([Chat(q) for q in questions], questions, name="reader", **changes)
    assert all(isinstance(answer, list) for answer in answers), answers
    return [[completion.text for completion in answer] for answer in answers]


def plain(folder, question, limit=16):
    """Prompt length and token ids of the way of the model cards: one question, `generate`."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    inputs = tokenizer.apply_chat_template(
        [{"role": "user", "content": question}],
        add_generation_prompt=True,
        return_tensors="pt",
        return_dict=True,
    )
    inputs.pop("token_type_ids", None)
    with torch.inference_mode():
        written = model.generate(**inputs, max_new_tokens=limit, do_sample=False)[0]
    length = inputs["input_ids"].shape[1]
    tokens = written[length:].tolist()
    return length, tokens, tokenizer.decode(tokens, skip_special_tokens=True).strip()


def test_greedy_answers_equal_the_plain_path_token_for_token(folder, ending_folder):
    questions = checkpoints.sentences(9)
    reasons = set()
    for model in (folder, ending_folder):
        answers = engine_for(model).generate([Chat(q) for q in questions], questions, name="reader")
        for question, (completion,) in zip(questions, answers, strict=True):
            length, tokens, text = plain(model, question)
            assert completion.text == text
            assert completion.output_tokens == len(tokens)
            assert completion.prompt_tokens == length
            reasons.add(completion.finish_reason)
            assert completion.finish_reason == ("length" if len(tokens) == 16 else "stop")
    assert reasons == {"length", "stop"}


def test_the_checkpoints_repetition_penalty_is_applied_as_the_plain_path_does(tmp_path):
    folder = checkpoints.make_text(tmp_path, generation={"repetition_penalty": 1.3})
    questions = checkpoints.sentences(4, seed=5)
    penalised = texts(engine_for(folder), questions)
    assert penalised == [[plain(folder, question)[2]] for question in questions]
    assert penalised != texts(engine_for(folder, repetition_penalty=1.0), questions)


def test_sampled_answers_in_batches_equal_those_one_by_one(ending_folder):
    questions = checkpoints.sentences(12, seed=1)
    together = engine_for(ending_folder, max_new_tokens=24)
    alone = engine_for(ending_folder, max_new_tokens=24, token_budget=1)
    batched = texts(together, questions, samples=3, seed=7)
    assert batched == texts(alone, questions, samples=3, seed=7)
    assert len({text for answer in batched for text in answer}) > 12, "samples differ"
    lengths = [
        completion.output_tokens
        for answer in together.generate([Chat(q) for q in questions], questions, name="reader", samples=3)
        for completion in answer
    ]
    assert min(lengths) < 12 < max(lengths), "answers of mixed lengths, so that rows came and went"


def test_greedy_samples_are_identical(folder):
    for answer in texts(engine_for(folder, temperature=0.0), checkpoints.sentences(4), samples=4):
        assert len(answer) == 4
        assert len(set(answer)) == 1


def test_other_seeds_and_other_names_give_other_answers(folder):
    engine = engine_for(folder, temperature=1.0)
    questions = checkpoints.sentences(3)
    first = texts(engine, questions, seed=1)
    assert first == texts(engine, questions, seed=1)
    assert first != texts(engine, questions, seed=2)
    other = engine.generate([Chat(q) for q in questions], questions, name="other", seed=1)
    assert first != [[completion.text for completion in answer] for answer in other]


@settings(max_examples=12, deadline=None)
@given(order=st.randoms(use_true_random=False), budget=st.integers(1, 3000), prefill=st.integers(1, 1500))
def test_an_answer_depends_neither_on_its_neighbours_nor_on_the_budget(ending_folder, order, budget, prefill):
    questions = checkpoints.sentences(10, seed=2)
    expected = dict(zip(questions, texts(shared_engine(ending_folder), questions, samples=2), strict=True))
    shuffled = questions[: order.randint(1, len(questions))]
    order.shuffle(shuffled)
    engine = shared_engine(ending_folder)
    engine.budget.held, engine.budget.prefill = budget, prefill
    assert texts(engine, shuffled, samples=2) == [expected[question] for question in shuffled]


_engines: dict = {}


def shared_engine(folder):
    engine = _engines.setdefault(folder, engine_for(folder, max_new_tokens=24))
    engine.budget.held = engine.budget.prefill = 10_000
    return engine


class LimitedMemory(torch.nn.Module):
    """A model that runs out of memory above so many tokens of a pass or of the cache; counts its passes."""

    def __init__(self, model, prefill=10**9, held=10**9):
        super().__init__()
        self.inner, self.prefill, self.held, self.prefills = model, prefill, held, 0
        self.dtype, self.config, self.generation_config = model.dtype, model.config, model.generation_config

    def get_input_embeddings(self):
        return self.inner.get_input_embeddings()

    def get_output_embeddings(self):
        return self.inner.get_output_embeddings()

    def forward(self, input_ids, past_key_values, **inputs):
        if input_ids.shape[1] > 1:
            self.prefills += 1
            if input_ids.numel() > self.prefill:
                raise torch.OutOfMemoryError("simulated: the pass is too large")
        elif len(input_ids) * past_key_values.get_seq_length() > self.held:
            raise torch.OutOfMemoryError("simulated: the cache is too large")
        return self.inner(input_ids=input_ids, past_key_values=past_key_values, **inputs)


@pytest.mark.parametrize("limits", [{"prefill": 300}, {"held": 400}, {"prefill": 400, "held": 500}])
def test_running_out_of_memory_halves_the_budget_and_changes_no_answer(ending_folder, limits):
    questions = checkpoints.sentences(14, seed=3)
    expected = texts(engine_for(ending_folder), questions, samples=2)
    engine = engine_for(ending_folder)
    engine.model = LimitedMemory(engine.model, **limits)
    assert texts(engine, questions, samples=2) == expected
    assert engine.stats.out_of_memory > 0


def test_a_row_that_does_not_fit_alone_fails_and_the_others_do_not(folder):
    questions = ["Short?", "word " * 400, "Also short?"]
    for limits in ({"prefill": 200}, {"held": 200}):
        engine = engine_for(folder)
        engine.model = LimitedMemory(engine.model, **limits)
        first, long, last = engine.generate([Chat(q) for q in questions], questions, name="reader", samples=2)
        assert isinstance(long, RowError)
        assert long.code == "out_of_memory"
        assert [len(first), len(last)] == [2, 2]


def test_samples_that_do_not_fit_together_are_written_one_after_the_other(folder):
    question = "word " * 60
    expected = texts(engine_for(folder, temperature=1.0), [question], samples=5)
    engine = engine_for(folder, temperature=1.0)
    prompt = len(engine.preprocessor.prepare(Chat(question)))
    engine.model = LimitedMemory(engine.model, held=2 * (prompt + 16))
    assert texts(engine, [question], samples=5) == expected


def test_a_prompt_longer_than_the_models_context_fails_with_both_numbers(tmp_path):
    folder = checkpoints.make_text(tmp_path, max_position_embeddings=128)
    answers = engine_for(folder).generate([Chat("word " * 300), Chat("Fine?")], ["a", "b"], name="reader")
    assert isinstance(answers[0], RowError)
    assert answers[0].code == "too_long"
    assert "128" in answers[0].message
    assert isinstance(answers[1][0], Completion)


def test_scores_that_are_not_numbers_fail_the_row(folder):
    engine = engine_for(folder)
    with torch.no_grad():
        engine.model.lm_head.weight[5] = torch.nan
    (answer,) = engine.generate([Chat("Anything?")], ["a"], name="reader")
    assert isinstance(answer, RowError)
    assert answer.code == "not_a_number"


def test_all_samples_share_one_pass_over_the_prompt(folder):
    engine = engine_for(folder, temperature=1.0)
    engine.model = LimitedMemory(engine.model)
    texts(engine, ["One question?"], samples=5)
    assert engine.model.prefills == 1
    assert engine.stats.prompt_tokens == len(engine.preprocessor.prepare(Chat("One question?")))


def test_the_limit_of_tokens_is_kept(folder):
    for limit in (1, 2, 7):
        (answer,) = engine_for(folder, max_new_tokens=limit).generate([Chat("Go on")], ["a"], name="reader")
        assert answer[0].output_tokens <= limit


def test_looking_at_the_tokens_less_often_changes_no_answer(ending_folder, monkeypatch):
    from emo.engines import generation

    questions = checkpoints.sentences(10, seed=4)
    expected = texts(engine_for(ending_folder), questions, samples=2)
    original = generation.Generator.__init__

    def look_rarely(self, *arguments, **keywords):
        original(self, *arguments, **keywords)
        self.steps_between_looks = 4

    monkeypatch.setattr(generation.Generator, "__init__", look_rarely)
    assert texts(engine_for(ending_folder, token_budget=900), questions, samples=2) == expected


def test_a_model_whose_output_shares_the_weights_of_its_input_loads(tmp_path):
    folder = checkpoints.make_text(tmp_path, tie_word_embeddings=True)
    assert texts(engine_for(folder), ["One?"]) == texts(engine_for(folder), ["One?"])


def test_settings_of_the_checkpoint_that_are_not_applied_are_named(tmp_path, caplog):
    folder = checkpoints.make_text(tmp_path, generation={"no_repeat_ngram_size": 3})
    engine_for(folder)
    assert "no_repeat_ngram_size, which is not applied" in caplog.text


def test_a_model_that_keeps_a_recurrent_state_is_refused(tmp_path):
    from transformers import Qwen3NextConfig, Qwen3NextForCausalLM

    made = checkpoint_parts.tokenizer()
    config = Qwen3NextConfig(
        **checkpoint_parts.text_config(len(made)),
        head_dim=8,
        num_experts=2,
        num_experts_per_tok=1,
        moe_intermediate_size=16,
        shared_expert_intermediate_size=16,
        linear_num_key_heads=2,
        linear_num_value_heads=2,
        linear_key_head_dim=8,
        linear_value_head_dim=8,
        layer_types=["linear_attention", "full_attention"],
    )
    folder = checkpoint_parts.save(Qwen3NextForCausalLM(config), tmp_path, made, made.eos_token_id)
    with pytest.raises(InputError, match="recurrent state"):
        engine_for(folder)


def test_sliding_windows_are_kept(tmp_path):
    sizes = {"use_sliding_window": True, "sliding_window": 16, "max_window_layers": 1}
    folder = checkpoints.make_text(tmp_path, **sizes)
    engine = engine_for(folder)
    assert "sliding_attention" in engine.model.config.layer_types
    questions = checkpoints.sentences(5, seed=6)
    assert texts(engine, questions) == [[plain(folder, question)[2]] for question in questions]


def test_no_rows_give_no_answers(folder):
    assert engine_for(folder).generate([], [], name="reader") == []


def test_a_tokenizer_without_a_chat_template_is_refused(tmp_path):
    folder = checkpoints.make_text(tmp_path)
    (folder / "chat_template.jinja").unlink()
    with pytest.raises(InputError, match="chat template"):
        engine_for(folder)


def test_eager_attention_answers_as_sdpa_does(ending_folder):
    questions = checkpoints.sentences(6, seed=8)
    eager = engine_for(ending_folder, attention="eager")
    assert texts(eager, questions, samples=2) == texts(engine_for(ending_folder), questions, samples=2)


def test_an_attention_that_is_not_installed_is_an_error(folder):
    if is_flash_attn_2_available():
        pytest.skip("flash-attn is installed here")
    with pytest.raises(InputError, match=r"[Ff]lash"):
        engine_for(folder, attention="flash_attention_2")
