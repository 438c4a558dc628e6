"""What a person at a terminal sees of a run, and how a terminal ends it."""
