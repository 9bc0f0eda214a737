"""What a `TlsContext` is made of: which files and formats are taken, and what is said of those that are not."""

from __future__ import annotations

import dataclasses
import datetime
import subprocess
from pathlib import Path
from types import SimpleNamespace

import pytest
import trustme
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ed25519
from support.certificates import authority, server_files

from swell import Config
from swell._core import TlsContext
from swell.config.arguments import read_arguments
from swell.config.check import contradictions
from swell.config.explain import effective_as_data, effective_as_text
from swell.config.sources import load
from swell.errors import ConfigError, StartupError
from swell.worker import tls
from swell.worker.tls import Certificate, Keeper, Material, pack, read_material, unpack

PASSWORD = "correct horse"
TICKETS = (bytes(48),)


def material(*certificates: Certificate, **more: object) -> Material:
    given = {
        "certificates": certificates,
        "client_certificates": "none",
        "authorities": None,
        "revocations": (),
        "profile": "intermediate",
        "minimum_version": "1.2",
        "ticket_keys": TICKETS,
        "ticket_lifetime": 60,
    }
    return Material(**{**given, **more})  # type: ignore[arg-type]


def certificate(**more: object) -> Certificate:
    chain, key = (Path(name).read_bytes() for name in server_files())
    return dataclasses.replace(Certificate("c.pem", chain, "k.pem", key, None, None), **more)  # type: ignore[arg-type]


@pytest.mark.parametrize("key_type", [trustme.KeyType.ECDSA, trustme.KeyType.RSA])
@pytest.mark.parametrize("layout", [serialization.PrivateFormat.PKCS8, serialization.PrivateFormat.TraditionalOpenSSL])
def test_keys_of_every_usual_format_are_read(key_type: trustme.KeyType, layout: serialization.PrivateFormat) -> None:
    issued = authority().issue_cert("format.test", key_type=key_type)
    key = serialization.load_pem_private_key(issued.private_key_pem.bytes(), None)
    text = key.private_bytes(serialization.Encoding.PEM, layout, serialization.NoEncryption())
    chain = b"".join(blob.bytes() for blob in issued.cert_chain_pems)
    context = TlsContext(material(certificate(certificate=chain, key=text)))
    assert context.names == [["format.test"]]


ENCRYPTIONS = {
    "today": ["-v2", "aes-256-cbc"],
    "sha1": ["-v2", "aes-128-cbc", "-v2prf", "hmacWithSHA1"],
    "sha512": ["-v2", "aes-192-cbc", "-v2prf", "hmacWithSHA512", "-iter", "10000"],
}


def encrypted(tmp_path: Path, options: list[str]) -> bytes:
    source, target = server_files()[1], tmp_path / "encrypted.key"
    command = ["openssl", "pkcs8", "-topk8", "-in", source, "-out", str(target), "-passout", f"pass:{PASSWORD}"]
    subprocess.run([*command, *options], check=True, timeout=30, capture_output=True)
    return target.read_bytes()


@pytest.mark.parametrize("options", ENCRYPTIONS.values(), ids=ENCRYPTIONS)
def test_encrypted_keys_are_read(tmp_path: Path, options: list[str]) -> None:
    text = encrypted(tmp_path, options)
    TlsContext(material(certificate(key=text, password=PASSWORD.encode())))
    with pytest.raises(ValueError, match=r"k\.pem cannot be decrypted: the password is wrong"):
        TlsContext(material(certificate(key=text, password=b"wrong")))
    with pytest.raises(ValueError, match=r"k\.pem is encrypted: .*--ssl-keyfile-password"):
        TlsContext(material(certificate(key=text)))


def test_an_encryption_that_is_not_read_says_what_to_do(tmp_path: Path) -> None:
    text = encrypted(tmp_path, ["-scrypt"])
    with pytest.raises(ValueError, match="in a way that is not read: convert it with: openssl pkcs8"):
        TlsContext(material(certificate(key=text, password=PASSWORD.encode())))
    key = serialization.load_pem_private_key(Path(server_files()[1]).read_bytes(), None)
    old = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.TraditionalOpenSSL,
        serialization.BestAvailableEncryption(PASSWORD.encode()),
    )
    with pytest.raises(ValueError, match="in an old format that is not read: convert it"):
        TlsContext(material(certificate(key=old, password=PASSWORD.encode())))


