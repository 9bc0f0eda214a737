"""Hostile input and limits, against the running server over raw sockets. Tests are named after the class of attack."""
