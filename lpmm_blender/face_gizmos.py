# SPDX-License-Identifier: GPL-3.0-or-later
"""Handles on the picture: eyelids, irises, brows, lips, mouth corners, jaw and head, to be dragged with the mouse.

A handle is a gizmo that starts an operator, so a drag is one undo step, Esc takes it back, and with Auto Keying on it
leaves keys.
"""

import bpy
from bpy.props import BoolProperty, EnumProperty, FloatVectorProperty
from bpy.types import Context, Event, Gizmo, GizmoGroup, Operator, OperatorProperties, WindowManager
from bpy_extras.view3d_utils import region_2d_to_origin_3d, region_2d_to_vector_3d
from mathutils import Matrix

from lpmm_runtime.errors import LpmmError
from lpmm_runtime.face_handles import HANDLES

from .face_drag import FaceDrag, FacePlane, face_plane, handle_places
from .face_pose import key_names
from .frame_request import FrameRequest
from .frames import request_of
from .operators import poll_own_face
from .rig import rig_of

SHOW_HANDLES = "lpmm_show_handles"

_RADIUS = 0.07
"""Of a handle, in the unit of gizmos: 75 pixels at their default size."""
_IRIS_RADIUS = 0.045
"""Of a handle on an iris, which has the lids' close above and below."""

_COLOURS = {
    "Eyelid": (0.35, 0.75, 1.0),
    "Brow": (1.0, 0.75, 0.3),
    "Head": (1.0, 1.0, 1.0),
    "Gaze": (0.45, 1.0, 0.5),
}
_MOUTH_COLOUR = (1.0, 0.45, 0.5)


def _tooltip(name: str) -> str:
    if HANDLES[name].together:
        return f"Pull at the {name.rpartition(' ')[2].lower()} iris; both eyes turn together, by their sliders alone"
    return f"Pull at the {name.lower()}; the sliders follow"


class LPMM_OT_drag_face(Operator):
    bl_idname = "lpmm.drag_face"
    bl_label = "Drag Face"
    bl_description = "Pull at this place of the face; the sliders follow"
    bl_options = {"REGISTER", "UNDO", "BLOCKING"}

    handle: EnumProperty(  # type: ignore[valid-type]
        name="Handle", items=[(name, name, _tooltip(name)) for name in HANDLES]
    )
    offset: FloatVectorProperty(  # type: ignore[valid-type]
        name="Offset", description="How far, in sides of the face's crop; down is positive", size=2, precision=4
    )
    coefficients: BoolProperty(  # type: ignore[valid-type]
        name="LPMM Coefficients",
        description="Let LPMM coefficients do what the named controls within their range cannot",
        default=True,
    )

    @classmethod
    def description(cls, _context: Context, properties: OperatorProperties) -> str:
        return _tooltip(properties.handle)

    @classmethod
    def poll(cls, context: Context) -> bool:
        return poll_own_face(cls, context, "make a library override to pose it")

    def execute(self, context: Context) -> set[str]:
        try:
            drag = FaceDrag(rig_of(context.active_object), self.handle)
            drag.pull(tuple(self.offset), coefficients=self.coefficients)
        except LpmmError as fault:
            self.report({"ERROR"}, str(fault))
            return {"CANCELLED"}
        return self._finish(context, drag)

    def invoke(self, context: Context, event: Event) -> set[str]:
        rig = rig_of(context.active_object)
        assert rig is not None, "the poll said so"
        try:
            plane, drag = face_plane(rig), FaceDrag(rig, self.handle)
        except LpmmError as fault:
            self.report({"ERROR"}, str(fault))
            return {"CANCELLED"}
        if plane is None:
            self.report({"WARNING"}, f"{rig.name}: has no plane that shows its picture")
            return {"CANCELLED"}
        start = _under_mouse(context, event, plane)
        if start is None:
            self.report({"WARNING"}, "The picture is seen from its edge; turn the view to pull at it")
            return {"CANCELLED"}
        self._plane, self._drag, self._start = plane, drag, start
        context.window_manager.modal_handler_add(self)
        return {"RUNNING_MODAL"}

    def modal(self, context: Context, event: Event) -> set[str]:
        if event.type in {"ESC", "RIGHTMOUSE"}:
            self._drag.cancel()
            return {"CANCELLED"}
        if event.type == "LEFTMOUSE" and event.value == "RELEASE":
            return self._finish(context, self._drag)
        if event.type == "MOUSEMOVE":
            now = _under_mouse(context, event, self._plane)
            if now is not None:
                slow = 0.1 if event.shift else 1.0
                self.offset = tuple(slow * (here - there) for here, there in zip(now, self._start, strict=True))
                self._drag.pull(tuple(self.offset), coefficients=self.coefficients)
                context.area.tag_redraw()
        return {"RUNNING_MODAL"}

    def _finish(self, context: Context, drag: FaceDrag) -> set[str]:
        rig = rig_of(context.active_object)
        if context.scene.tool_settings.use_keyframe_insert_auto and rig is not None:
            key_names(rig, drag.keyed, context.scene.frame_current)
        return {"FINISHED"}


