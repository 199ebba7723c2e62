"""The report of a study: figures, page, files."""
