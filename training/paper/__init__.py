# SPDX-License-Identifier: GPL-3.0-or-later
"""Every table and figure of the paper, for a finished bundle."""
