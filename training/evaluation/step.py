# SPDX-License-Identifier: GPL-3.0-or-later
"""The `evaluate` step: what a bundle scores, as JSON and as one HTML page with contact sheets.

python -m training evaluate --bundle BUNDLE --data RUN/data --out report
python -m training evaluate --bundle BUNDLE --kit KIT --photos PHOTOS --labels landmarks.json --out report

Everything goes through the bundle's exported graphs and the runtime: what is measured is what ships.
"""

import argparse
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from lpmm_runtime.bundle import load_bundle
from lpmm_runtime.engine import Engine
from lpmm_runtime.errors import LpmmError
from training.backbones.portrait_flow import MAP_SIZE
from training.evaluation import report as reports
from training.evaluation import sheets
from training.evaluation.control_scores import ControlAmounts, score_performer, score_subjects
from training.evaluation.control_summary import performance, summarise
from training.evaluation.generator_scores import SHEET_COLUMNS, HeldOutPairs, score_pairs
from training.evaluation.independent_reader import Reader, open_reader
from training.evaluation.landmark_scores import LabelledFaces, score_reader, score_synthetic
from training.evaluation.measures import nme_by_region
from training.evaluation.page import write_json
from training.evaluation.photo_scores import LabelledPhoto, load_labelled, load_portraits, score_photos
from training.evaluation.speed import score_speed
from training.evaluation.subjects import Subject
from training.evaluation.targets import targets
from training.evaluation.true_heads import true_heads
from training.recipe import RECIPES
from training.shards import Kind, ShardPlan, make_shards, read_all

Size = Literal["toy", "full"]
SECTIONS = ("landmarks", "generator", "photographs", "controls", "speed")
PORTRAITS = Path(__file__).parents[2] / "lpmm_runtime" / "portraits"
# A labelled photograph whose face is smaller shows too little of an expression to read back.
_SMALLEST_FACE = 110.0
_SEED = 1
# Of so many photographs sheets are drawn; of every portrait.
_PHOTO_SHEETS = 4


@dataclass(frozen=True)
class Amounts:
    """How much is measured.

    Attributes:
        faces, pairs: held-out faces and frame pairs; made_faces, made_groups: how many `--kit` draws.
        photos: labelled photographs, None for all; subject_photos: those whose controls are commanded.
        true_heads: how many people `--kit` draws that truly do what controls say.
        ramp_frames: of the steadiness ramps; bench_frames: timed at each size.
    """

    faces: int = 500
    pairs: int = 200
    made_faces: int = 400
    made_groups: int = 40
    photos: int | None = None
    subject_photos: int = 8
    true_heads: int = 8
    ramp_frames: int = 25
    bench_frames: int = 30


AMOUNTS: dict[Size, Amounts] = {
    "full": Amounts(),
    "toy": Amounts(12, 4, 12, 3, 4, 1, 1, 5, 3),
}


