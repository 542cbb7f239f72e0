"""The real CuPy on a CPU: HIP, its compiler and its BLAS over host memory. See README.md."""
