"""A local page to try facekp in a browser: `facekp demo [ckpt=FILE]`. It answers this computer alone."""

from dataclasses import dataclass
from importlib.util import find_spec

from facekp.cli import parse_cli
from facekp.errors import ConfigError, run_command
from facekp.parsing.choices import AUTO
from facekp.predict.settings import DETECTOR, DETECTOR_HELP
from facekp.settings import Affects, Settings, between, setting
from facekp.weights.paths import CKPT_HELP, SHIPPED, TERMS, locate_checkpoint, require_file


@dataclass
class DemoSettings(Settings):
    """The network and the page's address."""

    ckpt: str = setting(SHIPPED, CKPT_HELP, path=True)
    detector: str = setting(AUTO, f"face detector: {DETECTOR_HELP}; auto: centerface if installed", DETECTOR)
    device: str = setting("auto", "auto, cpu, cuda, cuda:1, ...", affects=Affects.MACHINE)
    port: int | None = setting(None, "port; null: the first free from 7860", between(1, 65535), affects=Affects.MACHINE)
    browser: bool = setting(True, "open the page in a browser", affects=Affects.MACHINE)


def main(argv: list[str]) -> None:
    """Serve the page with the settings in `argv` until interrupted."""
    settings = parse_cli(DemoSettings, argv, program="facekp demo", about=f"{__doc__}\n\n{TERMS}")
    require_file(locate_checkpoint(settings.ckpt))
    if find_spec("gradio") is None:
        raise ConfigError("the page needs Gradio: pip install 'facekp[demo]', or -e '.[demo]' in a clone")

    from facekp.demo.page import serve  # torch and Gradio take seconds to import
    from facekp.parsing.parser import FaceParser

    parser = FaceParser.from_checkpoint(settings.ckpt, device=settings.device, detector=settings.detector)
    serve(parser, ckpt=settings.ckpt, port=settings.port, browser=settings.browser)


if __name__ == "__main__":
    run_command(main)
