"""The cache of compiled code: a kernel is compiled anew when any file of its folder changes."""

import os
import subprocess
import sys

HELPER = "from llmqueue_gym._jit import kernel\n\n\n@kernel\ndef helper(x):\n    return x + {}\n"
CALLER = (
    "from llmqueue_gym._jit import kernel\nfrom made.helper import helper\n\n\n"
    "@kernel\ndef caller(x):\n    return helper(x)\n"
)
RUN = "from made.caller import caller; print(caller(1)); print(sum(caller.stats.cache_hits.values()))"


def test_a_change_in_a_neighbouring_file_reaches_the_caller(tmp_path):
    folder = tmp_path / "made"
    folder.mkdir()
    (folder / "__init__.py").write_text("")
    (folder / "helper.py").write_text(HELPER.format(1))
    (folder / "caller.py").write_text(CALLER)

    def run():
        env = {**os.environ, "PYTHONPATH": str(tmp_path), "PYTHONDONTWRITEBYTECODE": "1"}
        env.pop("NUMBA_DISABLE_JIT", None)
        done = subprocess.run([sys.executable, "-c", RUN], env=env, capture_output=True, text=True, check=True)
        return done.stdout.split()

    assert run() == ["2", "0"]
    assert run() == ["2", "1"]  # from the cache
    (folder / "helper.py").write_text(HELPER.format(10))
    assert run() == ["11", "0"]
