# SPDX-License-Identifier: GPL-3.0-or-later
"""The `report` step: every table and figure of the paper for a bundle, as pictures and JSON and one page.

python -m training report --bundle BUNDLE --data RUN/data --out report
python -m training report --bundle BUNDLE --kit KIT --photo me.jpg --steps 400 --out report

All pictures are drawn by the bundle itself through the runtime. What needs labelled faces (Table 1, Fig. 4) or a short
training (the ablation, Fig. 9's baseline) takes them from a run's data or draws them with a face kit.
"""

from __future__ import annotations

import argparse
import html
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from lpmm_runtime.bundle import load_bundle
from lpmm_runtime.engine import Engine
from lpmm_runtime.errors import LpmmError
from lpmm_runtime.portrait import read_image
from training.evaluation import page
from training.evaluation.independent_reader import Reader, open_reader
from training.evaluation.photo_scores import load_portraits
from training.evaluation.sheets import write_jpeg
from training.evaluation.step import PORTRAITS
from training.paper import adaptor_items, landmark_items, pose_items
from training.paper.adaptor_training import Budget
from training.paper.item import Item
from training.paper.studio import HeldOut, Studio, character_of_face, characters_of, expressive_rows, held_out_of
from training.recipe import RECIPES
from training.shards import ShardPlan, make_shards
from training.synth.people import Split

Size = Literal["toy", "full"]
ITEMS = ("table1", "fig3", "fig4", "fig5", "fig6", "fig7", "fig8", "fig9", "ablation")
_SEED = 1


@dataclass(frozen=True)
class Amounts:
    """How much is measured and trained.

    Attributes:
        faces: held-out faces; made_faces: how many `--kit` draws of each split.
        drivers: driving images.
        train_faces: that the small adaptors learn from; steps, warm_up_steps: of their training; batch: of pictures.
        compared: held-out faces on which adaptors are compared.
    """

    faces: int = 500
    made_faces: int = 600
    drivers: int = 3
    train_faces: int = 1500
    steps: int = 100
    warm_up_steps: int = 1500
    batch: int = 4
    compared: int = 80


AMOUNTS: dict[Size, Amounts] = {
    "full": Amounts(),
    "toy": Amounts(24, 24, 1, 24, 2, 30, 2, 4),
}


