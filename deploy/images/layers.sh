#!/bin/sh
# Makes the layers of our images, each as a folder. The Containerfile calls it, and so do the tests' images.
#   layers.sh system FOLDER DEBIAN-PACKAGE...           these packages and what they need, nothing else
#   layers.sh python FOLDER SYSTEM PIP-ARGUMENT...      Python packages for the Python in that system, compiled
# Needs root, mmdebstrap and pip. PIP names another pip.
set -eu
suite=bookworm python=3.11
what=$1 folder=$2
shift 2

system() {
  packages=$(echo "$@" | tr ' ' ',')
  mmdebstrap --quiet --variant=extract --skip=cleanup --include="$packages" "$suite" "$folder"
  # Scanners find here what is installed, where no package manager is.
  for package in "$folder"/var/cache/apt/archives/*.deb; do
    mkdir -p "$folder/var/lib/dpkg/status.d"
    dpkg-deb --field "$package" >"$folder/var/lib/dpkg/status.d/$(dpkg-deb --field "$package" Package)"
  done
  rm -rf "$folder"/var/cache/* "$folder"/var/lib/apt "$folder"/var/log/* "$folder"/dev "$folder"/etc/apt "$folder"/tmp
  rm -rf "$folder"/etc/hostname "$folder"/etc/resolv.conf "$folder"/usr/share/doc "$folder"/usr/share/man "$folder"/usr/share/locale "$folder"/usr/share/lintian
  mkdir -p "$folder/dev" "$folder/proc" "$folder/sys" "$folder/usr/local/bin"
  # Also the home may be written by anybody: a cluster may choose any other user and group.
  mkdir -p "$folder/home"
  mkdir -m 1777 "$folder/tmp" "$folder/home/headrace"
  echo 'root:x:0:0:root:/:/usr/sbin/nologin' >"$folder/etc/passwd"
  echo 'headrace:x:1000:0:headrace:/home/headrace:/usr/sbin/nologin' >>"$folder/etc/passwd"
  echo 'root:x:0:' >"$folder/etc/group"
  echo 'hosts: files dns' >"$folder/etc/nsswitch.conf"
  if [ -d "$folder/usr/share/ca-certificates" ]; then
    mkdir -p "$folder/etc/ssl/certs"
    find "$folder/usr/share/ca-certificates" -name '*.crt' | sort | xargs cat >"$folder/etc/ssl/certs/ca-certificates.crt"
  fi
  [ -e "$folder/usr/bin/python$python" ] || return 0
  ln -sf /usr/bin/python3 "$folder/usr/local/bin/python"
  chroot "$folder" python3 -m compileall -q --invalidation-mode unchecked-hash "/usr/lib/python$python"
}

python() {
  base=$1 site=usr/local/lib/python$python/dist-packages
  shift
  ${PIP:-python3 -m pip} install --quiet --disable-pip-version-check --no-compile --no-warn-conflicts \
    --root-user-action ignore --python-version "$python" --only-binary :all: --target "$folder/$site" "$@"
  if [ -d "$folder/$site/bin" ]; then
    sed -i "1s|^#!.*python.*|#!/usr/bin/python3|" "$folder/$site/bin"/*
    mkdir -p "$folder/usr/local" && mv "$folder/$site/bin" "$folder/usr/local/bin"
  fi
  # Compiled by the Python that will run it: else every container does it again, or cannot where its root is read-only.
  inside=$(mktemp -d "$base/layer.XXXXXX")
  name=/$(basename "$inside")
  mv "$folder/$site" "$inside/packages"
  chroot "$base" python3 -m compileall -q --invalidation-mode unchecked-hash -s "$name/packages" -p "/$site" "$name/packages" || true
  mv "$inside/packages" "$folder/$site"
  rmdir "$inside"
}

rm -rf "$folder"
mkdir -p "$folder"
"$what" "$@"
