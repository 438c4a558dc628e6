"""From recordings to pieces: where utterances, speech, shots or windows begin and end."""
