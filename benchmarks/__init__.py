"""Speed beside peers, in one run: `python -m benchmarks.overhead`, more as kernels arrive."""
