import subprocess
import sys
import threading
import time
from pathlib import Path

from mechscope.store.locks import folder_lock

HOLD = """
import sys, time
from pathlib import Path
from mechscope.store.locks import folder_lock
with folder_lock(Path(sys.argv[1]), on_wait=lambda: None):
    print("held", flush=True)
    time.sleep(60)
"""


def test_a_second_holder_is_told_and_waits(tmp_path: Path) -> None:
    told: list[str] = []
    held_at: list[float] = []

    def second() -> None:
        with folder_lock(tmp_path, on_wait=lambda: told.append("waiting")):
            held_at.append(time.monotonic())

    with folder_lock(tmp_path, on_wait=lambda: told.append("never")):
        thread = threading.Thread(target=second)
        thread.start()
        while not told:
            time.sleep(0.005)
        time.sleep(0.05)
        released = time.monotonic()
        assert held_at == []
    thread.join()
    assert told == ["waiting"]
    assert held_at[0] >= released


def test_a_killed_holder_leaves_no_lock(tmp_path: Path) -> None:
    holder = subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert holder.stdout is not None
    with holder.stdout:
        assert holder.stdout.readline() == "held\n"
        holder.kill()
        holder.wait()
    told: list[str] = []
    with folder_lock(tmp_path, on_wait=lambda: told.append("waiting")):
        assert told == []
