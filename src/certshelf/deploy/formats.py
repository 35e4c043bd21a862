"""The files that an export makes of a bundle, and how to tell that a file holds it already."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from cryptography.hazmat.primitives.serialization import Encoding

from certshelf.bundle.model import Bundle, LeafChain, PfxProfile
from certshelf.bundle.pfx import profile_of
from certshelf.errors import BundleError, ConfigError, DeployError
from certshelf.secret import Secret
from certshelf.shelf.once import prepare

_KEY = ".key.pem"
FORMATS = ("pfx", "pem", "fullchain", "separate")


@dataclass(frozen=True, slots=True)
class File:
    """One file of an export: its name and its bytes, which may hold a key."""

    name: str
    data: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Format:
    """How to export. password: of the PFX; None for none."""

    format: str
    name: str
    profile: PfxProfile = PfxProfile.MODERN
    has_key: bool = True

    def names(self) -> tuple[str, ...]:
        """The files, in the order in which they are written: the key last, a server reads it so.

        None of a key that is not ours; DeployError for a PFX then.
        """
        if not self.has_key and self.format == "pfx":
            raise DeployError(
                "a PFX holds the private key, and this one is somebody else's: it is for a CSR",
                hint="--set format=fullchain writes the certificate and its chain",
            )
        endings = {
            "pfx": (".pfx",),
            "pem": (".pem",),
            "fullchain": (".fullchain.pem", _KEY),
            "separate": (".chain.pem", ".cert.pem", _KEY),
        }
        found = tuple(self.name + ending for ending in endings[self.format])
        return tuple(name for name in found if self.has_key or not name.endswith(_KEY))

    def files(
        self,
        bundle: Bundle | LeafChain,
        password: Secret | None,
        make: Callable[[Bundle, Secret | None, PfxProfile], bytes] = prepare,
    ) -> tuple[File, ...]:
        """The bundle as these files. make: its PFX, as prepare() does."""
        names = self.names()
        if self.format == "pfx" and isinstance(bundle, Bundle):
            if password is None:
                raise ConfigError(
                    "export: a PFX needs a password", hint="--set password=CREDENTIAL"
                )
            return (File(names[0], make(bundle, password, self.profile)),)
        whole = bundle.to_pem()
        leaf = bundle.leaf.public_bytes(Encoding.PEM)
        chain = b"".join(one.public_bytes(Encoding.PEM) for one in bundle.chain)
        key = whole[: -len(leaf + chain)]
        parts = {"pem": (whole,), "fullchain": (leaf + chain, key), "separate": (chain, leaf, key)}
        return tuple(map(File, names, parts[self.format]))

    def holds(
        self, there: bytes, file: File, bundle: Bundle | LeafChain, password: Secret | None
    ) -> bool:
        """Whether what lies there is as good as the file: a PFX has other bytes each time."""
        if self.format != "pfx":
            return there == file.data
        try:
            return Bundle.from_pfx(there, password) == bundle and (
                profile_of(there) is self.profile
            )
        except BundleError:
            return False
