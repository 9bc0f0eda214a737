"""HTTP/2 as clients see it: requests, streams, windows, ends, WebSockets. RFC 9113, RFC 8441."""
