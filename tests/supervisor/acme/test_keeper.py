"""What is due is ordered, renewed in time and tried again with patience, by one parent at a time. On its own clock."""

from __future__ import annotations

import asyncio
import json
import logging
import stat
import threading
from collections.abc import Awaitable, Callable
from importlib import metadata
from pathlib import Path

import pytest

from swell import Config
from swell._core import TlsContext, self_signed
from swell.errors import ConfigError
from swell.supervisor.acme.errand import Issued, Order, OrderFailed, Shown
from swell.supervisor.acme.keeper import BUSY_SECONDS, CertificateKeeper, Surroundings
from swell.supervisor.acme.schedule import Fault
from swell.supervisor.acme.state import Account
from swell.worker.tls import read_material

BEGIN = 1_800_000_000.0
DAY = 86400.0
Attempt = Callable[[Order], Issued | Exception]


class Over(Exception):  # noqa: N818 - it ends the scenario
    """Enough was seen."""


class Scene:
    """A keeper whose clock moves only when it sleeps, and an authority that is a function."""

    def __init__(self, directory: Path, *names: str, **options: object) -> None:
        given = {"acme_domain": names or ("www.test",), "acme_accept_terms": True, "state_dir": str(directory)}
        self.config = Config.make("main:app", **{**given, **options})
        self.directory = directory
        self.now = BEGIN
        self.ordered: list[tuple[float, str]] = []
        self.shown: list[Shown] = []
        self.slept: list[float] = []
        self.taken: Callable[[], None] = lambda: None
        self.keeper = CertificateKeeper(self.config, Surroundings(lambda: self.now, self._sleep, lambda: 0.0))

    async def _sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds

    def run(self, attempts: Callable[[int, Order], Issued | Exception]) -> None:
        """Until `attempts`, which is called with the number of each order, raises `Over`."""

        async def order(
            what: Order, /, show: Callable[[Shown], Awaitable[None]], known: Callable[[Account], None]
        ) -> Issued:
            self.ordered.append((self.now - BEGIN, what.name))
            known(Account("the key", "https://authority.test/account/1", what.email))
            await show(Shown(answers=(("/path", "text"),)))
            outcome = attempts(len(self.ordered), what)
            if isinstance(outcome, Exception):
                raise outcome
            return outcome

        async def show(shown: Shown) -> None:
            self.shown.append(shown)

        async def renew() -> None:
            self.taken()

        with pytest.raises(Over):
            asyncio.run(self.keeper.keep(order, show, renew))

    def files(self) -> dict[str, Path]:
        return {path.name: path for path in (self.directory / "acme").rglob("*") if path.is_file()}

    def issue(self, days: float = 90, name: str = "www.test") -> Issued:
        return Issued("".join(self_signed([name], "260101000000Z", "300101000000Z")), self.now, self.now + days * DAY)


def test_a_certificate_is_ordered_at_once_and_renewed_at_two_thirds(tmp_path: Path) -> None:
    scene = Scene(tmp_path)

    def attempts(number: int, what: Order) -> Issued:
        if number == 4:
            raise Over
        return scene.issue()

    scene.run(attempts)
    assert [at / DAY for at, _ in scene.ordered] == [0, 60, 120, 180]
    # The clock is looked at in between: somebody may set it.
    assert max(scene.slept) <= 3600
    # What the authority was to find is taken back each time.
    assert scene.shown[0].answers
    assert scene.shown[1] == Shown()


