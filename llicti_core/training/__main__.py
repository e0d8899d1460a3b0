"""`python -m llicti_core.training PHOTOS --output MODEL.safetensors`: train, resume and export a model."""

from __future__ import annotations

import argparse
import json
import sys
import time
from dataclasses import replace
from pathlib import Path

from tqdm import tqdm

from llicti_core.models import write_model
from llicti_core.training.data import Photographs
from llicti_core.training.export import export
from llicti_core.training.trainer import Trainer, TrainingConfig


def parse(arguments: list[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m llicti_core.training", description=__doc__)
    parser.add_argument("photos", type=Path, help="folder of photographs to train on")
    parser.add_argument("--output", type=Path, required=True, help="where the integer model goes (.safetensors)")
    parser.add_argument("--config", type=Path, help="JSON file with TrainingConfig's fields")
    parser.add_argument("--steps", type=int, help="overrides the configuration's")
    parser.add_argument("--checkpoint", type=Path, help="written as training goes; resumed from when it exists")
    parser.add_argument("--validate", type=Path, help="folder of photographs to report bits per sub-pixel on")
    parser.add_argument("--log", type=Path, help="file that gets a JSON line a report")
    parser.add_argument("--device", default="cpu")
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> int:
    """Run the command; returns the exit status."""
    options = parse(arguments)
    config = TrainingConfig.read(options.config) if options.config else TrainingConfig()
    if options.steps:
        config = replace(config, steps=options.steps)
    photographs = Photographs.from_folder(options.photos, options.device)
    validation = Photographs.from_folder(options.validate, options.device) if options.validate else None
    trainer = Trainer(config, photographs, options.checkpoint)
    with tqdm(total=config.steps, initial=trainer.step, unit="step") as bar:
        for report in trainer.run(validation):
            bar.update(int(report["step"]) - bar.n)
            bar.set_postfix({key: f"{value:.4f}" for key, value in report.items() if key != "step"})
            if options.log:
                with options.log.open("a") as file:
                    file.write(json.dumps({"time": time.time(), **report}) + "\n")
    write_model(export(trainer.averaged, config.name), options.output)
    return 0


if __name__ == "__main__":
    sys.exit(main())
