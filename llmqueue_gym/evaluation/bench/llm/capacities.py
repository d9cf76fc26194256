"""Capacities by the fingerprint of the requests and by cost profile, requests/s."""

FOUND: dict[tuple[int, int, int, float], dict[str, float]] = {}
