"""Digests on their way: a real mail server, a real HTTP receiver, and no way to inner machines."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from aiohttp import web

from certshelf.errors import ConfigError, DeployError
from certshelf.finding import Finding, Severity
from certshelf.manage.certificates import add_certificate
from certshelf.manage.credentials import OpenCredential, set_credential
from certshelf.manage.manager import Manager
from certshelf.manage.model import Credential, CredentialKind, State
from certshelf.manage.notify.base import Message
from certshelf.manage.notify.mail import Mail
from certshelf.manage.notify.others import Apprise
from certshelf.manage.notify.tell import tell_what_is_wrong
from certshelf.manage.notify.webhook import Webhook
from certshelf.manage.service.checkup import check_up
from certshelf.manage.settings import NotifySettings
from certshelf.secret import Secret
from tests.support.clock import FakeClock
from tests.support.homes import manager_in
from tests.support.records import certificate
from tests.support.smtp import smtp_server

pytestmark = pytest.mark.slow
MESSAGE = Message("certshelf on host: 1 new", "New:\n- www failed 3 times: no\n")
PASSWORD = "hunter2-secret"


def mail(port: int, ca_file: Path | None = None, password: str = PASSWORD) -> Mail:
    login = OpenCredential("certshelf", Secret(password))
    receivers = ("ops@example.com", "web@example.com")
    ca = str(ca_file) if ca_file else ""
    return Mail("localhost", port, "starttls", "from@example.com", receivers, login, ca)


def test_a_mail_goes_by_starttls_with_a_login(tmp_path: Path) -> None:
    with smtp_server(tmp_path, login=("certshelf", PASSWORD)) as server:
        asyncio.run(mail(server.port, server.ca_file).send(MESSAGE))
    (text,) = server.mails
    assert "Subject: certshelf on host: 1 new\r\n" in text
    assert "- www failed 3 times: no\r\n" in text
    assert "To: ops@example.com, web@example.com\r\n" in text
    assert [c.split(" ")[0] for c in server.commands[:4]] == ["ehlo", "STARTTLS", "ehlo", "AUTH"]


def test_a_server_without_starttls_gets_neither_login_nor_mail(tmp_path: Path) -> None:
    with (
        smtp_server(tmp_path, offers_tls=False, login=("certshelf", PASSWORD)) as server,
        pytest.raises(DeployError) as caught,
    ):
        asyncio.run(mail(server.port, server.ca_file).send(MESSAGE))
    assert server.mails == []
    assert not any(c.startswith(("AUTH", "mail", "MAIL")) for c in server.commands)
    assert PASSWORD not in str(caught.value)


def test_a_server_whose_certificate_nobody_vouches_for_gets_nothing(tmp_path: Path) -> None:
    with (
        smtp_server(tmp_path, login=("certshelf", PASSWORD)) as server,
        pytest.raises(DeployError, match="certificate"),
    ):
        asyncio.run(mail(server.port).send(MESSAGE))
    assert server.mails == []


def test_a_refused_login_is_said_without_the_password(tmp_path: Path) -> None:
    with (
        smtp_server(tmp_path, login=("certshelf", "another")) as server,
        pytest.raises(DeployError, match="refuses the login") as caught,
    ):
        asyncio.run(mail(server.port, server.ca_file).send(MESSAGE))
    assert PASSWORD not in str(caught.value)


# --- the webhook


class Receiver:
    """An HTTP server that keeps what it gets; /moved leads to /inner, /bad answers 500."""

    def __init__(self) -> None:
        self.bodies: list[dict[str, str]] = []
        self.paths: list[str] = []
        self.port = 0

    async def take(self, request: web.Request) -> web.Response:
        self.paths.append(request.path)
        self.bodies.append(await request.json())
        if request.path == "/moved":
            return web.Response(status=302, headers={"Location": "/inner"})
        return web.Response(status=500 if request.path == "/bad" else 204)


@asynccontextmanager
async def receiver() -> AsyncIterator[Receiver]:
    found = Receiver()
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", found.take)
    runner = web.AppRunner(app)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        found.port = runner.addresses[0][1]
        yield found
    finally:
        await runner.cleanup()


def post(path: str, allowed: frozenset[str], host: str = "localhost") -> Receiver:
    async def run() -> Receiver:
        async with receiver() as found:
            scheme = "http" if allowed else "https"
            url = f"{scheme}://{host}:{found.port}{path}"
            try:
                await Webhook(Secret(url), allowed).send(MESSAGE)
            except (DeployError, ConfigError) as error:
                error.args = (f"{error} [{len(found.paths)} requests, {path in str(error)}]",)
                raise
            return found

    return asyncio.run(run())


def test_an_allowed_receiver_gets_the_digest_as_json() -> None:
    found = post("/hook/secret-token", frozenset({"localhost"}))
    assert found.bodies == [{"title": MESSAGE.title, "text": f"{MESSAGE.title}\n{MESSAGE.text}"}]


def test_a_redirect_is_not_followed() -> None:
    with pytest.raises(DeployError, match=r"answers 302 \[1 requests, False\]"):
        post("/moved", frozenset({"localhost"}))


def test_an_error_is_told_without_the_url() -> None:
    with pytest.raises(DeployError, match=r"answers 500 \[1 requests, False\]"):
        post("/bad", frozenset({"localhost"}))


@pytest.mark.parametrize("host", ["localhost", "2130706433", "0x7f000001", "127.1"])
def test_no_connection_reaches_an_inner_machine_by_any_spelling(host: str) -> None:
    with pytest.raises((DeployError, ConfigError), match=r"\[0 requests, False\]"):
        post("/inner", frozenset(), host)


# --- from a failure to a mail


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[Manager]:
    clock = FakeClock()
    with manager_in(tmp_path, clock) as manager, smtp_server(tmp_path) as server:
        manager.settings = replace(
            manager.settings,
            notify=NotifySettings(
                smtp=f"localhost:{server.port}",
                smtp_ca_file=str(server.ca_file),
                mail_from="a@example.com",
                mail_to="b@example.com",
            ),
        )
        manager.mails = server.mails  # type: ignore[attr-defined]
        yield manager


def fail(manager: Manager, name: str, failures: int) -> None:
    with manager.database.write() as records:
        found = records.certificates.get(name)
        status = replace(found.status, state=State.FAILED, failures=failures, last_error="no DNS")
        records.certificates.set_status(found.id, status)


def kinds(manager: Manager) -> list[str]:
    with manager.database.read() as records:
        return [event.kind for event in records.events.latest(100)]


def test_a_hundred_failures_are_one_mail_and_a_second_failure_is_none(manager: Manager) -> None:
    for i in range(100):
        add_certificate(manager, certificate(f"n{i}"))
        fail(manager, f"n{i}", 2)
    assert asyncio.run(tell_what_is_wrong(manager)) == ""
    for i in range(100):
        fail(manager, f"n{i}", 3)
    assert asyncio.run(tell_what_is_wrong(manager)) == "sent"
    assert asyncio.run(tell_what_is_wrong(manager)) == ""
    mails: list[str] = manager.mails  # type: ignore[attr-defined]
    assert len(mails) == 1
    assert "100 new" in mails[0]
    assert "failed 3 times: no DNS" in mails[0]
    assert kinds(manager).count("notification.sent") == 1


def test_the_use_of_a_secret_is_logged_without_the_secret(manager: Manager) -> None:
    add_certificate(manager, certificate("one"))
    fail(manager, "one", 3)
    login = Credential("login", CredentialKind.LOGIN, "certshelf")
    set_credential(manager.database, login, Secret(PASSWORD), manager.clock)
    settings = replace(manager.settings.notify, smtp_credential="login", smtp="localhost:1")
    manager.settings = replace(manager.settings, notify=settings)
    assert asyncio.run(tell_what_is_wrong(manager)) == "failed"
    with manager.database.read() as records:
        (used,) = records.events.latest(10, kind="credential.used")
        everything = "".join(str(event) for event in records.events.all())
    assert (used.subject, used.data) == ("login", {"for": "notification"})
    assert PASSWORD not in everything


def test_drift_that_the_doctor_finds_is_told_and_its_end_too(
    manager: Manager, monkeypatch: pytest.MonkeyPatch
) -> None:
    drift = Finding("drift", Severity.ERROR, "web1", "web1 serves an old certificate for a.test")
    monkeypatch.setattr("certshelf.manage.service.checkup.run_doctor", lambda manager: (drift,))
    assert check_up(manager) == {"error": 1}
    check_up(manager)
    assert asyncio.run(tell_what_is_wrong(manager)) == "sent"
    monkeypatch.setattr("certshelf.manage.service.checkup.run_doctor", lambda manager: ())
    check_up(manager)
    assert isinstance(manager.clock, FakeClock)
    manager.clock.advance(7200)
    assert asyncio.run(tell_what_is_wrong(manager)) == "sent"
    found = [k for k in kinds(manager) if k.startswith("doctor.")]
    assert found == ["doctor.found", "doctor.cleared"]
    first, second = manager.mails  # type: ignore[attr-defined]
    assert "serves an old certificate" in first
    assert "Gone:" in second


def test_a_way_that_fails_is_an_event_and_is_tried_again_later(manager: Manager) -> None:
    add_certificate(manager, certificate("one"))
    fail(manager, "one", 3)
    settings = replace(manager.settings.notify, smtp="localhost:1")
    manager.settings = replace(manager.settings, notify=settings)
    assert asyncio.run(tell_what_is_wrong(manager)) == "failed"
    assert asyncio.run(tell_what_is_wrong(manager)) == ""
    assert kinds(manager).count("notification.failed") == 1


@pytest.mark.filterwarnings("ignore::DeprecationWarning:apprise")
def test_apprise_itself_posts_the_digest() -> None:
    pytest.importorskip("apprise")

    async def story() -> None:
        async with receiver() as found:
            await Apprise(Secret(f"json://127.0.0.1:{found.port}/chat")).send(MESSAGE)
            assert found.paths == ["/chat"]
            (body,) = found.bodies
            assert (body["title"], body["message"].strip()) == (MESSAGE.title, MESSAGE.text.strip())
            with pytest.raises(DeployError, match="apprise could not send"):
                await Apprise(Secret(f"json://127.0.0.1:{found.port}/bad")).send(MESSAGE)

    asyncio.run(story())


@pytest.mark.filterwarnings("ignore::DeprecationWarning:apprise")
def test_an_apprise_url_that_it_does_not_know_is_refused() -> None:
    pytest.importorskip("apprise")
    with pytest.raises(ConfigError, match="no URL that it knows"):
        asyncio.run(Apprise(Secret("nonsense")).send(MESSAGE))
