"""Speed of facekp compared with its peers (`python -m benchmarks`), and the commands behind the figures in docs/.

In: drawn faces, or CelebAMask-HQ. Out: tables on the screen, and JSON files here. Start with `harness.py`.
"""

import facekp  # noqa: F401  # before torch, whose threads it lets sleep while they wait
