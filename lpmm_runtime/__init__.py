# SPDX-License-Identifier: GPL-3.0-or-later
"""The LPMM runtime: portraits in, talking-head frames out, in a process of its own.

The light half (numpy and the standard library only) may be imported anywhere, Blender included:
`landmarks68`, `crop`, `morphable`, `controls`, `frame`, `channels`, `presets`, `curves`, `take`, `bundle`, `errors`,
`json_files`, `protocol`, `client`.
The rest needs onnxruntime and opencv, and lives in the runtime's own process.
"""
