"""The programs in examples/, each through a running server with its own kind of client."""
