# SPDX-License-Identifier: GPL-3.0-or-later
"""Portraits of the face kit's people, rendered by Blender's Cycles: strands of hair, skin that light enters, a room.

Needs `bpy`; training pictures are drawn by `training.synth`, a thousand times faster.
"""
