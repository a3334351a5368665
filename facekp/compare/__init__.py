"""Runs side by side: `python -m facekp.compare RUN... out=FOLDER`, and by itself at the end of a multirun.

reading -> grouping -> verdict, table, plots -> report. This file imports nothing, because every training run imports
`facekp.compare.callback`.
"""
