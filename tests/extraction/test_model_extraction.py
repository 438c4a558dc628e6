"""Labels by a text model, in this process and behind a server, and the prompts that it is given."""

import json
from contextlib import closing

import pytest
import torch

import checkpoints
from chat_server import chat_server, requests_to
from emo import extraction
from emo.errors import InputError, RowError
from emo.extraction.merge import Merger, merge_prompt
from emo.extraction.model import ModelExtractor, ServerExtractor
from emo.extraction.prompts import filled, load_prompt
from emo.extraction.protocol import ExtractRow
from emo.extraction.writers import ServerWriter, TextServerSettings


def row(text, transcript=None, key="v/expert/0"):
    return ExtractRow(text, transcript, key)


# A model in this process: small enough to be taught its two answers here.

LEARNED = checkpoints.sentences(24, seed=1)
MERGED = "Glad to hear it, she smiles."
LIST, TELL = "LIST {description}", "TELL {description} SAID {transcript}"


@pytest.fixture(scope="module")
def taught(tmp_path_factory):
    """A checkpoint that answers LIST with a list and TELL with a sentence, and the two prompts as files."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    folder = tmp_path_factory.mktemp("taught")
    path = checkpoints.make_text(folder / "model")
    tokenizer = AutoTokenizer.from_pretrained(path)
    model = AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32)
    torch.manual_seed(0)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    for step in range(150):
        rows = []
        for text in LEARNED[step % 12 :: 12]:
            rows.append((LIST.format(description=text), "[joy, relief]"))
            rows.append((TELL.format(description=text, transcript="Hello"), MERGED))
        rows.append((LIST.format(description=MERGED), "[glad]"))
        loss = sum(_loss(model, tokenizer, *pair) for pair in rows) / len(rows)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if loss < 0.01:
            break
    model.save_pretrained(path)
    (folder / "list.txt").write_text(LIST)
    (folder / "tell.txt").write_text(TELL)
    return folder


def _loss(model, tokenizer, question, answer):
    turns = [{"role": "user", "content": question}]
    asked = tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)
    prompt = tokenizer(asked, add_special_tokens=False)["input_ids"]
    reply = [*tokenizer(answer, add_special_tokens=False)["input_ids"], tokenizer.eos_token_id]
    labels = torch.tensor([[-100] * len(prompt) + reply])
    return model(input_ids=torch.tensor([prompt + reply]), labels=labels).loss


def in_process(folder, **changes):
    settings = {
        "kind": "model",
        "model": str(folder / "model"),
        "device": "cpu",
        "max_new_tokens": 32,
        "prompt": str(folder / "list.txt"),
        "merge_prompt": str(folder / "tell.txt"),
    }
    return extraction.load(extraction.settings_of({**settings, **changes}))


def test_a_model_in_this_process_lists_the_labels(taught):
    with closing(in_process(taught)) as extractor:
        assert extractor.extract([row(text) for text in LEARNED[:5]]) == [["joy", "relief"]] * 5


def test_a_batch_gives_what_each_row_gives_alone_and_the_order_does_not_matter(taught):
    with closing(in_process(taught, temperature=3.0, max_new_tokens=12)) as extractor:
        rows = [row(text, key=f"v{n}/e/0") for n, text in enumerate(checkpoints.sentences(9, seed=3))]
        together = plain(extractor.extract(rows))
        assert plain(extractor.extract(rows[::-1])) == together[::-1]
        assert [plain(extractor.extract([one]))[0] for one in rows] == together
        assert len({str(one) for one in together}) > 1


def plain(results):
    return [(r.code, r.message) if isinstance(r, RowError) else r for r in results]


def test_stated_labels_skip_the_model(taught):
    rows = [row("The character's emotional state is proud, calm."), row(LEARNED[0])]
    with closing(in_process(taught)) as extractor:
        assert extractor.extract(rows) == [["proud", "calm"], ["joy", "relief"]]
        prompts_read = extractor._writer._engine.stats.prompt_tokens
        extractor.extract(rows[:1])
        assert extractor._writer._engine.stats.prompt_tokens == prompts_read


def test_the_same_model_merges_the_words_first(taught):
    with closing(in_process(taught)) as extractor:
        assert extractor._merger.merge([row(LEARNED[2], "Hello"), row(LEARNED[2])]) == [MERGED, LEARNED[2]]
        labels = extractor.extract([row(LEARNED[2], "Hello"), row(LEARNED[2])])
    assert labels == [["glad"], ["joy", "relief"]]


def test_no_rows_are_no_answers(taught):
    with closing(in_process(taught)) as extractor:
        assert extractor.extract([]) == []


def test_an_answer_that_was_cut_is_a_failed_row(taught):
    with closing(in_process(taught, max_new_tokens=2)) as extractor:
        (answer,) = extractor.extract([row(LEARNED[0])])
        assert answer.code == "unparsable"
        assert "cut" in answer.message


def test_a_text_that_does_not_fit_the_model_fails_alone(taught):
    with closing(in_process(taught)) as extractor:
        long, short = extractor.extract([row("so long " * 9000), row(LEARNED[1])])
        assert long.code == "too_long"
        assert short == ["joy", "relief"]


def test_the_name_says_model_and_prompts(taught):
    with closing(in_process(taught)) as merging, closing(in_process(taught, transcript="ignore")) as ignoring:
        assert str(taught / "model") in merging.name
        assert "@local-" in merging.name
        assert "extract:" in merging.name
        assert "merge:" in merging.name
        assert merging.name != ignoring.name


def test_the_dry_check_of_a_model_names_what_is_missing(taught, tmp_path):
    settings = {"kind": "model", "model": str(tmp_path / "nowhere"), "device": "cpu", "prompt": "no-such"}
    model, prompt = ModelExtractor.missing(ModelExtractor.Settings(**settings))
    assert "nowhere" in model
    assert "unknown prompt 'no-such'" in prompt
    assert "extract, extract-beside, merge" in prompt


# A model behind a server.


@pytest.fixture(scope="module")
def server():
    with chat_server() as url:
        yield url


@pytest.fixture
def remote(server, tmp_path):
    """An extractor whose prompts hand their texts through, so that a description can steer the server."""
    files = {"prompt": "{description}", "beside_prompt": "{description} / {transcript}"}
    files |= {"merge_prompt": "{description} + {transcript}"}
    for name, text in files.items():
        (tmp_path / f"{name}.txt").write_text(text)

    def make(**changes):
        served = {"url": server, "model": "tiny", "attempts": 2, "backoff_s": 0.01}
        named = {name: str(tmp_path / f"{name}.txt") for name in files}
        return extraction.load(
            extraction.settings_of({"kind": "openai", "server": served, **named, **changes})
        )

    return make


def test_a_server_lists_the_labels_and_a_failed_row_fails_alone(remote):
    rows = [
        row(json.dumps({"answer": "[joy, fear]"})),
        row(json.dumps({"answer": "I'm sorry, but I can't."})),
        row(json.dumps({"answer": "It is hard to say."})),
        row(json.dumps({"always": {"status": 500}})),
        row(json.dumps({"always": {"status": 400}})),
        row(json.dumps({"answer": "[]"})),
    ]
    with closing(remote()) as extractor:
        results = extractor.extract(rows)
    assert [r.code if isinstance(r, RowError) else r for r in results] == [
        ["joy", "fear"],
        "refused",
        "unparsable",
        "server_error",
        "refused_by_server",
        [],
    ]


def test_words_are_merged_before_the_labels_are_taken(remote, server):
    with closing(remote()) as extractor:
        extractor.extract([row("He looks down in silence.", "I lost it all."), row("He grins.", "  ")])
    asked = [r["text"] for r in requests_to(server)["requests"]]
    assert "He looks down in silence. + I lost it all." in asked
    # What the server made of it is what the labels are taken from.
    assert any(text.startswith("text='He looks down in silence. + I lost it all.'") for text in asked)
    assert "He grins." in asked
    assert not any("He grins. +" in text for text in asked)


def test_words_can_stand_beside_the_description_or_be_left_out(remote, server):
    with closing(remote(transcript="beside")) as extractor:
        extractor.extract([row("She nods twice at the door.", "Well done."), row("She waits for somebody.")])
    with closing(remote(transcript="ignore")) as extractor:
        extractor.extract([row("He hums a tune.", "La la la.")])
    asked = [r["text"] for r in requests_to(server)["requests"]]
    assert "She nods twice at the door. / Well done." in asked
    assert "She waits for somebody." in asked
    assert "He hums a tune." in asked
    assert not any("La la la." in text for text in asked)


def test_a_failed_merge_fails_its_row_only(server):
    prompt = load_prompt("merge", ("{description}",))
    pass_through = type(prompt)("test", "{description}{transcript}", "0")
    with closing(ServerWriter(TextServerSettings(url=server, model="tiny", attempts=1))) as writer:
        merger = Merger(writer, pass_through, seed=0)
        scripts = [{"answer": "I cannot do that."}, {"answer": "He is glad."}, {"always": {"status": 500}}]
        # The transcript ends the JSON that the description begins.
        rows = [row(json.dumps(script)[:-1], "}") for script in scripts]
        refused, merged, failed = merger.merge(rows)
    assert refused.code == "refused"
    assert merged == "He is glad."
    assert failed.code == "server_error"


def test_each_row_has_its_own_seed(remote, server):
    with closing(remote(transcript="ignore")) as extractor:
        extractor.extract(
            [row("Same text here for both.", key="a/e/0"), row("Same text here for both.", key="b/e/0")]
        )
    seeds = [r["seed"] for r in requests_to(server)["requests"] if r["text"] == "Same text here for both."]
    assert len(set(seeds)) == 2


def test_the_dry_check_of_a_server_names_the_unset_key(server):
    served = {"url": server, "model": "tiny", "api_key_env": "NOT_SET_ANYWHERE"}
    settings = ServerExtractor.Settings(kind="openai", server=served)
    assert "NOT_SET_ANYWHERE" in ServerExtractor.missing(settings)[0]


# Prompts.


def test_the_shipped_prompts_have_room_for_their_texts_and_give_no_label_away():
    shipped = [load_prompt("extract", ("{description}",)), merge_prompt("merge")]
    shipped.append(load_prompt("extract-beside", ("{description}", "{transcript}")))
    for prompt in shipped:
        for word in ("happy", "sad", "angry", "joy", "fear", "neutral", "surprise"):
            assert word not in prompt.text.lower()


def test_a_prompt_without_room_is_refused(tmp_path):
    path = tmp_path / "flat.txt"
    path.write_text("Which emotions?")
    with pytest.raises(InputError, match=r"\{description\} does not occur"):
        load_prompt(str(path), ("{description}",))


def test_braces_in_a_description_stay_what_they_are():
    prompt = merge_prompt("merge")
    text = filled(prompt, {"description": "he says {transcript} {x}", "transcript": "{description}"})
    assert "he says {transcript} {x}" in text
    assert '"{description}"' in text


def test_rules_are_loaded_by_the_same_registry():
    with closing(extraction.load(extraction.settings_of({"kind": "rules"}))) as extractor:
        assert extractor.name.startswith("rules-")
        assert "joy" in " ".join(map(str, extractor.extract([row("She is full of joy and laughs happily.")])))
    with pytest.raises(InputError, match="expected one of: model, openai, rules"):
        extraction.settings_of({"kind": "magic"})
