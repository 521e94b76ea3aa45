"""Speed, measured beside peers in one run on one machine: `python -m benchmarks.overhead`, and more as kernels arrive."""
