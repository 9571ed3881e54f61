"""Envoy passes every public service of the contract on."""

from __future__ import annotations

import importlib
from pathlib import Path

import headrace.v1
from headrace_proxy.envoy.http_routes import GRPC_SERVICES


def test_every_public_service_is_routed() -> None:
    files = [file.stem for file in Path(headrace.v1.__path__[0]).glob("*_service_pb2.py")]
    modules = [importlib.import_module(f"headrace.v1.{file}") for file in files]
    services = {one.full_name for module in modules for one in module.DESCRIPTOR.services_by_name.values()}
    assert services <= GRPC_SERVICES.keys()
