"""Finetuning: samples, masking, batches, the training step, checkpoints, adapters and how they are judged."""
