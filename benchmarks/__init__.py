"""Speed of facekp beside its peers (`python -m benchmarks`), and the commands behind the figures in docs/.

In: drawn faces, or CelebAMask-HQ. Out: tables on the screen, and JSON files here. Open `harness.py` first.
"""
