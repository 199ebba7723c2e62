"""A study's tables for people: a page, Markdown, figures, Parquet. It scores and averages nothing."""
