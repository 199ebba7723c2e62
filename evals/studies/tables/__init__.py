"""PURE ARITHMETIC of a study: scores in, tables, verdicts and fits out. Reads no file, draws nothing."""
