"""Composition of conf/, and mistakes on the command line."""

import os
import re
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

import pytest
from hydra.errors import HydraException
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from runs import REPOSITORY, composed

from facekp.cli import parse_cli
from facekp.config import CallbacksConfig, Config, DataConfig, LoggerConfig, LossConfig, OptimConfig, TrainerConfig
from facekp.errors import ConfigError
from facekp.evaluate import EvaluateConfig
from facekp.export.__main__ import ExportSettings
from facekp.files import expand
from facekp.models import model_names
from facekp.settings import walk
from facekp.training.compose import read_config
from facekp.training.folder import complete

CHOICES = sorted(f"{path.parent.name}={path.stem}" for path in (REPOSITORY / "conf").glob("*/*.yaml"))


@pytest.fixture(autouse=True)
def _no_data_folder(monkeypatch):
    monkeypatch.delenv("FACEKP_DATA", raising=False)


@pytest.mark.parametrize("overrides", [[], ["experiment=paper"]])
def test_the_defaults_are_the_papers(overrides):
    config = composed(*overrides)
    assert config.model == {"name": "resnet18", "pretrained": False}
    d, o, t = config.data, config.optim, config.trainer
    assert (d.source, d.root, d.size, d.crop, d.batch_size) == ("celebamask_hq", None, 512, 448, 16)
    assert (d.scales, d.jitter, d.flip) == ([0.75, 1, 1.25, 1.5, 1.75, 2], 0.5, 0.5)
    assert (config.loss.threshold, config.loss.min_kept) == (0.7, 1 / 16)
    assert (o.lr, o.momentum, o.weight_decay, o.head_lr_mult) == (1e-2, 0.9, 5e-4, 10)  # the paper names no last one
    assert (o.warmup_steps, o.warmup_start, o.power) == (100, 1e-5, 0.9)
    assert (t.max_steps, t.accelerator, t.precision) == (4000, "auto", "auto")
    assert (config.callbacks.monitor, config.callbacks.mode, config.callbacks.patience) == ("val/miou", "max", None)
    assert (config.seed, config.resume, config.output_dir) == (0, None, "/runs/one")
    assert config.logger.group is None  # a sweep names it


@pytest.mark.parametrize("choice", CHOICES)
def test_every_choice_composes(choice):
    config = composed(choice)
    chosen = {"model": config.model["name"], "logger": config.logger.name, "data": config.data.source}
    group, name = choice.split("=")
    assert chosen.get(group, name) == name


def test_there_is_a_choice_for_every_network_and_only_for_those():
    choices = {choice.removeprefix("model=") for choice in CHOICES if choice.startswith("model=")}
    assert choices == {*model_names()} - {"toy"}  # of tests/helpers/networks.py


def test_an_experiment_overrides_what_it_names_and_the_command_line_overrides_it(tmp_path):
    half, plain = composed("experiment=half"), composed()
    assert (half.data.size, half.data.crop) == (256, 224)
    plain.data.size, plain.data.crop = 256, 224
    assert asdict(half) == asdict(plain)
    assert composed("experiment=half", "data.crop=192").data.crop == 192
    # One of one's own, and what is in no group.
    (tmp_path / "experiment").mkdir()
    (tmp_path / "experiment" / "mine.yaml").write_text("# @package _global_\nseed: 5\n")
    assert composed(f"hydra.searchpath=[file://{tmp_path}]", "experiment=mine").seed == 5


def test_what_chooses_the_best_checkpoint_and_ends_training():
    assert composed("callbacks.monitor=val/loss").callbacks.mode == "min"
    assert composed("callbacks.monitor=val/mean_f1").callbacks.mode == "max"
    callbacks = composed("callbacks=early_stopping").callbacks
    assert (callbacks.patience, callbacks.monitor, callbacks.mode, callbacks.progress) == (5, "val/miou", "max", True)


