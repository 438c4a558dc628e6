"""What the rules take from a description, and what they leave; sentences written for these tests."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from emo import vocabulary
from emo.extraction.rules import RULES_VERSION, extract, read_description

REPOSITORY = Path(__file__).parents[2]
DATA = Path(os.environ.get("EMO_TEST_DATA", REPOSITORY / "../shared/data"))

ASCRIBED = [
    ("She is happy.", ["happy"]),
    ("HE IS ANGRY!", ["angry"]),
    ("A fearless smile.", ["fearless"]),
    ("He is looking forward to the trip.", ["looking forward to"]),
    ("The speaker feels a mixture of pride and nostalgia.", ["proud", "nostalgic"]),
    ("Her expression suggests that she is embarrassed.", ["embarrassed"]),
    ("The man’s face isn’t sad — it’s peaceful.", ["peaceful"]),
    ("The words speak of joy and gratitude.", ["joyful", "grateful"]),
    ("She is happy for her friend.", ["happy"]),
    ("She is angry with the other person.", ["angry"]),
    ("She speaks to her friend with disgust.", ["disgusted"]),
    ("He is moved to tears.", ["moved"]),
    ("Her voice trembles with fear and her eyes are wide.", ["fearful"]),
    ("他的声音颤抖，充满恐惧。", ["fearful"]),
    ("她很开心。", ["happy"]),
    ("女士感到委屈和失望。", ["aggrieved", "disappointed"]),
    ("她对对方感到愤怒。", ["angry"]),
    ("她对儿子很生气。", ["angry"]),
    ("她对朋友的遭遇感到同情。", ["sympathetic"]),
    ("她觉得意外。", ["surprised"]),
    ("他不知所措。", ["bewildered"]),
]
DENIED = [
    ("She is not angry.", []),
    ("He isn't scared.", []),
    ("Not happy.", []),
    ("She expresses no anger.", []),
    ("They aren't angry, sad or afraid.", []),
    ("She seems neither happy nor sad.", []),
    ("He is no longer sad; he looks calm.", ["calm"]),
    ("Rather than anger, his voice carries disappointment.", ["disappointed"]),
    ("Instead of joy she shows fear.", ["fearful"]),
    ("There is no sign of fear or sadness in his voice; he sounds confident.", ["confident"]),
    ("He does not appear to be particularly worried, but he is tired.", ["tired"]),
    ("He doesn't look happy and seems sad.", ["sad"]),
    ("He is far from calm; he is furious.", ["furious"]),
    ("She is anything but bored: she is thrilled.", ["thrilled"]),
    ("There's nothing to suggest that he is upset.", []),
    ("She does not feel any fear, nor is she anxious.", []),
    ("Her anger has disappeared.", []),
    ("His lack of confidence is obvious.", ["unconfident"]),
    ("Without a trace of anger, she sounds gentle and caring.", ["gentle", "caring"]),
    ("No, she is delighted.", ["delighted"]),
    ("Her emotional state is not angry but disappointed.", ["disappointed"]),
    ("他没有生气。", []),
    ("他看起来既不高兴也不难过。", []),
    ("她不太自信。", []),
    ("语气中没有任何愤怒或不满的情绪。", []),
    ("他并不害怕，而是很好奇。", ["curious"]),
    ("她不再悲伤，显得平静。", ["calm"]),
    ("他感到高兴而不是难过。", ["happy"]),
    ("与其说愤怒，不如说失望。", ["disappointed"]),
    ("我们可以推断她没有感到悲伤，反而很轻松。", ["relaxed"]),
]
NOT_A_DENIAL = [
    ("The woman is not only angry but also hurt.", ["angry", "hurt"]),
    ("She cannot hide her joy.", ["joyful"]),
    ("She doesn't hide her contempt.", ["contemptuous"]),
    ("He can't help feeling proud.", ["proud"]),
    ("There is no doubt that he is jealous.", ["jealous"]),
    ("He has never been so happy.", ["happy"]),
    ("She is unhappy.", ["unhappy"]),
    ("她不高兴。", ["displeased"]),
    ("她显得不安。", ["uneasy"]),
    ("她不仅生气，而且伤心。", ["angry", "sad"]),
    ("她忍不住感到骄傲。", ["proud"]),
    ("毫无疑问，他嫉妒了。", ["jealous"]),
    ("他无比愤怒。", ["angry"]),
    ("女士毫不掩饰的厌恶。", ["averse"]),
    ("他从未如此开心。", ["happy"]),
]
UNREAL = [
    ("It is impossible to determine whether she is angry.", []),
    ("It is unclear if he is angry.", []),
    ("Is she angry? No.", []),
    ("He pretends to be happy.", []),
    ("He wants to be happy.", []),
    ("She hopes that everyone can be happy.", []),
    ("Although he tries to appear calm, he is clearly terrified.", ["terrified"]),
    ("She looks as if she feels sad.", ["sad"]),
    ("是否生气无法确定。", []),
    ("他假装高兴。", []),
    ("无法判断人物情感状态。", []),
    ("虽然他努力保持镇定，但显然非常害怕。", ["fearful"]),
]
SOMEBODY_ELSE = [
    ("The other person's anger frightens her.", ["frightened"]),
    ("Her mother is angry, and she feels guilty.", ["guilty"]),
    ("Her husband's jealousy makes her sad.", ["sad"]),
    ("The listener's sadness moves him to compassion.", ["compassionate"]),
    ("She comforts the other person, who is sad.", ["comforting"]),
    ("Her brother feels ashamed.", []),
    ("对方的愤怒让她感到害怕。", ["fearful"]),
    ("他的母亲很难过，他感到内疚。", ["guilty"]),
]
QUOTED = [
    ('The subtitle says, "I am so angry and sad!" Her face shows amusement.', ["amused"]),
    ("He says: 'I hate you, I am so mad', with a playful grin.", ["playful"]),
    ('In the text, the subtitle reads: "我好难过". She is surprised.', ["surprised"]),
    ("Her voice carries a sense of “joy”.", ["joyful"]),
    ("字幕内容：“我太生气了！” 她的语气里带有一丝嘲讽。", ["sarcastic"]),
]
SCENES_AND_EVERYDAY_WORDS = [
    ("In the video, a man sits at a table and drinks tea.", []),
    ("The two have a pleasant conversation.", []),
    ("This is not a sad scene.", []),
    ("The atmosphere is tense.", []),
    ("She looks down at the content of the letter.", []),
    ("He moved to the left with great anger.", ["angry"]),
    ("Her mood is low.", ["low"]),
    ("He feels content.", ["content"]),
    ("He feels tense.", ["tense"]),
    ("She feels a little down.", ["down"]),
    ("I'm sorry, but I can't help with that.", []),
    ("在视频中，一位男士坐在桌前喝茶。", []),
    ("他们在进行一段愉快的对话。", []),
    ("他的表情意味着什么？", []),
    ("她的心情很沉重。", ["heavy"]),
]
LISTS = [
    ("The character's emotional state is happy, joyful, excited.", ["happy", "joyful", "excited"]),
    ("The emotional state of the character is surprise, doubt.", ["surprised", "doubtful"]),
    ("The person's emotional state may be confusion and helplessness.", ["confused", "helpless"]),
    (
        "The character's emotional state is proud, relieved, and verklempt.",
        ["proud", "relieved", "verklempt"],
    ),
    ("The character's emotional state is verklempt.", ["verklempt"]),
    ("The character's emotional state is unclear.", []),
    ("The character's emotional state is not obvious.", []),
    ("The emotional state cannot be determined.", []),
    ("Emotions: joy, gratitude.", ["joyful", "grateful"]),
    ("Angry, frustrated, tired", ["angry", "frustrated", "tired"]),
    ("['happy', 'excited']", ["happy", "excited"]),
    ("happiness", ["happy"]),
    ("not angry, happy", ["happy"]),
    ("人物的情绪状态是愤怒、焦急和憋屈。", ["angry", "anxious", "憋屈"]),
    ("角色情绪状态：焦虑、不安。", ["anxious", "uneasy"]),
    ("人物的情绪状态可能是困惑和无助。", ["confused", "helpless"]),
    ("他的情绪比较复杂。", []),
    ("开心、激动、自豪", ["happy", "excited", "proud"]),
    ("", []),
    (" \n", []),
]


@pytest.mark.parametrize(("text", "labels"), ASCRIBED)
def test_an_emotion_that_the_person_has_or_shows_is_a_label(text: str, labels: list[str]) -> None:
    assert extract(text) == labels


@pytest.mark.parametrize(("text", "labels"), DENIED)
def test_a_denied_emotion_is_no_label(text: str, labels: list[str]) -> None:
    assert extract(text) == labels


@pytest.mark.parametrize(("text", "labels"), NOT_A_DENIAL)
def test_what_only_looks_like_a_denial_keeps_the_emotion(text: str, labels: list[str]) -> None:
    assert extract(text) == labels


@pytest.mark.parametrize(("text", "labels"), UNREAL)
def test_a_wished_feigned_or_doubted_emotion_is_no_label(text: str, labels: list[str]) -> None:
    assert extract(text) == labels


@pytest.mark.parametrize(("text", "labels"), SOMEBODY_ELSE)
def test_the_emotion_of_somebody_else_is_no_label(text: str, labels: list[str]) -> None:
    assert extract(text) == labels


@pytest.mark.parametrize(("text", "labels"), QUOTED)
def test_quoted_speech_ascribes_nothing(text: str, labels: list[str]) -> None:
    assert extract(text) == labels


@pytest.mark.parametrize(("text", "labels"), SCENES_AND_EVERYDAY_WORDS)
def test_scenes_and_everyday_words_are_no_emotions_unless_felt(text: str, labels: list[str]) -> None:
    assert extract(text) == labels


@pytest.mark.parametrize(("text", "labels"), LISTS)
def test_an_explicit_list_keeps_words_that_the_vocabulary_does_not_know(text: str, labels: list[str]) -> None:
    assert extract(text) == labels


@pytest.mark.parametrize(
    ("text", "alternatives"),
    [
        (
            "Such a voice fits an angry or excited state, which sound cannot tell apart.",
            [{"angry", "excited"}],
        ),
        ("She seems sad, perhaps just tired.", [{"sad", "tired"}]),
        ("She seems sad, or perhaps just tired.", [{"sad", "tired"}]),
        ("He looks sad, angry or tired.", [{"sad", "angry", "tired"}]),
        ("He looks sad and angry or tired.", [{"angry", "tired"}]),
        ("He feels angry/excited.", [{"angry", "excited"}]),
        ("sad or tired", [{"sad", "tired"}]),
        ("她显得悲伤，也许只是累了。", [{"sad", "tired"}]),
        ("声音听起来愤怒或兴奋。", [{"angry", "excited"}]),
        ("He looks angry or excited. He sounds excited or nervous.", [{"angry", "excited", "nervous"}]),
        ("She feels sad and/or angry.", []),
        ("She feels sad, angry and tired.", []),
        ("He is happy. Perhaps a little tired.", []),
        ("他很难过，也很生气。", []),
        ("他还是很难过。", []),
    ],
)
def test_emotions_between_which_the_text_leaves_it_open_are_kept_together(
    text: str, alternatives: list[set[str]]
) -> None:
    found = read_description(text)
    assert [set(group) for group in found.alternatives] == alternatives
    assert all(label in found.labels for group in found.alternatives for label in group)


def test_what_the_text_means_without_doubt_elsewhere_is_no_alternative() -> None:
    found = read_description("The voice is angry or excited. Her words are joyful, so she is excited.")
    assert {"excited", "joyful"} <= set(found.labels)
    assert found.alternatives == ()


def test_denied_alternatives_are_no_labels() -> None:
    assert read_description("She is not sad or angry.").labels == []


def test_a_guess_counts_and_ranks_below_what_is_certain() -> None:
    assert extract("There is a hint of sadness in her smile.") == ["sad"]
    assert extract("Perhaps he is nervous.") == ["nervous"]
    assert extract("He is perhaps nervous. She shows a hint of regret. He is proud.")[-1] != "proud"
    assert extract("She may feel hurt or lonely. She feels ashamed.")[0] == "ashamed"


def test_the_conclusion_outweighs_the_evidence() -> None:
    text = (
        "In the video, she looks surprised at first. In the audio, her voice is quiet. In the text, she asks "
        "for help. Based on the surprised face and the quiet voice, we can infer that she is desperate."
    )
    assert extract(text)[0] == "desperate"


def test_what_a_long_text_mentions_once_in_passing_is_left_out() -> None:
    text = "He seems curious. " + "His anger is obvious and he feels furious. " * 4
    assert "curious" not in extract(text)
    assert set(extract(text)) == {"angry", "furious"}


def test_a_decimal_point_ends_no_sentence() -> None:
    assert extract("There is no 0.5 anger.") == []
    assert extract("The pace is 5.1 per second. He is calm.") == ["calm"]


def test_words_of_the_transcript_are_not_ascribed() -> None:
    text = "The line is I am so happy for you and the voice sounds bitter."
    assert extract(text, transcript="I am so happy for you!") == ["bitter"]
    assert "happy" in extract(text)
    chinese = "台词是我真的很开心啊，语气却充满苦涩。"
    assert extract(chinese, transcript="我真的很开心啊") == ["bitter"]


def test_a_transcript_of_one_word_takes_no_emotion_away() -> None:
    assert extract("She is happy.", transcript="Happy!") == ["happy"]


def test_both_languages_give_the_same_labels_for_the_same_meaning() -> None:
    assert extract("她感到愤怒和失望。") == extract("She feels angry and disappointed.")


@settings(deadline=None)
@given(st.text(max_size=400))
def test_any_text_gives_distinct_labels_and_the_same_ones_again(text: str) -> None:
    labels = extract(text)
    assert labels == extract(text)
    assert len(set(labels)) == len(labels)
    assert all(label and label == vocabulary.normalise(label) for label in labels)


PIECES = st.lists(
    st.sampled_from(
        [
            "she", "feels", "is", "not", "no", "angry", "happy", "low", "content", "and", "or", ",", ".", "?",
            "the", "other", "person's", "emotional", "state", "whether", "fear", "mood", "scene", "who",
            "她", "没有", "感到", "愤怒", "、", "的", "情绪", "对方", "。", "是", "高兴", '"', "“", "”",
        ]
    ),
    max_size=40,
)  # fmt: skip


@settings(deadline=None)
@given(PIECES)
def test_any_order_of_cue_words_gives_labels_of_the_vocabulary_or_of_the_text(pieces: list[str]) -> None:
    text = " ".join(pieces)
    for label in extract(text):
        assert label in vocabulary.words() or label.split()[0] in text


def test_every_word_is_found_where_it_is_felt_and_nowhere_where_it_is_denied() -> None:
    for word in vocabulary.words().values():
        assert extract(f"The woman feels {word.headword}.") == [word.headword]
        assert extract(f"The woman does not feel {word.headword}.") == []
        for chinese in word.chinese:
            assert extract(f"她感到{chinese}。") == [word.headword]
            assert extract(f"她没有感到{chinese}。") == []


@pytest.mark.parametrize(
    "changed",
    ["vocabulary/words.tsv", "extraction/english.yaml", "extraction/chinese.yaml", "extraction/rules.py"],
)
def test_the_version_changes_with_anything_that_decides_the_labels(tmp_path: Path, changed: str) -> None:
    shutil.copytree(REPOSITORY / "emo", tmp_path / "emo", ignore=shutil.ignore_patterns("__pycache__"))
    command = [sys.executable, "-c", "from emo.extraction.rules import RULES_VERSION as v; print(v)"]

    def version() -> str:
        run = subprocess.run(command, cwd=tmp_path, check=True, capture_output=True, text=True)
        return run.stdout.strip()

    assert version() == RULES_VERSION
    with (tmp_path / "emo" / changed).open("a", encoding="utf-8") as file:
        file.write("\n# changed\n")
    assert version() != RULES_VERSION


@pytest.fixture(scope="module")
def benchmark_figures(
    tmp_path_factory: pytest.TempPathFactory,
) -> dict[str, dict[str, dict[str, dict[str, float]]]]:
    for name in ("ovmerd/reasons.parquet", "ovmerd/gold.parquet", "mer-wheels/format.csv"):
        if not (DATA / name).is_file():
            pytest.skip(f"the licensed test data is not here: {DATA / name} (set EMO_TEST_DATA)")
    path = tmp_path_factory.mktemp("benchmark") / "extraction.json"
    subprocess.run(
        [sys.executable, "benchmarks/extraction.py", "--data", str(DATA), "--json", str(path)],
        cwd=REPOSITORY,
        check=True,
        capture_output=True,
    )
    return json.loads(path.read_text(encoding="utf-8"))["figures"]


@pytest.mark.parametrize(
    ("language", "wheels", "clusters"), [("english", 0.74, 0.60), ("chinese", 0.71, 0.57)]
)
def test_labels_of_real_descriptions_agree_with_the_human_ones(
    benchmark_figures: dict[str, dict[str, dict[str, dict[str, float]]]],
    language: str,
    wheels: float,
    clusters: float,
) -> None:
    for half in ("all", "A", "B"):
        scores = benchmark_figures["scores"][f"rules, {language}"][half]
        naive = benchmark_figures["scores"][f"last two, {language}"][half]
        assert scores["ew"]["f"] >= wheels, half
        assert scores["clusters"]["f"] >= clusters, half
        assert scores["ew"]["f"] > naive["ew"]["f"], half
        assert scores["clusters"]["f"] > naive["clusters"]["f"], half
