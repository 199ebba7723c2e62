"""Running things: executors, retries, receipts, progress. Knows machines and nothing of models."""
