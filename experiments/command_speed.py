"""How long a new user waits, for `speed.py`: for the import, and for the first and the second command."""

import os
import subprocess
import sys
import tempfile
import time

from measured import Measured

SIMULATE = {  # the commands of a new user; the second time with another policy
    "llmqueue simulate": ("simulate --policy {} --jobs 10000 --json", "sprpt", "pspjf"),
    "llmqueue simulate replica": ("simulate --policy {} --lengths azure-conv --load 0.9 --json", "fcfs", "sjf-total"),
    "llmqueue simulate fleet": ("simulate fleet --policy {} --replicas 4 --json", "least-work", "power-of-d"),
}
IMPORT = "import time; t = time.perf_counter(); import llmqueue_gym; print(time.perf_counter() - t)"


def beginnings(measured: Measured) -> None:
    """Time the import, and the first and the second `llmqueue simulate` of a new user, of replicas too."""

    def python(code: str, **more: str) -> tuple[str, float, float]:
        """Return what a process prints, and its seconds by the clock and of CPU."""
        start, before = time.perf_counter(), os.times()
        done = subprocess.run([sys.executable, "-c", code], env={**os.environ, **more}, capture_output=True, text=True)
        if done.returncode:
            raise RuntimeError(done.stderr)
        after = os.times()
        spent = after.children_user + after.children_system - before.children_user - before.children_system
        return done.stdout, time.perf_counter() - start, spent

    measured.add("import llmqueue_gym", "s", [float(python(IMPORT)[0]) for _ in range(5)])
    for command, (words, one, other) in SIMULATE.items():
        with tempfile.TemporaryDirectory() as empty:
            caches = {"NUMBA_CACHE_DIR": f"{empty}/numba", "LLMQUEUE_CACHE": f"{empty}/capacity"}
            each = (
                f"from llmqueue_gym.cli import main; main({words.format(who).split()})" for who in (one, *[other] * 3)
            )
            cold, *warm = (python(code, **caches)[1:] for code in each)
        for k, unit in enumerate(("s", "CPU s")):
            first = measured.add(f"{command}, cache empty", unit, [cold[k]])
            second = measured.add(f"{command}, cached", unit, [one[k] for one in warm])
            if unit == "s":
                measured.ratios[f"first / second `{command}`"] = first / second