def add_parser(subparsers: argparse._SubParsersAction) -> None:
    """Register the `evaluate` step."""
    parser = subparsers.add_parser("evaluate", help="score a finished bundle: JSON, and HTML with contact sheets")
    parser.add_argument("--bundle", type=Path, required=True, help="the bundle's folder")
    parser.add_argument("--out", type=Path, required=True, help="where the report goes")
    parser.add_argument("--data", type=Path, help="a folder with test shards, RUN/data")
    parser.add_argument(
        "--kit", type=Path, help="a face kit: heads that truly do what controls say, and test people without --data"
    )
    parser.add_argument("--photos", type=Path, help="a folder of photographs")
    parser.add_argument("--labels", type=Path, help="their 68-point labels, JSON (default: PHOTOS/landmarks.json)")
    parser.add_argument(
        "--portraits", type=Path, nargs="+", help="pictures or folders whose controls are tried (default: the shipped)"
    )
    parser.add_argument("--size", choices=get_args(Size), default="full", help="how much is measured")
    parser.add_argument("--only", nargs="+", choices=SECTIONS, default=list(SECTIONS), help="only these sections")
    parser.add_argument("--threads", type=int, default=2, help="CPU threads of the runtime, timed ones too")
    parser.add_argument(
        "--reader-python", help="a Python that has mediapipe 0.10.21, if this one has not: it reads the frames back"
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Measure, write report.json, report.html and the sheets, and print the targets.

    A report holds: bundle, how, reader {name, independent, scores}, and by section landmarks, generator,
    photographs, controls (with `subjects` beside, and `true_heads` where a kit is given), speed; `targets` at the end.

    Raises:
        ValueError: for bad input, one line naming what is wrong.
    """
    try:
        return _run(args)
    except LpmmError as error:
        raise ValueError(str(error)) from error


def _run(args: argparse.Namespace) -> int:
    amounts = AMOUNTS[args.size]
    labels = args.labels or (args.photos / "landmarks.json" if args.photos else None)
    if args.labels and not args.photos:
        raise ValueError(f"{args.labels}: labels of which photographs? give --photos too")
    bundle = load_bundle(args.bundle)
    portraits = load_portraits(args.portraits or [PORTRAITS])
    labelled = load_labelled(args.photos, labels, amounts.photos) if labels and labels.is_file() else []
    if args.labels and not args.labels.is_file():
        raise FileNotFoundError(f"{args.labels}: no such file")
    unlabelled = load_portraits([args.photos]) if args.photos and not labelled else []
    args.out.mkdir(parents=True, exist_ok=True)
    engine = Engine(bundle, "cpu", args.threads)
    reader = open_reader(engine, args.reader_python)
    try:
        job = _Evaluation(engine, reader, amounts, args)
        job.measure(portraits + unlabelled[: amounts.subject_photos], labelled)
        job.write()
    finally:
        reader.close()
    return 0


class _Evaluation:
    """One report in the making."""

    def __init__(self, engine: Engine, reader: Reader, amounts: Amounts, args: argparse.Namespace) -> None:
        self.engine, self.reader, self.amounts, self.args = engine, reader, amounts, args
        self.out: Path = args.out
        self.sheets: list[tuple[str, Path]] = []
        bundle = engine.bundle
        card = bundle.manifest["model_card"]
        self.report: dict[str, Any] = {
            "bundle": {
                "path": str(bundle.path),
                "name": bundle.name,
                "version": bundle.version,
                "k": bundle.k,
                "backbone": bundle.backbone_kind,
                "commit": card.get("commit") if isinstance(card, dict) else None,
            },
            "how": f"Measured through the exported graphs and the runtime, size {args.size}.",
            "size": args.size,
            "reader": {"name": reader.name, "independent": reader.independent, "scores": None},
        }

    def measure(self, portraits: list[tuple[str, NDArray[np.uint8]]], labelled: list[LabelledPhoto]) -> None:
        """Fill the report, section by section."""
        only = self.args.only
        held_out = self.args.data or self.args.kit
        if held_out and {"landmarks", "controls"} & set(only):
            faces = LabelledFaces.of_shard(self._shard("faces"), self.amounts.faces)
            if self.reader.independent:
                self.report["reader"]["scores"] = score_reader(self.reader, faces)
            if "landmarks" in only:
                self.report["landmarks"] = score_synthetic(self.engine, faces)
            self._keep()
        if held_out and "generator" in only:
            scores, rows = score_pairs(self.engine, HeldOutPairs(self._shard("groups")), self.amounts.pairs)
            self.report["generator"] = scores
            self._keep()
            columns = [name for name in SHEET_COLUMNS if isinstance(scores.get(name), dict)]
            self._sheet("pairs", "Held-out pairs: source, target, rivals and drives", sheets.pair_sheet(rows, columns))
        if labelled and "photographs" in only:
            scores, read = score_photos(self.engine, labelled, self.reader)
            self.report["photographs"] = scores
            self._keep()
            nme = [nme_by_region(p, photo.landmarks)["all"] for p, photo in zip(read, labelled, strict=True)]
            picture = sheets.photo_sheet(labelled, read, nme)
            self._sheet("photographs", "Labelled photographs, worst first: labels green, reading red", picture)
        subjects: list[Subject] = []
        if {"controls", "speed"} & set(only):
            subjects = self._subjects(portraits, labelled if "controls" in only else [])
        if "controls" in only:
            rows_by_subject = score_subjects(subjects, ControlAmounts(self.amounts.ramp_frames))
            self.report["controls"] = summarise(rows_by_subject, self.report["reader"]["scores"])
            self.report["subjects"] = rows_by_subject
            self._keep()
            if self.args.kit:
                heads = true_heads(self.args.kit, self.reader, self.amounts.true_heads, _SEED)
                self.report["true_heads"] = performance(
                    [score_performer(head) for head in tqdm(heads, desc="true heads")], None
                )
                self._keep()
            photographs = [subject for subject in subjects if subject.labelled]
            portraits_read = [subject for subject in subjects if not subject.labelled]
            for subject in portraits_read + photographs[:_PHOTO_SHEETS]:
                self._subject_sheets(subject)
        if "speed" in only:
            self.report["speed"] = score_speed(self.engine, subjects[0], self.amounts.bench_frames, self.args.threads)

    def write(self) -> None:
        """Write the report and print the targets."""
        lines = targets(self.report)
        self.report["targets"] = reports.as_json(lines)
        self.report["sheets"] = {caption: file.name for caption, file in self.sheets}
        write_json(self.out / "report.json", self.report)
        # Read again, so that the page says what the file says.
        report = json.loads((self.out / "report.json").read_text("utf-8"))
        reports.write_html(self.out / "report.html", report, lines, self.sheets)
        print(reports.text_table(lines))
        print(f"report: {self.out / 'report.html'}")

    def _keep(self) -> None:
        """Write what is measured so far: the rest takes a while, and may be stopped."""
        write_json(self.out / "report.json", self.report)

    def _shard(self, kind: Kind) -> dict[str, NDArray]:
        if self.args.data:
            return read_all(self.args.data, kind, "test", most=1)
        recipe = RECIPES["toy" if self.args.size == "toy" else "default"]
        side, count = {
            "faces": (recipe.face_size, self.amounts.made_faces),
            "groups": (MAP_SIZE, self.amounts.made_groups),
        }[kind]
        folder = self.out / "data"
        make_shards(ShardPlan(self.args.kit, folder, kind, "test", side, 1, _SEED, count), workers=1)
        return read_all(folder, kind, "test")

    def _subjects(self, portraits: list[tuple[str, NDArray[np.uint8]]], labelled: list[LabelledPhoto]) -> list[Subject]:
        """Return the portraits, and labelled photographs with faces large enough, evenly chosen."""
        subjects, lost = [], []
        for name, picture in portraits:
            try:
                character = self.engine.create_character(picture, name=name)
            except LpmmError as error:
                lost.append(str(error))
                continue
            subjects.append(Subject(name, False, self.engine, character, self.reader))
        large = [p for p in labelled if min(p.box[2] - p.box[0], p.box[3] - p.box[1]) >= _SMALLEST_FACE]
        count = min(len(large), self.amounts.subject_photos)
        for row in np.linspace(0, len(large) - 1, count).round().astype(int) if count else ():
            photo = large[row]
            name = Path(photo.name).stem
            character = self.engine.create_character(photo.picture, photo.box, name)
            subjects.append(Subject(name, True, self.engine, character, self.reader))
        self.report["lost_portraits"] = lost
        if not subjects:
            raise ValueError(f"no portrait can be used: {lost[0] if lost else 'none given'}")
        return subjects

    def _subject_sheets(self, subject: Subject) -> None:
        pictures = {
            "controls": ("controls at their extremes", sheets.control_sheet(subject)),
            "poses": ("head poses", sheets.pose_sheet(subject)),
            "presets": ("presets", sheets.preset_sheet(subject)),
            "ramps": ("ramps", sheets.ramp_sheet(subject)),
        }
        for kind, (title, picture) in pictures.items():
            if picture is not None:
                self._sheet(f"{kind}-{subject.name}", f"{subject.name}: {title}", picture)

    def _sheet(self, name: str, caption: str, picture: NDArray[np.uint8]) -> None:
        self.sheets.append((caption, sheets.write_jpeg(self.out / f"{name}.jpg", picture)))