def test_the_data_folder_comes_from_the_environment(monkeypatch):
    monkeypatch.setenv("FACEKP_DATA", "/faces")
    assert composed().data.root == "/faces"
    assert composed("data.root=/others").data.root == "/others"
    for command in (EvaluateConfig, ExportSettings):
        for more, root in (([], "/faces"), (["data.root=/others"], "/others")):
            assert parse_cli(command, ["ckpt=best.ckpt", *more], program="", about="").data.root == root
    monkeypatch.setenv("FACEKP_DATA", "")  # not the current folder
    assert composed().data.root is None


@pytest.mark.parametrize(
    ("override", "named"),
    [
        ("trainer.max_step=3", "max_step"),
        ("optim.lr=fast", "fast"),
        ("data.batch_size=2.5", "2.5"),
        ("data.scales=[1,big]", "big"),
        ("sedd=1", "sedd"),
        ("+optim.extra=1", "no setting is called 'optim.extra'"),
        ("+extra=1", "no setting is called 'extra'"),
        *((f"{setting}=", f"^{setting} is empty: give a path") for setting in ("init", "resume", "data.exclude")),
        ("data.cache=", r"^data\.cache is empty: give a path"),
    ],
)
def test_mistakes_are_refused_when_composed(override, named):
    with pytest.raises((HydraException, OmegaConfBaseException, ConfigError), match=named):
        composed(override)


@pytest.mark.parametrize(
    ("kind", "setting", "value", "remedy"),
    [
        (DataConfig, "source", "celeba", "choose one of celebamask_hq, synthetic"),
        (DataConfig, "size", 500, "multiple of 32"),
        (DataConfig, "crop", 0, "multiple of 32"),
        (DataConfig, "scales", [], "give a list, each a number from 0.1 to 10, such as [0.75,1,1.5]"),
        (DataConfig, "scales", [1, -1], "a list, each a number from 0.1 to 10"),
        (DataConfig, "jitter", 1.5, "0 to 1"),
        (DataConfig, "flip", float("nan"), "0 to 1"),
        (DataConfig, "batch_size", 1, "at least 2"),
        (DataConfig, "eval_batch_size", 0, "at least 1"),
        (DataConfig, "workers", -1, "give at least 0, or null"),
        (LossConfig, "threshold", 1.0, "give a number between 0 and 1"),
        (LossConfig, "min_kept", 0.0, "give a number above 0, up to 1"),
        (OptimConfig, "lr", 0.0, "above 0"),
        (OptimConfig, "lr", float("inf"), "above 0"),
        (OptimConfig, "momentum", 1.0, "below 1"),
        (OptimConfig, "weight_decay", -1e-4, "at least 0"),
        (OptimConfig, "warmup_steps", -1, "at least 0"),
        (TrainerConfig, "accelerator", "mps", "give auto, cpu, cuda or gpu: losses and scores are summed in float64"),
        (TrainerConfig, "precision", "fp8", "choose one of auto, 32-true"),
        (TrainerConfig, "max_steps", 0, "at least 1"),
        (TrainerConfig, "gradient_clip", 0.0, "null"),
        (TrainerConfig, "limit_val_batches", 1.5, "share"),
        (LoggerConfig, "name", "tensorboard", "choose one of wandb, csv, none"),
        (LoggerConfig, "images", -1, "at least 0"),
        (CallbacksConfig, "monitor", "val/miuo", "choose one of val/miou, val/mean_f1"),
        (CallbacksConfig, "patience", 0, "at least 1"),
    ],
)
def test_values_out_of_range_name_setting_value_and_remedy(kind, setting, value, remedy):
    group = kind.__name__.removesuffix("Config").lower()
    with pytest.raises(ConfigError) as caught:
        kind(**{setting: value})
    assert str(caught.value).startswith(f"{group}.{setting} is {value!r}: ")
    assert remedy in str(caught.value)


