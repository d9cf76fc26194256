"""The fleet: replicas that share a clock, whatever is sent to them, and what moves between them.

`agenda` says what happens next; a replica is brought there by the engine in `engines.batching`.
"""
