"""When a certificate is renewed, and when an order that failed is tried again. Pure: the caller has clock and chance.

Let's Encrypt counts five failed validations of a name per hour, and a busy authority is one that everybody asked at the
same time. Times are Unix times, durations seconds; `chance` is evenly spread over [0, 1).
"""

from __future__ import annotations

from enum import Enum

__all__ = ["Fault", "pause", "renewal"]

# Of its lifetime: what Let's Encrypt recommends. So many earlier at most, by chance.
RENEW_AFTER = 2 / 3
SPREAD = 1 / 20
# The authority has counted nothing: after a start, the network may just not be there yet.
UNREACHABLE_FIRST, UNREACHABLE_FACTOR, UNREACHABLE_MOST = 5.0, 2.0, 3600.0
# Four attempts in the first hour.
REFUSED_FIRST, REFUSED_FACTOR, REFUSED_MOST = 120.0, 3.0, 12 * 3600.0
LIMITED_LEAST = 3600.0
# What an authority may ask for; more would be a mistake of somebody's.
ASKED_MOST = 7 * 86400.0


class Fault(Enum):
    """Why an order has come to nothing."""

    UNREACHABLE = "unreachable"
    REFUSED = "refused"
    LIMITED = "limited"
    """Too many orders (`rateLimited`, RFC 8555 §6.6)."""


def renewal(not_before: float, not_after: float, chance: float) -> float:
    """When a certificate with this validity is to be renewed."""
    return not_before + (not_after - not_before) * (RENEW_AFTER - SPREAD * chance)


def pause(fault: Fault, failures: int, asked: float, chance: float) -> float:
    """How long to wait after so many failures in a row, at least as long as the authority has `asked` for."""
    unreachable = fault is Fault.UNREACHABLE
    first, factor, most = (
        (UNREACHABLE_FIRST, UNREACHABLE_FACTOR, UNREACHABLE_MOST)
        if unreachable
        else (REFUSED_FIRST, REFUSED_FACTOR, REFUSED_MOST)
    )
    wait = min(first * factor ** min(failures - 1, 20), most)
    if fault is Fault.LIMITED:
        wait = max(wait, LIMITED_LEAST)
    return max(wait, min(asked, ASKED_MOST)) * (1 + chance / 4)
