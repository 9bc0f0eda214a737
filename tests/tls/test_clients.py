"""Client certificates: who must have one, whose are taken, and what the application learns."""

from __future__ import annotations

import asyncio
import datetime
import functools
import json
import shutil
import socket
import ssl
from pathlib import Path
from typing import Any

import pytest
import trustme
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from support.apps import answer
from support.certificates import authority, client_context, own_directory, server_files
from support.inprocess import Backend, InProcess, Receive, Scope, Send, serving
from support.kernel import wait_until
from support.server import ServerProcess
from support.server import serving as process

TLS = Backend("tls", tls=True)


@functools.cache
def clients() -> trustme.CA:
    """Another authority than the server's."""
    return trustme.CA(organization_name="Clients, Ltd. #1", key_type=trustme.KeyType.ECDSA)


@functools.cache
def authorities() -> str:
    path = own_directory() / "clients.pem"
    clients().cert_pem.write_to_path(str(path))
    return str(path)


def certificate_of(issuer: trustme.CA, name: str) -> trustme.LeafCert:
    organization, ecdsa = '"Quoted" + more', trustme.KeyType.ECDSA
    return issuer.issue_cert(name, common_name=name, organization_name=organization, key_type=ecdsa)


async def say(scope: Scope, receive: Receive, send: Send) -> None:
    await answer(send, json.dumps(scope["extensions"]["tls"]).encode())


def ask(shown: trustme.LeafCert | None, **options: Any) -> dict[str, Any]:
    """What the application is told of a client that shows this certificate. Raises what the client sees."""
    context = client_context()
    if shown is not None:
        shown.configure_cert(context)
    told: dict[str, Any] = {}

    async def scenario(server: InProcess) -> None:
        reader, writer = await asyncio.open_connection(*server.address, ssl=context, server_hostname="localhost")
        try:
            writer.write(b"GET / HTTP/1.1\r\nhost: test\r\nconnection: close\r\n\r\n")
            # TLS 1.3: the client's part of the handshake is judged after the client has finished it.
            answered = await reader.read()
            told.update(json.loads(answered.partition(b"\r\n\r\n")[2]))
        finally:
            writer.close()

    options.setdefault("ssl_ca_certs", authorities())
    serving(TLS, say, scenario, **options)
    return told


def test_a_certificate_of_the_authority_is_described() -> None:
    shown = certificate_of(clients(), "someone@example.org")
    told = ask(shown, ssl_cert_reqs="required")
    chain = [blob.bytes().decode() for blob in shown.cert_chain_pems]
    assert [ssl.PEM_cert_to_DER_cert(text) for text in told["client_cert_chain"]] == [
        ssl.PEM_cert_to_DER_cert(text) for text in chain
    ]
    parsed = x509.load_pem_x509_certificate(chain[0].encode())
    assert told["client_cert_name"] == parsed.subject.rfc4514_string()
    assert '\\"Quoted\\" \\+ more' in told["client_cert_name"]
    assert told["client_cert_error"] is None


@pytest.mark.parametrize("demand", ["optional", "ask"])
def test_nobody_has_to_show_one_where_it_is_optional(demand: str) -> None:
    told = ask(None, ssl_cert_reqs=demand)
    assert (told["client_cert_chain"], told["client_cert_name"], told["client_cert_error"]) == ([], None, None)


def test_fields_do_not_pass_for_a_certificate() -> None:
    """What a proxy that ends TLS would say in fields, a client may say, too: they are fields and nothing more."""

    async def scenario(server: InProcess) -> None:
        names = (b"ssl-client-cert", b"x-ssl-client-subject-dn", b"x-forwarded-client-cert", b"client-cert")
        async with server.connect() as client:
            response = await client.get(fields=[(name, b"CN=root") for name in names])
        told = json.loads(response.body)
        assert (told["client_cert_chain"], told["client_cert_name"], told["client_cert_error"]) == ([], None, None)

    serving(TLS, say, scenario, ssl_ca_certs=authorities(), ssl_cert_reqs="optional")


def test_who_must_show_one_and_does_not_is_refused() -> None:
    with pytest.raises((ssl.SSLError, ConnectionError), match=r"CERTIFICATE_REQUIRED|certificate required"):
        ask(None, ssl_cert_reqs="required")


@pytest.mark.parametrize("demand", ["optional", "required"])
def test_a_certificate_of_somebody_else_is_refused(demand: str) -> None:
    with pytest.raises((ssl.SSLError, ConnectionError), match=r"UNKNOWN_CA|unknown ca"):
        ask(certificate_of(authority(), "stranger"), ssl_cert_reqs=demand)


