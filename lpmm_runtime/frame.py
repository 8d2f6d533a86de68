# SPDX-License-Identifier: GPL-3.0-or-later
"""The arithmetic of a frame: p = p_base + Σ raw + S(controls) + Σ w · preset."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lpmm_runtime.channels import param_index, split_channels
from lpmm_runtime.controls import Control, ControlMap
from lpmm_runtime.errors import UnknownChannelError
from lpmm_runtime.morphable import LandmarkModel
from lpmm_runtime.presets import Preset

Array = NDArray[np.float32]
# By name (`p01`) or by 0-based index; a Mapping is invariant in its keys, so each spelling is listed.
RawParams = Mapping[int, float] | Mapping[str, float] | Mapping[int | str, float]


@dataclass(frozen=True)
class RigModel:
    """What turns sliders into params: the light part of a bundle.

    Attributes:
        model: the LPMM.
        controls: S, the controls' map into param space.
        control_list: every control as the animator sees it, head angles included, in the panel's order.
        mean_pose_latent: [w] float32, v̄.
        component_names: k names, for people: "yaw", "roll", …
    """

    model: LandmarkModel
    controls: ControlMap
    control_list: tuple[Control, ...]
    mean_pose_latent: Array
    component_names: tuple[str, ...]

    @property
    def k(self) -> int:
        """The number of params."""
        return self.model.k

    @property
    def control_names(self) -> tuple[str, ...]:
        """The names of all controls, in the panel's order."""
        return tuple(control.name for control in self.control_list)


def effective_values(
    controls: Mapping[str, float],
    raw: RawParams,
    presets: Iterable[tuple[Preset, float]] = (),
    k: int = 40,
) -> tuple[dict[str, float], Array]:
    """Add weighted presets to the sliders.

    Args:
        controls: control values by name.
        raw: param values in standard deviations, by name (`p01`) or 0-based index.
        presets: presets with their weights.
        k: the number of params.

    Returns:
        The control values by name, and the raw params [k] float32.

    Raises:
        UnknownChannelError: for a param beyond k.
    """
    values = {name: float(value) for name, value in controls.items()}
    total = np.zeros(k, np.float64)
    for key, value in raw.items():
        total[_index(key, k)] += value
    for preset, weight in presets:
        if weight == 0.0:
            continue
        for name, value in preset.controls.items():
            values[name] = values.get(name, 0.0) + weight * value
        for name, value in preset.params.items():
            total[_index(name, k)] += weight * value
    return values, total.astype(np.float32)


def evaluate_params(
    rig: RigModel,
    base: NDArray[np.floating],
    controls: Mapping[str, float],
    raw: RawParams,
    presets: Iterable[tuple[Preset, float]] = (),
) -> Array:
    """Return the params p [k] float32 of a frame; at rest exactly `base`.

    Args:
        rig: the bundle's rig.
        base: [k], p_base: the photo's own params, or zeros for the neutral base.
        controls, raw, presets: see `effective_values`; a preset's controls join the sum before S.

    Raises:
        UnknownChannelError: for a control or param that the rig has not.
    """
    values, total = effective_values(controls, raw, presets, rig.k)
    start = np.asarray(base, np.float32)
    try:
        offset = rig.controls.offset(values, start)
    except KeyError as error:
        raise UnknownChannelError(str(error.args[0])) from error
    return start + total + offset


def evaluate_channels(
    rig: RigModel, base: NDArray[np.floating], values: Mapping[str, float], presets: Mapping[str, Preset]
) -> Array:
    """Return the params p [k] float32 of mixed channel values: controls, params and preset weights by name.

    Raises:
        UnknownChannelError: for a name that is none of them.
    """
    controls, raw, weights = split_channels(values, rig.control_names, rig.k, presets)
    return evaluate_params(rig, base, controls, raw, [(presets[name], weight) for name, weight in weights.items()])


def _index(key: int | str, k: int) -> int:
    if isinstance(key, str):
        return param_index(key, k)
    if not 0 <= key < k:
        raise UnknownChannelError(f"no such param: index {key} (k is {k})")
    return key
