"""Values that are fine by themselves and make no sense together, or not on this machine.

Called by `Config` on every construction, so that no contradiction gets past it. Looks at the file system only to see
whether a file that an option names exists.
"""

from __future__ import annotations

import ipaddress
import os
import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

from swell.config.address import TcpAddress, parse_address
from swell.config.workers import WorkerRange

if TYPE_CHECKING:
    from swell.config.model import Config

__all__ = ["contradictions"]

# It becomes a directory's name.
NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,63}")


def contradictions(config: Config) -> Iterator[str]:
    """One line for each, with what to do."""
    yield from _addresses(config)
    yield from _processes(config)
    yield from _admin(config)
    yield from _limits(config)
    yield from _files(config)
    if config.interface == "wsgi" and config.lifespan == "on":
        yield "--lifespan on asks for a protocol that WSGI applications do not have: drop it, or drop --interface wsgi"


def _addresses(config: Config) -> Iterator[str]:
    named = [
        flag
        for flag, given in (("--bind", config.bind), ("--uds", config.uds is not None), ("--fd", config.fd is not None))
        if given
    ]
    if len(named) > 1:
        yield f"{' and '.join(named)} both name an address: name all of them with --bind (unix:PATH, fd:N)"
    if len(set(config.bind)) != len({bind.partition("?")[0] for bind in config.bind}):
        yield "--bind names the same path twice"


def _processes(config: Config) -> Iterator[str]:
    if config.reload and config.workers != WorkerRange(1, 1):
        yield "--reload runs one worker and cannot be combined with --workers: drop one of them"
    if config.reload and callable(config.app):
        yield "reload needs the application as an import string, MODULE:ATTRIBUTE, to import it anew"
    if callable(config.app) and config.spawn == "fresh":
        yield "spawn fresh needs the application as an import string, MODULE:ATTRIBUTE, to import it in each worker"
    if config.workers.fixed and config.forecast != "off":
        yield f"--forecast {config.forecast} needs a range of workers, such as --workers 1..8"
    if config.workers.fixed and config.scale_policy is not None:
        yield "--scale-policy needs a range of workers, such as --workers 1..8"
    if config.name and not NAME.fullmatch(config.name):
        yield f"--name {config.name}: use letters, digits, '.', '_' and '-', at most 64 of them"
    if config.limit_max_requests_jitter and config.limit_max_requests is None:
        yield "--limit-max-requests-jitter is added to --limit-max-requests, which is off: set it too"


def _admin(config: Config) -> Iterator[str]:
    if config.admin is None:
        for flag, given in (
            ("--admin-token-file", config.admin_token_file),
            ("--admin-read-only", config.admin_read_only),
        ):
            if given:
                yield f"{flag} is about --admin, which is off: set it too"
        return
    try:
        address = parse_address(config.admin)
    except ValueError:
        address = None
    if not isinstance(address, TcpAddress):
        yield f"--admin {config.admin}: write HOST:PORT, such as 127.0.0.1:9000"
    elif config.admin_token_file is None and not _is_here(address.host):
        yield f"--admin {config.admin} can be reached from elsewhere: set --admin-token-file, or use 127.0.0.1"
    if config.admin_token_file is not None and not os.path.isfile(config.admin_token_file):
        yield f"--admin-token-file {config.admin_token_file}: there is no such file"


def _is_here(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _limits(config: Config) -> Iterator[str]:
    if config.limit_request_line > config.limit_head_size:
        yield (
            f"--limit-request-line ({config.limit_request_line} bytes) is larger than --limit-head-size"
            f" ({config.limit_head_size} bytes), which contains it: raise the second or lower the first"
        )
    if config.request_id_response and config.request_id == "off":
        yield "--request-id-response sends an id back, but --request-id is off: set it to make or take"


def _files(config: Config) -> Iterator[str]:
    if config.env_file is not None and not os.path.isfile(config.env_file):
        yield f"--env-file {config.env_file}: there is no such file"
    if isinstance(config.log_config, str) and not os.path.isfile(config.log_config):
        yield f"--log-config {config.log_config}: there is no such file"
    if config.scale_policy is not None and not os.path.isfile(config.scale_policy):
        yield f"--scale-policy {config.scale_policy}: there is no such file"
    if not os.path.isdir(config.app_dir):
        yield f"--app-dir {config.app_dir}: there is no such directory"
    for directory in config.reload_dir:
        if not os.path.isdir(directory):
            yield f"--reload-dir {directory}: there is no such directory"
