"""`--ssl-ocsp`: the response is in the handshake (RFC 6066 §8), also when it comes later or is replaced."""

from __future__ import annotations

import datetime
import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.x509 import ocsp
from support.certificates import authority, server_files
from support.kernel import wait_until
from support.server import ServerProcess, serving

from swell import Config
from swell.errors import StartupError
from swell.worker.tls import Keeper

APPLICATION = "async def app(scope, receive, send): ...\n"


def response(certificate: str, status: ocsp.OCSPCertStatus) -> bytes:
    """What the authority says of a certificate."""
    issuer = x509.load_pem_x509_certificate(authority().cert_pem.bytes())
    key = serialization.load_pem_private_key(authority().private_key_pem.bytes(), None)
    now = datetime.datetime.now(datetime.UTC)
    builder = ocsp.OCSPResponseBuilder().add_response(
        cert=x509.load_pem_x509_certificate(Path(certificate).read_bytes()),
        issuer=issuer,
        algorithm=hashes.SHA256(),
        cert_status=status,
        this_update=now,
        next_update=now + datetime.timedelta(days=1),
        revocation_time=now if status is ocsp.OCSPCertStatus.REVOKED else None,
        revocation_reason=None,
    )
    signed = builder.responder_id(ocsp.OCSPResponderEncoding.HASH, issuer).sign(key, hashes.SHA256())  # type: ignore[arg-type]
    return signed.public_bytes(serialization.Encoding.DER)


def stapled(server: ServerProcess, version: str) -> str:
    """The status in the response that a client sees; empty without one."""
    command = ["openssl", "s_client", "-connect", f"127.0.0.1:{server.port}", "-servername", "localhost", "-status"]
    done = subprocess.run([*command, version], input="", capture_output=True, text=True, timeout=30, check=False)
    found = re.search(r"Cert Status: (\w+)", done.stdout)
    assert found or "OCSP response: no response sent" in done.stdout, done.stdout
    return found[1] if found else ""


def test_the_response_of_the_authority_is_in_the_handshake(tmp_path: Path) -> None:
    (tmp_path / "said.py").write_text(APPLICATION)
    certificate, key = server_files()
    file = tmp_path / "response.der"
    options = ("--ssl-certfile", certificate, "--ssl-keyfile", key, "--ssl-ocsp", str(file), "--lifespan", "off")
    with serving("said:app", *options, directory=tmp_path) as server:
        assert stapled(server, "-tls1_3") == ""
        for status in (ocsp.OCSPCertStatus.GOOD, ocsp.OCSPCertStatus.REVOKED):
            new = file.with_suffix(".new")
            new.write_bytes(response(certificate, status))
            new.replace(file)
            name = status.name.lower()
            wait_until(lambda name=name: stapled(server, "-tls1_3") == name, "the response is shown", 30)  # type: ignore[misc]
            assert stapled(server, "-tls1_2") == name


TRY_LATER = ocsp.OCSPResponseBuilder.build_unsuccessful(ocsp.OCSPResponseStatus.TRY_LATER)


@pytest.mark.parametrize(
    "contents",
    [
        lambda good: authority().cert_pem.bytes(),
        lambda good: good[:-1],
        lambda good: good + b"\n",
        lambda good: TRY_LATER.public_bytes(serialization.Encoding.DER),
    ],
    ids=["PEM", "cut", "more", "a failure"],
)
def test_what_is_no_response_is_not_stapled(contents: Callable[[bytes], bytes], tmp_path: Path) -> None:
    certificate, key = server_files()
    good = response(certificate, ocsp.OCSPCertStatus.GOOD)
    file = tmp_path / "response.der"
    file.write_bytes(contents(good))
    config = Config.make("x:app", ssl_certfile=certificate, ssl_keyfile=key, ssl_ocsp=str(file))
    with pytest.raises(StartupError, match="it is no OCSP response in DER, or one that tells of a failure"):
        Keeper(config)
    file.write_bytes(good)
    Keeper(config)
