# SPDX-License-Identifier: GPL-3.0-or-later
"""`python -m lpmm_runtime.cli`: the console command without its script."""

import sys

from lpmm_runtime.cli import main

if __name__ == "__main__":
    sys.exit(main())
