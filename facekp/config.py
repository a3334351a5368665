"""The settings of a training run: names, types, ranges and defaults.

`conf/` composes them, and `facekp.training.compose` turns the composed YAML into these classes.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from omegaconf import MISSING

from facekp.errors import require
from facekp.settings import Affects, Settings, above, at_least, between, check_that, each, multiple_of, one_of, setting

MONITORS = ("val/miou", "val/mean_f1", "val/pixel_accuracy", "val/loss")
EXCLUDED = "data.excluded"  # key that a run's record adds: a digest of the images that `data.exclude` excludes
UNLESS_SAME = "scores, unless it is the same data"
COST = "speed and memory as if it were the same"
BUDGET = "scores as if the budget were the same"
VAL_BATCHES = check_that(
    lambda value: value >= 1 if isinstance(value, int) else isinstance(value, float) and 0 < value <= 1,
    "a share above 0, up to 1.0, or a number of batches",
)
ACCELERATOR = check_that(
    lambda value: value in ("auto", "cpu", "cuda", "gpu"),
    "auto, cpu, cuda or gpu",
    why="losses and scores are summed in float64, which other accelerators such as mps do not support",
)
SCORES, MACHINE, SPEED, PLACE = Affects.SCORES, Affects.MACHINE, Affects.SPEED, Affects.PLACE


@dataclass
class FacesConfig(Settings, group="data"):
    """The faces to read. `exclude` affects results through the images it lists, not its path: see `data.excluded`."""

    source: str = setting(
        "celebamask_hq", "celebamask_hq or synthetic", one_of("celebamask_hq", "synthetic"), confounds="scores"
    )
    root: str | None = setting(
        None, "CelebAMask-HQ folder, official or prepared layout", affects=SCORES, path=True, confounds=UNLESS_SAME
    )
    more: list[str] = setting(
        [],
        "other prepared folders of the same classes, whose training images are added",
        affects=SCORES,
        path=True,
        confounds=UNLESS_SAME,
    )
    cache: str = setting("~/.cache/facekp", "folder for prepared and decoded data sets", affects=PLACE, path=True)
    exclude: str | None = setting(None, "audit.csv that marks training images to exclude", affects=PLACE, path=True)
    synthetic_train: int = setting(320, "training faces drawn for data.source=synthetic", at_least(1))
    synthetic_val: int = setting(48, "validation faces drawn", at_least(1))
    synthetic_test: int = setting(16, "test faces drawn", at_least(1))
    synthetic_seed: int = setting(0, "seed of the drawn faces", at_least(0))

    def __post_init__(self) -> None:
        """Check every value; an empty `root`, as of an empty environment variable, is none."""
        self.root = self.root or None
        super().__post_init__()

    def at_size(self, size: int) -> "DataConfig":
        """Return the settings that read these faces at `size` pixels."""
        return DataConfig(**{**asdict(self), "size": size})


@dataclass
class ScoringConfig(FacesConfig):
    """The faces to score, and how to load them."""

    eval_batch_size: int = setting(16, "evaluation batch size, per process", at_least(1), affects=SCORES)
    workers: int | None = setting(None, "loader processes; null: cores - 1, at most 16", at_least(0), affects=SPEED)

    @property
    def loader_workers(self) -> int:
        """Number of loader processes, with null resolved."""
        if self.workers is not None:
            return self.workers
        from loky import cpu_count  # of the cores this process may use: a container or a job may have few of many

        return min(16, max(1, cpu_count() - 1))


@dataclass
class DataConfig(ScoringConfig):
    """The faces to train on and to score, and how to augment and load them."""

    size: int = setting(512, "side of the images, pixels", multiple_of(32), confounds=f"scores, {COST}")
    crop: int = setting(448, "side of training crops, pixels", multiple_of(32), confounds=f"training losses, {COST}")
    scales: list[float] = setting(
        [0.75, 1, 1.25, 1.5, 1.75, 2],
        "scale factors, one of which is drawn for each training image",
        each(between(0.1, 10), such_as="[0.75,1,1.5]"),
    )
    jitter: float = setting(0.5, "strength of the colour jitter", between(0, 1))
    flip: float = setting(0.5, "probability of a horizontal flip", between(0, 1))
    rotate: float = setting(0.0, "largest rotation of a crop either way, degrees", between(0, 180))
    background: float = setting(0.0, "share of crops on a drawn background, with a drawn body below", between(0, 1))
    occlude: float = setting(0.0, "share of crops with a hand, microphone or cup drawn over", between(0, 1))
    corrupt: float = setting(0.0, "share of crops to corrupt: blur, noise, compression, ...", between(0, 1))
    balance: str = setting("none", "sqrt or linear: repeat images with rare classes", one_of("none", "sqrt", "linear"))
    balance_below: float = setting(0.5, "share of the images below which a class is rare", between(0, 1))
    decoded: str = setting(
        "none", "ram or disk: decode all training images once, in advance", one_of("none", "ram", "disk"), affects=SPEED
    )
    batch_size: int = setting(16, "batch size, over all processes", at_least(2, "batch-norm needs two images"))


@dataclass
class SharedLossConfig(Settings, group="loss"):
    """Settings of every loss."""

    name: str = setting("ohem", "loss=NAME selects a loss; each has its own settings")


@dataclass
class LossConfig(SharedLossConfig):
    """Settings of the default loss, `facekp.losses.OhemCrossEntropy`."""

    threshold: float = setting(0.7, "probability of the true class below which a pixel is hard", between(0, 1, "()"))
    min_kept: float = setting(0.0625, "minimum share of the pixels to average", between(0, 1, "(]"))


@dataclass
class SharedOptimConfig(Settings, group="optim"):
    """Settings of every optimiser and schedule."""

    name: str = setting("sgd", "optim=NAME selects an optimiser; each has its own settings")
    schedule: str = setting("poly", "learning-rate schedule; each has its own settings")
    lr: float = setting(1e-2, "base learning rate", above(0))
    weight_decay: float = setting(5e-4, "weight decay; none on biases and batch-norm", at_least(0))
    head_lr_mult: float = setting(10.0, "the heads' learning rate as a multiple of lr", above(0))
    warmup_steps: int = setting(100, "number of geometric warm-up steps", at_least(0))
    warmup_start: float = setting(1e-5, "learning rate at the first warm-up step", above(0))
    ema: float | None = setting(
        None, "decay of the weight average that is validated and saved; null: no average", between(0, 1, "()", 0.999)
    )


@dataclass
class OptimConfig(SharedOptimConfig):
    """Settings of the default optimiser and schedule: SGD with polynomial decay."""

    momentum: float = setting(0.9, "momentum of SGD", between(0, 1, "[)"))
    power: float = setting(0.9, "exponent of the polynomial decay", at_least(0))


@dataclass
class TrainerConfig(Settings, group="trainer"):
    """Settings of Lightning's Trainer: hardware, number of steps and validation."""

    accelerator: str = setting("auto", "auto: CUDA, else the CPU; or cpu, cuda, gpu", ACCELERATOR, affects=MACHINE)
    devices: Any = setting("auto", "auto, a number, or a list of indices", affects=MACHINE)
    strategy: str = setting("auto", "ddp for several devices or nodes", one_of("auto", "ddp"), affects=MACHINE)
    num_nodes: int = setting(1, "number of machines", at_least(1), affects=MACHINE)
    precision: str = setting(
        "auto",
        "auto: 16-mixed on CUDA, else bf16-mixed if the CPU supports it, else 32-true",
        one_of("auto", "32-true", "16-mixed", "bf16-mixed"),
        affects=SCORES,
    )
    max_steps: int = setting(4000, "training steps", at_least(1), confounds=BUDGET)
    max_time: float | None = setting(
        None, "minutes of training, which the learning rate follows; null: no limit", above(0), confounds=BUDGET
    )
    val_every: int = setting(500, "steps between validations", at_least(1), affects=SCORES)
    log_every: int = setting(10, "steps between logged values", at_least(1), affects=MACHINE)
    limit_val_batches: Any = setting(
        1.0, "share (float) or number (int) of validation batches", VAL_BATCHES, affects=SCORES, confounds="scores"
    )
    gradient_clip: float | None = setting(None, "maximum gradient norm; null: no clipping", above(0))
    sync_batchnorm: bool | None = setting(None, "synchronise batch-norm over all processes; null: on GPUs only")
    compile: bool = setting(False, "compile the network with torch.compile", affects=MACHINE)
    deterministic: bool = setting(False, "use deterministic algorithms only", affects=MACHINE)


