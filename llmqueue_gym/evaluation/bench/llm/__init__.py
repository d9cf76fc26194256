"""Batches on a GPU: four workloads of LLM requests on two cost profiles, up to full load."""
