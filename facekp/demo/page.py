"""The page: its layout in Gradio, and which functions of `views` answer which control."""

import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from html import escape
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

import gradio as gr

from facekp.demo import views
from facekp.demo.examples import write_examples
from facekp.demo.views import ALL, Parsed
from facekp.errors import ConfigError, DataError, FacekpError
from facekp.files import make_folder
from facekp.formats.base import FormatOptions, all_formats
from facekp.parsing.overlay import OPACITY, Style
from facekp.parsing.parser import FaceParser
from facekp.predict.pipeline import Job
from facekp.predict.settings import OneEuroConfig
from facekp.predict.sources import CLIP
from facekp.weights.paths import SHIPPED, WEIGHTS

HERE: Final = Path(__file__).parent
LOCAL: Final = "127.0.0.1"
SHOWN: Final = ("masks", "outlines", "key points", "landmarks", "names")
MAX_FRAMES: Final = 300
KEPT: Final = 3600  # seconds for which an idle page's photo and files are kept
HEAD: Final = '<div class="head"><h1>facekp</h1><p>masks, key points and landmarks of faces</p>{place}</div>'
PLACE: Final = '<p class="local">runs on this computer; photos stay on it</p>'
WELCOME: Final = '<div class="message">Drop a photo on the left, or choose an example.</div>'
CARD: Final = """\
- **Good at** skin, nose, hair, eyes, brows, lips, ears, glasses and hats of faces from the front or half from the side.
- **Weaker at** clothes, poor at earrings, and finds few necklaces.
- **Not for** identifying, monitoring or judging people, nor for decisions about them.

The full model card is `docs/results/model_card.md` in facekp's source.
"""


@dataclass(frozen=True)
class Desk:
    """The answers that need the network or the disk."""

    parser: FaceParser  # parses photos and videos, one at a time
    folder: Path  # for the files that visitors make; each has a subfolder of their own, removed when they leave
    ckpt: str = SHIPPED  # what `parser` was opened from, for the code to copy

    @property
    def regions(self) -> list[str]:
        """The groups and classes to choose from; hair, if there is any, first."""
        classes = self.parser.stages.backend.classes
        return sorted([*classes.groups, *classes.names], key=lambda name: name != "hair")

    def parse(self, path: str | None) -> tuple[Any, ...]:
        """Return what a new photo changes: the state, the choice of faces, the open tab, the view and the table."""
        parsed, message = None, WELCOME
        try:
            parsed = views.parse_photo(self.parser, Path(path)) if path else None
        except FacekpError as error:
            message = f'<div class="message error" role="alert">{escape(str(error))}</div>'
        names = parsed.choices if parsed else [ALL]
        shown = gr.skip() if parsed else message
        return parsed, gr.Radio(names, value=ALL, visible=len(names) > 2), gr.Tabs(selected="masks"), shown, ""

    def write(self, request: gr.Request, parsed: Parsed | None, choice: str, *options: Any) -> list[str]:
        """Return the files of the chosen faces."""
        if parsed is None:
            raise gr.Error("choose a photo first", title="No photo")
        *look, regions, feather, grow, export = options
        soft = _options(regions or self.regions[:1], feather, grow)
        with _in_plain_words():
            own = self.own_folder(request)
            made = views.save_files(parsed, parsed.chosen(choice, look[0]), _style(*look), export, soft, own)
        return [str(path) for path in made]

    def call(self, parsed: Parsed | None, choice: str, *options: Any) -> str:
        """Return the same call in Python."""
        *look, regions, feather, grow = options
        name = parsed.photo.file if parsed else "photo.jpg"
        soft = _options(regions or self.regions[:1], feather, grow)
        return views.python_call(name, choice, look[0], _style(*look), soft, self.ckpt)

    def parse_video(
        self,
        request: gr.Request,
        path: str | None,
        progress: gr.Progress = gr.Progress(track_tqdm=True),  # noqa: B008  # Gradio reads the default
    ) -> tuple[str, list[str]]:
        """Return the annotated clip of a video, and the files to save."""
        if path is None:
            raise gr.Error("choose a video first", title="No video")
        from facekp.predict.video_io import VideoReader  # PyAV is an extra
        from facekp.predict.videos import parse_videos

        video, own = Path(path), self.own_folder(request)
        with _in_plain_words(path):
            with VideoReader(video) as opened:
                if opened.count and opened.count > MAX_FRAMES:
                    raise DataError(f"{video.name} has {opened.count} frames, the page takes {MAX_FRAMES}: shorten it")
            jobs = [Job(video, video.name, own / video.stem)]
            if failures := parse_videos(self.parser, jobs, OneEuroConfig(), "auto"):
                raise DataError(failures[0])
        made = sorted(str(file) for file in own.iterdir())
        return next(file for file in made if file.endswith(CLIP)), made

    def own_folder(self, request: gr.Request) -> Path:
        """Return a visitor's own folder, emptied."""
        self.forget(request)
        return make_folder(self.folder / str(request.session_hash))

    def forget(self, request: gr.Request) -> None:
        """Remove a visitor's folder."""
        shutil.rmtree(self.folder / str(request.session_hash), ignore_errors=True)


