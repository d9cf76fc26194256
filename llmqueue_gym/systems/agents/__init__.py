"""Policies as agents, one file for each way of deciding."""
