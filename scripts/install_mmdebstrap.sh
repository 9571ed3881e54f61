#!/bin/sh
# Installs mmdebstrap from Debian, which makes the images of tests/kubernetes, unless it is there.
set -eu
command -v mmdebstrap >/dev/null && exit 0
become=
if [ "$(id -u)" -ne 0 ]; then
  command -v sudo >/dev/null || { echo "mmdebstrap is missing: install it as root (apt-get install mmdebstrap)" >&2; exit 1; }
  become=sudo
fi
$become apt-get update --quiet
DEBIAN_FRONTEND=noninteractive $become apt-get install --quiet --yes --no-install-recommends mmdebstrap
