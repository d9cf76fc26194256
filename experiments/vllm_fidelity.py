"""Runs `fidelity/vllm.py`."""

from fidelity.vllm import main

if __name__ == "__main__":
    raise SystemExit(main())
