"""Our merges beside other programs that merge. Run by `make test-peers`, with an environment of their own."""
