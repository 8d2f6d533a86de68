# SPDX-License-Identifier: GPL-3.0-or-later
"""The errors of bad input: each says in one line which file or name is at fault and what is wrong with it.

`code` is the stable name that a reply of the runtime carries across the process boundary.
"""


class LpmmError(Exception):
    """Anything the user can put right; the message is one line."""

    code = "error"


class BundleError(LpmmError):
    """A model bundle, or one file of it, is missing, damaged or inconsistent."""

    code = "bad_bundle"


class PresetError(LpmmError):
    """A preset file is not one, or does not fit the bundle."""

    code = "bad_preset"


class CurvesError(LpmmError):
    """A curves file is not one, or does not fit the bundle."""

    code = "bad_curves"


class PhotoError(LpmmError):
    """A photo is missing, unreadable or too small."""

    code = "bad_photo"


class VideoError(LpmmError):
    """A video file is missing, unreadable or holds no picture."""

    code = "bad_video"


class TakeError(LpmmError):
    """A take file is not one, or was captured with other models."""

    code = "bad_take"


class BoxError(LpmmError):
    """A face box given by hand is empty or outside the photo."""

    code = "bad_box"


class NoFaceError(LpmmError):
    """No face was found in a photo."""

    code = "no_face"


class UnknownChannelError(LpmmError):
    """A name is no control, no param and no preset of the bundle."""

    code = "unknown_channel"


class ParamsError(LpmmError):
    """Params, a pose latent or a size have the wrong shape or range."""

    code = "bad_params"


class DeviceError(LpmmError):
    """The device that was asked for is not there."""

    code = "no_device"


class OutputError(LpmmError):
    """A result cannot be written where it was asked for."""

    code = "bad_output"
