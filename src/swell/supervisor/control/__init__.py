"""The control socket: how `swell status`, `swell reload` and the other commands reach a running instance.

`server` serves `app` over a Unix socket in the parent; `client` finds the socket and asks. They share the shapes in
`protocol`, and nothing else: the client runs without the parent's modules.
"""
