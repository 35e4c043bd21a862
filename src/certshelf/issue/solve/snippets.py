"""Farm mode: the rule by which each kind of web server answers http-01 by itself.

Every rule is stateless: it echoes a well-formed token (RFC 8555 section 8.1) with the account's
public thumbprint, as text/plain with nosniff, and anything else is not found. Nothing else of the
request is ever echoed. The rules are tested against the real servers.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType

from certshelf.errors import ConfigError
from certshelf.farm import Kind

_THUMBPRINT = re.compile(r"[A-Za-z0-9_-]{43}", re.ASCII)

# Each text says THUMBPRINT where the account's goes. PCRE's `$` lets a newline pass: hence `\z`.
_NGINX = """\
# http-01, stateless: inside each `server` that listens on port 80
location ^~ /.well-known/acme-challenge/ {
    location ~ "^/\\.well-known/acme-challenge/([A-Za-z0-9_-]{20,128})\\z" {
        default_type text/plain;
        add_header X-Content-Type-Options nosniff always;
        return 200 "$1.THUMBPRINT";
    }
    return 404;
}
"""

_HAPROXY = """\
# http-01, stateless: inside the `frontend` that binds port 80, before its other rules
    acl acme_token path_reg ^/\\.well-known/acme-challenge/[A-Za-z0-9_-]{20,128}$
    http-request return status 200 content-type text/plain \
lf-string "%[path,field(-1,/)].THUMBPRINT" hdr X-Content-Type-Options nosniff if acme_token
"""

_CADDY = """\
# http-01, stateless: inside the site of port 80 (`http://` or `:80`)
@acme path_regexp acme ^/\\.well-known/acme-challenge/([A-Za-z0-9_-]{20,128})$
handle @acme {
    header Content-Type text/plain
    header X-Content-Type-Options nosniff
    respond "{re.acme.1}.THUMBPRINT" 200
}
"""

_APACHE = """\
# http-01, stateless: inside the <VirtualHost *:80>; needs Apache 2.4.13, mod_rewrite, mod_headers
<LocationMatch "^/\\.well-known/acme-challenge/(?<TOKEN>[A-Za-z0-9_-]{20,128})\\z">
    Require all granted
    ErrorDocument 200 "%{reqenv:MATCH_TOKEN}.THUMBPRINT"
    RewriteEngine On
    RewriteRule ^ - [R=200,L]
    Header always set Content-Type text/plain
    Header always set X-Content-Type-Options nosniff
</LocationMatch>
"""

_ENVOY = """\
# http-01, stateless: the first of `http_filters` in the connection manager of port 80
- name: certshelf.http01
  typed_config:
    "@type": type.googleapis.com/envoy.extensions.filters.http.lua.v3.Lua
    default_source_code:
      inline_string: |
        function envoy_on_request(handle)
          local path = handle:headers():get(":path") or ""
          local token = path:match("^/%.well%-known/acme%-challenge/([A-Za-z0-9_-]+)$")
          if token and #token >= 20 and #token <= 128 then
            handle:respond({[":status"] = "200", ["content-type"] = "text/plain",
                            ["x-content-type-options"] = "nosniff"}, token .. ".THUMBPRINT")
          end
        end
"""

_IIS = """\
<?xml version="1.0" encoding="utf-8"?>
<!-- http-01, stateless. Two files in a folder of their own (never in or above a shelf), which is
     the virtual directory /.well-known/acme-challenge of the site on port 80:
       web.config   this text; needs the URL Rewrite module 2.1
       answer.txt   the one line @token@.THUMBPRINT without a line end
     The rule sends each well-formed token to answer.txt; the outbound rule writes it in there. -->
<configuration>
  <system.webServer>
    <rewrite>
      <rules>
        <clear />
        <rule name="certshelf http-01" patternSyntax="ECMAScript" stopProcessing="true">
          <match url=".*" />
          <conditions>
            <add input="{UNENCODED_URL}" ignoreCase="false"
                 pattern="^/\\.well-known/acme-challenge/[A-Za-z0-9_-]{20,128}$" />
          </conditions>
          <action type="Rewrite" url="answer.txt" appendQueryString="false" />
        </rule>
        <rule name="certshelf http-01: nothing else" stopProcessing="true">
          <match url=".*" />
          <action type="CustomResponse" statusCode="404" statusReason="Not Found" />
        </rule>
      </rules>
      <outboundRules>
        <clear />
        <rule name="certshelf http-01 token" patternSyntax="ECMAScript">
          <match filterByTags="None" pattern="@token@" />
          <conditions>
            <add input="{UNENCODED_URL}" ignoreCase="false"
                 pattern="^/\\.well-known/acme-challenge/([A-Za-z0-9_-]{20,128})$" />
          </conditions>
          <action type="Rewrite" value="{C:1}" />
        </rule>
      </outboundRules>
    </rewrite>
    <urlCompression doStaticCompression="false" doDynamicCompression="false" />
    <caching enabled="false" enableKernelCache="false" />
    <httpProtocol>
      <customHeaders>
        <remove name="X-Content-Type-Options" />
        <add name="X-Content-Type-Options" value="nosniff" />
      </customHeaders>
    </httpProtocol>
  </system.webServer>
</configuration>
"""

_RULES: Mapping[Kind, str] = MappingProxyType(
    {
        Kind.NGINX: _NGINX,
        Kind.HAPROXY: _HAPROXY,
        Kind.CADDY: _CADDY,
        Kind.APACHE: _APACHE,
        Kind.ENVOY: _ENVOY,
        Kind.IIS: _IIS,
    }
)


def http01_rule(server_kind: Kind, thumbprint: str) -> str:
    """The configuration text that lets a server of this kind answer http-01 by itself.

    thumbprint: the account key's RFC 7638 thumbprint; after a key rollover the rule must be
    written again. Raises ConfigError for a kind that cannot, or a text that is no thumbprint.
    """
    if not _THUMBPRINT.fullmatch(thumbprint):
        raise ConfigError(
            "no account thumbprint: 43 characters of base64url are expected",
            hint="`certshelf issuer show NAME` prints it",
        )
    rule = _RULES.get(server_kind)
    if rule is None:
        raise ConfigError(
            f"no http-01 rule can be written for {server_kind}",
            hint=f"there is one for {', '.join(_RULES)}; else forward "
            "/.well-known/acme-challenge/ to the manager",
        )
    return rule.replace("THUMBPRINT", thumbprint)
