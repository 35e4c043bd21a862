#!/usr/bin/env bash
# Installs the servers and programs that the tests drive, where apt and root are at hand. What is missing
# afterwards is named, and its tests skip themselves: a package that this Debian does not have is no error.
set -euo pipefail

# what proves that it is there        the package that brings it
wanted='
/usr/bin/openssl                      openssl
/usr/bin/git                          git
/usr/sbin/nginx                       nginx-light
/usr/lib/nginx/modules/ngx_http_lua_module.so libnginx-mod-http-lua
/usr/sbin/haproxy                     haproxy
/usr/sbin/apache2                     apache2
/usr/sbin/smbd                        samba
/usr/lib/*/samba/vfs/acl_xattr.so     samba-vfs-modules
/usr/lib/postgresql/*/bin/postgres    postgresql
/usr/sbin/named                       bind9
/usr/bin/pebble                       pebble
/usr/bin/keytool                      default-jre-headless
'

# Prints the packages of which the proof is not there.
missing() {
    while read -r proof package; do
        test -z "$proof" || compgen -G "$proof" >/dev/null || echo "$package"
    done <<<"$wanted"
}

install() {
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends \
        -o DPkg::Lock::Timeout=300 "$@" >/dev/null 2>&1 </dev/null
}

packages=$(missing)
test -n "$packages" || exit 0
if test "$(id -u)" != 0 || ! command -v apt-get >/dev/null; then
    echo "note: not installed, their tests are skipped (as root, apt would bring them):" $packages >&2
    exit 0
fi
echo "packages: installing" $packages >&2
# The tests start these servers themselves, on their own ports: do not let apt start any.
policy=/usr/sbin/policy-rc.d
if ! test -e "$policy"; then
    trap 'rm -f "$policy"' EXIT
    printf '#!/bin/sh\nexit 101\n' >"$policy"
    chmod 755 "$policy"
fi
apt-get update -qq >/dev/null 2>&1 </dev/null || echo "note: apt-get update did not succeed" >&2
known=$(for package in $packages; do apt-cache show "$package" >/dev/null 2>&1 && echo "$package"; done || true)
test -z "$known" || install $known || for package in $known; do install "$package" || true; done
packages=$(missing)
test -z "$packages" || echo "note: not to be had here, their tests are skipped:" $packages >&2
