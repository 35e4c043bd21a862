"""Readers of other tools' files, hostile ones too, and the plan that is made of them."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from hypothesis import given
from hypothesis import strategies as st
from tests.support.bundles import make_bundle

from certshelf.errors import CertshelfError, ConfigError
from certshelf.manage.changes import Action
from certshelf.manage.importing import acmesh, ccs, certbot, certify_csv, certify_json, winacme
from certshelf.manage.importing.base import Found, read_bytes
from certshelf.manage.importing.plan import plan_import
from certshelf.manage.model import IssuerKind, IssuerRecord, ManagedCertificate, record_name
from certshelf.manage.settings import CertificateSettings
from certshelf.names import HostName
from certshelf.secret import Secret

GOLDEN = Path(__file__).parents[2] / "golden" / "importing"
DEFAULTS = CertificateSettings()


def names(found: Found | ManagedCertificate) -> list[str]:
    return [host.ascii for host in found.hosts]


def lay_pem(folder: Path, key: str, chain: str, *hosts: str) -> None:
    bundle = make_bundle(*hosts)
    folder.mkdir(parents=True, exist_ok=True)
    pem = bundle.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    (folder / key).write_bytes(pem)
    (folder / chain).write_bytes(bundle.leaf.public_bytes(Encoding.PEM))


@pytest.fixture
def letsencrypt(tmp_path: Path) -> Path:
    folder = tmp_path / "letsencrypt"
    shutil.copytree(GOLDEN / "certbot", folder)
    lay_pem(
        folder / "live/www.shop.test", "privkey.pem", "fullchain.pem", "www.shop.test", "shop.test"
    )
    return folder


# --- certbot


def test_certbots_renewal_gives_hosts_issuer_challenge_and_key(letsencrypt: Path) -> None:
    www = next(one for one in certbot.read(letsencrypt) if one.name == "www.shop.test")
    assert names(www) == ["www.shop.test", "shop.test"]
    assert www.issuer == "https://acme-v02.api.letsencrypt.org/directory"
    assert (www.key_type, www.challenge) == ("ecdsa-p256", "http-01 standalone")
    assert www.bundle is not None
    assert www.notes == ()


def test_a_certbot_renewal_without_files_names_no_host_and_says_why(letsencrypt: Path) -> None:
    mail = next(one for one in certbot.read(letsencrypt) if one.name == "mail.shop.test")
    assert mail.hosts == ()
    assert "fullchain.pem" in mail.notes[0]


def test_certbots_hosts_come_from_the_webroot_map_when_the_certificate_is_gone(
    letsencrypt: Path,
) -> None:
    file = letsencrypt / "renewal/mail.shop.test.conf"
    text = file.read_text().replace("standalone", "webroot")
    file.write_text(text + "[[webroot_map]]\nmail.shop.test = /var/www/html\n")
    mail = next(one for one in certbot.read(letsencrypt) if one.name == "mail.shop.test")
    assert names(mail) == ["mail.shop.test"]
    assert mail.challenge == "http-01 webroot"
    assert mail.key_type == "rsa-2048"


def test_paths_in_certbots_files_are_not_followed(letsencrypt: Path, tmp_path: Path) -> None:
    lay_pem(tmp_path / "other", "privkey.pem", "fullchain.pem", "victim.test")
    file = letsencrypt / "renewal/mail.shop.test.conf"
    file.write_text(f"privkey = {tmp_path}/other/privkey.pem\nfullchain = {tmp_path}/other/f.pem\n")
    mail = next(one for one in certbot.read(letsencrypt) if one.name == "mail.shop.test")
    assert mail.bundle is None


def test_a_key_that_cannot_be_read_still_gives_the_names(letsencrypt: Path) -> None:
    (letsencrypt / "live/www.shop.test/privkey.pem").unlink()
    www = next(one for one in certbot.read(letsencrypt) if one.name == "www.shop.test")
    assert names(www) == ["www.shop.test", "shop.test"]
    assert www.bundle is None
    assert "its key is not taken over" in www.notes[0]


# --- acme.sh


@pytest.fixture
def acme_home(tmp_path: Path) -> Path:
    home = tmp_path / "acmesh"
    shutil.copytree(GOLDEN / "acmesh", home)
    lay_pem(home / "old.shop.test", "old.shop.test.key", "fullchain.cer", "old.shop.test")
    (home / "ca" / "ca.shop.test").mkdir(parents=True)
    return home


def test_acme_sh_gives_alternative_names_key_and_challenge(acme_home: Path) -> None:
    api, old = acmesh.read(acme_home)
    assert names(api) == ["api.shop.test", "*.api.shop.test"]
    assert (api.key_type, api.challenge, api.bundle) == ("ecdsa-p256", "dns-01 dns_none", None)
    assert (names(old), old.key_type, old.challenge) == (
        ["old.shop.test"],
        "rsa-2048",
        "http-01 /var/www/html",
    )
    assert old.bundle is not None
    assert "its Le_ReloadCmd is the task reload-nginx" in old.notes


def test_acme_shs_base64_is_unwrapped_and_nothing_is_run() -> None:
    text = (
        "Le_ReloadCmd='__ACME_BASE64__START_c3lzdGVtY3Rs__ACME_BASE64__END_'\n"
        "Le_Domain='$(touch /tmp/x)'\nrm -rf /\n"
    )
    assert acmesh.parse(text) == {"Le_ReloadCmd": "systemctl", "Le_Domain": "$(touch /tmp/x)"}


# --- win-acme


def test_win_acme_gives_hosts_endpoint_key_and_challenge() -> None:
    iis, www = winacme.read(GOLDEN / "winacme")
    assert names(www) == ["www.shop.test", "shop.test"]
    assert www.issuer == "https://acme-v02.api.letsencrypt.org/"
    assert (www.key_type, www.challenge) == ("rsa-3072", "http-01 self-hosting")
    assert any("issued anew" in note for note in www.notes)
    assert iis.hosts == ()
    assert "--from-bindings" in iis.notes[0]


def test_a_win_acme_secret_is_nowhere_in_what_was_found() -> None:
    assert "enc-" not in repr(winacme.read(GOLDEN / "winacme"))


# --- Certify


def test_certifys_export_gives_names_ca_key_and_challenge() -> None:
    shop, mail = certify_json.read(GOLDEN / "certify" / "export.json")
    assert names(shop) == ["www.shop.test", "shop.test"]
    assert shop.issuer == "https://acme-v02.api.letsencrypt.org/directory"
    assert (shop.key_type, shop.challenge) == ("rsa-2048", "dns-01 DNS01.API.Cloudflare")
    assert (names(mail), mail.auto_renew) == (["mail.shop.test"], False)
    assert any("IP addresses" in note for note in mail.notes)


def test_csv_without_a_header_is_site_name_hosts(tmp_path: Path) -> None:
    file = tmp_path / "sites.csv"
    file.write_text("0, Test, test.com;www.test.com\r\n\r\n3, Second(again), *.example.com\r\n")
    first, second = certify_csv.read(file)
    assert (first.name, names(first)) == ("Test", ["test.com", "www.test.com"])
    assert names(second) == ["*.example.com"]


def test_csv_with_a_header_is_read_by_title(tmp_path: Path) -> None:
    file = tmp_path / "sites.csv"
    file.write_text(
        "name, domains,includeinautorenew,webhookcontentbody,webhookurl\n"
        'a,b.test;a.test,False,{"a":1,"b":2},https://hook.test\n'
    )
    (found,) = certify_csv.read(file)
    assert (found.name, names(found), found.auto_renew) == ("a", ["b.test", "a.test"], False)
    assert "webhookurl" in found.notes[0]


def test_a_comma_in_braces_is_part_of_the_value() -> None:
    assert certify_csv.split('0,a,{"x":1,"y":2},b') == ["0", "a", '{"x":1,"y":2}', "b"]


# --- CCS


def test_a_ccs_folder_gives_one_certificate_for_each_leaf(tmp_path: Path) -> None:
    bundle, password = make_bundle("a.test", "b.test"), Secret("pw")
    for file in ("a.test.pfx", "b.test.pfx"):
        (tmp_path / file).write_bytes(bundle.to_pfx(password))
    (tmp_path / "c.test.pfx").write_bytes(b"<html>")
    (tmp_path / "readme.txt").write_text("not a PFX")
    found = ccs.read(tmp_path, password)
    assert [(one.name, names(one)) for one in found] == [
        ("a.test", ["a.test", "b.test"]),
        ("c.test", []),
    ]
    assert found[0].bundle == bundle


def test_a_ccs_file_that_its_certificate_does_not_cover_is_told(tmp_path: Path) -> None:
    (tmp_path / "other.test.pfx").write_bytes(make_bundle("a.test").to_pfx(None))
    (found,) = ccs.read(tmp_path, None)
    assert (names(found), found.notes) == (
        ["a.test"],
        ("other.test.pfx holds a certificate that does not cover it",),
    )


# --- hostile files


@pytest.mark.parametrize(
    "reader", [certbot.read, acmesh.read, winacme.read, certify_json.read, certify_csv.read]
)
def test_a_path_that_is_not_there_is_a_config_error(reader: object, tmp_path: Path) -> None:
    with pytest.raises(ConfigError):
        reader(tmp_path / "nothing")  # type: ignore[operator]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
def test_a_pipe_in_place_of_a_file_is_no_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ConfigError, match="no file"):
        read_bytes(tmp_path / "pipe")


def test_a_file_over_the_limit_is_not_read(tmp_path: Path) -> None:
    (tmp_path / "big").write_bytes(b"x" * 101)
    with pytest.raises(ConfigError, match="more than 100 bytes"):
        read_bytes(tmp_path / "big", 100)


@given(st.binary(max_size=200))
def test_any_bytes_end_in_found_or_in_our_own_error(
    tmp_path_factory: pytest.TempPathFactory, data: bytes
) -> None:
    folder = tmp_path_factory.mktemp("any")
    for file in ("renewal/a.conf", "a.test/a.test.conf", "x.renewal.json", "file"):
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        (folder / file).write_bytes(data)
    for reader in (certbot.read, acmesh.read, winacme.read):
        assert all(isinstance(one, Found) for one in reader(folder))
    for read_file in (certify_csv.read, certify_json.read):
        try:
            read_file(folder / "file")
        except CertshelfError:
            continue


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=10),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                [
                    "Name",
                    "RequestConfig",
                    "PrimaryDomain",
                    "Challenges",
                    "Plugin",
                    "CommonName",
                    "Host",
                ]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@given(_JSON)
def test_any_json_of_the_right_outer_form_is_survived(
    tmp_path_factory: pytest.TempPathFactory, value: object
) -> None:
    folder = tmp_path_factory.mktemp("json")
    package = {"Content": {"ManagedCertificates": [value]}}
    (folder / "e.json").write_text(json.dumps(package), encoding="utf-8")
    renewal = {"TargetPluginOptions": value, "CsrPluginOptions": value, "EndPoint": value}
    (folder / "a.renewal.json").write_text(json.dumps(renewal), encoding="utf-8")
    plan_import(
        [*certify_json.read(folder / "e.json"), *winacme.read(folder)], [], [], DEFAULTS, ""
    )


def test_deeply_nested_json_is_no_crash(tmp_path: Path) -> None:
    (tmp_path / "e.json").write_text("[" * 100_000)
    with pytest.raises(ConfigError, match="no JSON"):
        certify_json.read(tmp_path / "e.json")


# --- the plan


def found(*hosts: str, **more: object) -> Found:
    parsed = tuple(map(HostName.parse, hosts))
    return Found(hosts[0] if hosts else "?", parsed, **more)  # type: ignore[arg-type]


def test_an_issuer_with_the_same_directory_signs_on() -> None:
    url = "https://ca.test/directory"
    acme = IssuerRecord("le", IssuerKind.ACME, {"directory": url})
    for hint in (url, "https://ca.test/", "le"):
        (change,) = plan_import([found("a.test", issuer=hint)], [], [acme], DEFAULTS)
        assert change.wish is not None
        assert change.wish.issuer == "le", hint


def test_a_ca_that_is_no_issuer_here_is_told_and_the_default_signs() -> None:
    (change,) = plan_import([found("a.test", issuer="https://ca.test/d")], [], [], DEFAULTS)
    assert change.wish is not None
    assert change.wish.issuer == "local"
    assert "https://ca.test/d" in change.notes[0]


def test_the_same_hosts_twice_are_one_certificate() -> None:
    first, second = plan_import(
        [found("a.test", "b.test"), found("b.test", "a.test")], [], [], DEFAULTS
    )
    assert (first.action, second.action) == (Action.ADD, Action.SAME)


def test_what_is_there_is_never_changed() -> None:
    there = ManagedCertificate("a.test", (HostName.parse("a.test"),), issuer="le")
    (same,) = plan_import([found("a.test")], [there], [], DEFAULTS)
    (other,) = plan_import([found("a.test", "b.test")], [there], [], DEFAULTS)
    assert same.action is Action.SAME
    assert (other.action, other.name) == (Action.ADD, "a.test-2")


def test_more_hosts_than_a_ca_accepts_are_left() -> None:
    many = [f"h{i}.test" for i in range(101)]
    (change,) = plan_import([found(*many)], [], [], DEFAULTS)
    assert change.action is Action.LEFT


def test_a_key_type_that_is_not_ours_is_told() -> None:
    (change,) = plan_import([found("a.test", key_type="ecdsa-p521")], [], [], DEFAULTS)
    assert change.wish is not None
    assert change.wish.key_type == "ecdsa-p256"
    assert "ecdsa-p521" in change.notes[0]


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("Shop (live)", "shop-live"),
        ("*.a.test", "wildcard.a.test"),
        ("[Manual] www", "manual-www"),
        ("日本", "imported"),
        ("x" * 99, "x" * 60),
    ],
)
def test_any_name_becomes_one_that_a_record_may_have(text: str, name: str) -> None:
    assert record_name(text) == name
