"""The key file on Windows: wrapped by DPAPI for this machine, so that a stolen copy opens nowhere.

Machine scope, since the service and the administrator's commands run as different accounts; the
file's access list decides who on this machine may read it. Written after Microsoft's documentation
of CryptProtectData; never yet run on Windows.
"""

from __future__ import annotations

import base64
import binascii
import os
from typing import Any

from certshelf.errors import CredentialError

MARK = b"certshelf-dpapi-1\n"
_ENTROPY = b"certshelf key file"
_UI_FORBIDDEN, _LOCAL_MACHINE = 0x1, 0x4


def wrap(data: bytes) -> bytes:
    """A key file's bytes as they go to the disk: wrapped on Windows, as they are elsewhere."""
    if os.name != "nt":
        return data
    return MARK + base64.b64encode(_call("CryptProtectData", data)) + b"\n"


def unwrap(data: bytes) -> bytes:
    """The bytes of a key file as it was read, wrapped or not; CredentialError elsewhere."""
    if not data.startswith(MARK):
        return data
    if os.name != "nt":
        raise CredentialError(
            "the key file is wrapped by DPAPI: only the Windows machine that made it opens it",
            hint="restore a backup, which holds the keys themselves",
        )
    try:
        return _call("CryptUnprotectData", base64.b64decode(data[len(MARK) :], validate=False))
    except binascii.Error as error:
        raise CredentialError("the key file is damaged") from error


def _call(function: str, data: bytes) -> bytes:
    """CryptProtectData or CryptUnprotectData (dpapi.h); their parameters have the same order."""
    import ctypes  # late: it costs some milliseconds, and only Windows needs it

    class Blob(ctypes.Structure):
        _fields_ = (("size", ctypes.c_uint32), ("data", ctypes.POINTER(ctypes.c_char)))

    def blob(content: bytes) -> Blob:
        buffer = ctypes.create_string_buffer(content, len(content))
        return Blob(len(content), ctypes.cast(buffer, ctypes.POINTER(ctypes.c_char)))

    windll: Any = getattr(ctypes, "windll")  # noqa: B009 - there only on Windows
    given, entropy, made = blob(data), blob(_ENTROPY), Blob()
    done = getattr(windll.crypt32, function)(
        ctypes.byref(given),
        None,
        ctypes.byref(entropy),
        None,
        None,
        _UI_FORBIDDEN | _LOCAL_MACHINE,
        ctypes.byref(made),
    )
    if not done:
        raise CredentialError(f"{function} failed: Windows cannot open or make the key file")
    try:
        return ctypes.string_at(made.data, made.size)
    finally:
        windll.kernel32.LocalFree(made.data)
