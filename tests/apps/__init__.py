"""Real frameworks and real clients through a running server."""