def test_a_damaged_encrypted_key_is_refused(tmp_path: Path) -> None:
    text = encrypted(tmp_path, ENCRYPTIONS["today"])
    lines = text.splitlines()
    for damaged in (b"\n".join([lines[0], lines[1][:-4], *lines[2:]]), b"\n".join(lines[:-1]), b"\n".join(lines[:2])):
        with pytest.raises(ValueError, match=r"k\.pem"):
            TlsContext(material(certificate(key=damaged, password=PASSWORD.encode())))


def test_a_key_of_another_certificate_is_refused() -> None:
    other = authority().issue_cert("other.test", key_type=trustme.KeyType.ECDSA).private_key_pem.bytes()
    with pytest.raises(ValueError, match=r"k\.pem is not the key of the first certificate in c\.pem"):
        TlsContext(material(certificate(key=other)))


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"certificate": b""}, "c.pem contains no certificate"),
        ({"certificate": b"-----BEGIN CERTIFICATE-----\n!!\n-----END CERTIFICATE-----\n"}, "c.pem is no valid PEM"),
        ({"certificate": b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"}, "c.pem"),
        ({"key": b""}, "k.pem contains no private key"),
        ({"key": b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"}, "k.pem: the private key cannot"),
    ],
)
def test_what_is_wrong_with_which_file_is_said(changes: dict[str, bytes], reason: str) -> None:
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - the text is compared
        TlsContext(material(certificate(**changes)))
    assert reason in str(caught.value)


def test_ed25519_is_a_key_too() -> None:
    key = ed25519.Ed25519PrivateKey.generate()
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "ed.test")])
    now = datetime.datetime.now(datetime.UTC)
    signed = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(7)
        .not_valid_before(now)
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("ED.test")]), critical=False)
        .sign(key, None)
    )
    text = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    chain = signed.public_bytes(serialization.Encoding.PEM)
    assert TlsContext(material(certificate(certificate=chain, key=text))).names == [["ed.test"]]


def test_a_directory_holds_certificates_beside_their_keys(tmp_path: Path) -> None:
    def put(certificate: Path, key: Path, name: str) -> None:
        for target, source in zip((certificate, key), server_files(name), strict=True):
            target.parent.mkdir(exist_ok=True)
            target.write_bytes(Path(source).read_bytes())

    put(tmp_path / "a.crt", tmp_path / "a.key", "a.test")
    put(tmp_path / "b.pem", tmp_path / "b.key", "b.test")
    put(tmp_path / "live" / "fullchain.pem", tmp_path / "live" / "privkey.pem", "live.test")
    (tmp_path / "lonely.pem").write_bytes(b"")
    config = Config.make("main:app", ssl_cert_dir=str(tmp_path))
    assert TlsContext(read_material(config, TICKETS)).names == [["a.test"], ["b.test"], ["live.test"]]


def test_what_is_put_into_the_directory_is_taken_up(tmp_path: Path) -> None:
    def put(name: str) -> None:
        for suffix, source in zip((".crt", ".key"), server_files(f"{name}.test"), strict=True):
            (tmp_path / f"{name}{suffix}").write_bytes(Path(source).read_bytes())

    put("a")
    keeper = Keeper(Config.make("main:app", ssl_cert_dir=str(tmp_path)))
    given: list[Material] = []
    keeper.changed = given.append
    put("b")
    keeper.look()
    assert keeper.context.names == [["a.test"], ["b.test"]]
    keeper.look()
    assert len(given) == 1
    (tmp_path / "b.key").unlink()
    keeper.look()
    assert keeper.context.names == [["a.test"]]


