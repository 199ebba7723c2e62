"""Laws of the scaling study."""
