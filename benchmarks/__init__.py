"""Speed of facekp compared with its peers (`python -m benchmarks`), and the commands behind the figures in docs/.

In: drawn faces, or CelebAMask-HQ. Out: tables on the screen, and JSON files here. Start with `harness.py`.
"""
