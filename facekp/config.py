"""The settings of a training run: names, types, ranges and defaults.

`conf/` composes them; values are checked when `read_config` turns the composed YAML into these classes, before any
data is read.
"""

import os
from dataclasses import asdict, dataclass, field, fields, is_dataclass, make_dataclass
from typing import Any, Literal, cast

from hydra.core.config_store import ConfigStore
from omegaconf import MISSING, DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from facekp.data.exclusions import describe_exclusions, read_exclusions
from facekp.errors import ConfigError, explain, require, require_all, require_choice
from facekp.files import expand

DataSource = Literal["celebamask_hq", "synthetic"]
LoggerName = Literal["wandb", "csv", "none"]
DecodedPlace = Literal["none", "ram", "disk"]
Balance = Literal["none", "sqrt", "linear"]
Strategy = Literal["auto", "ddp"]
Precision = Literal["auto", "32-true", "16-mixed", "bf16-mixed"]
MONITORS = ("val/miou", "val/mean_f1", "val/pixel_accuracy", "val/loss")
LARGEST_SEED = 2**32 - 1  # numpy's


@dataclass
class DataConfig:
    """Where the faces come from, how they are augmented, and how they are loaded."""

    source: str = "celebamask_hq"
    root: str | None = None  # official or prepared layout; recognised
    cache: str = "~/.cache/facekp"  # where an official or synthetic data set is prepared
    exclude: str | None = None  # audit.csv; training images whose rows say exclude=yes are left out
    left_out: str | None = None  # not to be given: whom that leaves out, so that a resumed run leaves out the same
    size: int = 512  # pixels; images are brought to this side
    crop: int = 448  # pixels; side of a training crop
    scales: list[float] = field(default_factory=lambda: [0.75, 1, 1.25, 1.5, 1.75, 2])
    jitter: float = 0.5
    flip: float = 0.5
    rotate: float = 0.0  # degrees; crops are turned by up to so many, either way
    corrupt: float = 0.0  # share of the crops that are blurred, noisy, compressed, ... (facekp/data/transforms.py)
    balance: str = "none"  # "sqrt", "linear": images with rare classes come more often (facekp/data/balance.py)
    balance_below: float = 0.5  # rare is what a smaller share of the images has
    decoded: str = "none"  # "ram", "disk": decode the training images once, beforehand
    batch_size: int = 16  # images a step, over all processes
    eval_batch_size: int = 16  # images a batch of each process
    workers: int | None = None  # loader processes; None: one less than the cores, at most 8
    synthetic_train: int = 320  # faces drawn for data=synthetic
    synthetic_val: int = 48
    synthetic_test: int = 16
    synthetic_seed: int = 0

    def __post_init__(self) -> None:
        """Check values and ranges."""
        require_choice("data.source", self.source, DataSource)
        require_choice("data.balance", self.balance, Balance)
        require_choice("data.decoded", self.decoded, DecodedPlace)
        for name in ("size", "crop"):
            value = getattr(self, name)
            require(f"data.{name}", value, value >= 32 and value % 32 == 0, "give a multiple of 32, such as 448")
        require("data.scales", self.scales, len(self.scales) > 0 and all(0.1 <= s <= 10 for s in self.scales),
                "give factors between 0.1 and 10, such as [0.75,1,1.5]")  # fmt: skip
        shares = {
            f"data.{name}": (v := getattr(self, name), 0 <= v <= 1)
            for name in ("jitter", "flip", "corrupt", "balance_below")
        }
        require_all(shares, "give a number from 0 to 1")
        require("data.rotate", self.rotate, 0 <= self.rotate <= 180, "give degrees from 0 to 180")
        counts = ("batch_size", "eval_batch_size", "synthetic_train", "synthetic_val", "synthetic_test")
        positive = {f"data.{name}": (v := getattr(self, name), v >= 1) for name in counts}
        require_all(positive, "give a number of at least 1")
        require("data.batch_size", self.batch_size, self.batch_size >= 2, "batch-norm needs at least 2 images a step")
        require("data.synthetic_seed", self.synthetic_seed, self.synthetic_seed >= 0, "give 0 or more")
        require("data.workers", self.workers, self.workers is None or self.workers >= 0, "give 0 or more, or null")
        excluded = read_exclusions(expand(self.exclude)) if self.exclude else None
        self.left_out = describe_exclusions(excluded) if excluded else None

    @property
    def loader_workers(self) -> int:
        """Number of loader processes, with null resolved."""
        return min(8, max(1, (os.cpu_count() or 2) - 1)) if self.workers is None else self.workers


TRAINING_ONLY = frozenset(
    f"data.{name}"
    for name in (
        "left_out", "size", "crop", "scales", "jitter", "flip", "rotate", "corrupt", "balance", "balance_below",
        "decoded", "batch_size",
    )
)  # fmt: skip
"""Settings of `DataConfig` that do nothing where faces are only scored."""


