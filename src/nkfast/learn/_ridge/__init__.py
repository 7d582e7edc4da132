"""Ridge regression of any penalty, streamed or from rows; it knows no networks.

`_system` is the data of a fit, `_solve` its solution with a given penalty or one chosen by
generalised cross-validation (Golub, Heath & Wahba 1979), exact leave-one-out or evidence (MacKay
1992). `_penalty` is that choice, by criteria that `_scores` computes and `_estimates`, for large
systems, estimates (Hutchinson 1990; Ubaru, Chen & Saad 2017). `_spectrum` has the eigenvalues that
all penalties share, `_posterior` variances of predictions, `_state` what streams and batches keep,
in steps that `_interrupts` does not let Ctrl-C cut in two.
"""
