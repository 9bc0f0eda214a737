"""What an authority is shown: within the handshake (RFC 8737 §3), under a path (RFC 8555 §8.3). Others see neither."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import hashlib
import ssl

import httpx
import pytest
from cryptography import x509
from support.apps import answer, read_body
from support.certificates import client_context, server_files
from support.inprocess import Backend, InProcess, Receive, Scope, Send, serving

from swell import Config
from swell._core import TlsContext
from swell.supervisor.acme.client import ACME_IDENTIFIER, challenge_certificate
from swell.worker.tls import Challenge, read_material

PLAIN, SECURE = Backend("plain"), Backend("tls", tls=True)
PATH, TEXT = "/.well-known/acme-challenge/abc_-1", "abc_-1.thumbprint"
DIGEST = hashlib.sha256(TEXT.encode()).digest()


async def paths(scope: Scope, receive: Receive, send: Send) -> None:
    await read_body(receive)
    await answer(send, b"the application at " + scope["path"].encode())


def context(*, challenges: bool = True) -> TlsContext:
    certificate, key = server_files()
    config = Config.make("main:app", ssl_certfile=certificate, ssl_keyfile=key)
    material = read_material(config, (bytes(48),))
    if challenges:
        shown, own = challenge_certificate("asked.test", DIGEST)
        challenge = Challenge("Asked.Test", shown.encode(), own.encode())
        material = dataclasses.replace(material, challenges=(challenge,), answers=((PATH, TEXT),))
    return TlsContext(material)


async def look(server: InProcess, name: str, *protocols: str) -> tuple[str | None, bytes, bytes]:
    """As an authority does: the protocol, the certificate, and everything that comes then."""
    asking = ssl.create_default_context()
    asking.check_hostname, asking.verify_mode = False, ssl.CERT_NONE
    asking.set_alpn_protocols(list(protocols))
    reader, writer = await asyncio.open_connection(*server.address, ssl=asking, server_hostname=name)
    secure: ssl.SSLObject = writer.get_extra_info("ssl_object")
    shown = secure.getpeercert(binary_form=True)
    assert shown is not None
    over = await reader.read() if protocols == ("acme-tls/1",) else b""
    writer.close()
    await writer.wait_closed()
    return secure.selected_alpn_protocol(), shown, over


def test_an_authority_is_shown_the_certificate_that_it_looks_for_and_nothing_else() -> None:
    async def scenario(server: InProcess) -> None:
        server.engine.set_tls(context())
        for name in ("asked.test", "ASKED.test"):
            protocol, shown, over = await look(server, name, "acme-tls/1")
            assert protocol == "acme-tls/1"
            found = x509.load_der_x509_certificate(shown)
            names = found.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
            assert names.get_values_for_type(x509.DNSName) == ["asked.test"]
            extension = found.extensions.get_extension_for_oid(ACME_IDENTIFIER)
            assert extension.critical
            assert isinstance(extension.value, x509.UnrecognizedExtension)
            assert extension.value.value == b"\x04\x20" + DIGEST
            assert over == b""
        # Another name, and clients that speak more than that, get what everybody gets.
        for name, *protocols in (("other.test", "acme-tls/1"), ("asked.test", "acme-tls/1", "http/1.1")):
            protocol, shown, _ = await look(server, name, *protocols)
            found = x509.load_der_x509_certificate(shown)
            names = found.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
            assert names.get_values_for_type(x509.DNSName) == ["localhost"]
            assert protocol == protocols[-1]
        # When it is over, nobody speaks that any more.
        server.engine.set_tls(context(challenges=False))
        with pytest.raises(ssl.SSLError, match=r"(?i)no.application.protocol"):
            await look(server, "asked.test", "acme-tls/1")

    serving(SECURE, paths, scenario)


def test_nothing_is_exchanged_on_such_a_connection() -> None:
    async def scenario(server: InProcess) -> None:
        server.engine.set_tls(context())
        asking = ssl.create_default_context()
        asking.check_hostname, asking.verify_mode = False, ssl.CERT_NONE
        asking.set_alpn_protocols(["acme-tls/1"])
        reader, writer = await asyncio.open_connection(*server.address, ssl=asking, server_hostname="asked.test")
        writer.write(b"GET / HTTP/1.1\r\nhost: asked.test\r\n\r\n")
        with contextlib.suppress(ConnectionResetError):  # its request came when the connection was gone
            assert await reader.read() == b""
        writer.close()
        assert server.engine.stats()["requests"] == 0

    serving(SECURE, paths, scenario)


@pytest.mark.parametrize("backend", [PLAIN, SECURE], ids=lambda backend: backend.name)
def test_a_request_for_the_path_gets_the_text_in_the_applications_place(backend: Backend) -> None:
    async def scenario(server: InProcess) -> None:
        async with server.connect() as client:
            assert (await client.get(PATH)).body.decode() == f"the application at {PATH}"
        server.engine.set_tls(context())
        for target in (PATH, f"{PATH}?a=b"):
            async with server.connect() as client:
                response = await client.get(target)
                assert (response.status, response.body) == (200, TEXT.encode())
                assert await client.reader.read() == b""
        async with server.connect() as client:
            # Everything else is the application's.
            for target, method in ((PATH + "x", "GET"), (PATH, "POST"), (PATH.upper(), "GET"), (PATH, "GET")):
                if (target, method) == (PATH, "GET"):
                    server.engine.set_tls(context(challenges=False))
                response = await client.get(target, method, body=b"x" if method == "POST" else b"")
                assert response.body.decode() == f"the application at {target}"

    serving(backend, paths, scenario)


def test_a_request_for_the_path_gets_the_text_over_http_2() -> None:
    async def scenario(server: InProcess) -> None:
        server.engine.set_tls(context())
        async with httpx.AsyncClient(http2=True, verify=client_context(alpn=()), trust_env=False) as client:
            base = f"https://localhost:{server.address[1]}"
            response = await client.get(base + PATH)
            assert (response.http_version, response.status_code, response.text) == ("HTTP/2", 200, TEXT)
            assert (await client.get(base + "/other")).text == "the application at /other"

    serving(SECURE, paths, scenario)


@pytest.mark.parametrize(
    ("part", "reason"), [("certificate", "contains no certificate"), ("key", "contains no private")]
)
def test_a_challenge_that_is_none_is_refused(part: str, reason: str) -> None:
    certificate, key = server_files()
    material = read_material(Config.make("main:app", ssl_certfile=certificate, ssl_keyfile=key), (bytes(48),))
    shown, own = challenge_certificate("asked.test", DIGEST)
    whole = Challenge("asked.test", shown.encode(), own.encode())
    changes: dict[str, bytes] = {part: b"nothing"}
    broken = dataclasses.replace(whole, **changes)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=rf"the challenge for asked\.test: the {part} {reason}"):
        TlsContext(dataclasses.replace(material, challenges=(broken,)))
