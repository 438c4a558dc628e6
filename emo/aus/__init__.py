"""Facial action units of a clip: their tables, rules that read emotions out of them, a sentence per clip."""
