#!/bin/sh
# Builds the OpenTelemetry collector with the parts that tests/tracing needs into .cache/, unless it is there. Needs Go.
set -eu
cd "$(dirname "$0")/.."
[ -x .cache/otelcol ] && exit 0
command -v go >/dev/null || { echo "Go is missing: install it (https://go.dev/dl) to build the collector" >&2; exit 1; }
mkdir -p .cache
out="$PWD/.cache/otelcol"
cd scripts/otelcol
GOFLAGS=-mod=readonly go build -o "$out" .
