"""What Envoy needs: one listener that asks the reader for each name's secret on demand.

Seen with Envoy 1.40 (docs/how-to/envoy.md): the aggregated stream is needed above 1,024 names;
without transport_socket_connect_timeout a name that nobody answers for hangs; QUIC is refused.
Sources: envoyproxy.io, `on_demand_secret` certificate selector and `sni` certificate mapper (v3).
"""

from __future__ import annotations

import json
from pathlib import Path

from certshelf.serve.setup import Setup, split_address

_TYPE = "type.googleapis.com"
_ALL = "0.0.0.0"  # noqa: S104  a web server listens for everybody unless told otherwise
_HTTP = f"{_TYPE}/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
_OPTIONS = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"


def bootstrap(setup: Setup, admin: Path | None = None) -> str:
    """A whole bootstrap file in YAML: HTTP/1.1 and 2 on one port, by proxy to the upstream.

    admin: the path of a Unix socket for Envoy's administration; none without it.
    """
    host, port = split_address(setup.listen)
    to_host, to_port = split_address(setup.upstream)
    return f"""\
# envoy -c THIS_FILE; the reader runs with: --envoy unix:{setup.sds_socket}
# HTTP/1.1 and HTTP/2. Envoy's on-demand selector does not support QUIC listeners (HTTP/3).
node: {{id: certshelf, cluster: certshelf}}
{_admin(admin)}\
dynamic_resources:
  ads_config:
    api_type: DELTA_GRPC
    transport_api_version: V3
    set_node_on_first_message_only: true
    grpc_services: [{{envoy_grpc: {{cluster_name: certshelf}}}}]
overload_manager:
  resource_monitors:
  - name: envoy.resource_monitors.global_downstream_max_connections
    typed_config:
      "@type": {_TYPE}/envoy.extensions.resource_monitors.\
downstream_connections.v3.DownstreamConnectionsConfig
      max_active_downstream_connections: 50000
static_resources:
  listeners:
  - name: https
    address: {_address(host or _ALL, port)}
    per_connection_buffer_limit_bytes: 1048576
    filter_chains:
    - transport_socket_connect_timeout: 3s
      transport_socket:
        name: envoy.transport_sockets.tls
        typed_config:
          "@type": {_TYPE}/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext
          disable_stateless_session_resumption: true
          disable_stateful_session_resumption: true
          common_tls_context:
            alpn_protocols: [h2, http/1.1]
            tls_params: {{tls_minimum_protocol_version: TLSv1_2}}
            custom_tls_certificate_selector:
              name: envoy.tls.certificate_selectors.on_demand_secret
              typed_config:
                "@type": {_TYPE}/envoy.extensions.transport_sockets.tls.\
cert_selectors.on_demand_secret.v3.Config
                config_source: {{ads: {{}}, resource_api_version: V3, initial_fetch_timeout: 5s}}
                certificate_mapper:
                  name: envoy.tls.certificate_mappers.sni
                  typed_config:
                    "@type": {_TYPE}/envoy.extensions.transport_sockets.tls.\
cert_mappers.sni.v3.SNI
                    default_value: _no_sni
      filters:
      - name: envoy.filters.network.http_connection_manager
        typed_config:
          "@type": {_HTTP}
          stat_prefix: https
          codec_type: AUTO
          use_remote_address: true
          normalize_path: true
          common_http_protocol_options: {{idle_timeout: 300s}}
          request_headers_timeout: 15s
          upgrade_configs: [{{upgrade_type: websocket}}]
          route_config:
            virtual_hosts:
            - {{name: all, domains: ["*"], routes: [{{match: {{prefix: /}}, \
route: {{cluster: upstream, timeout: 0s}}}}]}}
          http_filters:
          - name: envoy.filters.http.router
            typed_config: {{"@type": {_TYPE}/envoy.extensions.filters.http.router.v3.Router}}
  clusters:
  - name: certshelf
    type: STATIC
    connect_timeout: 1s
    typed_extension_protocol_options:
      {_OPTIONS}:
        "@type": {_TYPE}/{_OPTIONS}
        explicit_http_config: {{http2_protocol_options: {{}}}}
    load_assignment:
      cluster_name: certshelf
      endpoints: [{{lb_endpoints: [{{endpoint: {{address: \
{{pipe: {{path: {json.dumps(str(setup.sds_socket))}}}}}}}}}]}}]
  - name: upstream
    type: STRICT_DNS
    connect_timeout: 5s
    load_assignment:
      cluster_name: upstream
      endpoints: [{{lb_endpoints: [{{endpoint: {{address: {_address(to_host, to_port)}}}}}]}}]
"""


def _admin(path: Path | None) -> str:
    if path is None:
        return ""
    return f"admin: {{address: {{pipe: {{path: {json.dumps(str(path))}, mode: 384}}}}}}\n"


def _address(host: str, port: int) -> str:
    return f"{{socket_address: {{address: {json.dumps(host)}, port_value: {port}}}}}"
