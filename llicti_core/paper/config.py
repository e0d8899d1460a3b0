"""The authors' configuration files: their JSON keys, checked, with an error that names what is not built here."""

from __future__ import annotations

import json
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

MODES = ("train", "validate", "eval_model")

_BUILT: dict[str, tuple[Any, ...]] = {
    "mode": MODES,
    "ycocg": (True,),
    "clrchs": (3,),
    "clr_joint_mode": (2,),
    "conv_layers": (3,),
    "Evens": (4,),
    "Odds": (3,),
    "distribution": ("normal",),
    "num_mixtures": (5,),
    "activfun": ("relu",),
}
"""Keys that select a variant, and the values that are built. Strings are compared without regard to case."""

_POSITIVE = (
    "batch_size",
    "patch_size",
    "patches_per_img",
    "grad_acc_iters",
    "learning_rate",
    "max_epoch",
    "validate_every",
    "loss_prnt_iters",
    "steps_per_epoch",
)


@dataclass(frozen=True)
class Config:
    """A run. Every key may be left out; the defaults are LLICTI-A's published values where there are any.

    The authors' keys:

    exp_name, multi_exp_name: checkpoints go to experiments/multi_exp_name/exp_name below the working directory.
    agent: which of the authors' classes ran it; has no meaning here. mode: train, validate or eval_model.
    resume_training: go on from checkpoint_file. cuda, gpu_device: use that GPU, where there is one. seed: of weights
    and crops. ycocg, clrchs, clr_joint_mode, conv_layers, Evens, Odds, distribution, num_mixtures, activfun: the one
    variant that is built. chs: channels of a network, a number or one a level, of which the first serves all.
    dwtlevels: the levels, [0, 1, ...]. useprevlevNN: whether a level shares the networks of the one before:
    [false, true, ...]. batch_size: crops a batch. patch_size: their side. patches_per_img: crops an image and epoch.
    grad_acc_iters: batches an optimiser step. learning_rate: at the start. max_epoch: epochs in all. validate_every:
    epochs from one validation to the next. loss_prnt_iters: batches from one printed loss to the next.
    checkpoint_file: a path, or a name in the folder of the run. train_data_1 to _4, test_data, valid_data: folders of
    images; num_train_dirs: how many of the four are used.

    Our own keys:

    contexts: where not 0, train on this many random single contexts a band and batch in place of crops, with a
    learning rate that falls to zero by half a cosine. steps_per_epoch: batches an epoch then has.
    """

    exp_name: str = "llicti"
    multi_exp_name: str = ""
    agent: str = ""
    mode: str = "eval_model"
    resume_training: bool = False
    cuda: bool = False
    gpu_device: int = 0
    seed: int = 0
    ycocg: bool = True
    clrchs: int = 3
    clr_joint_mode: int = 2
    chs: tuple[int, ...] = (88,)
    conv_layers: int = 3
    Evens: int = 4
    Odds: int = 3
    dwtlevels: tuple[int, ...] = (0, 1, 2, 3, 4)
    useprevlevNN: tuple[bool, ...] = (False, True, True, True, True)
    distribution: str = "normal"
    num_mixtures: int = 5
    activfun: str = "relu"
    batch_size: int = 32
    patch_size: int = 160
    patches_per_img: int = 1
    grad_acc_iters: int = 2
    learning_rate: float = 1e-4
    max_epoch: int = 45
    validate_every: int = 1
    loss_prnt_iters: int = 100
    checkpoint_file: str = "model_best.pth.tar"
    num_train_dirs: int = 1
    train_data_1: str = ""
    train_data_2: str = ""
    train_data_3: str = ""
    train_data_4: str = ""
    test_data: str = ""
    valid_data: str = ""
    contexts: int = 0
    steps_per_epoch: int = 1000

    @classmethod
    def read(cls, path: str | Path) -> Config:
        """From a JSON file. Raises ValueError, naming the key, where it asks for what is not built."""
        try:
            values = json.loads(Path(path).read_text())
        except json.JSONDecodeError as error:
            msg = f"{path} is not JSON: {error}"
            raise ValueError(msg) from error
        if not isinstance(values, dict):
            msg = f"{path} holds no JSON object"
            raise ValueError(msg)
        return cls.of(values)

    @classmethod
    def of(cls, values: dict[str, Any]) -> Config:
        """From the authors' keys. Raises ValueError, naming the key, where they ask for what is not built."""
        known = {field.name: field.default for field in fields(cls)}
        for key in values:
            if key not in known:
                msg = f"{key}: no such key"
                raise ValueError(msg)
        config = cls(**{key: _convert(key, value, known[key]) for key, value in values.items()})
        config._check()
        return config

    @property
    def channels(self) -> int:
        """Channels of each of the four networks of a band."""
        return self.chs[0]

    @property
    def levels(self) -> int:
        """Levels of the pyramid."""
        return len(self.dwtlevels)

    @property
    def folder(self) -> Path:
        """Where a run's checkpoints go."""
        return Path("experiments") / self.multi_exp_name / self.exp_name

    @property
    def checkpoint(self) -> Path:
        """The checkpoint to load."""
        path = Path(self.checkpoint_file)
        return path if path.is_absolute() or path.exists() else self.folder / path

    def data(self, key: str) -> Path:
        """The folder that a key names. Raises ValueError where there is none."""
        value = getattr(self, key)
        if not value or not Path(value).is_dir():
            msg = f"{key}: no such folder: {value!r}"
            raise ValueError(msg)
        return Path(value)

    def training_folders(self) -> list[Path]:
        """The folders to train on."""
        return [self.data(f"train_data_{index + 1}") for index in range(self.num_train_dirs)]

    def _check(self) -> None:
        for key, built in _BUILT.items():
            value = getattr(self, key)
            if (value.lower() if isinstance(value, str) else value) not in built:
                msg = f"{key}: {value!r} is not built, only {' or '.join(repr(choice) for choice in built)}"
                raise ValueError(msg)
        if not self.chs or min(self.chs) < 1:
            msg = f"chs: {list(self.chs)} are no numbers of channels"
            raise ValueError(msg)
        if self.dwtlevels != tuple(range(self.levels)) or not 1 <= self.levels <= 5:
            msg = f"dwtlevels: {list(self.dwtlevels)} is not built, only [0], [0, 1] and so on to [0, 1, 2, 3, 4]"
            raise ValueError(msg)
        shared = self.useprevlevNN[: self.levels]
        if shared != (False,) + (True,) * (self.levels - 1):
            msg = f"useprevlevNN: {list(shared)} is not built, only false, then true for every other level"
            raise ValueError(msg)
        if not 1 <= self.num_train_dirs <= 4:
            msg = f"num_train_dirs: {self.num_train_dirs} is not in 1 to 4"
            raise ValueError(msg)
        for key in _POSITIVE:
            if getattr(self, key) <= 0:
                msg = f"{key}: {getattr(self, key)} is not above 0"
                raise ValueError(msg)


def _convert(key: str, value: Any, default: Any) -> Any:
    """`value` as the type of `default`. Raises ValueError, naming the key, where it is of another kind."""
    if isinstance(default, tuple):
        items = value if isinstance(value, list) else [value]
        return tuple(_convert(key, item, default[0]) for item in items)
    if isinstance(default, bool) and value in (0, 1):
        return bool(value)
    allowed = (int, float) if isinstance(default, float) else type(default)
    if not isinstance(value, allowed) or isinstance(value, bool) != isinstance(default, bool):
        msg = f"{key}: {value!r} is no {type(default).__name__}"
        raise ValueError(msg)
    return value
