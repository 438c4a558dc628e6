"""Co-judgment: from the experts' votes to one judgment per clip."""
