#!/bin/sh
# Installs Chromium from Debian, unless there is one.
set -eu
command -v chromium >/dev/null && exit 0
become=
if [ "$(id -u)" -ne 0 ]; then
  command -v sudo >/dev/null || { echo "chromium is missing: install it as root (apt-get install chromium)" >&2; exit 1; }
  become=sudo
fi
$become apt-get update --quiet
DEBIAN_FRONTEND=noninteractive $become apt-get install --quiet --yes --no-install-recommends chromium
