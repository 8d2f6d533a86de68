# SPDX-License-Identifier: GPL-3.0-or-later
"""Real videos to aligned crops with landmarks, in shards (paper, Sec. 4.1)."""