@dataclass
class LoggerConfig(Settings, group="logger"):
    """Where metrics and images are logged."""

    name: str = setting("wandb", "wandb, csv, or none (no metrics.csv)", one_of("wandb", "csv", "none"), affects=PLACE)
    project: str = setting("facekp", "W&B project", affects=PLACE)
    entity: str | None = setting(None, "W&B user or team; null: your default", affects=PLACE)
    group: str | None = setting(None, "W&B group; null: the sweep, in a multirun", affects=PLACE)
    run_name: str | None = setting(None, "W&B run name; null: the run folder, or a sweep's overrides", affects=PLACE)
    offline: bool = setting(False, "keep the W&B run on disk, for `wandb sync`", affects=PLACE)
    images: int = setting(8, "validation images shown with their masks", at_least(0), affects=PLACE)
    log_model: bool = setting(False, "send the best checkpoint to W&B, as a model artifact, at the end", affects=PLACE)
    log_comparison: bool = setting(
        False, "send the comparison of a sweep to W&B, as a table and its page as an artifact", affects=PLACE
    )


@dataclass
class CallbacksConfig(Settings, group="callbacks"):
    """Settings of the callbacks: progress bar, best checkpoint and early stopping."""

    progress: bool = setting(True, "show a progress bar", affects=PLACE)
    monitor: str = setting(
        "val/miou",
        "score that selects the best checkpoint",
        one_of(*MONITORS),
        confounds="best checkpoints, which it selects",
    )
    patience: int | None = setting(
        None, "stop after this many validations without improvement; null: never", at_least(1), affects=SCORES
    )

    @property
    def mode(self) -> str:
        """Whether the lowest score is the best ("min") or the highest ("max")."""
        return "min" if self.monitor == "val/loss" else "max"


