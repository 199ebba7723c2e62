"""A study's tables for people: a self-contained page, Markdown, figures, Parquet. It computes no figure."""