@dataclass
class SharedLossConfig:
    """Settings of every loss."""

    name: str = "ohem"


@dataclass
class LossConfig(SharedLossConfig):
    """Settings of the default loss, `facekp.losses.OhemCrossEntropy`."""

    threshold: float = 0.7
    min_kept: float = 0.0625

    def __post_init__(self) -> None:
        """Check ranges."""
        require("loss.threshold", self.threshold, 0 < self.threshold < 1, "give a probability between 0 and 1")
        require("loss.min_kept", self.min_kept, 0 < self.min_kept <= 1, "give a share of the pixels in (0, 1]")


@dataclass
class SharedOptimConfig:
    """Settings of every optimiser and schedule."""

    name: str = "sgd"
    schedule: str = "poly"
    lr: float = 1e-2
    weight_decay: float = 5e-4
    head_lr_mult: float = 10.0
    warmup_steps: int = 100
    warmup_start: float = 1e-5
    ema: float | None = None  # decay of the weights' moving average, which then is what is validated and kept

    def __post_init__(self) -> None:
        """Check ranges."""
        above = ("lr", "head_lr_mult", "warmup_start")
        require_all({f"optim.{n}": (v := getattr(self, n), v > 0) for n in above}, "give a number above 0")
        least = ("weight_decay", "warmup_steps")
        require_all({f"optim.{n}": (v := getattr(self, n), v >= 0) for n in least}, "give 0 or more")
        ema = self.ema
        require("optim.ema", ema, ema is None or 0 < ema < 1, "give a number between 0 and 1, such as 0.999, or null")


@dataclass
class OptimConfig(SharedOptimConfig):
    """Settings of the default optimiser and schedule: SGD with polynomial decay."""

    momentum: float = 0.9
    power: float = 0.9

    def __post_init__(self) -> None:
        """Check ranges."""
        super().__post_init__()
        require_all({"optim.power": (self.power, self.power >= 0)}, "give 0 or more")
        require("optim.momentum", self.momentum, 0 <= self.momentum < 1, "give a number from 0 to below 1")


@dataclass
class TrainerConfig:
    """What Lightning's Trainer runs on, for how long, and how often it looks at the validation set."""

    accelerator: str = "auto"
    devices: Any = "auto"  # "auto", a number, or a list of indices
    strategy: str = "auto"  # ddp for several devices or nodes
    num_nodes: int = 1
    precision: str = "auto"
    max_steps: int = 4000
    val_every: int = 500  # steps
    log_every: int = 10  # steps
    limit_val_batches: Any = 1.0  # a share (float) or a number (int) of validation batches
    gradient_clip: float | None = None
    sync_batchnorm: bool | None = None  # batch-norm over all processes, which torch has on GPUs only; null: there
    compile: bool = False
    deterministic: bool = False

    def __post_init__(self) -> None:
        """Check values and ranges."""
        require_choice("trainer.precision", self.precision, Precision)
        require_choice("trainer.strategy", self.strategy, Strategy)
        counts = ("num_nodes", "max_steps", "val_every", "log_every")
        require_all({f"trainer.{n}": (v := getattr(self, n), v >= 1) for n in counts}, "give at least 1")
        clip = self.gradient_clip
        require("trainer.gradient_clip", clip, clip is None or clip > 0, "give a norm above 0, or null for none")
        limit = self.limit_val_batches
        known = (isinstance(limit, int) and limit >= 1) or (isinstance(limit, float) and 0 < limit <= 1)
        require("trainer.limit_val_batches", limit, known, "give a share in (0, 1] or a number of batches")


@dataclass
class LoggerConfig:
    """Where curves and pictures go; `metrics.csv` in the run folder is written in any case but `none`."""

    name: str = "wandb"
    project: str = "facekp"
    entity: str | None = None
    group: str | None = None
    run_name: str | None = None
    offline: bool = False
    images: int = 8  # validation images shown with their masks

    def __post_init__(self) -> None:
        """Check values."""
        require_choice("logger.name", self.name, LoggerName)
        require("logger.images", self.images, self.images >= 0, "give 0 or more")


@dataclass
class CallbacksConfig:
    """What watches the run."""

    progress: bool = True
    monitor: str = "val/miou"  # decides which checkpoint is the best; of a loss the lowest, of others the highest
    patience: int | None = None  # validations without a better score after which training stops

    def __post_init__(self) -> None:
        """Check values."""
        require("callbacks.monitor", self.monitor, self.monitor in MONITORS, f"choose one of {', '.join(MONITORS)}")
        patience = self.patience
        require("callbacks.patience", patience, patience is None or patience >= 1, "give at least 1, or null")

    @property
    def mode(self) -> str:
        """Whether the lowest score is the best ("min") or the highest ("max")."""
        return "min" if self.monitor == "val/loss" else "max"


