"""Arrays as they come in: checked once, read in blocks, given back to the file that holds them.

The one door for data. `validation` settles dtype, order, finiteness and sparse format and checks
plain arguments; `images` does so for images and flat rows that are images; `rows` holds norms and
multiples of dense or CSR rows; `blocks` says how rows are taken a block at a time; `mapped` gives
the pages of memory maps back; `memory` refuses what cannot fit; `files` are written aside and
renamed. It knows settings (`_config`) and the core, and nothing of kernels.
"""
