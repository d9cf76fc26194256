"""Observations in the units of an agent."""

from llmqueue_gym._jit import lean_kernel


@lean_kernel
def scale(raw, factors, seen):
    """Write to `seen` `(E, n)` each column of `raw` times its factor `(n,)`, all float32; as fast as a copy."""
    for e in range(raw.shape[0]):
        for k in range(raw.shape[1]):
            seen[e, k] = raw[e, k] * factors[k]
