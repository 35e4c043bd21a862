"""What a PFX says in clear, read and bounded before any password or key derivation is tried.

Why: one number in a file of 997 bytes can ask for 2^31 rounds of key derivation, a quarter of an
hour of CPU with the interpreter's lock held, and no password is needed to write it. So sizes,
counts and algorithms are read here first, by our own small reader.

What is inside *encrypted* content shows only to who has the password: unseal.py opens it, by the
rounds that were bounded here, and guard_inside() then counts what lies in there too.
Source of the format: RFC 7292.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from certshelf.bundle import algorithms as alg
from certshelf.bundle.der import OCTETS, SEQUENCE, Reader, Value, integer, oid
from certshelf.bundle.model import PfxProfile
from certshelf.errors import (
    KeyUnsupported,
    PfxHostile,
    PfxKeyMissing,
    PfxManyKeys,
    PfxUnreadable,
    PfxUnsupported,
)

MAX_BYTES = 1 << 20
MAX_BAGS = 64
# All rounds of a file together. A round costs 0.05 to 0.5 us (bench/pfx_cost.py), so that one
# decode stays under about 0.5 s of CPU on slow machines.
MAX_ROUNDS = 1_000_000
# A key's bag: RSA 4096 has 2,400 bytes. OpenSSL tests the primes of an RSA key when it loads it,
# 0.2 s for 4096 bits and 3 s for 8192: a larger key would be a bomb of its own.
MAX_KEY_BYTES = 2_600
# RC2 with 40 bits is in no library of ours, and Python is slow: this much takes 0.1 to 0.3 s.
MAX_RC2_BYTES = 64 * 1024
# Beyond these a file needs 10 ms and more of CPU; the old derivation is slow Python here. An ECDSA
# key's bag has under 300 bytes, one of RSA 1024 over 600.
QUICK_ROUNDS = 20_000
QUICK_OLD_ROUNDS = 4_096
QUICK_KEY_BYTES = 600

_DATA = "1.2.840.113549.1.7.1"
_SIGNED = "1.2.840.113549.1.7.2"
_ENVELOPED = "1.2.840.113549.1.7.3"
_ENCRYPTED = "1.2.840.113549.1.7.6"
_BAG = "1.2.840.113549.1.12.10.1."
_KEY, _SHROUDED, _CERTIFICATE, _NESTED = (_BAG + n for n in "1236")
_EXPLICIT_0 = 0xA0
_IMPLICIT_0 = 0x80
_REWRITE = "write the file anew with AES-256 (profile modern) or 3DES (profile windows-2016)"


@dataclass(frozen=True, slots=True)
class Algorithm:
    """One use of an algorithm: what it protects, its name, identifiers and rounds.

    purpose: `key`, `content` or `mac`. rounds: 1 where the file names none.
    """

    purpose: str
    name: str
    oids: tuple[str, ...]
    rounds: int


@dataclass(frozen=True, slots=True)
class Sealed:
    """One encrypted content: how its key is derived, and its bytes. iv: PBES2's, else b""."""

    oids: tuple[str, ...]
    salt: bytes
    rounds: int
    iv: bytes
    content: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class PfxFacts:
    """What a PFX says in clear: readable without its password.

    keys, certificates: those in clear content; encrypted content shows neither. is_ber: some
    lengths or strings are in a form that DER forbids, as Java and BouncyCastle write them.
    key_bytes: of the largest key's bag. sealed: the encrypted contents.
    """

    size_bytes: int
    algorithms: tuple[Algorithm, ...]
    keys: int
    certificates: int
    encrypted_contents: int
    is_ber: bool
    key_bytes: int = 0
    sealed: tuple[Sealed, ...] = field(default=(), repr=False)

    @property
    def is_quick(self) -> bool:
        """Whether it is read in a few milliseconds, as far as can be seen: few rounds, an ECDSA
        key that stands in clear content, and no content that we would open in slow Python."""
        is_small = 0 < self.key_bytes <= QUICK_KEY_BYTES
        old = [s for s in self.sealed if s.oids[0] in alg.PKCS12_PBE]
        is_new = all(s.oids[0] not in alg.RC2 and s.rounds <= QUICK_OLD_ROUNDS for s in old)
        return is_small and is_new and self.rounds <= QUICK_ROUNDS

    @property
    def rounds(self) -> int:
        """All iteration counts together."""
        return sum(algorithm.rounds for algorithm in self.algorithms)

    @property
    def mac(self) -> Algorithm | None:
        """The algorithm of the MAC; None for a file without one."""
        return next((a for a in self.algorithms if a.purpose == "mac"), None)

    @property
    def profile(self) -> PfxProfile | None:
        """The profile that it is written in; None for any other mixture or no encryption."""
        encryption = {a.oids for a in self.algorithms if a.purpose != "mac"}
        mac = self.mac.oids if self.mac else ()
        for profile, (cipher, digest) in _PROFILES.items():
            if encryption == {cipher} and mac == (digest,):
                return profile
        return None

    @property
    def is_too_new(self) -> bool:
        """Whether Windows Server 2016 and older call its password wrong (docs/reference/pfx.md)."""
        return any(
            oid not in alg.PKCS12_PBE and oid != alg.SHA1
            for algorithm in self.algorithms
            for oid in algorithm.oids
        )


