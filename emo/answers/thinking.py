"""What a model thought and what it said: the marks that families of models put around the two."""

import re
from dataclasses import dataclass

_TAGS = (
    "think|thinking|thought|thoughts|reasoning|reason|analysis|reflection|context|scratchpad|seed:think"
    "|思考|推理"
)
_REPLIES = "answer|final_answer|final|response|solution|output|回答|答案"
# (opens, closes, whether a closing mark alone says that all before it was thought: templates of several
# families write the opening mark into the prompt, so that the answer holds the closing one only)
_THOUGHTS = (
    (rf"<\|?\s*(?:{_TAGS})(?:\s[^<>]*)?\|?>", rf"<\|?\s*/\s*(?:{_TAGS})\s*\|?>", True),
    (r"\[THINK(?:ING)?\]", r"\[/THINK(?:ING)?\]", True),
    ("◁think▷", "◁/think▷", True),
    (r"<\|begin_of_thought\|>", r"<\|end_of_thought\|>", True),
    (r"<\|START_THINKING\|>", r"<\|END_THINKING\|>", True),
    (r"<unused94>(?:thought)?", "<unused95>", True),
    (r"<\|channel>\s*thought", r"<channel\|>", True),
    # Its channels end where the next one starts; `<|end|>` alone also ends the turns of other families.
    (
        r"<\|channel\|>\s*(?:analysis|commentary)(?:[^<\n]{0,80}<\|message\|>)?",
        r"(?=<\|channel\|>\s*final)|<\|end\|>",
        False,
    ),
)
# Every mark of a thought, an answer or a turn has one of these: most answers are not searched for them.
_SIGNS = "<[◁"
_MARK = re.compile(
    "|".join(
        f"(?P<open{kind}>{opens})|(?P<close{kind}>{closes})"
        for kind, (opens, closes, _) in enumerate(_THOUGHTS)
    ),
    re.IGNORECASE,
)
_REPLY = re.compile(
    rf"<\s*(?P<tag>{_REPLIES})\s*>(?P<tagged>.*?)(?:<\s*/\s*(?P=tag)\s*>|\Z)"
    r"|<\|begin_of_(?:solution|box)\|>(?P<boxed>.*?)(?:<\|end_of_(?:solution|box)\|>|\Z)"
    r"|<\|START_RESPONSE\|>(?P<replied>.*?)(?:<\|END_RESPONSE\|>|\Z)"
    r"|<\|channel\|>\s*final(?:[^<\n]{0,80}<\|message\|>)?(?P<channelled>.*?)(?:<\|(?:end|return)\|>|\Z)",
    re.IGNORECASE | re.DOTALL,
)
_WHOLE_REPLY = re.compile(rf"<\s*(?P<tag>{_REPLIES})\s*>(?P<tagged>.*?)<\s*/\s*(?P=tag)\s*>", re.I | re.S)
# What is left of the marks of a turn.
_LEFTOVER = re.compile(
    rf"<\s*/?\s*(?:{_REPLIES})\s*>|<\|(?:end_of_(?:solution|box)|END_RESPONSE)\|>|<\|(?:im_)?start\|>\s*assistant"
    r"|<\|(?:end|return|im_end|eot_id|end_of_text|endoftext)\|>|<end_of_turn>|</s>\s*\Z|<\|message\|>",
    re.IGNORECASE,
)
# Marks of answers and channels, each alone.
_OTHER_MARK = re.compile(
    rf"<\s*/?\s*(?:{_REPLIES})\s*>|<\|(?:begin|end)_of_(?:solution|box)\|>|<\|(?:START|END)_RESPONSE\|>"
    r"|<\|(?:channel|message)\|?>|<channel\|>",
    re.IGNORECASE,
)
# The marks of channels where the decoder left them out ("analysisWe need ... assistantfinalShe is").
_BARE_CHANNELS = re.compile(
    r"\Aanalysis(?=[A-Z\u4e00-\u9fff])(?P<thought>.*?)(?:assistantfinal|\Z)", re.DOTALL
)

