# SPDX-License-Identifier: GPL-3.0-or-later
"""Scores of a finished bundle, measured through the graphs and the runtime that ship."""
