#!/bin/sh
# Installs Prometheus and promtool from Debian, unless they are there. Nothing is started as a service.
set -eu
command -v prometheus >/dev/null && command -v promtool >/dev/null && exit 0
become=
if [ "$(id -u)" -ne 0 ]; then
  command -v sudo >/dev/null || { echo "prometheus is missing: install it as root (apt-get install prometheus)" >&2; exit 1; }
  become=sudo
fi
$become apt-get update --quiet
DEBIAN_FRONTEND=noninteractive RUNLEVEL=1 $become apt-get install --quiet --yes --no-install-recommends prometheus
