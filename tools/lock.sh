#!/usr/bin/env bash
# Writes constraints.txt: every distribution that any extra, the tests or the build needs, name==version
# only, for Python 3.11 to 3.14 on Linux, macOS and Windows. `lock.sh --upgrade` takes newer versions.
set -euo pipefail
cd "$(dirname "$0")/.."
new=$(mktemp)
trap 'rm -f "$new"' EXIT
cp constraints.txt "$new" 2>/dev/null || true
printf 'hatchling\npip\nuv\n' | .tools/bin/uv pip compile --quiet --universal --python-version 3.11 \
    --all-extras --group dev --group servers --group docs --no-annotate --no-header --no-emit-index-url \
    "$@" pyproject.toml - -o "$new" >/dev/null
{
    echo "# What is installed, by version. Written by tools/lock.sh; no line may name where from."
    grep -E '^[a-z0-9][a-z0-9._-]*==[^ ]+( ; .+)?$' "$new"
} >constraints.txt