@dataclass
class Config:
    """Everything a training run depends on."""

    data: DataConfig = field(default_factory=DataConfig)
    model: dict[str, Any] = field(default_factory=dict)  # `name` and the network's own settings
    loss: SharedLossConfig = field(default_factory=LossConfig)
    optim: SharedOptimConfig = field(default_factory=OptimConfig)
    trainer: TrainerConfig = field(default_factory=TrainerConfig)
    logger: LoggerConfig = field(default_factory=LoggerConfig)
    callbacks: CallbacksConfig = field(default_factory=CallbacksConfig)
    seed: int = 0
    init: str | None = None  # "shipped", or a checkpoint: begin with its weights, or its trunk (facekp/weights/load.py)
    resume: str | None = None  # "last" or a checkpoint's path
    output_dir: str = MISSING

    def __post_init__(self) -> None:
        """Check what no part can check alone."""
        require("seed", self.seed, 0 <= self.seed <= LARGEST_SEED, f"give 0 to {LARGEST_SEED}")
        require("model", self.model, "name" in self.model, "choose a network: model=resnet18")
        twice = self.init is not None and self.model.get("pretrained")
        require("init", self.init, not twice, "model.pretrained gives weights too: leave out one")


@dataclass
class _Composed(Config):
    """The schema of what Hydra composes: a loss or optimiser other than the default has settings of its own."""

    loss: Any = None
    optim: Any = None


def register_schema() -> None:
    """Make the classes above the types that Hydra checks `conf/` and the command line against."""
    ConfigStore.instance().store(name="schema", node=_Composed)


def read_config(composed: DictConfig) -> Config:
    """Turn Hydra's composed settings into a checked Config.

    Raises:
        ConfigError: a value out of range.
    """
    _refuse_additions(composed, Config, "")
    found = OmegaConf.to_object(composed)
    if not isinstance(found, Config):
        raise TypeError(f"composed from {type(found).__name__}, not from the schema of facekp.config")
    loss = typed_settings("loss", found.loss, LossConfig, SharedLossConfig)  # type: ignore[arg-type]  # a dict so far
    optim = typed_settings("optim", found.optim, OptimConfig, SharedOptimConfig)  # type: ignore[arg-type]
    return Config(**{**vars(found), "loss": loss, "optim": optim})


def typed_settings(group: str, given: dict[str, Any], default: Any, shared: Any) -> Any:
    """Return the settings of a group of which one member is chosen by name, with every known one checked.

    Args:
        group: the group, for messages.
        given: its settings.
        default: the settings of the member that is named by their defaults.
        shared: the settings of every member. Other members have more, which are checked where they are built.

    Raises:
        ConfigError: an unknown setting of the default member, a value of another type, or one out of its range.
    """
    schema, choices = default, asdict(default())
    if any(given.get(key, choices[key]) != choices[key] for key in ("name", "schedule") if key in choices):
        known = {f.name for f in fields(shared)}
        own = [(key, Any, field(default=None)) for key in given if key not in known]
        schema = make_dataclass(f"Other{shared.__name__}", own, bases=(shared,))
    try:
        node = OmegaConf.merge({group: OmegaConf.structured(schema)}, {group: given})
    except OmegaConfBaseException as error:
        raise ConfigError(explain(error)) from error
    return OmegaConf.to_object(cast(DictConfig, node)[group])


def _refuse_additions(node: DictConfig, schema: type, prefix: str) -> None:
    """Raise for a setting that `+key=value` added beside the known ones, where it would be read by nothing."""
    known = {f.name: f.type for f in fields(schema)}
    for key in node:
        if key not in known:
            raise ConfigError(f"no setting is called '{prefix}{key!s}': leave it out, or see `python train.py --help`")
        if is_dataclass(known[key]) and key not in ("loss", "optim"):  # whose class depends on their name
            _refuse_additions(node[key], known[key], f"{prefix}{key!s}.")  # type: ignore[arg-type]  # classes, not objects


RENAMED = {"data.degrade": "data.corrupt"}
"""Today's names of settings in older runs."""


def complete(settings: dict[str, Any]) -> dict[str, Any]:
    """Fold a run's settings, under today's names, and add those that it did not have yet at their defaults."""
    renamed = {RENAMED.get(name, name): value for name, value in fold(settings).items()}
    return fold(as_plain(Config(model={"name": ""}))) | renamed


def as_plain(config: Config) -> dict[str, Any]:
    """Return the settings as nested dicts of plain values, for loggers and files."""
    return asdict(config)


def fold(settings: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Turn nested dicts into one.

    Example:
        >>> fold({"optim": {"lr": 0.01}, "seed": 1})
        {'optim.lr': 0.01, 'seed': 1}
    """
    folded: dict[str, Any] = {}
    for name, value in settings.items():
        folded |= fold(value, f"{prefix}{name}.") if isinstance(value, dict) else {prefix + name: value}
    return folded
