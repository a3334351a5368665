"""Hydra callback for the start and end of jobs and multiruns; see `hydra.callbacks` in conf/config.yaml."""

import atexit
import traceback
from pathlib import Path
from typing import Any

from hydra.core.utils import JobReturn, JobStatus
from hydra.experimental.callback import Callback
from omegaconf import DictConfig, OmegaConf

from facekp.errors import FacekpError, explain
from facekp.training.folder import COMPOSED, ERROR, job_folders


class CompareSweep(Callback):
    """Keep the error of a job that fails in its folder, and compare a multirun's jobs when it ends."""

    def on_job_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Delete the error of an earlier start."""
        (Path(config.hydra.runtime.output_dir) / ERROR).unlink(missing_ok=True)

    def on_job_end(self, config: DictConfig, job_return: JobReturn, **kwargs: Any) -> None:
        """Write the error of a failed job, and its settings again if its folder was discarded."""
        if job_return.status != JobStatus.FAILED:
            return
        folder = Path(config.hydra.runtime.output_dir)
        own = folder / COMPOSED
        if not own.is_dir():
            own.mkdir(parents=True)
            OmegaConf.save(job_return.cfg, own / "config.yaml")
            OmegaConf.save(job_return.hydra_cfg, own / "hydra.yaml")
        error = job_return._return_value  # reading `return_value` raises it
        (folder / ERROR).write_text(f"{_line(error)}\n", encoding="utf-8")
        # Hydra keeps a job's error until the sweep ends; its frames hold the network, the data and GPU memory.
        cause: BaseException | None = error
        while cause is not None:
            traceback.clear_frames(cause.__traceback__)
            cause = cause.__context__

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Register the comparison at exit, because Hydra calls nothing after a failed job or Ctrl-C."""
        self.sweep = Path(config.hydra.sweep.dir)
        atexit.register(self._compare)

    def on_multirun_end(self, config: DictConfig, **kwargs: Any) -> None:
        """Compare the jobs."""
        atexit.unregister(self._compare)
        self._compare()

    def _compare(self) -> None:
        """Write the comparison and print a short table; an error here is one line, since the runs matter more."""
        try:
            if not job_folders(self.sweep):  # Hydra refused the command line
                return
            # Here, because no other run needs matplotlib.
            from facekp.compare.dashboard import send_comparison
            from facekp.compare.report import NAME, compare

            print(compare([self.sweep], self.sweep))
            send_comparison(self.sweep, NAME)
        except Exception as error:
            again = f"facekp compare {self.sweep}"
            print(f"the runs could not be compared ({_line(error)}); to retry: {again}")


def _line(error: Exception) -> str:
    """Return the message of a facekp error, and the type and message of any other."""
    return explain(error) if isinstance(error, FacekpError) else f"{type(error).__name__}: {explain(error)}"
