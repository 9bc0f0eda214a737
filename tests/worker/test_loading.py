"""What is said about an application that does not load: the user's own traceback or one line, and exit code 3."""

import re
from pathlib import Path
from textwrap import dedent

import pytest
from support.server import ServerProcess

from worker.launching import launched, outcome, wait_listening

OURS = re.compile(r'File "[^"]*(/swell/|importlib)')


def failure(directory: Path, source: str, *arguments: str) -> str:
    """The output of `swell` for a `main.py` of this source."""
    (directory / "main.py").write_text(dedent(source))
    code, output = outcome(*(arguments or ("main:app",)), directory=directory)
    assert code == 3, output
    assert not OURS.search(output), output
    return output


def one_line(output: str) -> str:
    """What is said of the mistake; that the import went well may stand before."""
    told = [line for line in output.splitlines(keepends=True) if " INFO: workers are forked" not in line]
    assert len(told) == 1, output
    assert told[0].startswith("swell: "), output
    return told[0]


def test_an_exception_at_import_is_the_users_own_traceback(tmp_path: Path) -> None:
    output = failure(
        tmp_path,
        """
        def connect():
            raise ConnectionError("no database")
        connect()
        """,
    )
    lines = output.splitlines()
    assert lines[0] == "Traceback (most recent call last):"
    assert re.fullmatch(r'  File "\S+/main.py", line 4, in <module>', lines[1])
    assert "ConnectionError: no database" in lines
    assert lines[-1] == "swell: the module 'main' could not be imported"


def test_the_cause_is_shown_without_machinery_either(tmp_path: Path) -> None:
    (tmp_path / "settings.py").write_text("PORT = int('many')\n")
    output = failure(
        tmp_path,
        """
        import importlib
        try:
            importlib.import_module("settings")
        except ValueError as error:
            raise RuntimeError("bad settings") from error
        """,
    )
    assert output.count("Traceback") == 2
    assert "direct cause" in output
    assert "settings.py" in output
    assert "RuntimeError: bad settings" in output


def test_a_syntax_error_names_its_place(tmp_path: Path) -> None:
    output = failure(tmp_path, "app = (\n")
    assert re.match(r'  File "\S+/main.py", line 1\n    app = \(\n', output), output
    assert "SyntaxError" in output


def test_a_module_missing_inside_the_application_is_a_traceback(tmp_path: Path) -> None:
    output = failure(tmp_path, "import no_such_library\n")
    assert "main.py" in output
    assert "ModuleNotFoundError: No module named 'no_such_library'" in output


def test_leaving_at_import_is_told(tmp_path: Path) -> None:
    output = failure(tmp_path, "import sys\nsys.exit('configure me first')\n")
    assert "SystemExit: configure me first" in output


@pytest.mark.parametrize(
    ("target", "said"),
    [
        ("mian:app", "there is no module 'mian' in .*; did you mean 'main'"),
        ("main.py:app", "there is no module 'main.py' in .*; a module is written without .py: main$"),
        ("pkg.wbe:app", r"there is no module 'pkg\.wbe' in .*; did you mean 'pkg.web'"),
        ("nothing_like_it:app", "there is no module 'nothing_like_it' in .* or on the import path$"),
        ("main:ap", "the module 'main' has no attribute 'ap'; did you mean 'app'"),
        ("main:zzz", "the module 'main' has no attribute 'zzz'$"),
        ("main:app.inner", "the module 'main' has no attribute 'app.inner'$"),
        ("main:number", "main:number is not an application: it is not callable, it is of type int$"),
        ("main:make", "main:make takes no arguments, so it is probably a factory: add --factory$"),
        ("main:wsgi", "main:wsgi takes two arguments, so it is probably a WSGI application: add --interface wsgi$"),
        ("main:Site", "main:Site is a class whose instances may be the application"),
        (
            "main:app --factory",
            "main:app is not a factory: it takes arguments, as an application does; drop --factory$",
        ),
        ("main:number --factory", "main:number is not a factory: it is not callable, it is of type int$"),
        ("main:make_late --factory", "the factory main:make_late is an async function; a factory is an ordinary one$"),
        (
            "main:make_nothing --factory",
            "main:make_nothing is not an application: it is not callable, it is of type NoneType",
        ),
    ],
)
def test_a_wrong_target_is_one_line(tmp_path: Path, target: str, said: str) -> None:
    (tmp_path / "pkg").mkdir()
    (tmp_path / "pkg" / "__init__.py").touch()
    (tmp_path / "pkg" / "web.py").touch()
    source = """
        number = 1
        async def app(scope, receive, send): ...
        def wsgi(environ, start_response): ...
        def make(): return app
        async def make_late(): return app
        def make_nothing(): return None
        class Site:
            def __init__(self, a, b): ...
            async def __call__(self, scope, receive, send): ...
        """
    output = one_line(failure(tmp_path, source, *target.split()))
    assert re.search(said, output, re.M), output