class LPMM_GGT_face(GizmoGroup):
    bl_idname = "LPMM_GGT_face"
    bl_label = "LPMM Face Handles"
    bl_space_type = "VIEW_3D"
    bl_region_type = "WINDOW"
    bl_options = {"3D", "PERSISTENT", "SHOW_MODAL_ALL"}

    @classmethod
    def poll(cls, context: Context) -> bool:
        rig = rig_of(context.active_object)
        return (
            getattr(context.window_manager, SHOW_HANDLES)
            and rig is not None
            and rig.library is None
            and context.mode == "OBJECT"
        )

    def setup(self, _context: Context) -> None:
        self._handles: dict[str, Gizmo] = {}
        self._request: FrameRequest | None = None
        self._places: dict[str, tuple[float, float]] = {}
        for name in HANDLES:
            gizmo = self.gizmos.new("GIZMO_GT_move_3d")
            gizmo.draw_options = {"FILL", "ALIGN_VIEW"}
            gizmo.scale_basis = _IRIS_RADIUS if HANDLES[name].together else _RADIUS
            gizmo.color = next((colour for part, colour in _COLOURS.items() if part in name), _MOUTH_COLOUR)
            gizmo.color_highlight = (1.0, 1.0, 0.6)
            gizmo.alpha, gizmo.alpha_highlight = 0.7, 1.0
            gizmo.target_set_operator(LPMM_OT_drag_face.bl_idname).handle = name
            self._handles[name] = gizmo

    def draw_prepare(self, context: Context) -> None:
        rig = rig_of(context.active_object)
        try:
            plane = None if rig is None else face_plane(rig)
            if rig is not None and plane is not None:
                self._read(rig, request_of(rig, context.view_layer.depsgraph))
        except LpmmError:
            plane = None  # The panel and the picture say what is wrong.
        for name, gizmo in self._handles.items():
            gizmo.hide = plane is None or name not in self._places
            if plane is not None and not gizmo.hide:
                gizmo.matrix_basis = Matrix.Translation(plane.point(self._places[name]))

    def _read(self, rig: bpy.types.Object, request: FrameRequest) -> None:
        if request == self._request:
            return
        self._places = handle_places(rig, request)
        self._request = request


def _under_mouse(context: Context, event: Event, plane: FacePlane) -> tuple[float, float] | None:
    mouse = (event.mouse_region_x, event.mouse_region_y)
    origin = region_2d_to_origin_3d(context.region, context.region_data, mouse)
    return plane.place(origin, region_2d_to_vector_3d(context.region, context.region_data, mouse))


_register_classes, _unregister_classes = bpy.utils.register_classes_factory((LPMM_OT_drag_face, LPMM_GGT_face))


def register() -> None:
    """Add the operator, the handles and their switch."""
    WindowManager.lpmm_show_handles = BoolProperty(
        name="Handles", description="Show handles on the selected face, to pull at it with the mouse"
    )
    _register_classes()


def unregister() -> None:
    """Remove them."""
    _unregister_classes()
    delattr(WindowManager, SHOW_HANDLES)
