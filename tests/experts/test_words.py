"""The words expert: whose feeling a line tells of, and what its description says."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from emo import vocabulary
from emo.experts import words
from emo.extraction.rules import extract

ENGLISH = {
    "She is never coming back.": {"sad"},
    "They won't ever come back.": {"sad"},
    "Glad you came.": {"glad"},
    "Terrified already!": {"terrified"},
    "What?!": {"surprised"},
    "You did?": {"surprised"},
    "Hey!": {"cheerful"},
    "We won!": {"excited"},
    "Thank you so much!": {"grateful"},
    "Get out of my house!": {"angry"},
    "I should have told you.": {"regretful"},
    "I'm afraid of him.": {"afraid"},
    "I am afraid.": {"afraid"},
    "I am so afraid that he comes back.": {"afraid"},
    "You scared me!": {"afraid"},
    "That's great!": {"happy"},
    "It is wonderful to be here! Thank you all so much, I am really happy.": {"happy"},
    "How dare you! I told you never to touch my things again!": {"angry"},
    "I waited all day. I am not angry, just tired and disappointed.": {"tired", "disappointed"},
    "I'm so sorry, please forgive me.": {"apologetic"},
    "I'm not happy about this.": {"unhappy"},
    "Oh my god, I can't believe it!": {"surprised"},
    "Ha ha ha, that's so funny!": {"amused"},
    "That makes me so angry!": {"angry"},
    "I was not only sad but furious.": {"sad", "furious"},
}
CHINESE = {
    "真让人愤怒！": {"angry"},
    "有点紧张。": {"tense"},
    "我不高兴。": {"displeased"},
    "什么？！": {"surprised"},
    "你没事吧？": {"concerned"},
    "真没想到。": {"surprised"},
    "谢谢大家，我真的很感动，也很自豪。": {"touched", "proud", "grateful"},
    "他不会回来了，我很难过。": {"sad"},
    "完了，我们迟到了！": {"worried"},
    "坏了！锅糊了。": {"worried"},
    "我觉得很伤心。": {"sad"},
    "我不生气，我只是有点失望。": {"disappointed"},
    "太好了！我们成功了！我真高兴！": {"happy"},
    "凭什么！给我滚！": {"angry"},
    "救命！别过来！": {"afraid"},
    "哈哈哈，太好笑了！": {"amused"},
}
NOTHING = (
    # What comes back, is done with or is broken; a word before its noun; what others take them for.
    "Grandma is coming back on Friday.",
    "The summer is coming back, they say.",
    "作业写完了，我们去吃饭。",
    "我的手机坏了！",
    "Jealous neighbours called the police.",
    "Nervous people make mistakes.",
    "你以为我很害怕啊。",
    "他们觉得我很伤心。",
    "The ferry to the island leaves from pier four at ten past nine.",
    "You are angry with me.",
    "My brother was so happy when he heard.",
    "Are you sad?",
    "I wish I were happy.",
    "He is afraid, but I am not afraid.",
    "What is the content of the box?",
    "他很高兴，也很激动。",
    "你生气了吗？",
    "希望你开心。",
    "我一点也不害怕。",
    "高兴的事太多了。",
    "我妈妈很高兴。",
    "火车九点十分开。",
    # Each stands for a kind: the apostrophe, the idiom, the thought, the wish, the condition, the report, the
    # negated word that is no feeling, the word across two others, the state of somebody else.
    "I won't do it.",
    "I won't.",
    "This is where they get out stains.",
    "It was the best I could get out of them.",
    "I got to get out of here.",
    "I was just thinking we could switch apartments.",
    "I'm thinking about Paris.",
    "没开玩笑。",
    "这不是恶作剧。",
    "It's not that I enjoy it, 'cause I do.",
    "70码还不快？",
    "如果你想哭，就哭吧。",
    "总有一天你一定会成功。",
    "My agent thinks I should have a name.",
    "What if we went away for a weekend?",
    "I got in at nine.",
    "We made it out of cardboard.",
    "I'm afraid we are closed.",
    "I'm afraid so.",
    "I'm sorry, who are you?",
    "If you're anxious there are a few ways to help.",
    "Ross you're so tense!",
    "don't feel like you can't visit",
    "I feel like a drink.",
    "She said I was angry.",
    "He thinks I'm scared.",
    "Are you happy?",
    "I would be so happy.",
    "I'd be glad to.",
    "I hope you're happy.",
    "When I get nervous I eat.",
    "You said you loved me!",
    "Relax!",
    "Enjoy your meal.",
    "There's nothing to worry about.",
    "We're moving on Monday.",
    "I'm positive.",
    "I'm in, I'm down.",
    "很高兴认识你。",
    "他很难过。",
    "你别难过了。",
    "你高兴就好。",
    "要是你不高兴，我们就走。",
    "我怕麻烦您。",
    "他成功了。",
    "手术成功了吗？",
    "她居然来了。",
    "这事没那么可怕。",
    "那个电影很恐怖。",
    "你难过什么？",
    "爸爸很生气。",
    "我小时候很怕他。",
    "Thank you.",
    "Thanks, Joey.",
    "我不喜欢他。",
    "放心吧，没事的。",
    "不好意思。",
    "我好像被我喜欢的人讨厌了。",
    "My brother loves it.",
    "The loud kettle cried.",
    "To be happy is hard.",
)


@pytest.mark.parametrize(("line", "labels"), [*ENGLISH.items(), *CHINESE.items()])
def test_a_line_is_read_as_the_speaker_means_it(line: str, labels: set[str]) -> None:
    assert set(words.read(line).states()) == labels
    text = words.describe_transcript(line, None)
    assert {vocabulary.cluster_of(label) for label in extract(text)} == {
        vocabulary.cluster_of(x) for x in labels
    }


@pytest.mark.parametrize("line", NOTHING)
def test_what_is_denied_asked_wished_or_somebody_elses_is_not_the_speakers(line: str) -> None:
    text = words.describe_transcript(line, None)
    assert "The words alone show no clear emotion." in text
    assert extract(text) == []


def test_an_emotion_that_is_denied_is_said_to_be_denied() -> None:
    assert words.read("I am not angry.").denied == ("angry",)
    assert 'only to deny it: "angry"' in words.describe_transcript("I am not angry.", "en")


def test_a_language_that_is_not_read_is_said_to_be_so() -> None:
    for line, language in (("ありがとうございます、とても嬉しいです", None), ("Je suis triste", "fr")):
        text = words.describe_transcript(line, language)
        assert "was not read" in text
        assert extract(text) == []


def test_markup_of_subtitle_formats_is_not_read_as_words() -> None:
    assert words.describe_transcript("<i>I am so <b>happy</b></i>", "en") == words.describe_transcript(
        "I am so happy", "en"
    )


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.sampled_from([*ENGLISH, *CHINESE, *NOTHING, "...", "[laughs]", "-", "I", "不"]), max_size=6)
)
def test_no_description_of_words_gives_a_label_that_it_does_not_conclude(lines: list[str]) -> None:
    text = words.describe_transcript(" \n".join(lines), None)
    concluded = {vocabulary.cluster_of(state) for state in words.read(" \n".join(lines)).states()}
    assert {vocabulary.cluster_of(label) for label in extract(text)} <= concluded


@settings(max_examples=100, deadline=None)
@given(st.text(max_size=200))
def test_any_transcript_gets_a_description(line: str) -> None:
    assert words.describe_transcript(line, None).endswith(".")


def test_every_phrase_names_a_word_of_the_vocabulary_and_says_no_emotion_itself() -> None:
    for act, word, _ in words._phrases():
        assert vocabulary.base_form(word) == word
        assert extract(f'The speaker {act}: "x".') == []