def build_page(desk: Desk, *, local: bool = True) -> gr.Blocks:
    """Lay out the page; it says that photos stay on this computer if it is `local`."""
    with gr.Blocks(title="facekp", analytics_enabled=False, delete_cache=(KEPT, KEPT)) as page:
        gr.HTML(HEAD.format(place=PLACE if local else ""))
        with gr.Tab("Photo"), gr.Row():
            _lay_out_photo(desk)
        with gr.Tab("Video"):
            _lay_out_video(desk)
        with gr.Tab("Model and licence"):
            classes = f"one of {len(desk.parser.stages.backend.classes)} classes"
            gr.Markdown(f"facekp assigns each pixel of a face to {classes}, and reads outlines and points off them.")
            if desk.ckpt == SHIPPED:
                gr.Markdown(CARD)
                gr.Markdown((WEIGHTS.parent / "TERMS.md").read_text("utf-8"))
        page.unload(desk.forget)
    return page


def serve(
    parser: FaceParser, *, ckpt: str = SHIPPED, host: str = LOCAL, port: int | None = None, browser: bool = False
) -> None:
    """Serve the page until interrupted; it contacts nothing but its visitors' browsers.

    The host "0.0.0.0" also answers other computers, as in a container. A port of None is the first free one from 7860.
    `browser` opens the page in a browser.

    Raises:
        ConfigError: the port is taken.
    """
    with TemporaryDirectory(prefix="facekp-") as folder:
        os.environ["GRADIO_TEMP_DIR"] = str(Path(folder) / "uploads")  # removed with the folder
        page = build_page(Desk(parser, Path(folder), ckpt), local=host == LOCAL)
        print(f"facekp is at {launch(page, host, port, browser)} (Ctrl-C stops it)", flush=True)
        page.block_thread()


def launch(page: gr.Blocks, host: str = LOCAL, port: int | None = None, browser: bool = False) -> str:
    """Serve the page in a thread, and return its address; for the arguments see `serve`."""
    families = {"font": ("system-ui", "sans-serif"), "font_mono": ("ui-monospace", "monospace")}
    fonts = {key: [gr.themes.Font(name) for name in names] for key, names in families.items()}
    theme = gr.themes.Soft(primary_hue="teal", neutral_hue="slate", **fonts)
    plain = {"background_fill": "none", "background_fill_dark": "none", "text_color": "*body_text_color"}
    theme.set(**{f"block_title_{key}": value for key, value in plain.items()}, block_title_text_weight="600")
    try:
        _, address, _ = page.launch(
            server_name=host, server_port=port, inbrowser=browser, share=False, prevent_thread_lock=True, quiet=True,
            theme=theme, css_paths=HERE / "page.css", footer_links=[], run_history=False, ssr_mode=False,
            max_file_size="100mb", show_error=False,
        )  # fmt: skip
    except OSError as error:
        raise ConfigError(f"port is {port}: taken or not allowed; give another, or leave it out") from error
    return str(address)


