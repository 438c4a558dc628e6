"""Descriptions that say of themselves that there was nothing to read an emotion from: they do not vote.

A text model that is asked about such a text invents emotions, so none is asked.
"""

import re

from emo.extraction import rules

_SENTENCE = re.compile(r"[^.!?。！？;；\n]+")
# What follows in such a sentence may be an emotion after all.
_TURNS = re.compile(
    r"\b(?:but|however|although|yet|then|at first|until|except)\b|但|不过|然而|随后", re.IGNORECASE
)
_SOURCE = (
    r"(?:transcripts?|subtitles?|captions?|sound|sound ?tracks?|audio|voices?|speech|words?|frames?|"
    r"faces?|pictures?|"
    r"images?|video|person|people|one|smiles?|expressions?|dialogue|text)"
)
_ABSENT = re.compile(
    rf"^(?:there (?:is|was|are|were) no(?:t any)?|no|without(?: any)?|the (?:clip|video|recording|"
    rf"file) (?:has|had|contains) no) "
    rf"(?:\w+ ){{0,2}}{_SOURCE}\b(?:(?:,| so| to| was| were| is| are| could| can| in| of|:| and| here|"
    rf" at all| at the).*)?$"
    rf"|^the (?:sound|sound ?track|audio|clip|video) is (?:silent|mute|empty)\b.*$"
    rf"|^the (?:transcript|subtitle|text) (?:is empty|has no words|is in a language\b.*not read)\b.*$"
    rf"|^(?:(?:so|thus|hence) )?nothing (?:is|was|can be|could be) (?:known|seen|heard|said|read)\b.*$"
    rf"|^only \w+ and \w+ are$"
    rf"|^(?:other|the) expressions? (?:was|were) not looked at$"
    r"|^(?:视频|片段|画面)?(?:中|里)?(?:没有|无|未)(?:检测到|找到|发现|识别到|听到|看到|提供)?(?:任何)?"
    r"(?:人脸|面孔|面部|声音|语音|音频|人声|字幕|台词|对白|文字|画面|说话).{0,12}$",
    re.IGNORECASE,
)
_KIND = (
    r"(?:clear|particular|strong|discernible|specific|obvious|visible|evident|definite|distinct|apparent|real|"
    r"identifiable)"
)
_EMOTION = (
    rf"(?:{_KIND} )?(?:signs? of (?:an? |any )?)?(?:{_KIND} )?"
    r"(?:emotions?|feelings?|emotional (?:state|reaction|expression|content)s?)"
)
_NO_EMOTION = re.compile(
    rf"\b(?:shows?|gives?|tells?|express(?:es)?|carr(?:y|ies)|conveys?|reveals?|indicates?|displays?|"
    rf"holds?|contains?|has|have|says?) "
    rf"(?:of )?no {_EMOTION}\b"
    rf"|^(?:there (?:is|are|was|were) )?no {_EMOTION}(?: (?:(?:is|are|was|were|can be|"
    rf"could be)(?: \w+)?|\w+ed|here|in .*))?$"
    rf"|\b(?:do(?:es)? not|doesn't|don't) (?:show|express|convey|reveal|display|indicate) (?:any |"
    rf"an? )?{_EMOTION}\b"
    r"|(?:没有|无|未)(?:表现出|显示出|流露出|表达出|体现出)?(?:明显|任何|清晰|明确|特定|特别)?的?(?:情绪|情感|感情)(?:波动|变化|色彩|倾向)?$"
    r"|看不出(?:任何|明显|什么)?的?(?:情绪|情感)",
    re.IGNORECASE,
)


def tells_nothing(text: str) -> bool:
    """Whether a description says that what it is about was not there, or shows no emotion, and ascribes none.

    Its last sentence says so, and the rules find no emotion in the text.
    """
    sentences = [sentence.strip(" \t\"'“”*-") for sentence in _SENTENCE.findall(text.replace("’", "'"))]
    sentences = [sentence for sentence in sentences if sentence]
    nothing = [
        bool(_ABSENT.search(sentence) or _NO_EMOTION.search(sentence)) and not _TURNS.search(sentence)
        for sentence in sentences
    ]
    return bool(nothing) and nothing[-1] and not rules.labels_of(text)