def test_who_only_asks_is_told_what_is_wrong() -> None:
    told = ask(certificate_of(authority(), "stranger"), ssl_cert_reqs="ask")
    assert "UnknownIssuer" in told["client_cert_error"]
    assert "CN=stranger" in told["client_cert_name"]
    assert ask(certificate_of(clients(), "friend"), ssl_cert_reqs="ask")["client_cert_error"] is None


def revoked(*certificates: trustme.LeafCert) -> str:
    key = serialization.load_pem_private_key(clients().private_key_pem.bytes(), None)
    issuer = x509.load_pem_x509_certificate(clients().cert_pem.bytes())
    now = datetime.datetime.now(datetime.UTC)
    builder = (
        x509.CertificateRevocationListBuilder()
        .issuer_name(issuer.subject)
        .last_update(now - datetime.timedelta(days=1))
        .next_update(now + datetime.timedelta(days=1))
        .add_extension(x509.CRLNumber(1), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer.public_key()), critical=False)  # type: ignore[arg-type]
    )
    for each in certificates:
        serial = x509.load_pem_x509_certificate(each.cert_chain_pems[0].bytes()).serial_number
        entry = x509.RevokedCertificateBuilder().serial_number(serial).revocation_date(now).build()
        builder = builder.add_revoked_certificate(entry)
    path = own_directory() / "revoked.pem"
    path.write_bytes(builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))  # type: ignore[arg-type]
    return str(path)


def test_a_revoked_certificate_is_refused_and_others_are_not() -> None:
    bad, good = certificate_of(clients(), "bad"), certificate_of(clients(), "good")
    crl = revoked(bad)
    assert ask(good, ssl_cert_reqs="required", ssl_crl=crl)["client_cert_error"] is None
    with pytest.raises((ssl.SSLError, ConnectionError), match=r"CERTIFICATE_REVOKED|certificate revoked"):
        ask(bad, ssl_cert_reqs="required", ssl_crl=crl)
    assert "Revoked" in ask(bad, ssl_cert_reqs="ask", ssl_crl=crl)["client_cert_error"]


def test_a_file_without_a_list_is_refused(tmp_path: Path) -> None:
    empty = tmp_path / "empty.pem"
    empty.write_bytes(b"")
    with pytest.raises(Exception, match="contains no revocation list"):
        ask(None, ssl_cert_reqs="required", ssl_crl=str(empty))


APPLICATION = """
async def app(scope, receive, send):
    name = scope["extensions"]["tls"]["client_cert_name"]
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": name.encode()})
"""


def come_back(server: ServerProcess, context: ssl.SSLContext, session: ssl.SSLSession | None) -> ssl.SSLSession:
    """Asks, and returns the session to go on with. Raises what the client sees."""
    raw = socket.create_connection(server.address, timeout=20)
    with context.wrap_socket(raw, server_hostname="localhost", session=session) as client:
        client.sendall(b"GET / HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")
        answer = b""
        while piece := client.recv(65536):
            answer += piece
        if not answer:
            raise ConnectionError("no answer")
        assert b"someone" in answer
        assert client.session_reused == (session is not None)
        assert client.session is not None
        return client.session


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_a_session_ends_when_its_certificate_is_revoked(version: ssl.TLSVersion, tmp_path: Path) -> None:
    """Who resumes shows no certificate again, RFC 8446 §2.2: without a rule of ours it would be let in for hours."""
    (tmp_path / "said.py").write_text(APPLICATION)
    shown, crl = certificate_of(clients(), "someone"), tmp_path / "crl.pem"
    shutil.copy(revoked(), crl)
    context = client_context()
    context.minimum_version = context.maximum_version = version
    shown.configure_cert(context)
    certificate, key = server_files()
    files = (
        "--ssl-certfile",
        certificate,
        "--ssl-keyfile",
        key,
        "--ssl-ca-certs",
        authorities(),
        "--ssl-crl",
        str(crl),
    )
    options = (*files, "--ssl-cert-reqs", "required", "--lifespan", "off")
    with process("said:app", *options, directory=tmp_path) as server:
        session = come_back(server, context, None)
        session = come_back(server, context, session)
        shutil.copy(revoked(shown), crl)

        def is_refused() -> bool:
            try:
                come_back(server, context, session)
            except ConnectionError:  # the alert may be lost to the bytes that were not read
                return True
            except ssl.SSLError as error:
                if "revoked" not in str(error).lower():
                    raise
                return True
            return False

        wait_until(is_refused, "the session is over")
