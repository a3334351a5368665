"""Draw synthetic faces: `python -m facekp.data.synthetic out=...`."""

import sys

from facekp.data.synthetic.write import main
from facekp.errors import one_line_errors

if __name__ == "__main__":
    with one_line_errors():
        main(sys.argv[1:])
