"""What one language uses to ascribe an emotion to somebody, to deny it, or to give it to somebody else.

The tables are closed classes of words (verbs of feeling and showing, negators, nouns for voice and face);
they know nothing of any data set. `rules.py` reads them; the same rules serve every language.
"""

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Cues:
    """The cue words of one language, all in lower case.

    feeling, showing: what stands before an emotion that somebody has or lets see. state: nouns after an
    emotion word that make it one ("mood"). manner: nouns for how somebody looks and sounds. scene: nouns for
    what is around (a "pleasant conversation" is nobody's feeling). fillers: words that may stand between a
    cue and the emotion without cutting the two apart. joins: words between the members of one enumeration.
    negators: deny what follows; negator_pairs: the same in two words, the later one first; excused: (word,
    next word) that look like a negator and are none. unreal: wished, feigned or asked, not ascribed; persons:
    may stand between such a word and the emotion. others: somebody else; others_after: needs one of the
    words named before it ("other person", "her mother"). toward: makes somebody the object, not the bearer.
    hedges: the emotion is one of several guesses. concluding: what follows is what the text makes of it all.
    skipped: may stand between an emotion and the noun it belongs to.
    """

    feeling: frozenset[str]
    showing: frozenset[str]
    state: frozenset[str]
    manner: frozenset[str]
    scene: frozenset[str]
    fillers: frozenset[str]
    joins: frozenset[str]
    negators: frozenset[str]
    unreal: frozenset[str]
    persons: frozenset[str]
    others: frozenset[str]
    hedges: frozenset[str]
    concluding: frozenset[str]
    skipped: frozenset[str] = frozenset()
    toward: frozenset[str] = frozenset()
    negator_pairs: frozenset[tuple[str, str]] = frozenset()
    excused: frozenset[tuple[str, str]] = frozenset()
    others_after: dict[str, frozenset[str]] = field(default_factory=dict)


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


_DISTINCT = _words("other another opposite else second")
_POSSESSIVE = _words("his her their my your our")
_GENERIC_PERSONS = "person person's party party's man man's woman woman's speaker speaker's character side's people people's individual individual's character's lady's gentleman's"
_RELATIVES = (
    "mother father mom dad mum parents parent wife husband son daughter child children brother sister "
    "friend friends boss colleague colleagues partner girlfriend boyfriend teacher grandmother grandfather "
    "aunt uncle family companion interlocutor neighbor neighbour classmate opponent"
)

