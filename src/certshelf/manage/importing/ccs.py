"""A CCS folder: the PFX files that others wrote, one managed certificate for each leaf in them.

The certificate in several files is one certificate. Keys are taken over, so nothing is issued
anew before it is time.
"""

from __future__ import annotations

from pathlib import Path

from certshelf.bundle.model import Bundle
from certshelf.errors import BundleError, ConfigError, NameInvalid, StoreError
from certshelf.manage.importing.base import MAX_FOUND, Found
from certshelf.names import SUFFIX, HostName
from certshelf.secret import Secret
from certshelf.shelf.files import decode
from certshelf.store.folder import FolderStore


def read(folder: Path, password: Secret | None) -> list[Found]:
    """What lies in a folder. password: of the PFX files. ConfigError when it is no folder."""
    if not folder.is_dir():
        raise ConfigError(f"{folder} is no folder")
    store = FolderStore(folder)
    bundles: dict[str, Bundle] = {}
    files: dict[str, list[HostName]] = {}
    found: list[Found] = []
    files_there = sorted(e.key for e in store.list() if e.key.lower().endswith(SUFFIX))
    if len(files_there) > MAX_FOUND:
        raise ConfigError(f"cannot read {folder}: more than {MAX_FOUND:,} files")
    for name in files_there:
        try:
            host = HostName.from_file_name(name)
            blob = store.get(name)
            bundle = decode(blob.data, (password,)) if blob else None
        except (NameInvalid, StoreError, BundleError) as error:
            found.append(Found(name.removesuffix(SUFFIX), notes=(str(error),)))
            continue
        if bundle is not None:
            bundles.setdefault(bundle.sha256, bundle)
            files.setdefault(bundle.sha256, []).append(host)
    return [*(_found(bundles[leaf], hosts) for leaf, hosts in files.items()), *found]


def _found(bundle: Bundle, files: list[HostName]) -> Found:
    hosts = bundle.names
    notes = [
        f"{host.file_name()} holds a certificate that does not cover it"
        for host in dict.fromkeys(files)
        if not bundle.covers(host)
    ]
    if not hosts:
        notes.append("its certificate holds no host name of a shelf")
    first = next((host for host in files if host in hosts), files[0])
    return Found(first.ascii, hosts, key_type=bundle.key_type, bundle=bundle, notes=tuple(notes))