def test_a_seed_out_of_range_and_no_network_are_refused():
    for seed in (-1, 2**32):
        with pytest.raises(ConfigError, match=rf"^seed is {seed}: give a number from 0 to 4294967295"):
            Config(model={"name": "resnet18"}, seed=seed)
    with pytest.raises(ConfigError, match=r"choose a network: model=resnet18"):
        Config()


def test_workers_follow_the_cores_that_may_be_used(monkeypatch):
    for cores, workers in ((1, 1), (4, 3), (64, 16)):
        monkeypatch.setattr("loky.cpu_count", lambda cores=cores: cores)
        assert DataConfig().loader_workers == workers
    assert DataConfig(workers=0).loader_workers == 0


def test_paths_are_expanded_and_one_that_exists_is_taken_as_it_stands(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", "/home/me")
    monkeypatch.setenv("WHERE", "data")
    assert expand("~/$WHERE/faces") == Path("/home/me/data/faces")
    for name in ("~b.jpg", "a$HOME.jpg"):
        Path(name).touch()
        assert expand(name) == Path(name)
    assert expand("~no-such-user/b.jpg") == Path("~no-such-user/b.jpg")
    monkeypatch.setattr(os.path, "expanduser", lambda path: path)  # as without HOME, for a user not in /etc/passwd
    with pytest.raises(ConfigError, match="'~/faces': this user has no home folder; set HOME, or give the whole path"):
        expand("~/faces")


def test_a_run_is_read_under_todays_names_with_the_defaults_of_its_own_loss_and_optimiser():
    found = complete({"data": {"degrade": 0.25, "size": 64}})
    assert (found["data.corrupt"], found["data.size"], found["data.crop"]) == (0.25, 64, 448)
    assert "data.degrade" not in found
    assert (found["loss.threshold"], found["optim.momentum"]) == (0.7, 0.9)
    found = complete({"loss": {"name": "focal", "gamma": 2.0}, "optim": {"name": "adamw", "schedule": "cosine"}})
    assert {key for key in found if key.startswith("loss.")} == {"loss.name", "loss.gamma"}
    assert found["optim.warmup_steps"] == 100  # of every optimiser
    assert not {"optim.momentum", "optim.power"} & found.keys()
    assert "optim.power" not in complete({"optim": {"schedule": "cosine"}})


HEAVY = {"torch", "numpy", "pytorch_lightning", "wandb", "matplotlib", "scipy", "cv2", "pandas"}
PROGRAM = """
import runpy, sys
for arguments in {commands}:
    sys.argv = ["train.py", *arguments]
    status = 0
    try:
        runpy.run_path({train!r}, run_name="__main__")
    except SystemExit as end:
        status = end.code
    print(status, file=sys.stderr)
print("imported:", sorted({heavy} & set(sys.modules)), file=sys.stderr)
"""


def start(*commands, cwd):
    """Start train.py with each list of arguments, in one process; return what it prints, and its lines on stderr."""
    program = PROGRAM.format(commands=commands, train=str(REPOSITORY / "train.py"), heavy=HEAVY)
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    done = subprocess.run([sys.executable, "-c", program], cwd=cwd, env=environment, capture_output=True, text=True)
    return done.stdout, done.stderr.splitlines()


MISTAKES = {
    "optim.lrr=0.1": "lrr",  # Hydra finds it
    "data.crop=450": "data.crop is 450: give a multiple of 32",
    "data.root=nowhere": "data.root is 'nowhere', which is not a folder: download CelebAMask-HQ",
    "data.source=synthetic resume=last": "resume is 'last', but no run in",
    "data.source=synthetic resume=a.ckpt": "checkpoint 'a.ckpt': no such file; training writes",
}


def test_a_mistake_is_one_line_before_anything_heavy_is_imported(tmp_path):
    (tmp_path / "2").mkdir()
    (tmp_path / "2" / "mine.log").touch()  # a folder with other files stays
    commands = (["logger=none", f"hydra.run.dir={i}", *text.split()] for i, text in enumerate(MISTAKES))
    printed, (*lines, imported) = start(*commands, cwd=tmp_path)
    assert printed == ""
    assert lines[1::2] == ["2"] * len(MISTAKES)
    for line, named in zip(lines[::2], MISTAKES.values(), strict=True):
        assert line.startswith("error: ")
        assert named in line
    assert [path.name for path in tmp_path.iterdir()] == ["2"]
    assert (tmp_path / "2" / "mine.log").exists()
    assert imported == "imported: []"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("-x", "unrecognized arguments: -x; write settings as key=value"),
        ("--multirun=3", "argument --multirun/-m: ignored explicit argument '3'; write"),
        ("--cfg=jobs", "argument --cfg/-c: invalid choice: 'jobs' (choose from"),
        ("seed=1 -m seed=2", "unrecognized arguments: seed=2; write settings as key=value, options before or after"),
        ("--run --cfg job", "--run and --cfg: give one of them"),
        ("--multirun --info", "--multirun and --info: give one of them"),
        ("--resolve", "--resolve: give --cfg job too"),
        ("--package x", "--package is 'x': give --cfg job too"),
        ("--experimental-rerun x.pkl", "--experimental-rerun is 'x.pkl': continue a run by its command and hydra.run"),
        ("--config-dir x", "--config-dir is 'x': no such folder; give its whole path"),
        ("--config-path=", "--config-path is '': no such folder; give its whole path"),
        ("--config-name x", "--config-name is 'x': no such file in conf/; leave it out, or name one there"),
        ("-sc", "--shell-completion: give install=SHELL or uninstall=SHELL alone, of bash, fish or zsh"),
        ("experiment=null", "experiment is null: choose one of demo, finetune, half,"),
        ("loss=3", "loss is 3: choose one of ohem, ohem_dice, ohem_lovasz, or leave it out"),
        ("hydra/launcher=3", "Config group override must be a string or a list. Got int"),
        ("hydra.run.dir=", "hydra.run.dir is '': give a folder; . is this one"),
    ],
)
def test_a_mistaken_option_is_one_line(train_py, tmp_path, capsys, options, message):
    train_py(*options.split(), cwd=tmp_path, ends=2)
    said = capsys.readouterr().err
    assert said.startswith(f"error: {message}")
    assert said.count("\n") == 1
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("options", "start"), [("--version", "facekp 0."), ("--cfg job --resolve", "data:\n")])
def test_an_option_is_answered_on_stdout(train_py, tmp_path, capsys, options, start):
    train_py(*options.split(), cwd=tmp_path)
    said = capsys.readouterr()
    assert said.out.startswith(start)
    assert said.err == ""


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("seed: 3".encode("utf-16"), r"a configuration cannot be read \('utf-8' codec can't"),
        (b"seed: [", r"while parsing a flow node; expected the node content.*; correct this YAML, or remove the file$"),
    ],
)
def test_a_mistaken_configuration_of_ones_own_is_one_line(train_py, tmp_path, capsys, content, said):
    file = tmp_path / "conf" / "experiment" / "mine.yaml"
    file.parent.mkdir(parents=True)
    file.write_bytes(content)
    train_py("experiment=mine", cwd=tmp_path, ends=2)
    (line,) = capsys.readouterr().err.splitlines()
    assert re.match(f"error: {said}", line)


def test_a_configuration_without_the_schema_is_refused():
    with pytest.raises(ConfigError, match=r"^conf/config\.yaml has no schema: put `- schema` first in its defaults"):
        read_config(OmegaConf.create({"seed": 3}))


def test_help_shows_every_setting_and_imports_nothing_heavy(tmp_path):
    printed, lines = start(["--help"], cwd=tmp_path)
    assert lines == ["0", "imported: []"]
    shown = {line.split()[0] for line in printed.splitlines() if line.startswith("  ")}
    assert {found.key for found in walk(Config)} <= shown
    assert [found.key for found in walk(Config) if not found.help] == []
