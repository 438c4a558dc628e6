"""The experts: one file per model family, and the registry that names them.

The name of a file is the kind of its expert: `qwen_vl.py` holds `QwenVLExpert`, the kind `qwen-vl`.
"""

import re
from importlib import resources

from emo.experts.protocol import Expert
from emo.registry import Registry

# Files whose classes other experts extend.
_BASES = frozenset({"in_process", "measuring", "protocol"})
_CLASS = re.compile(r"^class (\w+Expert)\(", re.MULTILINE)


def _found() -> dict[str, str]:
    """Kind -> the place of its class. The files are read and not imported: they load heavy libraries."""
    files = (file for file in resources.files(__package__).iterdir() if file.name.endswith(".py"))
    stems = {file.name.removesuffix(".py"): file for file in files}
    classes = {
        stem: named
        for stem, file in sorted(stems.items())
        if stem not in _BASES and (named := _CLASS.findall(file.read_text(encoding="utf-8")))
    }
    return {stem.replace("_", "-"): f"{__package__}.{stem}:{named[-1]}" for stem, named in classes.items()}


REGISTRY = Registry[Expert]("expert", Expert, _found())
expert_class = REGISTRY.named
settings_of = REGISTRY.settings
load = REGISTRY.make
