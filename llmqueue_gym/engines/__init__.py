"""Engines: deterministic functions of the job table, the truth and the decisions. No randomness lives here."""
