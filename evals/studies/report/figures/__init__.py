"""The report's figures: one small function each, every one told apart without colour. Computes no score."""
