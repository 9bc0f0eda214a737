"""The process of one order: `python -m swell.supervisor.acme.client DESCRIPTOR`. RFC 8555 by certbot's library `acme`.

It reads an `errand.Order` from its end of the channel, has the parent show what the authority looks for, and says what
came of it. It keeps nothing: keys and certificates are sent to the parent. Started by `errand`, never by hand.
"""

from __future__ import annotations

import hashlib
import json
import signal
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from socket import socket
from typing import Any

import requests
from acme import challenges, client, crypto_util, errors, messages
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from josepy.errors import Error as JoseError
from josepy.jwa import ES256
from josepy.jwk import JWK, JWKEC
from josepy.util import ComparableECKey

from swell import __version__
from swell.supervisor.acme.schedule import Fault

__all__ = ["ACME_IDENTIFIER", "challenge_certificate", "main"]

# The library repeats a request once; an authority that restarts its servers forgets all numbers it has given out.
NONCE_ATTEMPTS = 6
REQUEST_SECONDS = 30
DECISION_SECONDS = 90
# id-pe-acmeIdentifier (RFC 8737 §6.1)
ACME_IDENTIFIER = x509.ObjectIdentifier("1.3.6.1.5.5.7.1.31")
OCTET_STRING = 0x04


@challenges.ChallengeResponse.register
class TlsAlpnResponse(challenges.KeyAuthorizationChallengeResponse):
    """RFC 8737 §3; the library has left this challenge to its users."""

    typ = "tls-alpn-01"


@challenges.Challenge.register
class TlsAlpn(challenges.KeyAuthorizationChallenge):
    """RFC 8737 §3"""

    response_cls = TlsAlpnResponse
    typ = "tls-alpn-01"

    def validation(self, account_key: JWK, **_: Any) -> bytes:
        """What the certificate has to contain."""
        return hashlib.sha256(self.key_authorization(account_key).encode()).digest()


class Network(client.ClientNetwork):
    """The library's, with more patience for numbers that are refused, and an ear for how long we are to wait."""

    def __init__(self, key: JWK) -> None:
        agent = f"swell/{__version__}"
        super().__init__(key, alg=ES256, user_agent=agent, timeout=REQUEST_SECONDS)
        self.asked = 0.0
        self.session.hooks["response"].append(self._heard)

    def _heard(self, response: requests.Response, *_: object, **__: object) -> None:
        self.asked = 0.0
        if not response.ok and "Retry-After" in response.headers:
            until = client.ClientV2.retry_after(response, 0)
            self.asked = max((until - datetime.now()).total_seconds(), 0.0)

    def post(self, *args: Any, **kwargs: Any) -> requests.Response:
        """RFC 8555 §6.5"""
        for _ in range(NONCE_ATTEMPTS - 1):
            try:
                return super().post(*args, **kwargs)
            except messages.Error as error:
                if error.code != "badNonce":
                    raise
        return super().post(*args, **kwargs)


