"""Captions in the manner of MERR (Cheng et al., Emotion-LLaMA, NeurIPS 2024): four clues, put together.

The clues are the action units at the peak frame, the scene of that frame, the tone of the voice, and the
words. The coarse caption is a form with the clues in it, the fine one is what a text model makes of them.
`jobs/merr.py` runs this over a cluster.
"""
