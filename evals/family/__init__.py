"""Families: bases, experts and multitask models with their scores, built from one file. Never merges."""
