"""Cost profiles. To add one: add what was measured to `shipped.toml`, or a replica that nobody measured to `estimated`.

One's own is read from a file.
"""

from collections.abc import Callable

from llmqueue_gym.profiles.base import Power, Profile
from llmqueue_gym.registry import Registry

__all__ = ["PROFILES", "Power", "Profile", "profile"]


def _all() -> dict[str, Callable[..., Profile]]:
    from llmqueue_gym.profiles.estimated import estimated
    from llmqueue_gym.profiles.files import read_profile, shipped

    return {**shipped(), **estimated(), "file": read_profile}


PROFILES = Registry("profile", {}, Profile, more=_all)
profile = PROFILES.__call__  # a profile from a spec such as `unit:kv_tokens=100` or `file:my_gpu.json`, or itself
