"""The scaling study: one file -> a grid of merges, their scores, and a report. See docs/studies.md."""
