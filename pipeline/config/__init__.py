"""Merge configs: strict reading of mergekit's YAML into frozen values. No torch; no model is opened.

Read `merge.py` first (what a config is), then `mergekit.py` (how a file becomes one), then `load.py` (the
door).
"""
