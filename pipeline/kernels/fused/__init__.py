"""The primitives as compiled loops over stored bytes, for the CPU: one pass, no torch, no fp32 copies of the
inputs.
"""
