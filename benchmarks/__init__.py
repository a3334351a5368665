"""How fast facekp is, beside what others use for the same: `python -m benchmarks`, or `make bench`.

Each group is one file with `rows(bench)`, which yields `Row`s; `__main__` lists the groups.
"""