def test_a_certificate_is_told_when_all_workers_serve_it(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    scene = Scene(tmp_path)
    told = []
    scene.taken = lambda: told.append("has a certificate" in caplog.text)
    with caplog.at_level(logging.INFO, logger="swell"):
        scene.run(lambda number, what: scene.issue() if number == 1 else _over())
    assert told == [False]
    assert "www.test has a certificate of " in caplog.text


def test_there_is_a_certificate_to_serve_with_from_the_beginning(tmp_path: Path) -> None:
    scene = Scene(tmp_path, "one.test", "two.test")
    context = TlsContext(read_material(scene.keeper.served(scene.config), (bytes(48),)))
    assert context.names == [["one.test"], ["two.test"]]
    assert {one["name"]: one["not_after"] for one in scene.keeper.describe()} == {"one.test": None, "two.test": None}


def test_all_files_are_the_owners_alone_and_survive(tmp_path: Path) -> None:
    scene = Scene(tmp_path, acme_email="me@here.test")

    def first(number: int, what: Order) -> Issued:
        if number == 2:
            raise Over
        assert what.account is None
        return scene.issue()

    scene.run(first)
    files = scene.files()
    assert set(files) == {"account.json", "account.pem", "www.test.json", "www.test.pem", "lock"}
    assert {stat.S_IMODE(path.stat().st_mode) for path in files.values()} == {0o600}
    assert {stat.S_IMODE(path.parent.stat().st_mode) for path in files.values()} == {0o700}

    again = Scene(tmp_path, acme_email="me@here.test")

    def second(number: int, what: Order) -> Issued:
        assert what.account == Account("the key", "https://authority.test/account/1", "me@here.test")
        raise Over

    again.run(second)
    # The first one has renewed nothing, so it is what it was.
    assert [at / DAY for at, _ in again.ordered] == [60]


def test_another_authority_has_files_of_its_own(tmp_path: Path) -> None:
    scene = Scene(tmp_path)
    scene.run(lambda number, what: scene.issue() if number == 1 else _over())
    other = Scene(tmp_path, acme_directory="https://acme-staging-v02.api.letsencrypt.org/directory")
    other.run(lambda number, what: _over())
    assert [at for at, _ in other.ordered] == [0]


def _over() -> Issued:
    raise Over


def test_what_fails_is_told_once_and_tried_again_with_patience(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "swell")
    scene = Scene(tmp_path)
    trouble = "dns: there is no such name"

    def attempts(number: int, what: Order) -> Issued | Exception:
        if number == 5:
            return scene.issue()
        if number == 6:
            raise Over
        return OrderFailed(trouble if number < 4 else "rateLimited: later", Fault.REFUSED)

    scene.run(attempts)
    minutes = [at / 60 for at, _ in scene.ordered[:5]]
    assert minutes == [0, 2, 8, 26, 80]
    errors = [record.getMessage() for record in caplog.records if record.levelno == logging.ERROR]
    assert len(errors) == 2
    assert trouble in errors[0]
    assert "rateLimited: later" in errors[1]
    (found,) = scene.keeper.describe()
    assert found["trouble"] is None


def test_a_failed_renewal_keeps_the_certificate_and_a_restart_does_not_hurry(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    scene = Scene(tmp_path)
    kept = scene.issue().pem

    def attempts(number: int, what: Order) -> Issued | Exception:
        if number == 1:
            return Issued(kept, scene.now, scene.now + 90 * DAY)
        if number == 3:
            raise Over
        return OrderFailed("malformed: no", Fault.REFUSED, asked=7200)

    scene.run(attempts)
    assert scene.files()["www.test.pem"].read_text() == kept
    assert any("the one that is there is good until" in record.getMessage() for record in caplog.records)

    later = Scene(tmp_path)
    later.now = BEGIN + 60 * DAY + 60
    later.run(lambda number, what: _over())
    assert [at for at, _ in later.ordered] == [60 * DAY + 7200]
    assert any("no certificate for www.test yet: malformed: no" in record.getMessage() for record in caplog.records)


def test_one_name_that_is_refused_does_not_keep_the_others_waiting(tmp_path: Path) -> None:
    scene = Scene(tmp_path, "bad.test", "good.test")

    def attempts(number: int, what: Order) -> Issued | Exception:
        if number == 4:
            raise Over
        return scene.issue(name=what.name) if what.name == "good.test" else OrderFailed("no", Fault.REFUSED)

    scene.run(attempts)
    assert [name for _, name in scene.ordered] == ["bad.test", "good.test", "bad.test", "bad.test"]


def test_two_parents_never_order_at_once(tmp_path: Path) -> None:
    first, second = Scene(tmp_path), Scene(tmp_path)

    def attempts(number: int, what: Order) -> Issued:
        if number == 2:
            raise Over
        # While the first one orders, the second one waits, however often it looks.
        looks: list[float] = []

        async def sleep(seconds: float) -> None:
            looks.append(seconds)
            if len(looks) == 3:
                raise Over

        second.keeper._around = Surroundings(lambda: first.now, sleep, lambda: 0.0)
        _in_a_loop_of_its_own(lambda: second.run(lambda number, what: _over()))
        assert looks == [BUSY_SECONDS] * 3
        return first.issue()

    first.run(attempts)
    assert second.ordered == []
    # Then it has what it waited for.
    second.keeper._around = Surroundings(lambda: second.now, second._sleep, lambda: 0.0)
    second.run(lambda number, what: _over())
    assert [at / DAY for at, _ in second.ordered] == [60]


def _in_a_loop_of_its_own(work: Callable[[], None]) -> None:
    """In a thread, as loops do not nest."""
    failed: list[BaseException] = []

    def run() -> None:
        try:
            work()
        except BaseException as error:
            failed.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join(20)
    assert not failed, failed


def test_nothing_is_ordered_that_cannot_be_kept(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    scene = Scene(tmp_path)
    # A directory in the place of a file cannot be replaced by one.
    record = scene.files()["www.test.json"]
    record.unlink()
    record.mkdir()

    async def sleep(seconds: float) -> None:
        scene.now += seconds
        if scene.now > BEGIN + DAY:
            raise Over

    scene.keeper._around = Surroundings(lambda: scene.now, sleep, lambda: 0.0)
    scene.run(lambda number, what: scene.issue())
    assert scene.ordered == []
    errors = [record.getMessage() for record in caplog.records if record.levelno == logging.ERROR]
    assert len(errors) == 1
    assert "cannot write" in errors[0]


@pytest.mark.parametrize("contents", ["", "{", "[]", '{"not_after": "x"}', json.dumps({"renew_at": 9e99})])
def test_a_record_that_makes_no_sense_means_a_new_order(tmp_path: Path, contents: str) -> None:
    scene = Scene(tmp_path)
    scene.files()["www.test.json"].write_text(contents)
    scene.run(lambda number, what: _over())
    assert [at for at, _ in scene.ordered] == [0]


def test_without_the_library_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> None:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "distribution", missing)
    with pytest.raises(ConfigError, match=r"pip install 'swell\[acme\]'") as failure:
        Scene(tmp_path)
    assert failure.value.exit_code == 2


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"acme_accept_terms": False}, "--acme-accept-terms says that you do"),
        ({"acme_domain": "*.example.org"}, "no wildcard"),
        ({"acme_domain": "192.0.2.1"}, "no address"),
        ({"acme_domain": "localhost"}, "needs a host name"),
        ({"acme_domain": "a..b"}, "needs a host name"),
        ({"acme_directory": "http://authority.test/"}, "https:// address of an ACME directory"),
        ({"acme_challenge": "http-01"}, "add --https-redirect 80"),
        ({"ssl_cert_reqs": "required", "ssl_ca_certs": __file__}, "the authority has no client certificate"),
        ({"acme_domain": (), "acme_email": "me@here.test"}, "--acme-email is about --acme-domain"),
        ({"acme_ca_file": "/nowhere"}, "--acme-ca-file /nowhere: there is no such file"),
    ],
)
def test_options_that_make_no_sense_are_refused(options: dict[str, object], reason: str) -> None:
    given: dict[str, object] = {"acme_domain": "www.test", "acme_accept_terms": True}
    with pytest.raises(ConfigError, match=reason.replace("*", r"\*").replace("(", r"\(")):
        Config.make("main:app", **{**given, **options})


def test_a_port_without_tls_is_enough_for_the_challenge_over_http() -> None:
    given: dict[str, object] = {"acme_domain": "WWW.Test.", "acme_accept_terms": True, "acme_challenge": "http-01"}
    for more in ({"https_redirect": 80}, {"bind": ("0.0.0.0:443", "0.0.0.0:80?tls=off")}):
        config = Config.make("main:app", **{**given, **more})
        assert config.acme_domain == ("www.test",)
        assert config.has_tls
