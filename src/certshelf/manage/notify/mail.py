"""Mail by the user's own server: STARTTLS unless it is chosen otherwise."""

from __future__ import annotations

import asyncio
import smtplib
import ssl
from dataclasses import dataclass, field
from email.message import EmailMessage
from email.utils import formatdate, make_msgid
from ipaddress import ip_address

from certshelf.errors import ConfigError, DeployError
from certshelf.manage.credentials import OpenCredential
from certshelf.manage.notify.base import Message, addresses
from certshelf.manage.settings import NotifySettings

_TIMEOUT_S = 20.0
_PORTS = {"starttls": 587, "tls": 465, "none": 25}


@dataclass(frozen=True, slots=True)
class Mail:
    """See Way. security: starttls, tls, or none (only for a server on this machine)."""

    host: str
    port: int
    security: str
    sender: str
    receivers: tuple[str, ...]
    login: OpenCredential | None = field(default=None, repr=False)
    ca_file: str = ""
    name: str = "mail"

    @staticmethod
    def of(settings: NotifySettings, login: OpenCredential | None) -> Mail:
        """As the settings say; ConfigError when they do not fit."""
        host, colon, port = settings.smtp.rpartition(":")
        if not colon:
            host, port = settings.smtp, str(_PORTS[settings.smtp_security])
        if not port.isdigit():
            raise ConfigError(f"notify.smtp: no port: {port[:20]!r}", hint="mail.example.com:587")
        host = host.strip("[]")
        if settings.smtp_security == "none" and not _is_here(host):
            raise ConfigError(
                "notify.smtp_security: none is for a mail server on this machine only",
                hint="starttls or tls",
            )
        (sender,) = addresses(settings.mail_from, "notify.mail_from")[:1]
        receivers = tuple(addresses(settings.mail_to, "notify.mail_to"))
        security, ca_file = settings.smtp_security, settings.smtp_ca_file
        return Mail(host, int(port), security, sender, receivers, login, ca_file)

    async def send(self, message: Message) -> None:
        """See Way."""
        await asyncio.to_thread(self._send, message)

    def _send(self, message: Message) -> None:
        try:
            with self._connect() as server:
                if self.login is not None:
                    server.login(self.login.username, self.login.secret.reveal())
                server.send_message(self._mail(message))
        except smtplib.SMTPAuthenticationError as error:
            raise DeployError(
                f"{self.host} refuses the login", hint="look at notify.smtp_credential"
            ) from error
        except (smtplib.SMTPException, OSError, ValueError) as error:
            told = isinstance(error, (smtplib.SMTPException, OSError))
            what = _one_line(error) if told else type(error).__name__
            raise DeployError(f"no mail by {self.host}:{self.port}: {what}") from error

    def _connect(self) -> smtplib.SMTP:
        context = ssl.create_default_context(cafile=self.ca_file or None)
        if self.security == "tls":
            return smtplib.SMTP_SSL(self.host, self.port, timeout=_TIMEOUT_S, context=context)
        server = smtplib.SMTP(self.host, self.port, timeout=_TIMEOUT_S)
        try:
            if self.security == "starttls":
                server.starttls(context=context)  # raises when the server does not offer it
        except BaseException:
            server.close()
            raise
        return server

    def _mail(self, message: Message) -> EmailMessage:
        mail = EmailMessage()
        mail["From"], mail["To"] = self.sender, ", ".join(self.receivers)
        mail["Subject"] = message.title
        mail["Date"], mail["Message-ID"] = formatdate(), make_msgid(domain="certshelf.invalid")
        mail["Auto-Submitted"] = "auto-generated"  # RFC 3834: no out-of-office answers
        mail.set_content(message.text)
        return mail


def _is_here(host: str) -> bool:
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:200]
