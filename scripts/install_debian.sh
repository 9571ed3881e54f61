#!/bin/sh
# Installs a program from the Debian package of the same name, unless it is there: install_debian.sh PROGRAM.
# Nothing is started as a service.
set -eu
cd "$(dirname "$0")/.."
# One at a time, whoever runs two targets of make at once.
mkdir -p .cache
exec 9>.cache/install_debian.lock
flock 9
command -v "$1" >/dev/null && exit 0
become=
if [ "$(id -u)" -ne 0 ]; then
  command -v sudo >/dev/null || { echo "$1 is missing: install it as root (apt-get install $1)" >&2; exit 1; }
  become=sudo
fi
$become apt-get update --quiet
DEBIAN_FRONTEND=noninteractive RUNLEVEL=1 $become apt-get install --quiet --yes --no-install-recommends "$1"