def add_parser(subparsers: argparse._SubParsersAction) -> None:
    """Register the `report` step."""
    parser = subparsers.add_parser(
        "report",
        help="write every table and figure of the paper for a bundle",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--bundle", type=Path, required=True, help="the bundle's folder")
    parser.add_argument("--out", type=Path, required=True, help="where page, pictures and JSON go")
    parser.add_argument("--data", type=Path, help="RUN/data, to measure and to train with, or frames of videos")
    parser.add_argument("--kit", type=Path, help="a face kit, to draw people with where there is no --data")
    parser.add_argument(
        "--portraits", type=Path, nargs="+", default=[PORTRAITS], help="pictures or folders (default: the shipped)"
    )
    parser.add_argument("--photo", type=Path, nargs="+", default=[], metavar="FILE", help="more portraits")
    parser.add_argument("--drive", type=Path, nargs="+", default=[], metavar="FILE", help="driving images of Fig. 6")
    parser.add_argument("--only", nargs="+", choices=ITEMS, default=list(ITEMS), help="only these items")
    parser.add_argument("--size", choices=get_args(Size), default="full", help="how much is measured")
    parser.add_argument("--steps", type=int, help="picture steps of each small training (default: 100)")
    parser.add_argument("--warm-up-steps", type=int, help="latent steps before them (default: 1500)")
    parser.add_argument("--threads", type=int, default=2, help="CPU threads")
    parser.add_argument(
        "--reader-python", help="a Python that has mediapipe 0.10.21, if this one has not: it reads the frames back"
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Write report.json, report.html and the pictures.

    Raises:
        ValueError: for bad input, one line naming what is wrong.
    """
    try:
        return _run(args)
    except LpmmError as error:
        raise ValueError(str(error)) from error


def _run(args: argparse.Namespace) -> int:
    amounts = AMOUNTS[args.size]
    for name in ("steps", "warm_up_steps"):
        value = getattr(args, name)
        if value is not None and value < 0:
            raise ValueError(f"--{name.replace('_', '-')} {value}: must be 0 or more")
    bundle = load_bundle(args.bundle)
    pictures = load_portraits(args.portraits) + [(path.stem, read_image(path)) for path in args.photo]
    driving = [(path.stem, read_image(path)) for path in args.drive]
    folder = args.data
    if folder is None and args.kit is not None:
        folder = args.out / "data"
        _draw_faces(args.kit, folder, amounts.made_faces, args.size)
    held_out = None if folder is None else held_out_of(folder, amounts.faces)
    args.out.mkdir(parents=True, exist_ok=True)
    engine = Engine(bundle, "cpu", args.threads)
    reader = open_reader(engine, args.reader_python)
    try:
        studio, lost = _studio(engine, reader, pictures, driving, held_out, amounts.drivers)
        budget = Budget(
            amounts.warm_up_steps if args.warm_up_steps is None else args.warm_up_steps,
            amounts.steps if args.steps is None else args.steps,
            amounts.batch,
            amounts.train_faces,
            amounts.compared,
        )
        report = _report(args, studio, lost, budget)
        items = []
        for item in _items(args.only, studio, folder, budget):
            items.append(item)
            _store(args.out, report, item)
            print(f"{item.key}: {item.missing[0] if item.missing and not item.figures else 'done'}", flush=True)
        print(f"report: {write(args.out, report, items)}")
    finally:
        reader.close()
    return 0


def _draw_faces(kit: Path, folder: Path, count: int, size: Size) -> None:
    side = RECIPES["toy" if size == "toy" else "default"].face_size
    for split in get_args(Split):
        make_shards(ShardPlan(kit, folder, "faces", split, side, 1, _SEED, count), workers=1)


def _studio(
    engine: Engine,
    reader: Reader,
    pictures: list[tuple[str, NDArray[np.uint8]]],
    driving: list[tuple[str, NDArray[np.uint8]]],
    held_out: HeldOut | None,
    drivers: int,
) -> tuple[Studio, list[str]]:
    """Return the studio and a line for each picture that shows no face.

    Where no driving image is given, held-out faces drive; without those, the portraits themselves.
    """
    characters, lost = characters_of(engine, pictures)
    found, lost_drivers = characters_of(engine, driving)
    rows = expressive_rows(held_out, drivers) if held_out else []
    if not characters and held_out:
        # A bundle in the making may find no face yet: faces whose box is known will do.
        characters = [character_of_face(engine, held_out, row, f"face {row}") for row in range(3)]
    if not characters:
        raise ValueError(f"no portrait can be used: {lost[0] if lost else 'none given'}")
    if not found and held_out:
        found = [character_of_face(engine, held_out, row, f"face {row}") for row in rows]
    if not found:
        found = (characters[1:] + characters[:1])[:drivers]
    return Studio(engine, reader, characters, found, held_out), lost + lost_drivers


def _items(only: list[str], studio: Studio, folder: Path | None, budget: Budget) -> Iterator[Item]:
    plain: dict[str, Callable[[Studio], Item]] = {
        "table1": landmark_items.table1,
        "fig3": landmark_items.fig3,
        "fig4": landmark_items.fig4,
        "fig5": pose_items.fig5,
        "fig6": pose_items.fig6,
        "fig7": pose_items.fig7,
        "fig8": pose_items.fig8,
    }
    for key, make in plain.items():
        if key in only:
            yield make(studio)
    wanted = [key for key in ("fig9", "ablation") if key in only]
    if wanted:
        yield from adaptor_items.make(wanted, studio, folder, budget)


def _report(args: argparse.Namespace, studio: Studio, lost: list[str], budget: Budget) -> dict[str, Any]:
    bundle = studio.engine.bundle
    card = bundle.manifest["model_card"]
    return {
        "bundle": {
            "path": str(bundle.path),
            "name": bundle.name,
            "version": bundle.version,
            "licence": bundle.licence,
            "k": bundle.k,
            "backbone": bundle.backbone_kind,
            "latent_size": bundle.latent_size,
            "commit": card.get("commit") if isinstance(card, dict) else None,
            "lp_adaptor": card.get("lp_adaptor") if isinstance(card, dict) else None,
        },
        "size": args.size,
        "reader": {"name": studio.reader.name, "independent": studio.reader.independent},
        "portraits": [character.name for character in studio.characters],
        "lost_pictures": lost,
        "budget": vars(budget),
        "items": {},
    }


def _store(out: Path, report: dict[str, Any], item: Item) -> None:
    """Write an item's pictures, and all that is measured so far: the rest takes a while, and may be stopped."""
    files = []
    for number, (_, picture) in enumerate(item.pictures):
        name = item.key if not number else f"{item.key}-{number + 1}"
        files.append(write_jpeg(out / f"{name}.jpg", picture).name)
    report["items"][item.key] = {"title": item.title, "pictures": files, "missing": list(item.missing), **item.figures}
    page.write_json(out / "report.json", report)


def write(out: Path, report: dict[str, Any], items: list[Item]) -> Path:
    """Write the page."""
    bundle, reader = report["bundle"], report["reader"]
    parts = [f"<h1>{html.escape(bundle['name'])} {html.escape(bundle['version'])}: results</h1>"]
    lines = [
        f"Every table and figure of the paper for this bundle (k = {bundle['k']}, backbone {bundle['backbone']}, pose "
        f"latents of {bundle['latent_size']} numbers; licence: {bundle['licence']}). All pictures were drawn by the "
        f"bundle through the runtime. Frames were read back by {reader['name']}.",
    ]
    if bundle["lp_adaptor"]:
        lines.append(f"LP-adaptor: {bundle['lp_adaptor']}.")
    lines += [f"Left out: {line}" for line in report["lost_pictures"]]
    parts += [f"<p class=small>{html.escape(line)}</p>" for line in lines]
    for item in items:
        parts.append(f"<h2>{html.escape(item.title)}</h2>")
        parts += [f"<p>{html.escape(text)}</p>" for text in item.text]
        for table in item.tables:
            parts.append(f"<p class=small>{html.escape(table.caption)}</p>{page.table(table.header, table.rows)}")
        for file, (caption, _) in zip(report["items"][item.key]["pictures"], item.pictures, strict=True):
            parts.append(f"{page.picture(out / file)}<p class=small>{html.escape(caption)}</p>")
        parts += [f"<p class=small>{html.escape(line)}</p>" for line in item.missing]
    return page.write_page(out / "report.html", f"{bundle['name']}: results", parts)
