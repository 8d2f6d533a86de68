# SPDX-License-Identifier: GPL-3.0-or-later
"""Synthetic heads: people, expressions, cameras and light over a face kit, with exact landmarks and motion."""
