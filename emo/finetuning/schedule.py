"""The learning rate of every step."""

import math


def learning_rate(step: int, steps: int, peak: float, warmup_share: float) -> float:
    """Of step 1 to `steps`: up to `peak` in a straight line, then down to 0 along half a cosine.

    A warm-up lasts at least one step where its share is above 0, so that the first step is never at 0.
    """
    warmup = math.ceil(steps * warmup_share)
    if step <= warmup:
        return peak * step / warmup
    done = (step - warmup) / max(1, steps - warmup)
    return peak * 0.5 * (1.0 + math.cos(math.pi * min(1.0, done)))
