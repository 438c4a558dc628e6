"""Stands in for the calls to a GPU, in workers that run it first (`warm_workers.AT_START`).

Memory and device are those of the CPU. Everything else is real.
"""

import torch


def _on_cpu(method):
    def to(self, *arguments, **options):
        options = {name: "cpu" if value == "cuda" else value for name, value in options.items()}
        return method(
            self, *("cpu" if isinstance(one, str) and one == "cuda" else one for one in arguments), **options
        )

    return to


torch.cuda.is_available = lambda: True
torch.cuda.device_count = lambda: 1
torch.cuda.mem_get_info = lambda number=0: (8 << 30, 8 << 30)
torch.cuda.empty_cache = lambda: None
for cls in (torch.nn.Module, torch.Tensor):
    cls.to = _on_cpu(cls.to)
