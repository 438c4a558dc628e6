"""When two labels mean the same."""

from functools import lru_cache

from emo.vocabulary import cluster_of, own_form


@lru_cache(maxsize=100_000)
def meaning(label: str) -> str:
    """What labels of one meaning have in common: the cluster, or their form where the vocabulary has none."""
    return cluster_of(label) or own_form(label) or label
