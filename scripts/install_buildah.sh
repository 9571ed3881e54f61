#!/bin/sh
# Installs buildah from Debian, which builds deploy/images/Containerfile in tests/images/engine, unless it is there.
set -eu
command -v buildah >/dev/null && exit 0
become=
if [ "$(id -u)" -ne 0 ]; then
  command -v sudo >/dev/null || { echo "buildah is missing: install it as root (apt-get install buildah)" >&2; exit 1; }
  become=sudo
fi
$become apt-get update --quiet
DEBIAN_FRONTEND=noninteractive $become apt-get install --quiet --yes --no-install-recommends buildah
