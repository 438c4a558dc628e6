"""emo: open-vocabulary emotion labelling of video at dataset scale."""

__version__ = "0.1.0"
