"""What a night does besides labelling: which failures to try again, what to remove, what to tell whom."""
