"""What each kind of server listens for, as its configuration says."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from certshelf.doctor.bindings import apache, caddy, envoy, haproxy, nginx
from certshelf.doctor.bindings.base import Reading, follow_from, read_text, split_address
from certshelf.errors import ConfigError
from certshelf.farm import Kind
from certshelf.manage.bindings import read_bindings

Row = tuple[str, str, int, str]


def rows(reading: Reading) -> list[Row]:
    return [(b.host, b.address, b.port, b.certificate) for b in reading.bindings]


NGINX = """
http {
  ssl_certificate /etc/ssl/default.pem;
  server { listen 80; server_name plain.example.com; }
  server {
    listen 443 ssl default_server;
    listen [::]:443 ssl http2;
    server_name www.example.com "shop.example.com"; # and more
    ssl_certificate data:$shelf_pem;
    ssl_certificate_by_lua_block { local t = { a = "}{" } }
    location / { return 200 "a;b"; }
  }
  server { listen 192.0.2.1:8443 ssl; server_name .example.org ~^x$ _; }
  server { listen unix:/run/x ssl; }
}
stream { server { listen 993 ssl; ssl_certificate /etc/ssl/mail.pem; } }
"""


def test_nginx_listeners_names_and_inherited_certificates() -> None:
    reading = nginx.read(NGINX)
    assert rows(reading) == [
        ("www.example.com", "*", 443, ""),
        ("shop.example.com", "*", 443, ""),
        ("www.example.com", "*", 443, ""),
        ("shop.example.com", "*", 443, ""),
        ("example.org", "192.0.2.1", 8443, "/etc/ssl/default.pem"),
        ("*.example.org", "192.0.2.1", 8443, "/etc/ssl/default.pem"),
        ("", "192.0.2.1", 8443, "/etc/ssl/default.pem"),
        ("", "*", 993, "/etc/ssl/mail.pem"),
    ]
    assert any("~^x$" in note for note in reading.notes)
    assert any("unix:" in note for note in reading.notes)


def test_nginx_includes_are_followed_from_the_folder(tmp_path: Path) -> None:
    (tmp_path / "sites").mkdir()
    (tmp_path / "sites" / "a.conf").write_text("server { listen 443 ssl; server_name a.b; }")
    text = "http { include sites/*.conf; include gone.conf; include mime.types; }"
    reading = nginx.read(text, follow=follow_from(tmp_path))
    assert rows(reading) == [("a.b", "*", 443, "")]
    assert reading.notes == ("include gone.conf is not here; not read",)


def test_nginx_includes_that_never_end_are_refused(tmp_path: Path) -> None:
    (tmp_path / "loop.conf").write_text("include loop.conf;")
    with pytest.raises(ConfigError, match="never end"):
        nginx.read("include loop.conf;", follow=follow_from(tmp_path))


@pytest.mark.parametrize("text", ["http {", "}", "server", 'listen "443', ";", "a }", "{"])
def test_a_torn_nginx_configuration_is_refused(text: str) -> None:
    with pytest.raises(ConfigError):
        nginx.read(text)


HAPROXY = """
global
    ssl-default-bind-ciphers x # bind :1 ssl
frontend web
    bind :80
    bind :443 ssl crt /etc/haproxy/certs alpn h2
    bind 192.0.2.1:8443,::1:8444 ssl crt-list names.txt
    bind unix@/run/x ssl crt x
backend b
    bind :9 ssl
listen mail
    bind *:993 ssl crt "/etc/my certs/mail.pem"
"""


def test_a_crt_list_that_a_reader_writes_stands_for_the_shelf() -> None:
    text = "frontend https\n    bind :443 ssl crt-list /run/certshelf/mirror/haproxy.crt-list\n"
    (binding,) = haproxy.read(text).bindings
    assert (binding.host, binding.certificate) == ("", "")


def test_a_certificate_in_a_readers_mirror_comes_from_the_shelf(tmp_path: Path) -> None:
    file = tmp_path / "apache.conf"
    block = (
        "<VirtualHost *:443>\nServerName %s\nSSLEngine on\nSSLCertificateFile %s\n</VirtualHost>\n"
    )
    file.write_text(
        block % ("a.test", "/run/certshelf/mirror/a.test.pem")
        + block % ("b.test", "/etc/ssl/b.test.pem")
    )
    found = {b.host: b.certificate for b in read_bindings(file, Kind.APACHE).bindings}
    assert found == {"a.test": "", "b.test": "/etc/ssl/b.test.pem"}


def test_haproxy_binds_and_crt_list_names(tmp_path: Path) -> None:
    (tmp_path / "names.txt").write_text(
        "# list\n/c/a.pem [alpn h2] www.example.com !x.example.com\n/c/b.pem\n"
    )
    reading = haproxy.read(HAPROXY, follow=follow_from(tmp_path))
    assert rows(reading) == [
        ("", "*", 443, "/etc/haproxy/certs"),
        ("www.example.com", "192.0.2.1", 8443, "/c/a.pem"),
        ("", "192.0.2.1", 8443, "/c/b.pem"),
        ("www.example.com", "[::1]", 8444, "/c/a.pem"),
        ("", "[::1]", 8444, "/c/b.pem"),
        ("", "*", 993, "/etc/my certs/mail.pem"),
    ]
    assert [b.site for b in reading.bindings][-1] == "mail"


APACHE = """
Listen 443
<VirtualHost *:80>
  ServerName plain.example.com
