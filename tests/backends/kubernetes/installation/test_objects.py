"""What is sent to the API server for objects of a namespace."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from aiohttp import web
from kubernetes.aio import client, config
from tests.backends.kubernetes.served import served

from headrace_backend_kubernetes.installation.objects import KubernetesObjects


async def test_a_config_map_has_nothing_but_what_was_saved_last(tmp_path: Path) -> None:
    """Notebooks would check the certificate of a new address with the authority of the old one."""
    there: dict[str, Any] = {"data": {"address": "old", "ca.crt": "old"}}

    async def patch(request: web.Request) -> web.Response:
        sent = await request.json()
        if request.content_type == "application/json-patch+json":
            [operation] = sent
            assert (operation["op"], operation["path"]) == ("add", "/data")  # replaces it where there is one
            there["data"] = operation["value"]
        else:
            there["data"] |= sent["data"]
        return web.json_response(there)

    async with served(patch, tmp_path) as kubeconfig:
        configuration = client.Configuration()
        await config.load_kube_config(str(kubeconfig), client_configuration=configuration)
        async with client.ApiClient(configuration) as api:
            await KubernetesObjects(api, "ns", {}).save_config_map("settings", {"address": "new"})
    assert there == {"data": {"address": "new"}}
