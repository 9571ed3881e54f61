#!/bin/sh
# Installs JupyterLab into .venv-jupyterlab, unless it is there.
set -eu
cd "$(dirname "$0")/.."
# One at a time, whoever runs two targets of make at once.
mkdir -p .cache
exec 9>.cache/install_jupyterlab.lock
flock 9
target=.venv-jupyterlab
wanted="jupyterlab==4.6.6"
[ "$(cat $target/.ready 2>/dev/null)" = "$wanted" ] && exit 0
rm -rf $target
"${PYTHON:-python3}" -m venv $target
$target/bin/pip install --quiet --disable-pip-version-check "$wanted"
echo "$wanted" >$target/.ready
