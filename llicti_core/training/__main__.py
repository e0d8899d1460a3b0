"""`llicti train CONFIG.json --photos DIR --run DIR`: train, resume and export a model."""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path

import torch
from tqdm import tqdm

from llicti_core.models import load, write_model
from llicti_core.training.data import Photographs
from llicti_core.training.export import export
from llicti_core.training.trainer import Trainer, TrainingConfig


def parse(arguments: list[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="llicti train",
        description="Train a model. A run's folder holds its checkpoint, its log (a JSON line a report), the plot of "
        "its curve, and at the end the integer model. The same command resumes a run that was interrupted.",
    )
    parser.add_argument("config", type=Path, help="JSON file with the fields of TrainingConfig")
    parser.add_argument("--photos", type=Path, required=True, help="folder of photographs to train on")
    parser.add_argument("--run", type=Path, required=True, help="folder of the run; made where it is missing")
    parser.add_argument("--validate", type=Path, help="folder of photographs to report bits per sub-pixel on")
    parser.add_argument(
        "--start",
        metavar="MODEL",
        help="what a new run starts from: the name of an installed model, such as default, or the checkpoint of "
        "another run; of the shape that the configuration says",
    )
    parser.add_argument("--device", default="cpu", help="cpu or cuda (default: cpu)")
    parser.add_argument(
        "--stage",
        type=float,
        metavar="MINUTES",
        help="stop after about so long; the same command goes on from there, also with a folder of other photographs",
    )
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> int:
    """Run the command; returns the exit status."""
    options = parse(arguments)
    ends = time.monotonic() + 60 * options.stage if options.stage else None
    try:
        torch.empty(0, device=options.device)
    except (AssertionError, RuntimeError) as error:
        print(f"llicti train: device {options.device!r} cannot be used: {error}", file=sys.stderr)
        return 2
    config = TrainingConfig.read(options.config)
    options.run.mkdir(parents=True, exist_ok=True)
    photographs = Photographs.from_folder(options.photos, options.device)
    validation = Photographs.from_folder(options.validate, options.device) if options.validate else None
    start = options.start and (Path(options.start) if Path(options.start).is_file() else load(options.start))
    trainer = Trainer(config, photographs, options.run / "checkpoint.pt", start)
    log = options.run / "log.jsonl"
    form = "{percentage:5.1f}% |{bar}| {elapsed} done, {remaining} left{postfix}"
    with tqdm(total=1.0, initial=trainer.progress(), bar_format=form) as bar:
        for report in trainer.run(validation):
            bar.set_postfix({key: f"{value:.4g}" for key, value in report.items() if key != "progress"}, refresh=False)
            bar.update(report["progress"] - bar.n)
            with log.open("a") as file:
                file.write(json.dumps({"time": time.time(), **report}) + "\n")
            plot_curve(log, options.run / "curve.png")
            if ends and time.monotonic() >= ends:
                break
    if trainer.progress() < 1:
        return 0
    write_model(export(trainer.averaged, config.name), options.run / f"{config.name}.safetensors")
    return 0


def plot_curve(log: Path, target: Path) -> None:
    """Draw bits per sub-pixel over steps from a run's log."""
    from matplotlib.figure import Figure

    reports = [json.loads(line) for line in log.read_text().splitlines()]
    axes = (figure := Figure(figsize=(8, 5), layout="constrained")).subplots()
    for key in ("training", "validation"):
        points = [(report["step"], report[key]) for report in reports if key in report]
        if points:
            axes.plot(*zip(*points, strict=True), label=key)
    axes.set(xlabel="step", ylabel="bits per sub-pixel", title="estimated entropy")
    axes.legend()
    axes.grid(alpha=0.3)
    figure.savefig(target)


if __name__ == "__main__":
    sys.exit(main())