ENGLISH = Cues(
    feeling=_words(
        "feel feels felt feeling feelings sense senses sensed emotion emotions mood moods state states filled full "
        "experience experiences experienced experiencing undergo undergoing sentiment sentiments overcome "
        "hint touch trace hints traces tinge bit"
    ),
    showing=_words(
        "is are was were be been being seem seems seemed seemingly appear appears appeared appearing look looks looked "
        "looking sound sounds sounded sounding become becomes became becoming get gets got remain remains "
        "express expresses expressed expressing expression show shows showed shown showing display displays displayed "
        "displaying convey conveys conveyed conveying reveal reveals revealed revealing reflect reflects "
        "reflecting exhibit exhibits exhibiting carry carries carrying demonstrate demonstrates demonstrating "
        "suggest suggests suggesting indicate indicates indicated indicating imply implies implying betray betrays "
        "he's she's they're i'm"
    ),
    state=_words(
        "mood moods emotion emotions feeling feelings state emotional sentiment sentiments mindset inner "
        "psychological mental mentality"
    ),
    manner=_words(
        "tone tones voice expression expressions look looks gaze face facial eyes smile smiles attitude demeanor "
        "demeanour intonation manner posture body speech laugh laughter pitch gesture gestures reaction response "
        "glance countenance eyebrows brow"
    ),
    scene=_words(
        "conversation conversations discussion argument dialogue chat exchange atmosphere environment ambience "
        "situation situations topic issue issues matter matters event events question questions news moment "
        "moments place thing things experience occasion setting scene scenes story joke interaction "
        "communication relationship problem problems condition illness behavior behaviour action actions life "
        "music weather video people"
    ),
    fillers=_words(
        "a an the any some this that these those of to in with very too so such quite rather really pretty more most "
        "even all also still just certain kind sort degree level amount lot great deep strong strongly intense "
        "mild slight faint clear obvious visible noticeable evident particular real genuine slightest specific "
        "somewhat little bit sign signs indication evidence trace hint touch sense longer at have has had having "
        "may might can could would will should must do does did his her their its overall inner general "
        "emotional facial state mood emotion emotions feeling feelings expression expressions tone voice as or "
        "particular considered described seen perceived interpreted said understood likely possibly probably perhaps maybe "
        "truly deeply mixture combination mix complex both either"
    ),
    joins=_words(
        "and or , as well even a an the also of somewhat slightly very quite rather more most perhaps "
        "possibly maybe probably deeply extremely truly even sense feeling feelings bit little / & some with hint "
        "genuinely his her their degree both"
    ),
    negators=_words(
        "not no never without nor neither none cannot can't hardly scarcely lack lacks lacked lacking absence "
        "devoid avoid avoids avoiding prevent prevents less no-longer nothing"
    ),
    negator_pairs=frozenset(
        {
            ("than", "rather"),
            ("of", "instead"),
            ("from", "far"),
            ("but", "anything"),
            ("to", "opposed"),
            ("of", "free"),
            ("from", "free"),
            ("to", "fails"),
            ("to", "failing"),
        }
    ),
    excused=frozenset(
        {
            ("not", "only"),
            ("not", "just"),
            ("not", "merely"),
            ("not", "simply"),
            ("not", "solely"),
            ("no", "doubt"),
            ("not", "without"),
            ("cannot", "help"),
            ("never", "so"),
            ("never", "more"),
            ("less", "than"),
            ("no", "wonder"),
            ("can't", "help"),
        }
    ),
    unreal=_words(
        "whether if unless pretend pretends pretending pretended feign feigns feigning feigned hopes hoping hoped "
        "wants want wanting wanted wish wishes wishing wished used unclear"
    ),
    persons=_words(
        "he she they it him them person character man woman girl boy lady gentleman speaker people male female "
        "everyone we you i not"
    ),
    others=_words(
        "others others' someone someone's somebody somebody's everyone everyone's everybody audience audience's "
        "interlocutor interlocutor's listener listener's listeners opponent opponent's bystanders onlookers"
    ),
    toward=_words("to towards toward with at from on by for about"),
    others_after={
        **dict.fromkeys(_GENERIC_PERSONS.split(), _DISTINCT),
        **{form: _POSSESSIVE | _DISTINCT for name in _RELATIVES.split() for form in (name, name + "'s")},
    },
    hedges=_words("or perhaps maybe possibly hint slight slightly trace touch either"),
    concluding=_words(
        "infer inferred infers conclude concluded therefore thus hence overall conclusion summary deduce deduced "
        "speculate speculated altogether consequently"
    ),
)

