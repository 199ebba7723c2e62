"""The primitives in plain torch: the reference, the GPU's form, and the CPU's for fp64 and without numba."""
