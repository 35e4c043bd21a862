"""A stand-in for Windows' PowerShell Remoting on loopback, after Microsoft's published protocols.

It never met Windows, and no Windows was asked how it answers. It is written after [MS-WSMV]
(SOAP: Create, Command, Send, Receive, Signal, Delete), [MS-PSRP] (fragments 2.2.4, messages 2.2.2,
CLIXML 2.2.5) and [MS-NLMP] behind SPNEGO over TLS (pyspnego's acceptor), and shares no code with
pypsrp. It executes nothing: it records the script and its parameters and says what it was told to.
"""

from __future__ import annotations

import base64
import http.server
import os
import re
import ssl
import struct
import sys
import threading
import uuid
import xml.etree.ElementTree as ET
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

import spnego
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.padding import PKCS7

from tests.support.minted import loopback_server

USER, LOGIN = "FARM\\admin", "login-canary-0451"
SOAP = "http://www.w3.org/2003/05/soap-envelope"
ADDRESSING = "http://schemas.xmlsoap.org/ws/2004/08/addressing"
SHELL = "http://schemas.microsoft.com/wbem/wsman/1/windows/shell"
WSMAN = "http://schemas.dmtf.org/wbem/wsman/1/wsman.xsd"
TRANSFER = "http://schemas.xmlsoap.org/ws/2004/09/transfer"
FAULT = "http://schemas.microsoft.com/wbem/wsman/1/wsmanfault"
POWERSHELL = "{http://schemas.microsoft.com/powershell}"
TIMED_OUT = 2150858793  # ERROR_WSMAN_OPERATION_TIMEDOUT: ask again
MAX_ENVELOPE = 500 * 1024  # MaxEnvelopeSizekb of Windows Server 2012 and newer

# MS-PSRP 2.2.1, message types
SESSION_CAPABILITY, INIT_RUNSPACEPOOL = 0x00010002, 0x00010004
PUBLIC_KEY, ENCRYPTED_SESSION_KEY = 0x00010005, 0x00010006
RUNSPACEPOOL_STATE, CREATE_PIPELINE = 0x00021005, 0x00021006
APPLICATION_PRIVATE_DATA = 0x00021009
PIPELINE_STATE = 0x00041006
RECORDS = {"output": 0x00041004, "error": 0x00041005, "verbose": 0x00041008, "warning": 0x00041009}
OPENED, STOPPED, COMPLETED, FAILED = 2, 3, 4, 5


@dataclass(frozen=True)
class SecureText:
    """What came as a SecureString, and was decrypted with the session key."""

    text: str


@dataclass(frozen=True)
class PsCredential:
    user: str
    password: SecureText


@dataclass(frozen=True)
class Run:
    """One pipeline: the script and its parameters, as they arrived."""

    script: str
    parameters: dict[str, Any]


@dataclass(frozen=True)
class Answer:
    """What a script says, and how it ends: completed, failed, runs on (never ends), cut, silent."""

    said: tuple[tuple[str, str], ...] = ()
    ends: str = "completed"
    error: str = ""


@dataclass
class _Pipeline:
    """Bytes for the client, and those of it that are not whole yet."""

    outgoing: bytes = b""
    done: bool = False
    ends: str = ""
    incoming: dict[int, bytes] = field(default_factory=dict)


