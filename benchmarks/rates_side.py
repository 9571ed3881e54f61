"""Creates clusters and makes requests for `throughput.py`, with the contract of one checkout of headrace.

Started with the Python of that checkout: ``rates_side.py BENCHMARKS``, the folder of its own benchmarks. Reads a JSON
object ``{"scenario": name, ...arguments}`` a line, answers a JSON object a line.
"""

import base64
import json
import os
import sys
from dataclasses import asdict

sys.path.insert(0, sys.argv[1])
from throughput import HeadraceSide


def main():
    side = HeadraceSide(os.environ["HEADRACE_DATA_DIR"])
    for line in sys.stdin:
        arguments = json.loads(line)
        try:
            answer = getattr(side, arguments.pop("scenario"))(**arguments)
            if answer is not None:
                answer = asdict(answer) | {"body": base64.b64encode(answer.body).decode()}
        except Exception as error:  # noqa: BLE001 - sent to run.py, which reports it
            answer = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps(answer or {}), flush=True)


if __name__ == "__main__":
    main()
