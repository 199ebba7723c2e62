"""Laws of a study's arithmetic."""
