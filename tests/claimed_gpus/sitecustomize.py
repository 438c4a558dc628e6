"""Stands in for the calls to a GPU, in processes that have this folder on their path.

Memory and device are those of the CPU. Everything else is real.
"""

import importlib.abc
import importlib.machinery
import sys


class _AfterTorch(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Changes torch once it has been imported."""

    def find_spec(self, name, path, target=None):
        if name != "torch":
            return None
        # Who only asks whether torch is there must not be the last to meet this.
        self._spec = importlib.machinery.PathFinder.find_spec(name, path)
        return importlib.machinery.ModuleSpec(name, self, origin=self._spec.origin, is_package=True)

    def create_module(self, spec):
        return importlib.util.module_from_spec(self._spec)

    def exec_module(self, module):
        sys.meta_path.remove(self)
        module.__spec__ = self._spec
        self._spec.loader.exec_module(module)
        _stand_in(module)


def _stand_in(torch):
    torch.cuda.is_available = lambda: True
    torch.cuda.device_count = lambda: 1
    torch.cuda.mem_get_info = lambda number=0: (8 << 30, 8 << 30)
    torch.cuda.empty_cache = lambda: None
    for cls in (torch.nn.Module, torch.Tensor):
        cls.to = _on_cpu(cls.to)


def _on_cpu(method):
    def to(self, *arguments, **options):
        options = {name: "cpu" if value == "cuda" else value for name, value in options.items()}
        return method(
            self, *("cpu" if isinstance(one, str) and one == "cuda" else one for one in arguments), **options
        )

    return to


sys.meta_path.insert(0, _AfterTorch())
