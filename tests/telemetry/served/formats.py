"""A formatter that reads records the way uvicorn's access formatter does."""

import logging


class Access(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        assert isinstance(record.args, tuple)
        client, method, path, version, status = record.args
        extra = {name: getattr(record, name, None) for name in ("bytes_out", "request_id", "refused", "rfc")}
        return f"{record.name} {record.levelname}|{client}|{method}|{path}|{version}|{status}|{extra}"
