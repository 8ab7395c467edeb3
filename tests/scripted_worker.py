"""A worker that does nothing but what a script says, started by the tests: `python tests/scripted_worker.py FOLDER FD`.

It speaks as `flows.device_worker` does and imports nothing, so that it is there at once. FOLDER has `script.json`: for
each job, how its tries end, in order, the last one for ever; and is where each try leaves a file.
"""

import json
import os
import signal
import socket
import sys
from pathlib import Path
from typing import Any

CALL = {"call_id": "c-1", "month": "2026-10", "kind": "transcribed", "audio_s": 60.0, "worked_s": 2.0, "error": ""}


def act(how: str, say: Any) -> None:  # noqa: ANN401  # a function
    """Do one try as the script says."""
    what, _, text = how.partition(":")
    if what == "falls":  # before it has begun
        os.kill(os.getpid(), signal.SIGKILL)
    if what == "breaks":
        say(say="ended", error="ImportError", message=text)
        return
    if what == "DeviceError":
        say(say="ended", error=what, message=text)
        return
    say(say="stage", text="loading")
    say(say="begun")
    if what == "dies":
        os.kill(os.getpid(), signal.SIGKILL)
    say(say="call", call=CALL)
    if what == "waits":
        signal.pause()
    if what == "done":
        say(say="ended", counts={"transcribed": 1})
    else:
        say(say="ended", error=what, message=text)


def main(folder: Path, other: socket.socket) -> None:
    """Do what is ordered."""
    script = json.loads((folder / "script.json").read_text())

    def say(**something: object) -> None:
        other.sendall(json.dumps(something).encode() + b"\n")

    for line in other.makefile():
        order = json.loads(line)
        name = f"job-{order['job']}"
        number = len(list(folder.glob(f"{name}-*")))
        (folder / f"{name}-{number}").write_text(json.dumps({"pid": os.getpid(), "order": order}))
        tries = script[str(order["job"])]
        act(tries[min(number, len(tries) - 1)], say)


if __name__ == "__main__":
    main(Path(sys.argv[1]), socket.socket(fileno=int(sys.argv[2])))
