"""How a model is run: the in-process engine on transformers and its parts."""