_PROFILES = {
    PfxProfile.MODERN: ((alg.PBES2, alg.PBKDF2, alg.HMAC_SHA256, alg.AES_256_CBC), alg.SHA256),
    PfxProfile.WINDOWS_2016: ((alg.PBE_3DES,), alg.SHA1),
}


def read_facts(data: bytes) -> PfxFacts:
    """Read what stands in clear, within bounds: under 10 ms for any input, no key derivation.

    Raises PfxUnreadable for what is no PFX or cut off, PfxHostile for one beyond the limits,
    PfxUnsupported for one that is protected by public keys instead of a password.
    """
    if len(data) > MAX_BYTES:
        raise PfxHostile(f"a file of {len(data):,} bytes: no PFX has more than {MAX_BYTES:,}")
    _check_first_bytes(data)
    walk = _Walk()
    walk.pfx(memoryview(data))
    return PfxFacts(
        size_bytes=len(data),
        algorithms=tuple(walk.algorithms),
        keys=walk.keys,
        certificates=walk.certificates,
        encrypted_contents=walk.encrypted,
        is_ber=walk.reader.is_ber,
        key_bytes=walk.key_bytes,
        sealed=tuple(walk.sealed),
    )


def guard(data: bytes) -> PfxFacts:
    """read_facts(), and refuse what need not be decrypted to be refused.

    Raises also PfxUnsupported (an algorithm that this machine's library cannot use),
    PfxManyKeys and PfxKeyMissing.
    """
    facts = read_facts(data)
    _refuse_unreadable(facts.algorithms)
    _refuse_much_rc2(facts.sealed)
    _refuse_many(facts.keys)
    if not facts.keys and not facts.encrypted_contents:
        raise PfxKeyMissing(
            "no private key inside", hint="export it again together with its private key"
        )
    return facts


def guard_inside(facts: PfxFacts, contents: Iterable[bytes]) -> None:
    """Refuse what is beyond the limits once encrypted contents are counted in. Raises as guard().

    contents: each of them decrypted, by every password that the library may take.
    """
    walk = _Walk(keys=facts.keys, rounds=facts.rounds)
    for content in contents:
        walk.reader = Reader()
        value = walk.reader.read(memoryview(content))
        walk.safe_contents(walk.reader.children(value), depth=0)
    _refuse_unreadable(walk.algorithms)
    _refuse_many(walk.keys)


def _refuse_unreadable(algorithms: Iterable[Algorithm]) -> None:
    for algorithm in algorithms:
        if not alg.readable(algorithm.oids):
            what = f"algorithm not supported here: {algorithm.name} for its {algorithm.purpose}"
            raise PfxUnsupported(what, hint=_REWRITE)


def _refuse_much_rc2(contents: Iterable[Sealed]) -> None:
    size = sum(len(one.content) for one in contents if one.oids[0] in alg.RC2)
    if size > MAX_RC2_BYTES:
        what = f"{size:,} bytes encrypted with RC2: {MAX_RC2_BYTES:,} are accepted"
        raise PfxHostile(what, hint="write the file anew with AES-256 or 3DES")


def _refuse_many(keys: int) -> None:
    if keys > 1:
        raise PfxManyKeys(
            f"{keys} private keys inside: which one to serve is not defined",
            hint="export the one key with its certificates into a file of its own",
        )


def profile_of(data: bytes) -> PfxProfile | None:
    """The profile that a PFX is written in, or None for any other. Raises as read_facts()."""
    return read_facts(data).profile