</VirtualHost>
<IfModule mod_ssl.c>
<VirtualHost _default_:443 [::1]:8443>
  ServerName https://www.example.com:443
  ServerAlias shop.example.com \\
     *.example.net
  SSLEngine on
  SSLCertificateFile "/etc/ssl/www.pem"
  RewriteRule ^/it's$ -
</VirtualHost>
</IfModule>
Use Site a
"""


def test_apache_virtual_hosts_with_tls() -> None:
    reading = apache.read(APACHE)
    names = ("www.example.com", "shop.example.com", "*.example.net")
    assert rows(reading) == [
        *((name, "*", 443, "/etc/ssl/www.pem") for name in names),
        *((name, "[::1]", 8443, "/etc/ssl/www.pem") for name in names),
    ]
    assert reading.notes == ("macro Site is not expanded",)


def test_apache_that_ends_inside_a_virtual_host_is_refused() -> None:
    with pytest.raises(ConfigError):
        apache.read("<VirtualHost *:443>\n")


CADDYFILE = """
{
    https_port 8443
}
(snippet) {
    tls /x /y
}
www.example.com, shop.example.com:443 {
    tls {
        get_certificate http http://127.0.0.1/x
    }
    respond "a # b {"
}
http://plain.example.com {
}
https://own.example.com:9443/path {
    tls /etc/ssl/own.pem /etc/ssl/own.key
    import snippet
}
{$SITE} {
}
auto.example.com {
}
"""


def test_caddyfile_site_addresses_and_where_certificates_come_from() -> None:
    reading = caddy.read(CADDYFILE)
    assert rows(reading) == [
        ("www.example.com", "*", 8443, ""),
        ("shop.example.com", "*", 443, ""),
        ("own.example.com", "*", 9443, "/etc/ssl/own.pem"),
        ("auto.example.com", "*", 8443, "automatic"),
    ]
    assert len(reading.notes) == 2


def test_a_caddyfile_of_one_site_needs_no_braces() -> None:
    assert rows(caddy.read("www.example.com\nrespond hello\n")) == [
        ("www.example.com", "*", 443, "automatic")
    ]


def test_caddy_json() -> None:
    config = {
        "apps": {
            "http": {
                "servers": {
                    "s": {
                        "listen": [":443", ":80", "unix//run/x"],
                        "routes": [
                            {"match": [{"host": ["www.example.com"]}]},
                            {
                                "handle": [
                                    {
                                        "handler": "subroute",
                                        "routes": [{"match": [{"host": ["a.b"]}]}],
                                    }
                                ]
                            },
                        ],
                    },
                    "plain": {"listen": [":8080"], "automatic_https": {"disable": True}},
                }
            },
            "tls": {"automation": {"policies": [{"get_certificate": [{"via": "http"}]}]}},
        }
    }
    reading = caddy.read(json.dumps(config))
    assert rows(reading) == [("www.example.com", "*", 443, ""), ("a.b", "*", 443, "")]


ENVOY = {
    "dynamic_resources": {"lds_config": {}},
    "static_resources": {
        "listeners": [
            {
                "name": "tls",
                "address": {"socket_address": {"address": "0.0.0.0", "port_value": 8443}},
                "filter_chains": [
                    {
                        "filter_chain_match": {"server_names": ["www.example.com"]},
                        "transport_socket": {
                            "name": "envoy.transport_sockets.tls",
                            "typed_config": {
                                "common_tls_context": {
                                    "tls_certificates": [
                                        {"certificate_chain": {"filename": "/c/a.pem"}}
                                    ]
                                }
                            },
                        },
                    },
                    {
                        "transport_socket": {
                            "name": "envoy.transport_sockets.tls",
                            "typed_config": {
                                "common_tls_context": {"tls_certificate_sds_secret_configs": [{}]}
                            },
                        }
                    },
                    {"filters": []},
                ],
            }
        ]
    },
}


def test_envoy_listeners_in_json_and_in_yaml() -> None:
    expected = [("www.example.com", "*", 8443, "/c/a.pem"), ("", "*", 8443, "")]
    reading = envoy.read(json.dumps(ENVOY))
    assert rows(reading) == expected
    assert len(reading.notes) == 1
    yaml = pytest.importorskip("yaml")
    assert rows(envoy.read(yaml.safe_dump(ENVOY))) == expected


@given(st.text("{}[];\"'\\\n # <>/:,.*serverlistenbindfrontendVirtualHost0123456789", max_size=200))
def test_whatever_a_file_holds_a_reader_answers_or_refuses(text: str) -> None:
    for reader in (nginx.read, haproxy.read, apache.read, caddy.read):
        try:
            reader(text, "x")
        except ConfigError:
            continue


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("443", ("*", 443)),
        (":443", ("*", 443)),
        ("[::]:443", ("*", 443)),
        ("[::1]:443", ("[::1]", 443)),
        ("10.0.0.1", ("10.0.0.1", 80)),
        ("10.0.0.1:x", None),
        ("0", None),
        ("99999", None),
    ],
)
def test_addresses(text: str, expected: tuple[str, int] | None) -> None:
    assert split_address(text, 80) == expected


def test_files_that_cannot_be_read_are_refused(tmp_path: Path) -> None:
    (tmp_path / "latin").write_bytes(b"\xff\xfe\x00")
    for name in ("missing", "latin", "."):
        with pytest.raises(ConfigError):
            read_text(tmp_path / name)
