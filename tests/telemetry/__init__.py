"""The access log, the server's log and request ids, through running servers."""
