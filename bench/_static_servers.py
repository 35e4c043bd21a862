"""Each server's conventional configuration, with every certificate named in it: what we compare to.

Each function writes a configuration for the PEM files of one folder and returns the command.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import rig

sys.path.insert(0, str(Path(__file__).parent.parent))

from tests.support.envoy import binary
from tests.support.server_process import tool

APACHE_MODULES = "/usr/lib/apache2/modules"
_TYPE = "type.googleapis.com/envoy"


def pem(folder: Path, number: int) -> str:
    """The PEM file of one of many hosts: key and leaf."""
    return str(folder / f"{rig.host(number)}.pem")


def nginx(work: Path, pems: Path, hosts: int, port: int) -> list[str]:
    """One server block for each host."""
    user = "user root;" if os.geteuid() == 0 else ""
    blocks = "\n".join(
        f"server {{ listen 127.0.0.1:{port} ssl; server_name {rig.host(n)};"
        f" ssl_certificate {pem(pems, n)}; ssl_certificate_key {pem(pems, n)}; return 200; }}"
        for n in range(hosts)
    )
    conf = work / "nginx.conf"
    conf.write_text(
        f"{user} worker_processes 1; daemon off; pid {work}/nginx.pid; error_log {work}/error.log;"
        f" events {{}}\nhttp {{ access_log off; ssl_protocols TLSv1.2 TLSv1.3;"
        f" server_names_hash_max_size {max(512, hosts * 4)}; "
        f"server_names_hash_bucket_size 128;\n{blocks}\n}}"
    )
    return [tool("nginx"), "-p", str(work), "-c", str(conf), "-e", f"{work}/e.log"]


def haproxy(work: Path, pems: Path, hosts: int, port: int) -> list[str]:
    """A folder of certificates, which holds as many as hosts."""
    folder = linked(work, pems, hosts)
    conf = work / "haproxy.cfg"
    conf.write_text(
        "global\n    ssl-default-bind-options ssl-min-ver TLSv1.2\ndefaults\n    mode http\n"
        "    timeout connect 5s\n    timeout client 60s\n    timeout server 60s\nfrontend https\n"
        f"    bind 127.0.0.1:{port} ssl crt {folder}/ strict-sni alpn h2,http/1.1\n"
        "    http-request return status 200\n"
    )
    return [tool("haproxy"), "-db", "-f", str(conf)]


def envoy(work: Path, pems: Path, hosts: int, port: int) -> list[str]:
    """One filter chain for each host."""
    manager = {
        "name": "envoy.filters.network.http_connection_manager",
        "typed_config": {
            "@type": f"{_TYPE}.extensions.filters.network.http_connection_manager.v3."
            "HttpConnectionManager",
            "stat_prefix": "https",
            "route_config": {"virtual_hosts": []},
            "http_filters": [
                {
                    "name": "envoy.filters.http.router",
                    "typed_config": {"@type": f"{_TYPE}.extensions.filters.http.router.v3.Router"},
                }
            ],
        },
    }
    chains = [
        {
            "filter_chain_match": {"server_names": [rig.host(n)]},
            "filters": [manager],
            "transport_socket": {
                "name": "envoy.transport_sockets.tls",
                "typed_config": {
                    "@type": f"{_TYPE}.extensions.transport_sockets.tls.v3.DownstreamTlsContext",
                    "disable_stateless_session_resumption": True,
                    "disable_stateful_session_resumption": True,
                    "common_tls_context": {
                        "alpn_protocols": ["h2", "http/1.1"],
                        "tls_certificates": [
                            {
                                "certificate_chain": {"filename": pem(pems, n)},
                                "private_key": {"filename": pem(pems, n)},
                            }
                        ],
                    },
                },
            },
        }
        for n in range(hosts)
    ]
    listener = {
        "name": "https",
        "address": {"socket_address": {"address": "127.0.0.1", "port_value": port}},
        "listener_filters": [
            {
                "name": "envoy.filters.listener.tls_inspector",
                "typed_config": {
                    "@type": f"{_TYPE}.extensions.filters.listener.tls_inspector.v3.TlsInspector"
                },
            }
        ],
        "filter_chains": chains,
    }
    conf = work / "envoy.json"
    conf.write_text(json.dumps({"static_resources": {"listeners": [listener]}}))
    return [binary(), "-c", str(conf), "--concurrency", "1", "--disable-hot-restart", "-l", "error"]


def caddy(work: Path, pems: Path, hosts: int, port: int) -> list[str]:
    """Every certificate by load_files."""
    files = [{"certificate": pem(pems, n), "key": pem(pems, n)} for n in range(hosts)]
    server = {
        "listen": [f"127.0.0.1:{port}"],
        "routes": [{"handle": [{"handler": "static_response", "body": "ok"}]}],
        "tls_connection_policies": [{}],
        "automatic_https": {"disable": True},
    }
    conf = work / "caddy.json"
    conf.write_text(
        json.dumps(
            {
                "admin": {"disabled": True},
                "storage": {"module": "file_system", "root": str(work / "caddy")},
                "apps": {
                    "http": {"servers": {"https": server}},
                    "tls": {"certificates": {"load_files": files}},
                },
            }
        )
    )
    return [tool("caddy"), "run", "--config", str(conf)]


def apache(work: Path, pems: Path, hosts: int, port: int) -> list[str]:
    """One virtual host for each name."""
    names = ("mpm_event", "authz_core", "ssl", "socache_shmcb")
    modules = "\n".join(f"LoadModule {n}_module {APACHE_MODULES}/mod_{n}.so" for n in names)
    user = "User www-data\nGroup www-data\n" if os.geteuid() == 0 else ""
    blocks = "\n".join(
        f"<VirtualHost 127.0.0.1:{port}>\nServerName {rig.host(n)}\nSSLEngine on\n"
        f"SSLCertificateFile {pem(pems, n)}\nSSLCertificateKeyFile {pem(pems, n)}\n</VirtualHost>"
        for n in range(hosts)
    )
    conf = work / "apache.conf"
    conf.write_text(
        f"ServerRoot {work}\nPidFile {work}/apache.pid\nErrorLog {work}/error.log\n"
        f"Mutex file:{work}\nServerName localhost\n{modules}\n{user}StartServers 1\n"
        f"ThreadsPerChild 25\nSSLSessionCache none\nListen 127.0.0.1:{port}\n{blocks}\n"
    )
    return [tool("apache2"), "-f", str(conf), "-D", "FOREGROUND"]


def traefik(work: Path, pems: Path, hosts: int, port: int) -> list[str]:
    """A dynamic file that names every certificate."""
    folder = work / "dynamic"
    folder.mkdir()
    lines = ["tls:", "  options: {default: {sniStrict: true}}", "  certificates:"]
    lines += [f"  - {{certFile: {p}, keyFile: {p}}}" for p in (pem(pems, n) for n in range(hosts))]
    lines += ["http:", "  routers:", '    all: {rule: "PathPrefix(`/`)", service: none, tls: {}}']
    lines += ["  services:", '    none: {loadBalancer: {servers: [{url: "http://127.0.0.1:9"}]}}']
    (folder / "all.yml").write_text("\n".join(lines) + "\n")
    conf = work / "traefik.yml"
    conf.write_text(
        f'entryPoints:\n  https:\n    address: "127.0.0.1:{port}"\n'
        f'providers:\n  file: {{directory: "{folder}"}}\n'
        "global: {checkNewVersion: false, sendAnonymousUsage: false}\n"
    )
    return [tool("traefik"), f"--configFile={conf}"]


def linked(work: Path, pems: Path, hosts: int) -> Path:
    """A folder with the PEM files of so many hosts and no others."""
    folder = work / "crt"
    folder.mkdir()
    for number in range(hosts):
        source = Path(pem(pems, number))
        os.link(source, folder / source.name)
    return folder