_CHINESE_OTHERS = "对方 他人 别人 旁人 另一方 另一个人 另一人 其他人 众人 大家 观众 听众 某人"
CHINESE = Cues(
    feeling=_words(
        "感到 觉得 感觉 感受到 感受 心情 情绪 情感 心里 内心 处于 充满 充满了 心理 经历 体验 一种 一丝 一股 情绪状态 情感状态 情绪是 "
        "心情是 陷入 心中 "
    ),
    showing=_words(
        "显得 显出 显示 显示出 表现 表现出 表现得 表达 表达出 表达了 流露 流露出 透露 透露出 展现 展现出 展示 展示出 看起来 看上去 听起来 似乎 好像 "
        "带有 带着 带 变得 是 有 有些 有点 传达 传达出 反映 反映出 体现 体现出 说明 表明 暗示 呈现 呈现出 比较 很 非常 十分 "
        "说出 露出"
    ),
    state=_words(
        "情绪 情感 心情 感觉 感受 状态 心理 情绪状态 情感状态 之情 心态 之意 情感色彩 情绪色彩 神情 情"
    ),
    manner=_words(
        "语气 语调 声音 表情 面部表情 眼神 目光 神情 神色 笑容 微笑 态度 口吻 姿态 脸色 动作 语言 音调 嗓音 神态 反应 面部 面容 肢体 眉头 肌肉 样子"
    ),
    scene=_words(
        "对话 交流 谈话 讨论 争吵 争论 氛围 气氛 环境 场合 场景 局面 情况 问题 话题 事情 事件 事 消息 时刻 经历 故事 笑话 关系 互动 行为 疾病 音乐 "
        "生活 天气 病情 任务 挑战 人"
    ),
    fillers=_words(
        "的 地 得 了 着 很 非常 十分 比较 有些 有点 一些 一点 一种 一丝 一股 太 那么 这么 特别 相当 极其 极度 更 更加 越来越 稍微 略微 略 略显 较 较为 颇为 任何 "
        "什么 明显 强烈 深深 内心 心里 心中 情绪 情感 心情 状态 情绪状态 情感状态 感到 觉得 感觉 显得 表现 表现出 表现得 显示 显示出 流露 流露出 表达 表达出 展现 "
        "展现出 带有 带着 看起来 看上去 听起来 有 出 出了 到 是 可能 也许 或许 大概 应该 会 能 太多 过于 丝毫 半点 之 再 变得 处于 真正 或 或者 和 与 及 以及 "
        "整体 感受 到 体现 体现出 特殊 过多 过 具有 "
    ),
    joins=_words(
        "和 与 及 以及 或 或者 、 且 并且 而且 又 甚至 还 也 有些 有点 一些 非常 十分 比较 更 很 乃至 同时 兼 以至 略带 的 地 一丝 一种 略 感 感到 还有 夹杂 夹杂着"
    ),
    negators=_words(
        "不 没 没有 并不 并非 不是 并不是 并没有 并没 未 未曾 从未 无 毫无 绝不 绝非 毫不 不再 不太 不会 不够 不算 不怎么 而不是 而非 不像 缺乏 缺少 谈不上 称不上 "
        "算不上 看不出 听不出 难以看出 不带 没什么 避免 防止 未见 未能 无法判断 并未 没能 不显得 远非"
    ),
    excused=frozenset(
        {
            ("不", "仅"),
            ("不", "禁"),
            ("不", "由"),
            ("不", "但"),
            ("不", "只"),
            ("不", "光"),
            ("没有", "掩饰"),
            ("没有", "比"),
            ("不是", "一般"),
        }
    ),
    unreal=_words("是否 如果 假如 要是 若 若是 假装 装作 希望 想要 是不是 会不会 有没有 试图让"),
    persons=_words(
        "他 她 它 他们 她们 女士 男士 男性 女性 角色 人物 说话人 这个人 该 此人 主角 主人公 男子 女子 能 够 自己 人"
    ),
    others=_words(_CHINESE_OTHERS),
    toward=_words("对 向 给 和 与 跟 对于 为 同 朝 针对 因为 面对"),
    hedges=_words("或 或者 也许 或许 一丝 一点 略带 稍微 略微 有点"),
    concluding=_words(
        "推断 推断出 推测 推测出 因此 所以 总之 综上 综上所述 总体 整体 整体上 整体而言 由此 可见 可以看出 推论 判断出 总的来说 总体而言"
    ),
    skipped=_words("的 地 之 性 感 心 了 着 得"),
    others_after={
        name: _words("他的 她的 他 她 我 我的 你的 他们的")
        for name in (
            "母亲 父亲 妈妈 爸爸 妻子 丈夫 儿子 女儿 孩子 哥哥 弟弟 姐姐 妹妹 朋友 老板 同事 老师 女友 男友 女朋友 男朋友 爷爷 奶奶 上司 家人 父母 同学"
        ).split()
    },
)

# Chinese words that hold an emotion word by accident across their edge: 觉得|意外, 表情|意味着, 水平|和.
CHINESE_PLAIN_WORDS = _words(
    "觉得 显得 变得 值得 懂得 获得 取得 不得不 表情 感情 心情 神情 热情 剧情 爱情 事情 加深 来自 独自 亲自 水平 公平 共同 不同 相同 活动 注意 内心 关心 "
    "意味 意味着 意思 意见 同意 大方向 情绪 情感 情景 情节 情况 情境 动作 容易 中心 核心 不仅 不但 不只 不光 不禁 不由 不由得 不得 无比 无疑 不少 不断 不同 不久 不时 "
    "不错 没事 没关系 有没有 并没有 无论 不论 不管 不知 不能 不会 不过 只不过 人物 对话 生活 自然 自己 和平 心脏 小心地 安全 平时 平常 怕是 恐怕 可怜巴巴 希望"
)
