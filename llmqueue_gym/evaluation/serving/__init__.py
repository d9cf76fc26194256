"""Evaluation of the serving engine: runs of request streams, their metrics, comparisons and bounds."""
