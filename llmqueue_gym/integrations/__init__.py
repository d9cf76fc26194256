"""Adapters to learning libraries, one module each: `sb3` (Stable-Baselines3) and `rllib` (Ray's RLlib).

Nothing else in the package imports them, so neither torch nor these libraries are needed without them.
"""
