"""An environment with ms-swift, made anew: minutes, and a gigabyte from the package index."""

import subprocess
import sys
import sysconfig
from pathlib import Path

PACKAGES = ("ms-swift==4.6.0", "qwen-vl-utils>=0.0.14", "qwen-omni-utils>=0.0.9")


def make(folder: Path) -> Path:
    """Its Python; torch is that of here, and so is what else fits."""
    subprocess.run([sys.executable, "-m", "venv", folder], check=True)
    python = folder / "bin/python"
    program = "import sysconfig; print(sysconfig.get_path('purelib'))"
    told = subprocess.run([python, "-c", program], capture_output=True, text=True, check=True)
    # Python runs such a file whenever it starts; what the environment has itself comes first.
    here = sysconfig.get_path("purelib")
    Path(told.stdout.strip(), "here.pth").write_text(f"import sys; sys.path.append({here!r})\n")
    subprocess.run([python, "-m", "pip", "install", "--quiet", *PACKAGES], check=True)
    return python
