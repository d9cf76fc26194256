"""Serves vLLM's own OpenAI server and engine on a computer without a GPU; the answers are made up.

    PYTHON_OF_AN_ENVIRONMENT_WITH_VLLM tests/engines/serve_vllm.py --port 8000 --seats 64 --names 1000 --notes FILE

Everything is vLLM's, from the socket to the scheduler and its priorities, but for the model (`wordy.py`) and its words.
A prompt is one word, n and a number below `--names`. Word k of the answer to n5 is n5:k, so that whoever gets a word
knows whose it is, and whether one is missing. A batch takes `--pause` s. The file of `--notes` says who came to the
scheduler's queue, with which priority, and who got a seat.
"""

import argparse
import os
import sys
import tempfile
from pathlib import Path

from made_up_model import made_up_model


def main() -> None:
    """Become the server."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=8000)
    parser.add_argument("--seats", type=int, default=64)
    parser.add_argument("--names", type=int, default=1000)
    parser.add_argument("--pause", type=float, default=0.05)
    parser.add_argument("--notes", default=os.devnull)
    parser.add_argument("--folder", help="for the files of the model, instead of a temporary one")
    given = parser.parse_args()
    model = made_up_model(given.folder or tempfile.mkdtemp(), given.names)
    settings = {
        "WORDY_PAUSE": str(given.pause),
        "WORDY_NAMES": str(given.names),
        "WORDY_NOTES": given.notes,
        "VLLM_TARGET_DEVICE": "cpu",
        "CUDA_VISIBLE_DEVICES": "",
        "PYTHONPATH": str(Path(__file__).parent),
        "HF_HUB_OFFLINE": "1",
        "VLLM_NO_USAGE_STATS": "1",
        "VLLM_LOGGING_LEVEL": "ERROR",
    }
    options = {
        "model": model,
        "served-model-name": "fake",
        "load-format": "dummy",
        "max-model-len": "4096",
        "distributed-executor-backend": "wordy.Wordy",
        "scheduling-policy": "priority",
        "max-num-seqs": str(given.seats),
        "host": "127.0.0.1",
        "port": str(given.port),
        "uvicorn-log-level": "warning",
    }
    command = [sys.executable, "-W", "ignore", "-m", "vllm.entrypoints.openai.api_server"]
    command += [text for name, value in options.items() for text in (f"--{name}", value)]
    os.execve(sys.executable, command, {**os.environ, **settings})


if __name__ == "__main__":
    main()
