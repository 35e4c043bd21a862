"""Ask a file server for the security identifiers of accounts, over its LSA pipe.

Three messages of DCE/RPC: bind, LsarOpenPolicy2, LsarLookupNames3 (MS-LSAT section 3.1.4.5,
MS-RPCE section 2.2). Answers are hostile input: each number is checked by struct or a slice.
"""

from __future__ import annotations

import struct
import uuid
from collections.abc import Sequence
from dataclasses import replace

from certshelf.errors import StoreDenied, StoreUnreachable
from certshelf.store.acl import parse_sid
from certshelf.store.smb import SmbStore
from certshelf.store.smb_calls import Calls
from certshelf.store.smb_wire import Handle, Wire, WireLost

_LSARPC = uuid.UUID("12345778-1234-abcd-ef00-0123456789ab").bytes_le + struct.pack("<I", 0)
_NDR = uuid.UUID("8a885d04-1ceb-11c9-9fe8-08002b104860").bytes_le + struct.pack("<I", 2)
_BIND, _BIND_ACK, _REQUEST, _RESPONSE = 11, 12, 0, 2
_OPEN_POLICY, _LOOKUP_NAMES = 44, 68
_LOOKUP_RIGHT = 0x800
_SOME_NOT_MAPPED, _NONE_MAPPED = 0x00000107, 0xC0000073
_NO_ACCOUNT = (6, 7, 8)  # deleted, invalid, unknown (MS-SAMR section 2.2.2.3)
_MAX_NAMES = 32


def lookup_accounts(store: SmbStore, names: Sequence[str]) -> dict[str, str]:
    """The identifier of each account or group, `DOMAIN\\name` or `name`; unknown ones are left out.

    At most 32 names. Raises StoreError when the server does not tell.
    """
    calls = store.calls
    pipe = Calls(store.url, replace(calls.login, share="IPC$"), (), calls.seconds, calls.clock)
    wire = pipe.fresh("look up", "accounts")
    try:
        return pipe.on(wire, "look up", "accounts", lambda: _lookup(wire, names[:_MAX_NAMES]))
    finally:
        wire.close()
        pipe.close()


def _lookup(wire: Wire, names: Sequence[str]) -> dict[str, str]:
    handle = wire.open_pipe("lsarpc")
    try:
        _bind(wire, handle)
        answer = _call(wire, handle, 2, _OPEN_POLICY, _open_policy())
        policy, code = answer[:20], struct.unpack_from("<I", answer, 20)[0]
        if code:
            raise StoreDenied("the server does not look up accounts", code=f"0x{code:08X}")
        answer = _call(wire, handle, 3, _LOOKUP_NAMES, _lookup_names(policy, names))
        sids = _parse_sids(answer)
    except (struct.error, ValueError, IndexError) as error:
        raise WireLost("an answer of the LSA pipe that makes no sense") from error
    finally:
        wire.release(handle)
    return {name: sid for name, sid in zip(names, sids, strict=False) if sid}


def _bind(wire: Wire, handle: Handle) -> None:
    context = struct.pack("<HBx", 0, 1) + _LSARPC + _NDR
    body = struct.pack("<HHIB3x", 4280, 4280, 0, 1) + context
    answer = wire.talk(handle, _packet(_BIND, 1, body))
    if answer[2] != _BIND_ACK:
        raise StoreUnreachable("the server refuses its LSA pipe")


def _call(wire: Wire, handle: Handle, call_id: int, number: int, stub: bytes) -> bytes:
    body = struct.pack("<IHH", len(stub), 0, number) + stub
    answer = wire.talk(handle, _packet(_REQUEST, call_id, body))
    if answer[2] != _RESPONSE:
        raise StoreUnreachable("the server answers a fault on its LSA pipe")
    return answer[24:]


def _packet(kind: int, call_id: int, body: bytes) -> bytes:
    size = 16 + len(body)
    return struct.pack("<BBBBIHHI", 5, 0, kind, 3, 0x10, size, 0, call_id) + body


def _open_policy() -> bytes:
    attributes = struct.pack("<IIIIII", 24, 0, 0, 0, 0, 0)
    return struct.pack("<I", 0) + attributes + struct.pack("<I", _LOOKUP_RIGHT)


def _lookup_names(policy: bytes, names: Sequence[str]) -> bytes:
    texts = [name.encode("utf-16-le") for name in names]
    heads = b"".join(
        struct.pack("<HHI", len(text), len(text), 0x20000 + 4 * i) for i, text in enumerate(texts)
    )
    tails = b"".join(
        _padded(struct.pack("<III", len(text) // 2, 0, len(text) // 2) + text) for text in texts
    )
    count = struct.pack("<II", len(names), len(names))
    rest = struct.pack("<IIHxxIII", 0, 0, 1, 0, 0, 2)  # no sids yet, level, mapped, options, 2
    return policy + count + heads + tails + rest


def _padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % 4)


def _parse_sids(answer: bytes) -> list[str]:
    """The identifiers in a LookupNames3 answer, "" for each name that is unknown."""
    code = struct.unpack_from("<I", answer, len(answer) - 4)[0]
    if code == _NONE_MAPPED:
        return []
    if code not in (0, _SOME_NOT_MAPPED):
        raise StoreDenied("the server does not look up accounts", code=f"0x{code:08X}")
    at = _skip_domains(answer)
    entries, pointer = struct.unpack_from("<II", answer, at)
    if not pointer or entries > _MAX_NAMES:
        return []
    at += 12  # the count again
    found = [struct.unpack_from("<HxxIII", answer, at + 16 * i) for i in range(entries)]
    at += 16 * entries
    sids = []
    for kind, sid_pointer, _, _ in found:
        known = sid_pointer and kind not in _NO_ACCOUNT
        sids.append(parse_sid(answer, at + 4) if known else "")
        if sid_pointer:
            at += 12 + 4 * struct.unpack_from("<I", answer, at)[0]
    return sids


def _skip_domains(answer: bytes) -> int:
    """Where the list of referenced domains, which nobody needs, ends."""
    (pointer,) = struct.unpack_from("<I", answer)
    if not pointer:
        return 4
    count, array, _ = struct.unpack_from("<III", answer, 4)
    if not array:
        return 16
    if count > _MAX_NAMES:
        raise ValueError("too many domains")
    at: int = 20
    heads = [struct.unpack_from("<HHII", answer, at + 12 * i) for i in range(count)]
    at += 12 * int(count)
    for _, _, name_pointer, sid_pointer in heads:
        if name_pointer:
            characters = int(struct.unpack_from("<I", answer, at + 8)[0])
            at += 12 + 2 * characters + (2 * characters) % 4
        if sid_pointer:
            at += 12 + 4 * int(struct.unpack_from("<I", answer, at)[0])
    return at