# Headings instead of marks: "**Reasoning:** ... **Answer:** ...".
_HEADED = re.compile(
    r"\A[\s#*_]*(?:thoughts?|thinking|reasoning|analysis|思考(?:过程)?|推理(?:过程)?)[*_]*\s*[:：\n][*_]*"
    r"(?P<thought>.*)\n[\s#*_]*(?:final answer|answer|final|最终答案|回答|答案)[*_]*\s*[:：\n][*_]*"
    r"(?P<said>.*\w.*)\Z",
    re.IGNORECASE | re.DOTALL,
)


@dataclass(frozen=True)
class Parted:
    """said: what stands outside the thought, or in the mark of the answer where there is one; thought: what
    else was written, None where nothing was; ended: the thought came to its end.
    """

    said: str
    thought: str | None
    ended: bool


def is_mark(text: str) -> bool:
    """Whether a text is a mark of a thought or of an answer, and nothing else."""
    return _MARK.fullmatch(text) is not None or _OTHER_MARK.fullmatch(text) is not None


def parted(text: str) -> Parted:
    """Part an answer into what the model thought and what it said; a text without marks is said as it is."""
    bare = _BARE_CHANNELS.match(text)
    if bare is not None:
        return Parted(text[bare.end() :].strip(), bare["thought"].strip(), "assistantfinal" in bare[0])
    headed = _HEADED.match(text)
    if headed is not None:
        return Parted(headed["said"].strip(), headed["thought"].strip(), True)
    if not any(sign in text for sign in _SIGNS):
        return Parted(text, None, True)
    if _MARK.search(text) is None and _REPLY.search(text) is None and _LEFTOVER.search(text) is None:
        return Parted(text, None, True)
    outside, thoughts, ended = _outside(text)
    if not ended:
        # A thought that was never closed may still hold the answer in a mark of its own.
        replies = [found["tagged"].strip() for found in _WHOLE_REPLY.finditer(thoughts[-1])]
        if not any(replies):
            return Parted("", _joined([outside, *thoughts]), False)
        return Parted(_clean([reply for reply in replies if reply][-1]), _joined(thoughts), True)
    said = outside
    while (found := _replies(said)) is not None:
        reply, beside = found
        thoughts.append(beside)
        said = reply
    return Parted(_clean(said), _joined(thoughts), True)


def _outside(text: str) -> tuple[str, list[str], bool]:
    """What stands outside the marks of thought, what stands within, and whether the last one was closed."""
    outside: list[str] = []
    thoughts: list[str] = []
    kind: int | None = None
    done = 0
    for mark in _MARK.finditer(text):
        name = str(mark.lastgroup)
        number = int(re.sub(r"\D", "", name))
        opens = name.startswith("open")
        if kind is None:
            before = text[done : mark.start()]
            if opens:
                outside.append(before)
                kind = number
            elif _THOUGHTS[number][2]:
                thoughts.append("".join([*outside, before]))
                outside = []
            else:
                outside.append(before)
            done = mark.end()
        elif not opens and number == kind:
            thoughts.append(text[done : mark.start()])
            kind, done = None, mark.end()
    rest = text[done:]
    if kind is None:
        return "".join([*outside, rest]), thoughts, True
    return "".join(outside), [*thoughts, rest], False


def _replies(text: str) -> tuple[str, str] | None:
    """The last marked answer that holds something, and what stands beside it; None where none is marked."""
    found = [match for match in _REPLY.finditer(text) if _reply(match)]
    if not found:
        return None
    last = found[-1]
    return _reply(last), _clean(text[: last.start()] + text[last.end() :])


def _reply(match: re.Match[str]) -> str:
    return next(
        (match[name] for name in ("tagged", "boxed", "replied", "channelled") if match[name]), ""
    ).strip()


def _clean(text: str) -> str:
    return _LEFTOVER.sub("", text).strip()


def _joined(thoughts: list[str]) -> str | None:
    return "\n".join(filter(None, (_clean(thought) for thought in thoughts))) or None
