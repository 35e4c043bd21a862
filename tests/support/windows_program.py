"""A Windows program of 1 KB, made byte by byte: it imports a PFX through crypt32 and says how.

No compiler for Windows is needed. Source of the format: learn.microsoft.com, "PE Format"; of the
calls: PFXImportCertStore, CertEnumCertificatesInStore (wincrypt.h).
"""

from __future__ import annotations

import struct

IMPORTED, EMPTY = 0, 99
"""Exit statuses; else it was refused, and this is the low byte of GetLastError()."""

_BASE, _RVA, _RAW = 0x140000000, 0x1000, 0x200
_IMPORTS = {
    "crypt32.dll": ("PFXImportCertStore", "CertEnumCertificatesInStore"),
    "kernel32.dll": ("GetLastError", "ExitProcess"),
}
_CODE_BYTES = 0x80


def importer(pfx: bytes, password: str) -> bytes:
    """An .exe for 64-bit Windows that imports this PFX with this password and ends."""
    tables, addresses = _import_tables(_CODE_BYTES)
    blob_at = _CODE_BYTES + len(tables)
    text = password.encode("utf-16-le") + b"\0\0"
    password_at = blob_at + 16
    pfx_at = password_at + len(text)
    blob = struct.pack("<IIQ", len(pfx), 0, _BASE + _RVA + pfx_at)
    code = _code(addresses, blob_at, password_at)
    section = code.ljust(_CODE_BYTES, b"\xcc") + tables + blob + text + pfx
    return _headers(len(section)) + section + bytes(-len(section) % 0x200)


def _code(addresses: dict[str, int], blob: int, password: int) -> bytes:
    """x86-64, Windows calling convention: rcx, rdx, r8; 32 bytes of room on the stack."""
    code = bytearray(b"\x48\x83\xec\x38")  # sub rsp, 0x38

    def relative(opcode: bytes, target: int) -> None:
        code.extend(opcode + struct.pack("<i", target - (len(code) + len(opcode) + 4)))

    def call(name: str) -> None:
        relative(b"\xff\x15", addresses[name])

    def end(load_status: bytes) -> None:
        code.extend(load_status)
        call("ExitProcess")

    relative(b"\x48\x8d\x0d", blob)  # lea rcx, [blob]
    relative(b"\x48\x8d\x15", password)  # lea rdx, [password]
    code.extend(b"\x45\x31\xc0")  # xor r8d, r8d
    call("PFXImportCertStore")
    code.extend(b"\x48\x85\xc0\x75\x0e")  # test rax, rax; jnz over the next two calls
    call("GetLastError")
    end(b"\x89\xc1")  # mov ecx, eax
    code.extend(b"\x48\x89\xc1\x31\xd2")  # mov rcx, rax; xor edx, edx
    call("CertEnumCertificatesInStore")
    code.extend(b"\x48\x85\xc0\x74\x08")  # test rax, rax; jz over the next call
    end(b"\x31\xc9")  # xor ecx, ecx
    end(b"\xb9" + struct.pack("<I", EMPTY))  # mov ecx, EMPTY
    return bytes(code)


def _import_tables(at: int) -> tuple[bytes, dict[str, int]]:
    """The import directory at an offset of the section, and where each address will stand."""
    tables = at + 20 * (len(_IMPORTS) + 1)
    names_at = tables + sum(8 * (len(names) + 1) for names in _IMPORTS.values())
    directory, thunks, names, addresses = b"", b"", b"", {}
    for library, functions in _IMPORTS.items():
        table = tables + len(thunks)
        for position, function in enumerate(functions):
            addresses[function] = table + 8 * position
            thunks += struct.pack("<Q", _RVA + names_at + len(names))
            names += b"\0\0" + function.encode() + b"\0" * (2 - len(function) % 2)
        thunks += bytes(8)
        directory += struct.pack("<IIIII", 0, 0, 0, _RVA + names_at + len(names), _RVA + table)
        names += library.encode() + b"\0" * (2 - len(library) % 2)
    return directory + bytes(20) + thunks + names, addresses


def _headers(size: int) -> bytes:
    """DOS stub, PE32+ headers for a console program without relocations, and one section."""
    raw = size + -size % 0x200
    image = _RVA + size + -size % 0x1000
    dos = b"MZ".ljust(0x3C, b"\0") + struct.pack("<I", 0x40)
    coff = struct.pack("<4sHHIIIHH", b"PE\0\0", 0x8664, 1, 0, 0, 0, 240, 0x0023)
    optional = struct.pack("<HBBIIIII", 0x20B, 14, 0, raw, 0, 0, _RVA, _RVA)
    optional += struct.pack("<QII", _BASE, 0x1000, 0x200)
    optional += struct.pack("<HHHHHHI", 6, 0, 0, 0, 6, 0, 0)
    optional += struct.pack("<IIIHH", image, _RAW, 0, 3, 0)
    optional += struct.pack("<QQQQII", 0x100000, 0x1000, 0x100000, 0x1000, 0, 16)
    directories = [(0, 0)] * 16
    directories[1] = (_RVA + _CODE_BYTES, 20 * (len(_IMPORTS) + 1))
    optional += b"".join(struct.pack("<II", *entry) for entry in directories)
    section = struct.pack("<8sIIIIIIHHI", b".all", size, _RVA, raw, _RAW, 0, 0, 0, 0, 0xE0000020)
    return (dos + coff + optional + section).ljust(_RAW, b"\0")
