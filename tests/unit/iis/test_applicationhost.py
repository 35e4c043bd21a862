"""Bindings of IIS as its configuration file has them."""

from __future__ import annotations

import pytest

from certshelf.errors import ConfigError
from certshelf.farm import Binding
from certshelf.iis.applicationhost import parse_information, read

FILE = """<?xml version="1.0" encoding="UTF-8"?>
<configuration>
  <system.applicationHost>
    <sites>
      <site name="Default Web Site" id="1">
        <bindings>
          <binding protocol="http" bindingInformation="*:80:" />
          <binding protocol="https" bindingInformation="*:443:www.example.com" sslFlags="3" />
          <binding protocol="https" bindingInformation="192.0.2.1:443:" sslFlags="0" />
        </bindings>
      </site>
      <site name="Bücher" id="2">
        <bindings>
          <binding protocol="https" bindingInformation="[::1]:8443:bücher.example.com"
            sslFlags="Sni, CentralCertStore" />
        </bindings>
      </site>
      <siteDefaults>
        <bindings><binding protocol="https" bindingInformation="x" /></bindings>
      </siteDefaults>
    </sites>
  </system.applicationHost>
</configuration>
"""


def test_https_bindings_are_read_in_order_with_their_flags() -> None:
    assert read(FILE.encode(), "f") == [
        Binding("Default Web Site", "www.example.com", "*", 443, 3, "", "f"),
        Binding("Default Web Site", "", "192.0.2.1", 443, 0, "", "f"),
        Binding("Bücher", "bücher.example.com", "[::1]", 8443, 3, "", "f"),
    ]


def test_utf16_is_read_as_its_declaration_says() -> None:
    data = FILE.replace("UTF-8", "UTF-16").encode("utf-16")
    assert len(read(data)) == 3


@pytest.mark.parametrize(
    "data",
    [
        b'<!DOCTYPE x [<!ENTITY a "b">]><configuration>&a;</configuration>',
        b'<!DOCTYPE x SYSTEM "file:///etc/passwd"><configuration/>',
        b"<configuration>",
        b"",
        b"{}",
        b"<web/>",
        b'<?xml version="1.0" encoding="nonsense"?><configuration/>',
        b"\x00" * 40,
    ],
)
def test_hostile_or_other_files_are_refused(data: bytes) -> None:
    with pytest.raises(ConfigError):
        read(data)


@pytest.mark.parametrize("text", ["", "*", "*:x:host", "*:0:h", "*:70000:h", "[::1]"])
def test_binding_information_without_a_port_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="no port"):
        parse_information(text)


def test_unknown_flags_are_refused_not_guessed() -> None:
    with pytest.raises(ConfigError, match="sslFlags"):
        read(FILE.replace("Sni, CentralCertStore", "Magic").encode())