class WinRmPeer:
    """Listens on 127.0.0.1 with TLS; answer decides what a script says."""

    def __init__(self, folder: Path, answer: Callable[[Run], Answer]) -> None:
        self.answer = answer
        self.runs: list[Run] = []
        self.actions: list[str] = []
        self.seen = b""
        """Everything that clients sent inside TLS, with what was Base64 in it decoded too."""
        self.pools: dict[str, _Pipeline] = {}
        self.pipelines: dict[str, _Pipeline] = {}
        self.changed = threading.Condition()
        self._session_key = os.urandom(32)
        self._object = 0
        users = folder / "ntlm-users"
        users.write_text(f"{USER.replace(chr(92), ':')}:{LOGIN}\n")
        self._environment = {"NTLM_USER_FILE": str(users)}
        self.ca_file, certificate, key = loopback_server(folder)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, key)
        self._server = _Server(("127.0.0.1", 0), _handler(self))
        self._server.socket = context.wrap_socket(
            self._server.socket, server_side=True, do_handshake_on_connect=False
        )
        self.port = int(self._server.server_address[1])
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)

    def __enter__(self) -> WinRmPeer:
        self._before = {name: os.environ.get(name) for name in self._environment}
        os.environ.update(self._environment)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(5)
        for name, value in self._before.items():
            os.environ.pop(name) if value is None else os.environ.update({name: value})

    # --- SOAP

    def respond(self, body: bytes) -> tuple[int, str] | None:
        """Status and envelope for one request; None to cut the connection."""
        envelope = ET.fromstring(body)
        self.seen += body
        action = str(envelope.findtext(f".//{{{ADDRESSING}}}Action")).rpartition("/")[2]
        self.actions.append(action)
        if len(body) > MAX_ENVELOPE:
            return self._fault(envelope, 2150858817, "The envelope is too large")
        handler = getattr(self, f"_on_{action.lower()}")
        answer: tuple[int, str] | None = handler(envelope)
        return answer

    def _on_create(self, envelope: ET.Element) -> tuple[int, str]:
        shell = _find(envelope, "Shell", SHELL)
        pool = shell.get("ShellId", str(uuid.uuid4()).upper())
        self.pools[pool] = _Pipeline()
        self._take(pool, None, str(shell.findtext(f"{POWERSHELL}creationXml")))
        return self._reply(
            envelope,
            f'<rsp:Shell xmlns:rsp="{SHELL}"><rsp:ShellId>{pool}</rsp:ShellId></rsp:Shell>'
            f'<x:ResourceCreated xmlns:x="{TRANSFER}" xmlns:a="{ADDRESSING}" xmlns:w="{WSMAN}">'
            "<a:ReferenceParameters><w:SelectorSet>"
            f'<w:Selector Name="ShellId">{pool}</w:Selector>'
            "</w:SelectorSet></a:ReferenceParameters></x:ResourceCreated>",
        )

    def _on_command(self, envelope: ET.Element) -> tuple[int, str]:
        line = _find(envelope, "CommandLine", SHELL)
        command = line.get("CommandId", str(uuid.uuid4()).upper())
        self.pipelines[command] = _Pipeline()
        self._take(_pool(envelope), command, str(line.findtext(f"{{{SHELL}}}Arguments")))
        reply = f'<rsp:CommandResponse xmlns:rsp="{SHELL}"><rsp:CommandId>{command}</rsp:CommandId>'
        return self._reply(envelope, reply + "</rsp:CommandResponse>")

    def _on_send(self, envelope: ET.Element) -> tuple[int, str]:
        stream = _find(envelope, "Stream", SHELL)
        self._take(_pool(envelope), stream.get("CommandId"), str(stream.text))
        return self._reply(envelope, f'<rsp:SendResponse xmlns:rsp="{SHELL}"/>')

    def _on_receive(self, envelope: ET.Element) -> tuple[int, str] | None:
        command = _find(envelope, "DesiredStream", SHELL).get("CommandId")
        place = self.pipelines[command] if command else self.pools[_pool(envelope)]
        seconds = _seconds(envelope)
        with self.changed:
            if place.ends == "cut":
                return None
            if place.ends == "silent":
                self.changed.wait(60)  # longer than anybody waits
            if not self.changed.wait_for(lambda: place.outgoing or place.done, seconds):
                return self._fault(envelope, TIMED_OUT, "The operation timed out")
            data, place.outgoing = place.outgoing, b""
        state = "Done" if place.done else "Running"
        about = f' CommandId="{command}"' if command else ""
        reply = (
            f'<rsp:ReceiveResponse xmlns:rsp="{SHELL}">'
            f'<rsp:Stream Name="stdout"{about}>{base64.b64encode(data).decode()}</rsp:Stream>'
        )
        if command:
            reply += f'<rsp:CommandState{about} State="{SHELL}/CommandState/{state}"/>'
        return self._reply(envelope, reply + "</rsp:ReceiveResponse>")

    def _on_signal(self, envelope: ET.Element) -> tuple[int, str]:
        return self._reply(envelope, f'<rsp:SignalResponse xmlns:rsp="{SHELL}"/>')

    def _on_delete(self, envelope: ET.Element) -> tuple[int, str]:
        with self.changed:
            self.changed.notify_all()
        return self._reply(envelope, "")

    def _reply(self, envelope: ET.Element, body: str, status: int = 200) -> tuple[int, str]:
        asked = envelope.findtext(f".//{{{ADDRESSING}}}MessageID")
        return status, (
            f'<s:Envelope xmlns:s="{SOAP}" xmlns:a="{ADDRESSING}"><s:Header>'
            f"<a:MessageID>uuid:{uuid.uuid4()}</a:MessageID><a:RelatesTo>{asked}</a:RelatesTo>"
            f"</s:Header><s:Body>{body}</s:Body></s:Envelope>"
        )

    def _fault(self, envelope: ET.Element, code: int, text: str) -> tuple[int, str]:
        fault = (
            "<s:Fault><s:Code><s:Value>s:Receiver</s:Value></s:Code>"
            f'<s:Reason><s:Text xml:lang="en-US">{text}</s:Text></s:Reason>'
            f'<s:Detail><f:WSManFault xmlns:f="{FAULT}" Code="{code}" Machine="web1">'
            f"<f:Message>{text}</f:Message></f:WSManFault></s:Detail></s:Fault>"
        )
        return self._reply(envelope, fault, 500)

    # --- PSRP

    def _take(self, pool: str, command: str | None, encoded: str) -> None:
        """Fragments from the client: each whole message is acted upon."""
        data = base64.b64decode(encoded)
        self.seen += data
        place = self.pipelines[command] if command else self.pools[pool]
        while data:  # MS-PSRP 2.2.4: object, fragment, flags (1 starts, 2 ends), length; big-endian
            object_id, _, flags, length = struct.unpack(">QQBI", data[:21])
            whole = place.incoming.pop(object_id, b"") + data[21 : 21 + length]
            data = data[21 + length :]
            if flags & 2:
                self._act(pool, command, whole)
            else:
                place.incoming[object_id] = whole

    def _act(self, pool: str, command: str | None, message: bytes) -> None:
        kind = struct.unpack("<I", message[4:8])[0]
        content = ET.fromstring(message[40:].decode("utf-8-sig"))
        if kind == INIT_RUNSPACEPOOL:
            version = (
                '<Version N="protocolversion">2.3</Version><Version N="PSVersion">2.0</Version>'
            )
            version += '<Version N="SerializationVersion">1.1.0.1</Version>'
            private = '<Nil N="ApplicationPrivateData"/>'
            self._say(pool, None, SESSION_CAPABILITY, _object(version))
            self._say(pool, None, APPLICATION_PRIVATE_DATA, _object(private))
            state = f'<I32 N="RunspaceState">{OPENED}</I32>'
            self._say(pool, None, RUNSPACEPOOL_STATE, _object(state))
        elif kind == PUBLIC_KEY:
            blob = _sealed(self._session_key, str(content.findtext(".//S[@N='PublicKey']")))
            reply = f'<S N="EncryptedSessionKey">{blob}</S>'
            self._say(pool, None, ENCRYPTED_SESSION_KEY, _object(reply))
        elif kind == CREATE_PIPELINE:
            assert command is not None
            self._run(pool, command, self._parsed(content))

    def _run(self, pool: str, command: str, run: Run) -> None:
        self.runs.append(run)
        answer = self.answer(run)
        for stream, text in answer.said:
            shown = escape(text)
            record = {
                "output": f"<S>{shown}</S>",
                "error": _error(shown),
            }.get(
                stream,
                _object(
                    f'<S N="InformationalRecord_Message">{shown}</S>'
                    '<B N="InformationalRecord_SerializeInvocationInfo">false</B>'
                ),
            )
            self._say(pool, command, RECORDS[stream], record)
        if answer.ends == "completed":
            end = _object(f'<I32 N="PipelineState">{COMPLETED}</I32>')
            self._say(pool, command, PIPELINE_STATE, end)
        elif answer.ends == "failed":
            record = _error(escape(answer.error), ' N="ExceptionAsErrorRecord"')
            end = _object(f'<I32 N="PipelineState">{FAILED}</I32>{record}')
            self._say(pool, command, PIPELINE_STATE, end)
        with self.changed:
            self.pipelines[command].ends = answer.ends
            self.pipelines[command].done = answer.ends in ("completed", "failed")
            self.changed.notify_all()

    def _say(self, pool: str, command: str | None, kind: int, content: str) -> None:
        """One message to the client (MS-PSRP 2.2.1), as one fragment."""
        none = uuid.UUID(int=0)
        message = struct.pack("<II", 1, kind)
        message += uuid.UUID(pool).bytes_le + (uuid.UUID(command) if command else none).bytes_le
        message += content.encode()
        with self.changed:
            self._object += 1
            fragment = struct.pack(">QQBI", self._object, 0, 3, len(message)) + message
            (self.pipelines[command] if command else self.pools[pool]).outgoing += fragment
            self.changed.notify_all()

    def _parsed(self, pipeline: ET.Element) -> Run:
        """The one script of a CREATE_PIPELINE message (MS-PSRP 2.2.3.11 to 2.2.3.13)."""
        (command,) = pipeline.findall(".//Obj[@N='Cmds']/LST/Obj/MS")
        assert command.findtext("B[@N='IsScript']") == "true"
        parameters = {}
        for row in command.findall("Obj[@N='Args']/LST/Obj/MS"):
            name, value = row.find("*[@N='N']"), row.find("*[@N='V']")
            assert name is not None and value is not None
            parameters[_text(name)] = self._value(value)
        return Run(_text(_of(command, "S[@N='Cmd']")), parameters)

    def _value(self, element: ET.Element) -> Any:
        if element.tag == "SS":  # MS-PSRP 2.2.5.1.24: AES-256-CBC, no IV, UTF-16
            cipher = Cipher(algorithms.AES(self._session_key), modes.CBC(bytes(16))).decryptor()
            padded = cipher.update(base64.b64decode(_text(element))) + cipher.finalize()
            unpadder = PKCS7(128).unpadder()
            data = unpadder.update(padded) + unpadder.finalize()
            return SecureText(data.decode("utf-16-le"))
        if element.tag == "Obj":
            assert "System.Management.Automation.PSCredential" in element.itertext()
            properties = _of(element, "Props")
            password = self._value(_of(properties, "*[@N='Password']"))
            return PsCredential(_text(_of(properties, "*[@N='UserName']")), password)
        plain: dict[str, Callable[[str], Any]] = {"S": str, "B": "true".__eq__, "I32": int}
        return plain[element.tag](_text(element))


