"""Everything that touches Ray: passes over rows, the session of a run, the connection, submitting."""
