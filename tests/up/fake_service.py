"""Stands for a part: says that it is ready, then waits for SIGTERM."""

import os
import signal
import subprocess
import sys


def stop(number: int, frame: object) -> None:
    sys.exit(0)


def redial(number: int, frame: object) -> None:
    print("asked for a redial", flush=True)


def main(behaviour: str) -> None:
    signal.signal(signal.SIGUSR2, redial)
    print(f"behaving as {behaviour}", flush=True)
    if behaviour == "dies":
        sys.exit("the settings are wrong")
    if behaviour == "refuses":
        print("idle_timeout_seconds: too short", flush=True)
        sys.exit(2)
    if behaviour == "stubborn":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    else:
        signal.signal(signal.SIGTERM, stop)
    if behaviour == "leaves-a-child":
        subprocess.Popen(["sleep", "1000"], start_new_session=True)
    if "HEADRACE_READY_FD" in os.environ:
        with os.fdopen(int(os.environ["HEADRACE_READY_FD"]), "w") as ready:
            ready.write("ready\n")
    if behaviour == "dies-later":
        sys.exit(3)
    while True:
        signal.pause()


main(sys.argv[1])
