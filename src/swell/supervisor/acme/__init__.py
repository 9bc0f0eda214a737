"""Certificates from an authority by ACME (RFC 8555): ordered, kept and renewed by the parent.

    state.py      what is remembered: the account, certificates, when to renew, what failed
    schedule.py   when to renew and when to try again; pure
    errand.py     one order, in a process of its own, which ends with it
    client.py     that process: it talks to the authority, with the library `acme`
    keeper.py     what is due, and what workers show meanwhile

A certificate is a file in the state directory from the beginning, at first one that vouches for itself, so that the
rest of Swell loads it and replaces it like any other. Workers know challenges as things to show, not what they are for.
"""

from swell.supervisor.acme.keeper import CertificateKeeper

__all__ = ["CertificateKeeper"]
