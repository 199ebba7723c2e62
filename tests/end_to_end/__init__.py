"""The whole path: config in, published model out, on every executor and through every crash."""
