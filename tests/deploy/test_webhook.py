"""Task webhook against a receiver that checks the signature, and the addresses it never reaches."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import Encoding

from certshelf.deploy import guarded_http
from certshelf.deploy.webhook import Webhook, fill, sign
from certshelf.errors import CertshelfError, ConfigError, DeployError
from tests.support.bundles import CA, make_bundle
from tests.support.receiver import Answer, Receiver
from tests.support.tasks import LEAF, context

SECRET = ("", "webhook-canary-3X")
LOOPBACK = ["127.0.0.0/8"]


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    running = Receiver()
    yield running
    running.close()


def webhook(url: str, **settings: Any) -> Webhook:
    return Webhook.parse({"url": url, "allow_http": True, "allow": LOOPBACK, **settings})


def here(receiver: Receiver) -> str:
    return f"http://127.0.0.1:{receiver.port}/hook?token=t"


def test_it_posts_what_happened_and_signs_it(receiver: Receiver) -> None:
    assert webhook(here(receiver)).run(context(login=SECRET)).ok
    (got,) = receiver.got
    told = json.loads(got.body)
    assert told["certificate"] == "web"
    assert told["hosts"] == ["www.example.test", "*.example.test"]
    assert told["thumbprint"] == LEAF.thumbprint
    stamp = got.headers["X-Certshelf-Timestamp"]
    expected = sign(SECRET[1].encode(), stamp, got.body)
    assert got.headers["X-Certshelf-Signature"] == f"sha256={expected}"
    assert SECRET[1] not in got.body.decode() + str(got.headers)


def test_the_document_is_filled_after_it_was_parsed(receiver: Receiver) -> None:
    body = {"text": "{certificate} until {not_after}", "who": "{hosts}", "deep": [{"ok": "{ok}"}]}
    task = webhook(here(receiver), body=body)
    assert task.run(context(ok=False, error='"}, {"evil": 1')).ok
    told = json.loads(receiver.got[0].body)
    assert told["text"].startswith("web until 20")
    assert told["who"] == ["www.example.test", "*.example.test"]
    assert told["deep"] == [{"ok": False}]
    filled = fill({"why": "{error}"}, {"error": '"}, {"evil": 1'})
    assert json.loads(json.dumps(filled)) == {"why": '"}, {"evil": 1'}


def test_https_with_a_ca_of_ones_own(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_bytes(CA.public_bytes(Encoding.PEM))
    (tmp_path / "server.pem").write_bytes(make_bundle("localhost").to_pem())
    receiver = Receiver(tmp_path / "server.pem")
    try:
        url = f"https://localhost:{receiver.port}/"
        allow = [*LOOPBACK, "::1/128"]
        trusted = Webhook.parse({"url": url, "allow": allow, "ca_file": str(tmp_path / "ca.pem")})
        assert trusted.run(context()).ok
        with pytest.raises(DeployError, match="cannot be asked"):
            Webhook.parse({"url": url, "allow": allow}).run(context())
        assert len(receiver.got) == 1
    finally:
        receiver.close()


@pytest.mark.parametrize("status", [301, 302, 307, 400, 500])
def test_another_status_is_a_failure_and_no_redirect_is_followed(
    receiver: Receiver, status: int
) -> None:
    where = f"http://127.0.0.1:{receiver.port}/elsewhere"
    receiver.answer = Answer(status, {"Location": where})
    outcome = webhook(here(receiver)).run(context())
    assert f"answered {status}" in str(outcome.error)
    assert [got.path for got in receiver.got] == ["/hook?token=t"]
    assert "token" not in str(outcome.error) + outcome.log + str(outcome.stale)


def test_an_answer_beyond_64_kb_is_not_read(receiver: Receiver) -> None:
    receiver.answer = Answer(body=b"x" * 200_000)
    with pytest.raises(DeployError, match="64 KB"):
        webhook(here(receiver)).run(context())


def test_a_receiver_that_hangs_is_left(receiver: Receiver) -> None:
    receiver.answer = Answer(hold=threading.Event())
    with pytest.raises(DeployError, match="did not answer"):
        webhook(here(receiver)).run(context(seconds=0.5))


FORBIDDEN = [
    "https://127.0.0.1/",
    "https://[::1]/",
    "https://localhost/",
    "https://169.254.169.254/latest/meta-data/",
    "https://2130706433/",  # 127.0.0.1 as one number
    "https://0x7f000001/",
    "https://0177.0.0.1/",
    "https://127.1/",
    "https://10.0.0.1/",
    "https://172.16.5.5/",
    "https://192.168.1.1/",
    "https://100.64.0.1/",
    "https://0.0.0.0/",
    "https://224.0.0.1/",
    "https://255.255.255.255/",
    "https://[::ffff:127.0.0.1]/",
    "https://[::ffff:a00:1]/",
    "https://[64:ff9b::7f00:1]/",
    "https://[2002:7f00:1::]/",
    "https://[fd00::1]/",
    "https://[fe80::1]/",
    "https://[::]/",
]


@pytest.mark.parametrize("url", FORBIDDEN)
def test_an_address_that_is_not_public_is_refused_before_a_connection(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def connected(*_: object, **__: object) -> None:
        raise AssertionError("it connected")

    monkeypatch.setattr(guarded_http, "_post", connected)
    with pytest.raises(DeployError, match=r"not public|has no address"):
        Webhook.parse({"url": url}).run(context())


@pytest.mark.parametrize(
    "url",
    [
        "http://example.com/",
        "ftp://example.com/",
        "file:///etc/passwd",
        "https://",
        "https://user:secret@example.com/",
        "https://exa mple.com/",
        "https://example.com\\@127.0.0.1/",
        "https://example.com:99999/",
        "https://[::1/",
    ],
)
def test_what_is_no_url_of_a_receiver_is_refused_when_it_is_added(url: str) -> None:
    with pytest.raises(ConfigError) as caught:
        Webhook.parse({"url": url})
    assert "secret" not in str(caught.value)


def test_a_name_is_resolved_once_so_a_second_answer_cannot_lead_elsewhere(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """DNS rebinding: the first answer is allowed, every later one is a canary."""
    asked = []

    def rebinding(host: str, port: int, **options: Any) -> list[Any]:
        asked.append(host)
        address = "127.0.0.1" if len(asked) == 1 else "127.66.66.66"
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port))]

    with monkeypatch.context() as patch:
        patch.setattr(socket, "getaddrinfo", rebinding)
        task = webhook(f"http://rebind.example:{receiver.port}/", allow=["127.0.0.1/32"])
        destination = task._destination()
    status, _ = guarded_http.post(destination, b"{}", {})
    assert (asked, status) == (["rebind.example"], 200)
    assert receiver.got[0].headers["Host"].startswith("rebind.example")


def test_one_private_address_among_public_ones_is_enough_to_refuse(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def mixed(host: str, port: int, **options: Any) -> list[Any]:
        return [(2, 1, 6, "", (address, port)) for address in ("93.184.216.34", "10.0.0.1")]

    monkeypatch.setattr(socket, "getaddrinfo", mixed)
    with pytest.raises(DeployError, match=r"10\.0\.0\.1"):
        guarded_http.resolve("https://mixed.example/")


def test_a_body_with_an_unknown_place_is_refused() -> None:
    with pytest.raises(ConfigError, match="password"):
        Webhook.parse({"url": "https://example.com/", "body": {"x": "{password}"}})


def test_preview_looks_the_receiver_up_and_tells_it_nothing(receiver: Receiver) -> None:
    assert webhook(here(receiver)).preview(context()).notes
    assert receiver.connections == 0
    with pytest.raises(CertshelfError):
        Webhook.parse({"url": "https://127.0.0.1/"}).preview(context())
