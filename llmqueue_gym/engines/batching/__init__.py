"""The serving engine: one replica that batches requests iteration by iteration, limited by its KV cache.

`rules` says how an iteration is filled, `cost` how long it takes; `closed_loop` runs a replica to its end.
"""
