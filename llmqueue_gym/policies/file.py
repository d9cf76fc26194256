"""What a user's Python file defines, whatever else the file does."""

import contextlib
import io
import os
import runpy
import subprocess
import sys
from pathlib import Path
from typing import Any

from llmqueue_gym.errors import BadInput

SECONDS = 5.0  # that a file may take
_REACHED = 77  # status of a process in which the file ran to its end
_PROBE = f"import os, runpy, sys; runpy.run_path(sys.argv[1], run_name=sys.argv[2]); os._exit({_REACHED})"


def names_in(path: str | os.PathLike[str], run_name: str = "<run_path>") -> dict[str, Any]:
    """Return what a file defines, by name; what it prints is dropped.

    It is run in a process of its own first, so that a file that never ends, or ends the process, is an error here.

    Raises:
        BadInput: there is none, or it does not run to its end in `SECONDS`.
    """
    path = Path(path)
    if not path.is_file():
        raise BadInput(f"{path}: no such file")
    where = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    told: Any = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE, "env": where}
    try:
        probe = subprocess.run([sys.executable, "-c", _PROBE, str(path), run_name], timeout=SECONDS, **told)
    except subprocess.TimeoutExpired:
        raise BadInput(f"{path} does not run: it is not done after {SECONDS:g} s") from None
    if probe.returncode != _REACHED:
        lines = probe.stderr.decode(errors="replace").strip().splitlines()
        raise BadInput(f"{path} does not run: {lines[-1] if lines else f'it exits with status {probe.returncode}'}")
    try:
        with contextlib.redirect_stdout(io.StringIO()):  # stdout is for results alone
            return runpy.run_path(str(path), run_name=run_name)
    except (Exception, SystemExit) as error:  # whatever the user's file raises
        raise BadInput(f"{path} does not run: {type(error).__name__}: {error}") from None
