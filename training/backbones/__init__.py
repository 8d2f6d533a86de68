# SPDX-License-Identifier: GPL-3.0-or-later
"""Talking-head backbones: each is a pose encoder E: image → v, and a generator G: (identity, v) → image."""
