"""The learning rate of every step."""

import math


def learning_rate(step: int, steps: int, peak: float, warmup_share: float) -> float:
    """Of step 1 to `steps`: up to `peak` in a straight line, then down along half a cosine.

    The cosine reaches 0 one step behind the last, and a warm-up lasts at least one step where its share is
    above 0: no step is at 0, which would read its samples for nothing.
    """
    warmup = math.ceil(steps * warmup_share)
    if step <= warmup:
        return peak * step / warmup
    done = (step - warmup) / (steps - warmup + 1)
    return peak * 0.5 * (1.0 + math.cos(math.pi * min(1.0, done)))
