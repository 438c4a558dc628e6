"""The experts: one file per model family, and the registry that names them.

The name of a file is the kind of its expert: `qwen_vl.py` holds `QwenVLExpert`, the kind `qwen-vl`.
"""

from emo.experts.protocol import Expert
from emo.registry import Registry, by_file

REGISTRY = Registry[Expert](
    "expert", Expert, by_file(__package__, "Expert", ("in_process", "measuring", "protocol"))
)
expert_class = REGISTRY.named
settings_of = REGISTRY.settings
load = REGISTRY.make
