"""Experts: full fine-tuning of a base model on data, many at once, on any executor. Never merges."""
