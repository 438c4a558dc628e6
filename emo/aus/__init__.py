"""Facial action units of a clip: tables of them, rules that read emotions out of them, a sentence per clip."""
