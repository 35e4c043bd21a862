"""What uvicorn, gunicorn and hypercorn listen for, read without executing anything."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from certshelf.doctor.bindings import python
from certshelf.doctor.bindings.base import Reading
from certshelf.errors import ConfigError
from certshelf.farm import Kind
from certshelf.manage.bindings import guess_kind, read_bindings

Row = tuple[str, str, int, str]


def rows(reading: Reading) -> list[Row]:
    return [(b.site, b.address, b.port, b.certificate) for b in reading.bindings]


HYPERCORN = """
bind = ["0.0.0.0:443", "[::1]:8443", "unix:/run/x"]
insecure_bind = ["0.0.0.0:80"]
certfile = "/etc/ssl/own.pem"
keyfile = "/etc/ssl/own.key"
"""


def test_hypercorns_toml() -> None:
    reading = python.read(HYPERCORN, "hypercorn.toml")
    assert rows(reading) == [
        ("hypercorn", "*", 443, "/etc/ssl/own.pem"),
        ("hypercorn", "[::1]", 8443, "/etc/ssl/own.pem"),
    ]
    assert len(reading.notes) == 1
    assert rows(python.read('bind = "0.0.0.0:80"', "hypercorn.toml")) == []


def test_gunicorns_configuration_is_read_and_not_run() -> None:
    text = "raise SystemExit(1)\nbind = ['0.0.0.0:8443']\nkeyfile = certfile = '/c.pem'\n"
    assert rows(python.read(text)) == [("gunicorn", "*", 8443, "/c.pem")]


def test_what_is_computed_is_noted() -> None:
    text = "import os\nbind = os.environ['BIND']\ncertfile = f'/etc/{x}'\n"
    reading = python.read(text)
    assert rows(reading) == [("gunicorn", "127.0.0.1", 8000, "computed")]
    assert reading.notes == (
        "line 2: bind is computed; not read",
        "line 3: certfile is computed; not read",
    )


def test_gunicorns_hook_takes_it_from_the_shelf_when_it_uses_certshelf() -> None:
    hook = "bind = '*:443'\ncertfile = '/c.pem'\ndef ssl_context(conf, default):\n    return 1\n"
    assert rows(python.read(hook)) == [("gunicorn", "*", 443, python.COMPUTED)]
    ours = "from certshelf.serve.python import server_context\n" + hook
    assert rows(python.read(ours)) == [("gunicorn", "*", 443, "")]


def test_calls_of_uvicorn_in_a_program() -> None:
    text = """
import uvicorn
if __name__ == "__main__":
    uvicorn.run("app:app", host="::", port=8443, ssl_certfile="c.pem", ssl_keyfile="k.pem")
    uvicorn.run("app:app", port=8080)
"""
    assert rows(python.read(text, "main.py")) == [("uvicorn", "*", 8443, "c.pem")]


def test_the_programs_of_our_own_page_come_from_the_shelf() -> None:
    text = """
import uvicorn
from certshelf.serve.python import server_context
config = uvicorn.Config(app, host="0.0.0.0", port=443)
config.load()
config.ssl = server_context(shelf)
"""
    assert rows(python.read(text, "main.py")) == [("uvicorn", "*", 443, "")]


def test_an_object_with_settings_is_read() -> None:
    text = "config = Config()\nconfig.bind = ['0.0.0.0:443']\nconfig.certfile = 'c.pem'\n"
    assert rows(python.read(text, "serve.py")) == [("python", "*", 443, "c.pem")]


UNIT = """
[Service]
ExecStart=/srv/venv/bin/uvicorn app:app --host 0.0.0.0 --port=443 \\
    --ssl-certfile /run/certshelf/mirror/www.example.com.pem --ssl-keyfile "k y.pem"
"""


def test_a_commands_flags_in_a_unit_a_procfile_and_a_dockerfile(tmp_path: Path) -> None:
    unit = tmp_path / "app.service"
    unit.write_text(UNIT)
    assert guess_kind(unit) is Kind.PYTHON
    assert rows(read_bindings(unit)) == [("uvicorn", "*", 443, "")]  # a reader's mirror
    docker = 'CMD ["python", "-m", "hypercorn", "-b", "0.0.0.0:443", "--certfile=c.pem", "a:a"]'
    assert rows(python.read(docker, "Dockerfile")) == [("hypercorn", "*", 443, "c.pem")]
    procfile = "web: gunicorn -b:8443 -b 127.0.0.1:9443 --certfile c.pem app:app\nworker: x\n"
    assert rows(python.read(procfile, "Procfile")) == [
        ("gunicorn", "*", 8443, "c.pem"),
        ("gunicorn", "127.0.0.1", 9443, "c.pem"),
    ]


def test_a_commands_configuration_is_followed_and_its_flags_win(tmp_path: Path) -> None:
    (tmp_path / "gunicorn.conf.py").write_text("bind = '0.0.0.0:1'\ncertfile = 'c.pem'\n")
    procfile = tmp_path / "Procfile"
    procfile.write_text("web: gunicorn -c gunicorn.conf.py -b 0.0.0.0:443 app:app\n")
    assert rows(read_bindings(procfile)) == [("gunicorn", "*", 443, "c.pem")]
    gone = python.read("gunicorn -c gone.py --certfile $CERT --bind 0.0.0.0:$PORT", "Procfile")
    assert len(gone.notes) == 3


def test_a_file_that_is_none_is_refused() -> None:
    for text, source in (("def", "x.py"), ("a =", "x.toml"), ("(" * 5000, "x.py")):
        with pytest.raises(ConfigError):
            python.read(text, source)


@given(st.text("gunicor -bc=:'\"[]()\\\n$,.0443defilk", max_size=120))
def test_whatever_a_file_holds_the_reader_answers_or_refuses(text: str) -> None:
    for source in ("x.py", "x.toml", "Procfile"):
        try:
            python.read(f"gunicorn {text}", source)
        except ConfigError:
            continue
