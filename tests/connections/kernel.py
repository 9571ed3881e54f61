"""Runs cells in a Jupyter kernel, one for each line of JSON that comes in. It runs in JupyterLab's environment."""

import json
import sys
from typing import Any

from jupyter_client.manager import KernelManager  # pyright: ignore[reportMissingImports] - see above

manager = KernelManager(kernel_name="within", transport="ipc", ip=sys.argv[1])
manager.start_kernel()
client = manager.blocking_client()
client.start_channels()
client.wait_for_ready(timeout=60)
try:
    print(json.dumps("ready"), flush=True)
    for line in sys.stdin:
        said: list[str] = []

        def hear(message: Any, said: list[str] = said) -> None:
            content = message["content"]
            if message["msg_type"] == "stream":
                said.append(content["text"])
            elif message["msg_type"] == "error":
                said.append("\n".join(content["traceback"]))

        client.execute_interactive(json.loads(line), timeout=240, output_hook=hear)
        print(json.dumps("".join(said)), flush=True)
finally:
    client.stop_channels()
    manager.shutdown_kernel(now=True)
