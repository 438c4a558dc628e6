"""The experts: one file per model family, and the registry that names them."""

from emo.experts.protocol import Expert
from emo.registry import Registry

REGISTRY = Registry[Expert](
    "expert",
    Expert,
    {
        "affectgpt": "emo.experts.affectgpt:AffectGPTExpert",
        "aus": "emo.experts.aus:AusExpert",
        "classifier": "emo.experts.classifier:ClassifierExpert",
        "emotion-llama": "emo.experts.emotion_llama:EmotionLlamaExpert",
        "face": "emo.experts.face:FaceExpert",
        "hf": "emo.experts.hf:HfExpert",
        "internvl": "emo.experts.internvl:InternVLExpert",
        "openai": "emo.experts.openai:OpenAIExpert",
        "qwen-audio": "emo.experts.qwen_audio:QwenAudioExpert",
        "qwen-omni": "emo.experts.qwen_omni:QwenOmniExpert",
        "qwen-vl": "emo.experts.qwen_vl:QwenVLExpert",
        "r1-omni": "emo.experts.r1_omni:R1OmniExpert",
        "step-audio": "emo.experts.step_audio:StepAudioExpert",
        "transcript": "emo.experts.transcript:TranscriptExpert",
        "voice": "emo.experts.voice:VoiceExpert",
        "words": "emo.experts.words:WordsExpert",
    },
)
expert_class = REGISTRY.named
settings_of = REGISTRY.settings
load = REGISTRY.make
