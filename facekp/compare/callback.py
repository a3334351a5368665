"""What Hydra calls before and after every job and multirun; see `hydra.callbacks` in conf/config.yaml."""

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
        """Forget how an earlier start ended."""
        (Path(config.hydra.runtime.output_dir) / ERROR).unlink(missing_ok=True)

    def on_job_end(self, config: DictConfig, job_return: JobReturn, **kwargs: Any) -> None:
        """Write why a job failed, and its settings again where its folder was discarded."""
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
        # Hydra keeps a job's error to the end of the sweep; its frames hold the network, the data, a GPU's memory.
        cause: BaseException | None = error
        while cause is not None:
            traceback.clear_frames(cause.__traceback__)
            cause = cause.__context__

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Have the jobs compared at the end, whatever it is: Hydra calls nothing after a failed job or Ctrl-C."""
        self.sweep = Path(config.hydra.sweep.dir)
        atexit.register(self._compare)

    def on_multirun_end(self, config: DictConfig, **kwargs: Any) -> None:
        """Compare the jobs."""
        atexit.unregister(self._compare)
        self._compare()

    def _compare(self) -> None:
        """Write the comparison and print a short table; a fault of it is one line, since the runs are what counts."""
        try:
            if not job_folders(self.sweep):  # Hydra refused the command line
                return
            # Here, because no other run needs matplotlib.
            from facekp.compare.report import compare

            print(compare([self.sweep], self.sweep))
        except Exception as error:
            again = f"python -m facekp.compare {self.sweep}"
            print(f"the runs could not be compared ({_line(error)}); to try it again: {again}")


def _line(error: Exception) -> str:
    """Return a user's error as it is shown, and another with its kind."""
    return explain(error) if isinstance(error, FacekpError) else f"{type(error).__name__}: {explain(error)}"