class _Server(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that hangs up is nothing to tell; anything else is."""
        if not isinstance(sys.exception(), OSError):
            super().handle_error(request, client_address)


def _object(members: str, attributes: str = "") -> str:
    return f'<Obj{attributes} RefId="0"><MS>{members}</MS></Obj>'


def _error(text: str, attributes: str = "") -> str:
    """An ErrorRecord (MS-PSRP 2.2.3.15) without invocation info."""
    return (
        f'<Obj{attributes} RefId="1"><TN RefId="1"><T>System.Management.Automation.ErrorRecord</T>'
        f"<T>System.Object</T></TN><ToString>{text}</ToString><MS>"
        f'<S N="Exception">{text}</S><S N="FullyQualifiedErrorId">RuntimeException</S>'
        '<I32 N="ErrorCategory_Category">14</I32><S N="ErrorCategory_Activity"></S>'
        '<S N="ErrorCategory_Reason">RuntimeException</S>'
        f'<S N="ErrorCategory_TargetName">{text}</S><S N="ErrorCategory_TargetType">String</S>'
        f'<S N="ErrorCategory_Message">{text}</S><B N="SerializeExtendedInfo">false</B></MS></Obj>'
    )


def _sealed(session_key: bytes, public_key: str) -> str:
    """The session key for a PUBLICKEYBLOB, as a SIMPLEBLOB (MS-PSRP 2.2.2.3 and 2.2.2.4)."""
    blob = base64.b64decode(public_key)
    assert blob[8:12] == b"RSA1"
    numbers = rsa.RSAPublicNumbers(*(int.from_bytes(b, "little") for b in (blob[16:20], blob[20:])))
    sealed = numbers.public_key().encrypt(session_key, padding.PKCS1v15())
    header = bytes.fromhex("010200001066000000a40000")
    return base64.b64encode(header + sealed[::-1]).decode()


def _text(element: ET.Element) -> str:
    """The text of a CLIXML element; _x000A_ and the like are characters (MS-PSRP 2.2.5.3.2)."""
    return re.sub(r"_x([0-9A-Fa-f]{4})_", lambda m: chr(int(m[1], 16)), element.text or "")


def _of(element: ET.Element, path: str) -> ET.Element:
    found = element.find(path)
    assert found is not None, path
    return found


def _find(envelope: ET.Element, name: str, space: str) -> ET.Element:
    return _of(envelope, f".//{{{space}}}{name}")


def _pool(envelope: ET.Element) -> str:
    return str(envelope.findtext(f".//{{{WSMAN}}}Selector[@Name='ShellId']"))


def _seconds(envelope: ET.Element) -> float:
    timeout = str(envelope.findtext(f".//{{{WSMAN}}}OperationTimeout"))
    return float(timeout.removeprefix("PT").removesuffix("S"))


def _handler(peer: WinRmPeer) -> type[http.server.BaseHTTPRequestHandler]:
    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def setup(self) -> None:
            super().setup()
            self.login = spnego.server(protocol="negotiate")  # one connection, one login

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
            token = self.headers.get("Authorization", "").partition(" ")[2]
            back = ""
            if not self.login.complete:
                if not token:
                    return self.answer(401, "", "Negotiate")
                try:
                    back = base64.b64encode(
                        self.login.step(base64.b64decode(token)) or b""
                    ).decode()
                except spnego.exceptions.SpnegoError:
                    self.login = spnego.server(protocol="negotiate")
                    return self.answer(401, "", "Negotiate")
                if not self.login.complete:
                    return self.answer(401, "", f"Negotiate {back}")
            answer = peer.respond(body)
            if answer is None:
                self.close_connection = True
                return None
            return self.answer(*answer, f"Negotiate {back}" if back else "")

        def answer(self, status: int, text: str, login: str = "") -> None:
            data = text.encode()
            self.send_response(status)
            if login:
                self.send_header("WWW-Authenticate", login)
            self.send_header("Content-Type", "application/soap+xml;charset=UTF-8")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_: Any) -> None:
            pass

    return Handler


def lines(text: str) -> Iterator[tuple[str, str]]:
    """Each line of a text as one object of the output stream."""
    return (("output", line) for line in text.splitlines())