def _lay_out_photo(desk: Desk) -> None:
    state = gr.State(time_to_live=KEPT)
    # Without Gradio's share button, which uploads the picture to a website.
    result: dict[str, Any] = {"interactive": False, "buttons": ["download", "fullscreen"]}
    with gr.Column(scale=7, min_width=240):
        photo = gr.Image(
            label="Photo", type="filepath", sources=["upload", "webcam", "clipboard"], height=260,
            buttons=["fullscreen"], elem_id="photo",
            webcam_options=gr.WebcamOptions(mirror=False),  # left and right are the person's
        )  # fmt: skip
        # The uploaded file as it is: `views.parse_photo` says what is wrong with it.
        photo.preprocess = lambda payload: payload and payload.path
        gr.Examples([[str(path)] for path in write_examples(desk.folder / "examples")], photo, label="Examples")
        credit = "Portrait: Eileen Collins, by NASA, in the public domain. The others are drawn."
        gr.Markdown(credit, elem_classes="note")
    with gr.Column(scale=16, min_width=320), gr.Tabs(selected="masks") as tabs:
        with gr.Tab("Masks", id="masks"):
            view = gr.HTML(WELCOME, js_on_load=(HERE / "page.js").read_text("utf-8"), elem_id="view")
            choice = gr.Radio([ALL], value=ALL, label="Face", info="or click one in the photo", visible=False)
            shown = gr.CheckboxGroup(list(SHOWN), value=list(SHOWN[:3]), label="Show")
            with gr.Row():
                opacity = gr.Slider(0, 1, OPACITY, step=0.05, label="Opacity of masks")
                points = gr.Slider(4, 128, 32, step=4, label="Key points per attribute")
        with gr.Tab("Cut-out") as cut_tab:
            piece = gr.Image(label="Cut-out", format="png", elem_classes="checked", elem_id="piece", **result)
            regions = gr.Dropdown(desk.regions, value=desk.regions[:1], multiselect=True, label="Regions")
            with gr.Row():
                feather = gr.Slider(0, 10, 1, step=0.5, label="Feather, % of the face's side")
                grow = gr.Slider(-10, 10, 0, step=0.5, label="Grow, % of the face's side")
        with gr.Tab("Recolour") as paint_tab:
            painted = gr.ImageSlider(label="Before and after", max_height=640, elem_id="painted", **result)
            with gr.Row():
                usual = ("hair", "lips", "brows", "cloth")
                paintable = [name for name in usual if name in desk.regions] or desk.regions[:1]
                target = gr.Radio(paintable, value=paintable[0], label="Region")
                colour = gr.ColorPicker("#c2185b", label="Colour")
                strength = gr.Slider(0, 1, 0.8, step=0.05, label="Strength")
        with gr.Tab("Before and after") as compare_tab:
            compared = gr.ImageSlider(label="Before and after", max_height=640, elem_id="compared", **result)
        with gr.Tab("Files"):
            info = "Cut-outs, masks and alphas show the regions of the tab Cut-out."
            usual_files = ["mask", "overlay", "cutout", "json", "svg", "coco"]
            export = gr.CheckboxGroup(list(all_formats()), value=usual_files, label="Formats", info=info)
            save = gr.Button("Make files", variant="primary")
            files = gr.Files(label="Files", interactive=False)
        with gr.Tab("Python") as code_tab:
            code = gr.Code(language="python", label="The same in Python", interactive=False)
    with gr.Column(scale=8, min_width=280):
        table = gr.HTML(elem_id="table")

    look, soft, paint = [points, shown, opacity], [regions, feather, grow], [target, colour, strength]
    quick: dict[str, Any] = {"show_progress": "hidden", "trigger_mode": "always_last", "concurrency_limit": 4}
    draw: dict[str, Any] = {"fn": _draw, "inputs": [state, choice, *look], "outputs": [view, table], **quick}
    parsed = photo.change(desk.parse, photo, [state, choice, tabs, view, table], concurrency_id="network")
    parsed.then(**draw)
    gr.on([control.input for control in (choice, *look)], **draw)
    view.select(_clicked, state, choice, **quick).then(**draw)
    gr.on([cut_tab.select, *(c.input for c in soft)], _cut_out, [state, choice, *soft], piece, **quick)
    gr.on([paint_tab.select, *(c.input for c in paint)], _recolour, [state, choice, *paint], painted, **quick)
    compare_tab.select(_compare, [state, choice, *look], compared, **quick)
    save.click(desk.write, [state, choice, *look, *soft, export], files)
    code_tab.select(desk.call, [state, choice, *look, *soft], code, **quick)


def _lay_out_video(desk: Desk) -> None:
    if find_spec("av") is None:
        gr.Markdown("Videos need PyAV: stop the page, run `pip install 'facekp[video]'`, and start it again.")
        return
    with gr.Row():
        label = f"Video of up to {MAX_FRAMES} frames"
        video = gr.Video(label=label, sources=["upload"], height=420, buttons=[], elem_id="video")
        clip = gr.Video(label="Result", interactive=False, height=420, buttons=["download"])
    parse = gr.Button("Parse the video", variant="primary")
    gr.Markdown("Each frame takes as long as a photo. Points are smoothed over time.", elem_classes="note")
    lines = gr.Files(label="Files", interactive=False)
    parse.click(desk.parse_video, video, [clip, lines], concurrency_id="network")


def _draw(parsed: Parsed | None, choice: str, *look: Any) -> tuple[Any, Any]:
    if parsed is None:
        return gr.skip(), gr.skip()
    faces = parsed.chosen(choice, look[0])
    return views.drawn_view(parsed, faces, _style(*look)), views.attribute_table(parsed, faces)


def _clicked(parsed: Parsed | None, event: gr.EventData) -> str:
    return str(event.face) if parsed and len(parsed.faces) > 1 else ALL


def _cut_out(parsed: Parsed | None, choice: str, *soft: Any) -> Any:
    options = _options(*soft)
    return views.cut_out(parsed, parsed.chosen(choice), options) if parsed and options.regions else None


def _recolour(parsed: Parsed | None, choice: str, target: str, colour: str, strength: float) -> Any:
    if parsed is None:
        return None
    alpha = views.region_alpha(parsed, parsed.chosen(choice), FormatOptions([target]))
    return parsed.photo.image, views.recoloured(parsed.photo.image, alpha, colour, strength)


def _compare(parsed: Parsed | None, choice: str, *look: Any) -> Any:
    return parsed and views.before_and_after(parsed, parsed.chosen(choice, look[0]), _style(*look))


def _style(points: int, shown: Sequence[str], opacity: float) -> Style:
    masks, *others = (name in shown for name in SHOWN)
    return Style(opacity if masks else 0, *others)


def _options(regions: Sequence[str], feather: float, grow: float) -> FormatOptions:
    """Return the settings of soft masks; lengths in the page are percentages of the face's side."""
    return FormatOptions(list(regions), feather / 100, grow / 100)


@contextmanager
def _in_plain_words(path: str = "") -> Iterator[None]:
    """Show a user's error in the page, without the path of the uploaded file's copy."""
    try:
        yield
    except FacekpError as error:
        raise gr.Error(str(error).replace(path, Path(path).name), title="Not possible") from error
