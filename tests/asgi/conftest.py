"""The `backend` fixture: over TCP on both loops, a Unix socket, TLS and HTTP/2; some also over both."""

from support.backends import EVERYWHERE, on

pytest_generate_tests = on(*EVERYWHERE)
