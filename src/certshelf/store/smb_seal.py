"""How messages of one SMB 3 session are encrypted or signed, and answers proved.

MS-SMB2 sections 2.2.41 (transform header), 3.1.4.1 (signing), 3.1.4.3 (encrypting). The keys are
those that smbprotocol derived at the login; its own way packs each field apart and costs more than
the cipher itself.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import struct
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from cryptography.hazmat.primitives.ciphers.aead import AESCCM, AESGCM
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.cmac import CMAC

_SMB_3_1_1 = 0x0311
_AES_GCM = (0x0002, 0x0004)  # of 128 and of 256 bits (section 2.2.3.1.2)
_HMAC_SHA256, _AES_GMAC = 0x0000, 0x0002  # section 2.2.3.1.7
_TRANSFORM = b"\xfdSMB"
_ENCRYPTED = 0x0001
_TAIL = struct.Struct("<16sIHHQ")  # nonce, size, reserved, flags, session: what is proved too
_HEAD = 20
_PENDING = 0x00000103
_FROM_SERVER, _SIGNED = 0x1, 0x8
_CANCEL = 0x0C


class Seal(Protocol):
    """Protects what is sent and refuses what is not protected."""

    def sealed(self, parts: Sequence[bytes]) -> bytes:
        """What travels for the messages of one compound."""
        ...

    def opened(self, frame: bytes) -> bytes | None:
        """The answers in a frame; None when it is not of this kind. Raises when it is forged."""
        ...

    def check(self, answer: bytes) -> None:
        """Raise ValueError unless one answer of an opened frame is what the server sent."""
        ...


def seal_of(connection: Any, session: Any, tree: Any) -> Seal:
    """What a session of smbprotocol that has logged in and connected to a share needs."""
    newest = connection.dialect >= _SMB_3_1_1
    if session.encrypt_data or tree.encrypt_data:
        is_gcm = newest and connection.cipher_id in _AES_GCM
        return Encryption(
            session.session_id, session.encryption_key, session.decryption_key, is_gcm=is_gcm
        )
    return Signature(session.signing_key, connection.signing_algorithm_id if newest else None)


class Encryption:
    """AES-GCM or AES-CCM; the cipher proves where an answer comes from, so none is signed."""

    def __init__(self, session_id: int, sending: bytes, receiving: bytes, *, is_gcm: bool) -> None:
        cipher = AESGCM if is_gcm else AESCCM
        self._nonce_size = 12 if is_gcm else 11
        self._session_id = session_id
        self._sending, self._receiving = cipher(sending), cipher(receiving)

    def sealed(self, parts: Sequence[bytes]) -> bytes:
        """See Seal."""
        data, nonce = b"".join(parts), os.urandom(self._nonce_size)
        tail = _TAIL.pack(nonce, len(data), 0, _ENCRYPTED, self._session_id)
        cipher_text = self._sending.encrypt(nonce, data, tail)
        return b"".join((_TRANSFORM, cipher_text[-16:], tail, cipher_text[:-16]))

    def opened(self, frame: bytes) -> bytes | None:
        """See Seal."""
        if frame[:4] != _TRANSFORM:
            return None
        nonce, _, _, flags, session_id = _TAIL.unpack_from(frame, _HEAD)
        if flags != _ENCRYPTED or session_id != self._session_id:
            raise ValueError("an answer of another session")
        start = _HEAD + _TAIL.size
        return self._receiving.decrypt(
            nonce[: self._nonce_size], frame[start:] + frame[4:_HEAD], frame[_HEAD:start]
        )

    def check(self, answer: bytes) -> None:
        """See Seal: it was proved when it was opened."""


class Signature:
    """In the clear, each message signed: only where the address says that this is enough."""

    def __init__(self, key: bytes, algorithm: int | None) -> None:
        self._sign: Callable[[bytes], bytes] = {
            _AES_GMAC: lambda message: AESGCM(key).encrypt(_gmac_nonce(message), b"", message),
            _HMAC_SHA256: lambda message: hmac.digest(key, message, hashlib.sha256)[:16],
        }.get(-1 if algorithm is None else algorithm, lambda message: _cmac(key, message))

    def sealed(self, parts: Sequence[bytes]) -> bytes:
        """See Seal."""
        return b"".join(map(self._signed, parts))

    def _signed(self, message: bytes) -> bytes:
        (flags,) = struct.unpack_from("<I", message, 16)
        head = message[:16] + struct.pack("<I", flags | _SIGNED) + message[20:48]
        signature = self._sign(head + bytes(16) + message[64:])
        return head + signature + message[64:]

    def opened(self, frame: bytes) -> bytes | None:
        """See Seal."""
        return None if frame[:4] == _TRANSFORM else frame

    def check(self, answer: bytes) -> None:
        """See Seal. "Wait" alone is not signed (section 3.2.5.1.3)."""
        (status,) = struct.unpack_from("<I", answer, 8)
        if status == _PENDING:
            return
        (flags,) = struct.unpack_from("<I", answer, 16)
        expected = self._sign(answer[:48] + bytes(16) + answer[64:])
        if not flags & _SIGNED or not hmac.compare_digest(expected, answer[48:64]):
            raise ValueError("an answer without a valid signature")


def _gmac_nonce(message: bytes) -> bytes:
    command, flags = struct.unpack_from("<H2xI", message, 12)
    role = (1 if flags & _FROM_SERVER else 0) | (2 if command == _CANCEL else 0)
    return message[24:32] + struct.pack("<I", role)


def _cmac(key: bytes, message: bytes) -> bytes:
    code = CMAC(AES(key))
    code.update(message)
    return code.finalize()
