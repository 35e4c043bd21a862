"""Certificates for somebody else's CSR, signed by the local CA."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from tests.support.bundles import make_bundle
from tests.support.csrs import make_csr
from tests.support.homes import manager_in

from certshelf.bundle.model import LeafChain
from certshelf.errors import BundleError, BundleRefused, ConfigError, RecordError
from certshelf.manage.certificates import add_certificate
from certshelf.manage.changes import apply_changes, plan_changes
from certshelf.manage.declared import Declared, parse, to_toml
from certshelf.manage.foreign import require_same_key, with_csr
from certshelf.manage.importing.one import import_bundle
from certshelf.manage.manager import Manager
from certshelf.manage.model import ManagedCertificate, Mode, Task
from certshelf.manage.pipeline import request_certificate
from certshelf.manage.preview import preview_certificate
from certshelf.manage.publishing import issued_bundle, publishable_bundle
from certshelf.manage.settings import CertificateSettings
from certshelf.manage.tasks import run_by_hand

KEY = ec.generate_private_key(ec.SECP384R1())
BARE = ManagedCertificate("box", ())


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[Manager]:
    with manager_in(tmp_path) as manager:
        yield manager


def add(manager: Manager, *, key: ec.EllipticCurvePrivateKey = KEY) -> ManagedCertificate:
    return add_certificate(manager, with_csr(BARE, make_csr("a.test", "*.a.test", key=key)))


def export_to(manager: Manager, name: str, folder: Path, form: str) -> None:
    folder.mkdir()
    with manager.database.write() as records:
        certificate = records.certificates.get("box")
        settings = {"to": str(folder), "format": form}
        records.tasks.add(Task(certificate.id, name, "export", settings=settings))


def issue(manager: Manager, *, force: bool = False) -> x509.Certificate:
    run = asyncio.run(request_certificate(manager, "box", force=force))
    assert run.ok, run.error
    assert isinstance(run.bundle, LeafChain)
    return run.bundle.leaf


def test_names_and_key_type_are_taken_from_the_csr(manager: Manager) -> None:
    added = add(manager)
    assert added.names == ("a.test", "*.a.test")
    assert added.key_type == "ecdsa-p384"


def test_it_is_issued_for_the_csrs_key_and_comes_to_no_shelf(
    manager: Manager, tmp_path: Path
) -> None:
    add(manager)
    leaf = issue(manager)
    assert leaf.public_key() == KEY.public_key()
    assert list((tmp_path / "shelf").glob("*.pfx")) == []
    assert asyncio.run(request_certificate(manager, "box")).outcome == "not due"
    with manager.database.read() as records:
        found = records.issued.newest(records.certificates.get("box").id)
        assert found is not None
        assert records.issued.key(found) is None


def test_a_renewal_reuses_the_csr(manager: Manager) -> None:
    add(manager)
    first, second = issue(manager), issue(manager, force=True)
    assert first.serial_number != second.serial_number
    assert first.public_key() == second.public_key()


def test_a_new_csr_takes_the_place_of_the_old_one_and_is_issued_next(manager: Manager) -> None:
    was = add(manager)
    issue(manager)
    other = ec.generate_private_key(ec.SECP256R1())
    wish = with_csr(was, make_csr("b.test", key=other))
    with manager.database.read() as records:
        wish = replace(wish, status=records.certificates.get("box").status)
    (change,) = plan_changes([wish], [was], prune=False)
    assert {field for field, _, _ in change.fields} == {"hosts", "key", "csr"}
    assert "BEGIN" not in str(change.fields)
    apply_changes(manager, [change])
    assert issue(manager).public_key() == other.public_key()


@pytest.mark.parametrize("form", ["pem", "fullchain", "separate"])
def test_pem_exports_write_leaf_and_chain_and_no_key(
    manager: Manager, tmp_path: Path, form: str
) -> None:
    add(manager)
    export_to(manager, "out", tmp_path / "out", form)
    planned = preview_certificate(manager, "box").tasks[0].files
    leaf = issue(manager)
    files = {path.name: path.read_bytes() for path in (tmp_path / "out").glob("*.pem")}
    assert {file.file for file in planned} == set(files)
    assert all(b"PRIVATE KEY" not in data for data in files.values())
    assert leaf.public_bytes(Encoding.PEM) in b"".join(files.values())


def test_a_pfx_task_is_refused_in_preview_and_run_and_nothing_is_written(
    manager: Manager, tmp_path: Path
) -> None:
    add(manager)
    export_to(manager, "out", tmp_path / "out", "pfx")
    preview = preview_certificate(manager, "box")
    assert "PFX holds the private key" in preview.tasks[0].problem
    assert preview.shelves[0].skipped
    run = asyncio.run(request_certificate(manager, "box"))
    assert not run.ok
    assert "PFX holds the private key" in str(run.error)
    assert not list((tmp_path / "out").glob("*.*[xm]"))


def test_a_shelf_task_is_refused_with_the_reason(manager: Manager, tmp_path: Path) -> None:
    added = add(manager)
    issue(manager)
    with manager.database.write() as records:
        settings = {"store": str(tmp_path / "shelf")}
        records.tasks.add(Task(added.id, "shelf", "deploy-to-shelf", settings=settings))
    ran = run_by_hand(manager, "box", "shelf")
    assert "is not ours" in str(ran.error)


def test_shelf_only_mode_groups_other_hosts_and_another_key_are_refused(manager: Manager) -> None:
    wish = with_csr(BARE, make_csr("a.test"))
    other = with_csr(BARE, make_csr("b.test"))
    for bad in (
        replace(wish, mode=Mode.SHELF_ONLY),
        replace(wish, groups=("eu",)),
        replace(wish, hosts=other.hosts),
        replace(wish, key_type="rsa-2048"),
    ):
        with pytest.raises(ConfigError):
            add_certificate(manager, bad)
    with manager.database.read() as records:
        assert records.certificates.count() == 0


def test_nothing_is_rebuilt_or_imported_for_a_csr(manager: Manager) -> None:
    wish = add(manager)
    issue(manager)
    with manager.database.read() as records:
        assert issued_bundle(records, wish)
        with pytest.raises(BundleError, match="not ours"):
            publishable_bundle(records, wish)
    with pytest.raises(RecordError, match="CSR"):
        import_bundle(manager, wish, make_bundle("a.test"))


def test_a_leaf_for_another_key_is_refused(manager: Manager) -> None:
    sent = base64.b64encode(make_csr("a.test", encoding=Encoding.DER)).decode()
    with pytest.raises(BundleRefused, match="another key"):
        require_same_key(make_bundle("a.test").leaf, sent)


def test_certs_toml_gives_and_takes_the_csr(manager: Manager) -> None:
    wish = with_csr(BARE, make_csr("a.test", key=KEY))
    (again,) = parse(to_toml([Declared(wish)]), "certs.toml", CertificateSettings())
    assert again.wish == wish
    text = f'[[certificate]]\nname = "box"\ncsr = """\n{wish.csr}"""\n'
    (again,) = parse(text, "certs.toml", CertificateSettings())
    assert again.wish == wish


@pytest.mark.parametrize(
    ("more", "why"),
    [
        ('hosts = ["b.test"]', "hosts and key are those of its CSR"),
        ('key = "rsa-2048"', "hosts and key are those of its CSR"),
        ('mode = "shelf-only"', "no shelf can hold it"),
        ('csr = "junk"', "no CSR"),
    ],
)
def test_certs_toml_with_a_csr_that_does_not_fit_says_where_and_why(more: str, why: str) -> None:
    csr = with_csr(BARE, make_csr("a.test", key=KEY)).csr
    given = more if more.startswith("csr") else f'csr = """{csr}"""\n{more}'
    with pytest.raises(ConfigError, match=why):
        parse(f'[[certificate]]\nname = "box"\n{given}\n', "certs.toml", CertificateSettings())