class Errand:
    """One order and the channel on which it is told."""

    def __init__(self, end: socket) -> None:
        self._stream = end.makefile("rw", encoding="utf-8")
        self._order: dict[str, Any] = json.loads(self._stream.readline())
        self._network: Network | None = None
        self._token = ""

    def run(self) -> None:
        """Tells the parent how it went."""
        try:
            self._obtain()
        except messages.Error as error:
            self._failed(_problem(error), Fault.LIMITED if error.code == "rateLimited" else Fault.REFUSED)
        except errors.ValidationError as error:
            self._failed("; ".join(_refusals(error)) or "the authority gives no reason", Fault.REFUSED)
        except errors.IssuanceError as error:
            self._failed(_problem(error.error), Fault.REFUSED)
        except errors.TimeoutError:
            self._failed(f"the authority has not decided within {DECISION_SECONDS} s", Fault.UNREACHABLE)
        except requests.exceptions.RequestException as error:
            self._failed(f"{self._order['directory']} cannot be reached: {_innermost(error)}", Fault.UNREACHABLE)
        except (errors.Error, JoseError, ValueError, KeyError) as error:
            self._failed(
                f"{self._order['directory']} answers oddly: {type(error).__name__}: {error}", Fault.UNREACHABLE
            )

    def _obtain(self) -> None:
        order = self._order
        account: dict[str, Any] | None = order["account"]
        key = _key(account["key"] if account else None)
        self._network = network = Network(JWKEC(key=ComparableECKey(key)))
        directory = messages.Directory.from_json(network.get(order["directory"]).json())
        api = client.ClientV2(directory, network)
        if account is None or account["email"] != order["email"]:
            self._sign_up(api, key, order["email"], known=account is not None)
        else:
            network.account = messages.RegistrationResource(uri=account["uri"], body=messages.Registration())
        own = _key(None)
        request = crypto_util.make_csr(_pem(own), [order["name"]])
        try:
            opened = api.new_order(request)
        except messages.Error as error:
            if error.code != "accountDoesNotExist":
                raise
            # An authority for tests that was started anew.
            network.account = None
            self._sign_up(api, key, order["email"], known=False)
            opened = api.new_order(request)
        for authorization in opened.authorizations:
            # What it has seen a while ago may still do.
            if authorization.body.status != messages.STATUS_VALID:
                self._answer(api, authorization, network.key)
        deadline = datetime.now() + timedelta(seconds=DECISION_SECONDS)
        chain = api.poll_and_finalize(opened, deadline).fullchain_pem
        certificate = x509.load_pem_x509_certificate(chain.encode())
        if certificate.public_key() != own.public_key():
            raise ValueError("the certificate is for another key")
        self._say(
            "issued",
            pem=chain.rstrip("\n") + "\n" + _pem(own).decode(),
            not_before=certificate.not_valid_before_utc.timestamp(),
            not_after=certificate.not_valid_after_utc.timestamp(),
        )

    def _sign_up(self, api: client.ClientV2, key: ec.EllipticCurvePrivateKey, email: str, *, known: bool) -> None:
        """RFC 8555 §7.3; with `known`, only how we are to be written to has changed."""
        try:
            new = messages.NewRegistration.from_data(email=email or None, contact=(), terms_of_service_agreed=True)
            account = api.new_account(new)
        except errors.ConflictError as error:
            account = messages.RegistrationResource(uri=error.location, body=messages.Registration())
            if known:
                api.update_registration(account, messages.Registration.from_data(email=email or None, contact=()))
            api.net.account = account
        self._say("account", key=_pem(key).decode(), uri=account.uri, email=email)

    def _answer(self, api: client.ClientV2, authorization: messages.AuthorizationResource, key: JWK | None) -> None:
        """Has the parent show what the authority looks for, then has it look (RFC 8555 §7.5.1)."""
        assert key is not None
        kind = self._order["kind"]
        offered = [one for one in authorization.body.challenges if one.chall.typ == kind]
        if not offered:
            names = ", ".join(sorted(one.chall.typ for one in authorization.body.challenges))
            raise ValueError(f"it offers no {kind} (--acme-challenge), but {names}")
        (found,) = offered
        self._token = found.chall.encode("token")
        response, content = found.chall.response_and_validation(key)
        if isinstance(found.chall, TlsAlpn):
            certificate, own = challenge_certificate(self._order["name"], content)
            self._say("challenge", certificate=certificate, key=own)
        else:
            self._say("challenge", path=found.chall.path, text=content)
        if not self._stream.readline():
            sys.exit("the parent has gone")
        api.answer_challenge(found, response)

    def _failed(self, text: str, fault: Fault) -> None:
        asked = 0.0 if self._network is None else self._network.asked
        # It is another one each time, and the reason may be the same.
        text = text.replace(self._token, "TOKEN") if self._token else text
        printable = "".join(char if char.isprintable() else " " for char in text)
        self._say("failed", text=printable[:2000], fault=fault.value, asked=asked)

    def _say(self, what: str, **more: object) -> None:
        self._stream.write(json.dumps({"is": what, **more}) + "\n")
        self._stream.flush()


def _key(pem: str | None) -> ec.EllipticCurvePrivateKey:
    """The key of this text, or a new one."""
    if pem is None:
        return ec.generate_private_key(ec.SECP256R1())
    key = serialization.load_pem_private_key(pem.encode(), None)
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise ValueError("account.pem has no key that Swell has made")
    return key


def _pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def challenge_certificate(name: str, digest: bytes) -> tuple[str, str]:
    """RFC 8737 §3: for this name alone, with the digest in a critical extension. PEM, with its key."""
    key = _key(None)
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "ACME challenge")])
    now = datetime.now(UTC)
    identifier = x509.UnrecognizedExtension(ACME_IDENTIFIER, bytes([OCTET_STRING, len(digest)]) + digest)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .add_extension(identifier, critical=True)
        .sign(key, hashes.SHA256())
    )
    return certificate.public_bytes(serialization.Encoding.PEM).decode(), _pem(key).decode()


def _problem(error: messages.Error) -> str:
    """A problem document (RFC 7807) in one line."""
    kind = error.code or error.typ
    text = f"{kind}: {error.detail or error.title or error.description or 'no details'}"
    parts = [_problem(part) for part in error.subproblems or ()]
    return f"{text} ({'; '.join(parts)})" if parts else text


def _refusals(error: errors.ValidationError) -> Iterator[str]:
    for authorization in error.failed_authzrs:
        for challenge in authorization.body.challenges:
            if challenge.error is not None:
                yield _problem(challenge.error)


def _innermost(error: BaseException) -> BaseException:
    """What the system said, below what libraries made of it."""
    while (inner := error.__cause__ or error.__context__) is not None:
        error = inner
    return error


def main() -> None:
    """Ends when the order has."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent's to act upon
    with socket(fileno=int(sys.argv[1])) as end:
        Errand(end).run()


if __name__ == "__main__":
    main()
