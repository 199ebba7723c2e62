"""Broken and malicious input, made when the test runs; each must end in one clear error."""
