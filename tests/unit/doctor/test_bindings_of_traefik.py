"""What Traefik listens for, as its static and dynamic files say."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from certshelf.doctor.bindings import traefik
from certshelf.doctor.bindings.base import Reading
from certshelf.errors import ConfigError
from certshelf.farm import Kind
from certshelf.manage.bindings import guess_kind, hosts_by_site, read_bindings
from certshelf.serve.setup import Setup
from certshelf.serve.traefik import static_and_routes

pytest.importorskip("yaml")

STATIC = """
entryPoints:
  web: {address: ":80"}
  websecure:
    address: "192.0.2.1:443"
    asDefault: true
    http: {tls: {}}
  quic: {address: ":443/udp"}
  mail: {address: "[::]:993/tcp"}
providers:
  file: {directory: DYNAMIC}
"""
ROUTES = """
http:
  routers:
    shop:
      rule: "(Host(`www.example.com`) || Host(`shop.example.com`)) && !Host(`old.example.com`)"
      service: upstream
    blog: {rule: 'Host("blog.example.com") && PathPrefix(`/x`)', entryPoints: [websecure],
           tls: {certResolver: le}}
    plain: {rule: "Host(`plain.example.com`)", entryPoints: [web]}
    any: {rule: "HostRegexp(`.+`)", entryPoints: [websecure],
          tls: {domains: [{main: example.org, sans: ["*.example.org"]}]}}
tcp:
  routers:
    mail: {rule: "HostSNI(`mail.example.com`)", entryPoints: [mail], tls: {}}
    through: {rule: "HostSNI(`x.example.com`)", entryPoints: [mail], tls: {passthrough: true}}
    clear: {rule: "HostSNI(`*`)", entryPoints: [mail]}
"""
CERTIFICATES = """
[[tls.certificates]]
certFile = "/etc/ssl/other.pem"
keyFile = "/etc/ssl/other.key"
[[tls.certificates]]
certFile = "/etc/ssl/mail.example.com.pem"
keyFile = "/etc/ssl/mail.example.com.key"
"""
Row = tuple[str, str, int, str]


def rows(reading: Reading) -> list[Row]:
    return [(b.host, b.address, b.port, b.certificate) for b in reading.bindings]


@pytest.fixture
def static(tmp_path: Path) -> Path:
    (tmp_path / "dynamic" / "deeper").mkdir(parents=True)
    (tmp_path / "dynamic" / "routes.yml").write_text(ROUTES)
    (tmp_path / "dynamic" / "deeper" / "certificates.toml").write_text(CERTIFICATES)
    file = tmp_path / "traefik.yml"
    file.write_text(STATIC.replace("DYNAMIC", str(tmp_path / "dynamic")))
    return file


def test_routers_of_the_file_provider_meet_the_entry_points(static: Path) -> None:
    reading = read_bindings(static)
    assert rows(reading) == [
        ("www.example.com", "192.0.2.1", 443, "/etc/ssl/other.pem"),
        ("shop.example.com", "192.0.2.1", 443, "/etc/ssl/other.pem"),
        ("blog.example.com", "192.0.2.1", 443, "resolver le"),
        ("example.org", "192.0.2.1", 443, "/etc/ssl/other.pem"),
        ("*.example.org", "192.0.2.1", 443, "/etc/ssl/other.pem"),
        ("mail.example.com", "*", 993, "/etc/ssl/mail.example.com.pem"),
    ]
    assert reading.notes == (
        "router any has a pattern of names; not computed",
        "router through passes TLS on; what is behind it is not read",
    )


def test_routers_become_one_managed_certificate_each(static: Path) -> None:
    found = hosts_by_site(read_bindings(static))
    assert [h.ascii for h in found["shop"]] == ["www.example.com", "shop.example.com"]
    assert set(found) == {"shop", "blog", "any", "mail"}


def test_a_dynamic_file_alone_is_read_with_port_443(tmp_path: Path) -> None:
    file = tmp_path / "routes.yml"
    file.write_text(ROUTES)
    assert guess_kind(file) is Kind.TRAEFIK
    reading = read_bindings(file)
    assert ("blog.example.com", "*", 443, "resolver le") in rows(reading)
    assert "port 443 is taken" in " ".join(reading.notes)


def test_what_certshelf_configures_comes_from_the_shelf(tmp_path: Path) -> None:
    folder = tmp_path / "certshelf" / "traefik"
    folder.mkdir(parents=True)
    setup = Setup(mirror=tmp_path / "certshelf" / "mirror", listen="127.0.0.1:8443")
    text = static_and_routes(setup)
    routes = text.partition("routes.yml, beside")[2].partition("\n")[2].replace("\n# ", "\n")
    (folder / "routes.yml").write_text(routes.removeprefix("#"))
    ours = json.dumps(str(setup.mirror / "www.example.com.pem"))
    (folder / "certshelf.yml").write_text(
        f"tls:\n  certificates:\n  - {{certFile: {ours}, keyFile: {ours}}}\n"
    )
    file = tmp_path / "traefik.yml"
    file.write_text(text)
    reading = read_bindings(file)
    assert rows(reading) == [("", "127.0.0.1", 8443, "")]
    assert [b.site for b in reading.bindings] == ["all"]
    assert reading.notes == ()


def test_an_entry_point_without_routers_still_listens() -> None:
    text = '[entryPoints.websecure]\naddress = ":8443"\n[entryPoints.websecure.http.tls]\n'
    reading = traefik.read(text + "[providers.docker]\n", "traefik.toml")
    assert rows(reading) == [("", "*", 8443, traefik.OWN_DEFAULT)]
    assert reading.notes == ("routers that Traefik gets from docker are not in this file",)


def test_a_template_and_a_missing_folder_are_noted(static: Path, tmp_path: Path) -> None:
    (tmp_path / "dynamic" / "routes.yml").write_text("http: {{ range $i := until 3 }}")
    assert "it is a template" in " ".join(read_bindings(static).notes)
    static.write_text(STATIC.replace("DYNAMIC", str(tmp_path / "gone")))
    assert "no dynamic file is here" in " ".join(read_bindings(static).notes)


def test_keys_that_are_numbers_do_no_harm() -> None:
    text = "entryPoints: {1: {address: ':443'}}\nproviders: {2: x}\n"
    text += "http: {routers: {3: {rule: 'Host(`a.test`)', entryPoints: [1], tls: true}}}"
    assert rows(traefik.read(text)) == [("a.test", "*", 443, traefik.OWN_DEFAULT)]


def test_a_file_that_is_none_is_refused() -> None:
    for text, source in (("a: [", "x.yml"), ("a =", "x.toml")):
        with pytest.raises(ConfigError):
            traefik.read(text, source)


KEYS = ["entryPoints", "address", "http", "tcp", "tls", "routers", "rule", "domains", "stores"]
KEYS += ["certificates", "certFile", "default", "providers", "file", "directory", "filename"]


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.sampled_from(["", ":443", "Host(`a.b`)"]),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(KEYS),
                inner,
                max_size=4,
            )
        ),
        max_leaves=20,
    )
)
def test_whatever_shape_the_values_have_the_reader_answers(value: object) -> None:
    traefik.read(json.dumps(value))