@dataclass
class Config(Settings):
    """All settings of a training run."""

    data: DataConfig = field(default_factory=DataConfig)
    model: dict[str, Any] = setting({}, "model=NAME selects a network; model.KEY sets one of its own settings")
    loss: SharedLossConfig = field(default_factory=LossConfig)
    optim: SharedOptimConfig = field(default_factory=OptimConfig)
    trainer: TrainerConfig = field(default_factory=TrainerConfig)
    logger: LoggerConfig = field(default_factory=LoggerConfig)
    callbacks: CallbacksConfig = field(default_factory=CallbacksConfig)
    seed: int = setting(0, "seed of weights and augmentation", between(0, 2**32 - 1))
    init: str | None = setting(
        None,
        "initial weights: shipped, or a checkpoint",
        path=True,
        confounds="scores as if the initial weights were equal",
    )
    resume: str | None = setting(None, "last, or a checkpoint to continue from", affects=PLACE, path=True)
    output_dir: str = setting(MISSING, "the run folder; hydra.run.dir sets it", affects=PLACE, path=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        require("model", self.model, "name" in self.model, "choose a network: model=resnet18")
        ours = "classes" not in self.model
        require("model.classes", self.model.get("classes"), ours, "leave it out: the data's classes.json counts them")
        twice = self.init is not None and self.model.get("pretrained")
        require("init", self.init, not twice, "model.pretrained gives weights too: leave out one")


def fold(settings: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Flatten nested dicts into one with dotted keys.

    Example:
        >>> fold({"optim": {"lr": 0.01}, "seed": 1})
        {'optim.lr': 0.01, 'seed': 1}
    """
    folded: dict[str, Any] = {}
    for name, value in settings.items():
        folded |= fold(value, f"{prefix}{name}.") if isinstance(value, dict) else {prefix + name: value}
    return folded
