"""Linear algebra that LAPACK and BLAS offer only in parts.

`symmetric` holds products and Cholesky factors of any order in pieces that OpenBLAS's threads
survive; `eigen` the leading eigenvectors; `tridiagonal` shifted solves by one tridiagonal form;
`lanczos` quadratures and solutions from products alone (Golub & Meurant 2010); `moments` running
means and second moments (Chan, Golub & LeVeque 1983); `chebyshev` series from values. It knows
`_arrays`, and nothing of kernels or networks.
"""
