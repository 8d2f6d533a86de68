# SPDX-License-Identifier: GPL-3.0-or-later
"""Standalone training of every model in the bundle: `python -m training STEP --help`."""
