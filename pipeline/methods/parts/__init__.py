"""What several methods share: rounds that find thresholds, norms and majorities, and their knobs. No arrays
of weights.
"""
