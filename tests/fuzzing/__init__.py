"""Property tests of random calls: networks, rows, images, sketches, and what is to be refused.

    cd tests && python -m fuzzing --seed 0 --cases 1000 --jobs 2

A case is made from the pair (seed, number) alone. What does not hold is printed with the command
that repeats it. `draw` makes random choices, `data` numbers and `forms` the arrays that hold them;
`networks` is the grammar of networks; `duals` and `recursion` are the references, in plain NumPy.
`rows`, `images`, `features`, `sketches` and `refusals` are the checks; `cases` chooses among them
and `campaign` runs many, in processes of which any may crash.
"""