def test_the_keys_of_tickets_are_replaced_and_the_one_before_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = SimpleNamespace(now=1000.0)
    monkeypatch.setattr(tls, "time", SimpleNamespace(monotonic=lambda: clock.now))
    pem, key = server_files()
    keeper = Keeper(Config.make("main:app", ssl_certfile=pem, ssl_keyfile=key))
    given: list[Material] = []
    keeper.changed = given.append
    (first,) = keeper.material.ticket_keys
    clock.now += tls.TICKET_SECONDS - 1
    keeper.look()
    assert not given
    seen = [first]
    for _ in range(3):
        clock.now += tls.TICKET_SECONDS
        keeper.look()
        newest, before = given[-1].ticket_keys
        assert before == seen[-1]
        assert newest not in seen
        assert len(newest) == len(first)
        seen.append(newest)
    assert len(given) == 3


def test_an_empty_directory_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StartupError, match="there is no certificate with its key"):
        Keeper(Config.make("main:app", ssl_cert_dir=str(tmp_path)))


def test_material_survives_the_way_to_another_process() -> None:
    sent = material(certificate(staple=b"ocsp"))
    assert unpack(pack(sent)) == sent


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"ssl_certfile": ["nowhere.pem"]}, "--ssl-certfile nowhere.pem: there is no such file"),
        ({"ssl_keyfile": ["k.pem"]}, "--ssl-keyfile needs a certificate"),
        ({"ssl_keyfile_password": "x"}, "--ssl-keyfile-password needs a certificate"),
        ({"ssl_profile": "modern"}, "--ssl-profile needs a certificate"),
        ({"ssl_min_version": "1.3"}, "--ssl-min-version needs a certificate"),
        ({"ssl_ocsp": ["o.der"]}, "--ssl-ocsp belongs to --ssl-certfile"),
        ({"ssl_ca_certs": "ca.pem"}, "--ssl-ca-certs and --ssl-crl are about client certificates"),
        ({"ssl_crl": ["r.pem"]}, "--ssl-ca-certs and --ssl-crl are about client certificates"),
        ({"ssl_cert_dir": ".", "ssl_keyfile": ["k.pem"]}, "--ssl-keyfile was given 1 times and --ssl-certfile 0 times"),
        ({"ssl_cert_reqs": "required"}, "--ssl-cert-reqs required needs --ssl-ca-certs"),
        ({"https_redirect": 80}, "--https-redirect needs a certificate"),
        ({"hsts": "1d"}, "--hsts needs a certificate"),
        ({"ssl_version": 3}, "--ssl-version 3: old versions of TLS"),
    ],
)
def test_options_that_make_no_sense_are_refused(options: dict[str, object], reason: str) -> None:
    with pytest.raises(ConfigError) as caught:
        Config.make("main:app", **options)
    assert any(reason in problem for problem in caught.value.problems)


def test_defaults_may_be_given_without_a_certificate() -> None:
    """Scripts name them, and they change nothing."""
    config = Config.make(
        "main:app",
        ssl_profile="intermediate",
        ssl_min_version="1.2",
        ssl_version=17,
        ssl_ciphers="TLSv1",
        ssl_cert_reqs=0,
    )
    assert not config.has_tls
    assert list(contradictions(config)) == []


def test_uvicorns_spellings_work() -> None:
    pem, key = server_files()
    config = Config.make(
        "main:app", ssl_certfile=pem, ssl_keyfile=key, ssl_version=17, ssl_ciphers="TLSv1", ssl_cert_reqs=0
    )
    assert (config.ssl_certfile, config.ssl_keyfile, config.ssl_cert_reqs) == ((pem,), (key,), "none")
    assert list(contradictions(config)) == []


def test_the_password_is_shown_to_nobody(tmp_path: Path) -> None:
    pem, key = server_files()
    layer = read_arguments(["main:app", "--ssl-certfile", pem, "--ssl-keyfile", key], {}).layer
    effective = load(layer, environ={"SWELL_SSL_KEYFILE_PASSWORD": PASSWORD}, directory=tmp_path)
    assert effective.config.ssl_keyfile_password == PASSWORD
    assert PASSWORD not in effective_as_text(effective)
    assert PASSWORD not in str(effective_as_data(effective))
