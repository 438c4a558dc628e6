"""One worker of a training step: a tiny InternVL, a few samples, and the engine for some settings."""

import functools
from pathlib import Path

SAMPLES, BATCH, STEPS = 20, 6, 8
RATE = 1e-2
TEXTS = ["She smiles.", "He frowns and looks down for a long time.", "Angry.", "A calm person, slow speech."]


@functools.cache
def encoded(base: Path):
    """The encoder and the samples: some with a clip and some without, of several lengths."""
    import synthetic_clips
    from emo.captions.messages import Turn
    from emo.finetuning import masking, samples

    encoder = masking.Encoder("internvl", base, max_frames=2, max_tokens=2000)
    made = [
        samples.from_turns(
            str(i),
            [Turn("user", "What?"), Turn("assistant", TEXTS[i % 4] * (1 + i % 3))],
            None,
            has_media=i % 3 != 2,
        )
        for i in range(SAMPLES)
    ]
    rows = [
        encoder.encode(sample, synthetic_clips.clip(i) if sample.has_media else None)
        for i, sample in enumerate(made)
    ]
    return encoder, rows


class Bench:
    """One worker's model, data and engine for some settings."""

    def __init__(self, base: Path, workers: int, rank: int, budget: int = 250, **options) -> None:
        from emo.finetuning import model
        from emo.finetuning.settings import Finetune

        self.settings = Finetune(
            model=str(base), device="cpu", batch=BATCH, batch_tokens=budget, learning_rate=RATE, max_frames=2,
            **{"lora": {"rank": 4, "dropout": 0.0}, "gradient_checkpointing": False, **options},
        )  # fmt: skip
        self.encoder, self.rows = encoded(base)
        self.lengths = [len(row) for row in self.rows]
        self.dummy = self.encoder.dummy()
        self.model = model.prepare(self.settings, base)
        self.workers, self.rank = workers, rank

    def start(self, universal: bool = False) -> None:
        from emo.finetuning.engine import TrainingEngine

        self.engine = TrainingEngine(
            self.model.model, self.encoder.preprocessor, self.settings, universal=universal
        )

    def batches(self, places):
        from emo.finetuning.batching import micro_batches
        from emo.finetuning.collate import collate

        mine = micro_batches(places, self.lengths, self.workers, self.settings.batch_tokens)[self.rank]
        return [
            collate(
                [self.rows[i] for i in batch], self.encoder.preprocessor, self.encoder.pad_token, self.dummy
            )
            for batch in mine
        ]

    def train(self, cursor, history, until=STEPS):
        from emo.finetuning.batching import steps
        from emo.finetuning.schedule import learning_rate

        for plan in steps(SAMPLES, BATCH, 3, 0, STEPS, cursor):
            if plan.after.step > until:
                break
            rate = learning_rate(plan.after.step, STEPS, RATE, 0.1)
            result = self.engine.step(self.batches(plan.samples), rate, plan.after.step)
            history.append(result.loss)
            cursor = plan.after
        return cursor
