"""Captions of the person in a clip: what is asked, what is left out, which split, how they are passed on.

Pure functions and plain values; `jobs/caption.py` runs them over a cluster.
"""