def test_a_factory_that_fails_is_the_users_own_traceback(tmp_path: Path) -> None:
    output = failure(tmp_path, "def make():\n    raise KeyError('SECRET')\n", "main:make", "--factory")
    assert "KeyError: 'SECRET'" in output
    assert output.endswith("swell: the factory main:make failed\n")


SAYS = """
import os
TEXT = {text}
async def app(scope, receive, send):
    assert scope["type"] == "http"
    await send({{"type": "http.response.start", "status": 200, "headers": []}})
    await send({{"type": "http.response.body", "body": TEXT.encode()}})
def make():
    return app
class Nested:
    inner = app
"""


def assert_says(server: ServerProcess, text: str) -> None:
    from urllib.request import urlopen

    port = wait_listening(server)
    with urlopen(f"http://127.0.0.1:{port}/", timeout=15) as response:
        assert response.read().decode() == text
    server.stop()


@pytest.mark.parametrize("target", [["main:app"], ["main:make", "--factory"], ["main:Nested.inner"]])
def test_targets_that_load(tmp_path: Path, target: list[str]) -> None:
    (tmp_path / "main.py").write_text(SAYS.format(text="'here'"))
    with launched(*target, "--port", "0", directory=tmp_path) as server:
        assert_says(server, "here")


def test_app_dir_leads_the_import_path(tmp_path: Path) -> None:
    (tmp_path / "src").mkdir()
    (tmp_path / "src" / "main.py").write_text(SAYS.format(text="'from src'"))
    with launched("main:app", "--app-dir", "src", "--port", "0", directory=tmp_path) as server:
        assert_says(server, "from src")


def test_env_file_is_read_before_the_import_and_does_not_override(tmp_path: Path) -> None:
    (tmp_path / "main.py").write_text(SAYS.format(text="os.environ['GREETING'] + os.environ['NAME']"))
    (tmp_path / "settings.env").write_text("GREETING='hello '\nNAME=file\n")
    options = ["main:app", "--env-file", "settings.env", "--port", "0"]
    with launched(*options, directory=tmp_path, environment={"NAME": "environment"}) as server:
        assert_says(server, "hello environment")


def test_the_loop_is_there_but_does_not_run_during_the_import(tmp_path: Path) -> None:
    source = """
        import asyncio
        LOOP = asyncio.get_event_loop()
        assert not LOOP.is_running()
        TEXT = asyncio.new_event_loop().run_until_complete(asyncio.sleep(0, "prepared"))
        asyncio.set_event_loop(LOOP)
        async def app(scope, receive, send):
            assert scope["type"] == "http"
            assert asyncio.get_running_loop() is LOOP
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": TEXT.encode()})
        """
    (tmp_path / "main.py").write_text(dedent(source))
    with launched("main:app", "--port", "0", directory=tmp_path) as server:
        assert_says(server, "prepared")
