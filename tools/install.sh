#!/bin/sh
# Install harmoseg and the versions of requirements.lock into a virtual environment:
#
#     sh tools/install.sh demo|all [FOLDER]
#
# `demo` takes the first part of the lock, `all` the whole. uv does it in parallel; it is used from
# the path, or fetched into .uv. Where it cannot be had, or fails, pip does the same, more slowly.
set -eu
cd "$(dirname "$0")/.."
part=$1
venv=${2:-.venv}
python=${PYTHON:-python3}

"$python" -c '
import sys
if sys.version_info < (3, 11):
    sys.exit(f"harmoseg needs Python 3.11 or newer, found {sys.version.split()[0]}; name another "
             "with: make PYTHON=python3.12 ...")'

find_uv() {
    if command -v uv >/dev/null; then
        uv=uv
        return
    fi
    uv=.uv/bin/uv
    [ -x "$uv" ] && return
    echo "fetching uv, which installs in parallel"
    "$python" -m venv .uv &&
        .uv/bin/python -m pip install --quiet --disable-pip-version-check "uv>=0.9.30"
}

# The file lies in the environment, so that nothing is left behind where installing is interrupted.
requirements() {
    if [ "$part" = demo ]; then
        sed '/^# Only for make test/,$d' requirements.lock >"$venv/requirements.txt"
    else
        cp requirements.lock "$venv/requirements.txt"
    fi
    echo "installing $(grep == "$venv/requirements.txt" | cut -d= -f1 | sort -u | wc -l) packages into $venv; PyTorch is several gigabytes"
}

# The lock is complete, so nothing is resolved anew. Certificates are those of the system, as pip's
# are where a site has its own.
with_uv() {
    find_uv || return
    [ -x "$venv/bin/python" ] || "$uv" venv --quiet --python "$python" "$venv" || return
    requirements
    set -- --python "$venv/bin/python" --no-deps --system-certs
    "$uv" pip install "$@" --require-hashes --requirement "$venv/requirements.txt" &&
        "$uv" pip install "$@" --no-build-isolation --editable .
}

with_pip() {
    echo "uv could not install; pip does, which takes some minutes" >&2
    "$python" -m venv --clear "$venv"
    requirements
    set -- --disable-pip-version-check --no-deps
    "$venv/bin/python" -m pip install "$@" --require-hashes --requirement "$venv/requirements.txt"
    "$venv/bin/python" -m pip install "$@" --no-build-isolation --editable .
}

with_uv || with_pip