def _check_first_bytes(data: bytes) -> None:
    if not data:
        raise PfxUnreadable("an empty file is no PFX")
    if data.lstrip()[:10] == b"-----BEGIN":
        raise PfxUnreadable("this is PEM text, not a PFX", hint="read it as .pem")
    if data[0] != SEQUENCE:
        raise PfxUnreadable(f"not a PFX: it begins with {data[:1]!r}"[:60])


@dataclass(slots=True)
class _Walk:
    """One walk over a file: a method for each structure of RFC 7292, named as there."""

    reader: Reader = field(default_factory=Reader)
    algorithms: list[Algorithm] = field(default_factory=list)
    keys: int = 0
    key_bytes: int = 0
    certificates: int = 0
    encrypted: int = 0
    bags: int = 0
    rounds: int = 0
    sealed: list[Sealed] = field(default_factory=list)

    def pfx(self, data: memoryview) -> None:
        outer = self.reader.read(data)
        if outer.end != len(data):
            raise PfxUnreadable(f"{len(data) - outer.end:,} bytes of something else at its end")
        parts = self._parts(outer, 2, 3)
        if integer(parts[0]) != 3:
            raise PfxUnreadable("not a PFX: its version is not 3")
        content = self._content(parts[1])
        if content is None:
            raise PfxUnreadable("not a PFX: no content")
        if len(parts) == 3:
            self._mac_data(parts[2])
        for info in self._sequence_in(self.reader.octets(content)):
            self._content_info(info)

    def _content(self, info: Value) -> Value | None:
        """The value in a ContentInfo of type data; None for another type, which is noted."""
        kind, wrapped = self._parts(info, 2)
        inner = self._unwrap(wrapped)
        name = oid(kind)
        if name == _DATA:
            return inner
        if name in (_SIGNED, _ENVELOPED):
            raise PfxUnsupported(
                "protected by a public key instead of a password",
                hint="export it again, protected by a password",
            )
        if name != _ENCRYPTED:
            raise PfxUnreadable(f"not a PFX: content of type {name}")
        self._encrypted_data(inner)
        return None

    def _content_info(self, info: Value) -> None:
        content = self._content(info)
        if content is not None:
            self.safe_contents(self._sequence_in(self.reader.octets(content)), depth=0)

    def _encrypted_data(self, value: Value) -> None:
        self.encrypted += 1
        self._count_bags(1)
        version, info = self._parts(value, 2, 3)[:2]
        integer(version)
        _, algorithm, content = self._parts(info, 3)
        salt, iv = self._encryption("content", algorithm)
        noted = self.algorithms[-1]
        content_bytes = bytes(self.reader.octets(content, tag=_IMPLICIT_0))
        self.sealed.append(Sealed(noted.oids, salt, noted.rounds, iv, content_bytes))

    def safe_contents(self, bags: list[Value], depth: int) -> None:
        """Count the bags of one content, and what is in them."""
        if depth > 4:
            raise PfxHostile("bags more than 4 deep inside each other")
        self._count_bags(len(bags))
        for bag in bags:
            kind, wrapped = self._parts(bag, 2, 3)[:2]
            inner, name = self._unwrap(wrapped), oid(kind)
            if name in (_KEY, _SHROUDED):
                self._key(inner, shrouded=name == _SHROUDED)
            elif name == _CERTIFICATE:
                self.certificates += 1
            elif name == _NESTED:
                self.safe_contents(self.reader.children(inner), depth + 1)

    def _key(self, value: Value, *, shrouded: bool) -> None:
        self.keys += 1
        self.key_bytes = max(self.key_bytes, len(value.body))
        if len(value.body) > MAX_KEY_BYTES:
            raise KeyUnsupported(
                f"a private key of {len(value.body):,} bytes: more than RSA 4096 is not read",
                hint="use RSA 2048 to 4096, or ECDSA P-256 or P-384",
            )
        if shrouded:
            algorithm, content = self._parts(value, 2)
            self.reader.octets(content)
            self._encryption("key", algorithm)

    def _mac_data(self, value: Value) -> None:
        parts = self._parts(value, 2, 3)
        digest_algorithm, digest = self._parts(parts[0], 2)
        self.reader.octets(digest)
        self.reader.octets(parts[1])
        rounds = integer(parts[2]) if len(parts) == 3 else 1
        self.reader.is_ber |= rounds == 1 and len(parts) == 3  # DER leaves a default out
        algorithm, parameters = self._algorithm(digest_algorithm)
        if algorithm == alg.PBMAC1:  # RFC 9579: MacData's own count is not used, but is bounded
            self._scheme("mac", algorithm, parameters, at_least=rounds)
        else:
            self._note("mac", alg.name_of(algorithm), (algorithm,), rounds)

    def _encryption(self, purpose: str, value: Value) -> tuple[bytes, bytes]:
        """Note it; its salt and its initialisation vector, b"" where there is none."""
        name, parameters = self._algorithm(value)
        if name == alg.PBES2:
            return self._scheme(purpose, name, parameters)
        if name in alg.PKCS12_PBE:
            salt, rounds = self._parts(self._required(parameters), 2)
            self._note(purpose, alg.name_of(name), (name,), integer(rounds))
            return bytes(self.reader.octets(salt)), b""
        self._note(purpose, alg.name_of(name), (name,), 1)
        return b"", b""

    def _scheme(
        self, purpose: str, frame: str, parameters: Value | None, at_least: int = 1
    ) -> tuple[bytes, bytes]:
        """PBES2 or PBMAC1: a key derivation and a cipher or MAC (RFC 8018 appendices A.4, A.5)."""
        derivation, cipher = self._parts(self._required(parameters), 2)
        kdf, kdf_parameters = self._algorithm(derivation)
        cipher_oid, vector = self._algorithm(cipher)
        if kdf != alg.PBKDF2:
            name = f"{alg.name_of(frame)} {alg.name_of(kdf)}"
            self._note(purpose, name, (frame, kdf, cipher_oid), at_least)
            return b"", b""
        parts = self._parts(self._required(kdf_parameters), 2, 4)
        salt = bytes(self.reader.octets(parts[0]))
        rounds = integer(parts[1])
        last = parts[-1]
        prf = self._algorithm(last)[0] if last.tag == SEQUENCE else alg.HMAC_SHA1
        name = f"{alg.name_of(cipher_oid)} PBKDF2-{alg.name_of(prf)}"
        name = f"PBMAC1 {name}" if frame == alg.PBMAC1 else name
        if not 1 <= at_least <= MAX_ROUNDS:
            raise _too_many_rounds(at_least)
        self._note(purpose, name, (frame, kdf, prf, cipher_oid), rounds)
        is_vector = vector is not None and vector.tag == OCTETS
        return salt, bytes(vector.body) if vector is not None and is_vector else b""

    def _note(self, purpose: str, name: str, oids: tuple[str, ...], rounds: int) -> None:
        self.rounds += max(rounds, 0)
        if rounds < 1 or self.rounds > MAX_ROUNDS:
            raise _too_many_rounds(rounds if rounds < 1 else self.rounds)
        self.algorithms.append(Algorithm(purpose, name, oids, rounds))

    def _algorithm(self, value: Value) -> tuple[str, Value | None]:
        parts = self._parts(value, 1, 2)
        return oid(parts[0]), parts[1] if len(parts) == 2 else None

    def _required(self, value: Value | None) -> Value:
        if value is None:
            raise PfxUnreadable("not a PFX: an algorithm without its parameters")
        return value

    def _parts(self, value: Value, least: int, most: int | None = None) -> list[Value]:
        """The parts of a SEQUENCE, of which there must be this many."""
        if value.tag != SEQUENCE:
            raise PfxUnreadable("not a PFX: a structure is missing")
        parts = self.reader.children(value)
        if not least <= len(parts) <= (most or least):
            raise PfxUnreadable("not a PFX: a structure has too few or too many parts")
        return parts

    def _unwrap(self, value: Value) -> Value:
        """The one value inside an explicit [0]."""
        if value.tag != _EXPLICIT_0:
            raise PfxUnreadable("not a PFX: content is missing")
        inside = self.reader.children(value)
        if len(inside) != 1:
            raise PfxUnreadable("not a PFX: content is missing")
        return inside[0]

    def _sequence_in(self, octets: memoryview) -> list[Value]:
        """The parts of the SEQUENCE that an octet string holds, and nothing behind it."""
        value = self.reader.read(octets)
        if value.tag != SEQUENCE or value.end != len(octets):
            raise PfxUnreadable("not a PFX: damaged content")
        return self.reader.children(value)

    def _count_bags(self, more: int) -> None:
        self.bags += more
        if self.bags > MAX_BAGS:
            raise PfxHostile(f"more than {MAX_BAGS} keys and certificates inside")


def _too_many_rounds(rounds: int) -> PfxHostile:
    return PfxHostile(
        f"it asks for {rounds:,} rounds of key derivation: 1 to {MAX_ROUNDS:,} are accepted",
        hint="write the file anew; 2,048 rounds are enough for a random password",
    )
