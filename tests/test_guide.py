"""The documentation, followed word by word: every command, option, link and message is real.

The guide's commands are executed in order; those of the other pages are read by the command
line itself, and their Python is executed.
"""

from __future__ import annotations

import ast
import os
import re
import shlex
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import av
import cv2
import pytest
import typer
from tiny import random_network, tiny_config

from hat_deploy import cli
from hat_deploy.engines import doctor
from hat_deploy.engines.cuda import visible
from hat_deploy.folders import Done, Failed
from hat_deploy.networks.checkpoint import save_checkpoint
from hat_deploy.precision import Precision

ROOT = Path(__file__).parent.parent
GUIDE = ROOT / "docs" / "guide.md"
OTHER_PAGES = (
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    ROOT / "SECURITY.md",
    *sorted(path for path in (ROOT / "docs").glob("*.md") if path != GUIDE),
    *sorted((ROOT / "models").glob("*/README.md")),
)
PAGES = (GUIDE, *OTHER_PAGES)
MOST_LINES_OF_README = 120

NOT_RUN = {"needs a GPU", "installs packages"}
"""Why a block of commands may be shown and not executed."""
BUILT_NOT_RUN = "built, not run: no gpu was at hand"
NOT_OF_A_COMMAND = {
    "--help",
    "--install-completion",
    "--require-hashes",
    "--strict",
    "--extra-index-url",
    "--remote-debugging-pipe",
}
"""Options that the prose names: of the whole program, and of other programs."""


def _has_bf16() -> bool:
    return any(found.usable for found in doctor.examine() if found.engine == "openvino, cpu, bf16")


RUN_WHERE: dict[str, Callable[[], bool]] = {
    "TensorRT for RTX is installed": lambda: find_spec("tensorrt_rtx_bindings") is not None,
    "the CPU has bf16": _has_bf16,
}


@dataclass(frozen=True)
class Block:
    """A fenced block, the remark in the line above it, and the prose up to the next block."""

    language: str
    remark: str
    text: str
    after: str

    @property
    def lines(self) -> list[str]:
        return [line for line in self.text.splitlines() if line.strip()]


def blocks() -> list[Block]:
    pattern = r"(?:<!-- (?P<remark>.*?) -->\n)?```(?P<language>\w+)\n(?P<text>.*?)```\n"
    guide = GUIDE.read_text(encoding="utf-8")
    found = list(re.finditer(pattern, guide, re.DOTALL))
    ends = [match.start() for match in found[1:]] + [len(guide)]
    return [
        Block(match["language"], match["remark"] or "", match["text"], guide[match.end() : end])
        for match, end in zip(found, ends, strict=True)
    ]


def of(language: str) -> list[Block]:
    return [block for block in blocks() if block.language == language]


@cache
def commands() -> dict[str, Any]:
    """The commands as the command line itself knows them."""
    return dict(typer.main.get_command(cli.app).commands)  # type: ignore[attr-defined]


def parse(line: str) -> dict[str, Any]:
    """The values of a command's options; one that does not exist is an error. Runs nothing."""
    program, name, *arguments = shlex.split(line, comments=True)
    assert program == "hat-deploy", line
    return dict(commands()[name].make_context(name, arguments).params)


@cache
def prose(page: Path) -> str:
    """The text of a page without blocks of code, targets of links, and remarks."""
    text = re.sub(r"```.*?```|<!--.*?-->", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    return re.sub(r"\]\([^)]*\)", "]", re.sub(r"^ {4}.*$", "", text, flags=re.MULTILINE))


def shown_commands(page: Path) -> list[str]:
    """Every whole command of a page: lines of code, and code in the prose that has arguments."""
    text = page.read_text(encoding="utf-8")
    fenced = "".join(re.findall(r"```\w+\n(.*?)```", text, re.DOTALL))
    code = re.findall(r"^hat-deploy .*", fenced, re.M) + re.findall(
        r"^ {4}(hat-deploy .*)", text, re.M
    )
    quoted = re.findall(r"`(hat-deploy [a-z]+ [^`]+)`", prose(page).replace("\n", " "))
    return [line for line in code + quoted if "--help" not in line]


@pytest.fixture
def readers_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What the guide says that its reader has."""
    folder = tmp_path / "reader"
    for name in ("photos", "originals", "inbox"):
        (folder / name).mkdir(parents=True)
    for name in ("china", "flower"):
        whole = cv2.imread(str(ROOT / "examples" / f"{name}.png"))
        cv2.imwrite(str(folder / "photos" / f"{name}.png"), whole[80:128, 120:184])
        cv2.imwrite(str(folder / "originals" / f"{name}.png"), whole[80:144, 120:200])
    good = (folder / "photos" / "china.png").read_bytes()
    (folder / "inbox" / "good.png").write_bytes(good)
    (folder / "inbox" / "damaged.png").write_bytes(good[: len(good) // 2])
    save_clip(folder / "clip.mp4", cv2.imread(str(ROOT / "examples" / "china.png")))
    save_checkpoint(random_network(tiny_config(window_size=16)), folder / "hat.pth")
    monkeypatch.chdir(folder)
    return folder


def save_clip(path: Path, image: Any) -> None:
    """A few frames that pan over an image."""
    with av.open(str(path), "w") as out:
        stream = out.add_stream("libx264", rate=25)
        stream.height, stream.width = 48, 64
        for left in range(5):
            frame = image[80:128, 120 + left : 184 + left, ::-1]
            out.mux(stream.encode(av.VideoFrame.from_ndarray(frame.copy(), "rgb24")))
        out.mux(stream.encode(None))


def run(line: str, monkeypatch: pytest.MonkeyPatch) -> int:
    """Run a command as the console script does; the exit code."""
    monkeypatch.setattr(sys, "argv", shlex.split(line, comments=True))
    with pytest.raises(SystemExit) as ended:
        cli.main()
    return int(ended.value.code or 0)


def stated_exit_code(line: str) -> int:
    stated = re.search(r"# exit code (\d+)", line)
    return int(stated[1]) if stated else 0


def promised_files(line: str) -> Iterator[Path]:
    """What a command was told to write."""
    values = parse(line)
    for option in ("output", "report", "csv", "plot"):
        if values.get(option) is not None and not values.get("dry_run"):
            yield Path(values[option])


@pytest.mark.slowest
def test_every_command_runs_in_order(
    readers_folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    ran: set[str] = set()
    before = sorted((readers_folder / "photos").iterdir())
    for block in of("sh"):
        condition = block.remark.removeprefix("run where ")
        if condition and not RUN_WHERE[condition]():
            continue
        for line in block.lines:
            code = run(line, monkeypatch)
            said = capsys.readouterr()
            assert code == stated_exit_code(line), f"$ {line}\n{said.out}\n{said.err}"
            for path in promised_files(line):
                assert path.exists(), f"$ {line}\n{path} is not there\n{said.out}"
            ran.add(shlex.split(line)[1])
    assert ran == set(commands()), "a command is missing from the guide"
    assert sorted((readers_folder / "photos").iterdir()) == before
    _check_first_picture(readers_folder)
    _check_python(of("python"))
    _check_python_of_other_pages()


def _check_first_picture(folder: Path) -> None:
    small, large = (cv2.imread(str(folder / n / "china.png")) for n in ("photos", "photos-x2"))
    assert large.shape[:2] == (2 * small.shape[0], 2 * small.shape[1])


def _check_python(found: list[Block]) -> None:
    (block,) = found
    assert len(block.lines) <= 14
    names: dict[str, Any] = {}
    exec(compile(block.text, str(GUIDE), "exec"), names)
    assert names["large"].shape == (2 * names["small"].shape[0], 2 * names["small"].shape[1], 3)
    assert Path("china-large.png").exists()
    assert sorted(type(outcome).__name__ for outcome in names["outcomes"]) == [
        Done.__name__,
        Failed.__name__,
    ]


def _check_python_of_other_pages() -> None:
    """Run it; the README's is about an image of the reader's."""
    small = cv2.imread("photos/china.png")
    cv2.imwrite("cat.jpg", small)
    ran = []
    for page in OTHER_PAGES:
        for code in re.findall(r"```python\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL):
            names: dict[str, Any] = {"small": small}
            exec(compile(code, str(page), "exec"), names)
            assert names["large"].shape == (2 * small.shape[0], 2 * small.shape[1], 3)
            ran.append(page.name)
    assert ran == ["README.md", "python.md", "python.md"]
    assert Path("cat-large.png").exists()
    assert cv2.imread("china-raw.png").shape == names["large"].shape


def test_what_is_not_run_says_why() -> None:
    for block in of("console"):
        reason = block.remark.removeprefix("not run: ")
        assert reason in NOT_RUN, f"{block.text}\nsays {block.remark!r}"
        if reason == "needs a GPU":
            prose = block.after.split("\n#")[0].lower()
            assert BUILT_NOT_RUN in prose, f"{block.text}\nlooks as if it had been run"


def test_only_blocks_of_commands_and_code_are_fenced() -> None:
    assert {block.language for block in blocks()} == {"sh", "console", "python", "text"}
    for block in of("sh"):
        assert not block.remark or block.remark.removeprefix("run where ") in RUN_WHERE


@pytest.fixture
def four_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    """For commands that name several: the command line looks for them."""
    monkeypatch.setenv(visible.VARIABLE, "0,1,2,3")
    monkeypatch.setattr(visible, "count", lambda: len(os.environ[visible.VARIABLE].split(",")))
    monkeypatch.setattr(visible, "_chosen", ())


@pytest.mark.usefixtures("four_gpus")
def test_commands_that_are_not_run_exist_with_their_options() -> None:
    shown = [line for block in of("console") for line in block.lines]
    ours = [line for line in shown if not line.startswith("pip ")]
    assert len(ours) >= 4
    for line in ours:
        parse(line)


def test_an_option_that_does_not_exist_would_be_found() -> None:
    with pytest.raises(Exception, match="no-such-option"):
        parse("hat-deploy upscale photos/ --no-such-option")


@pytest.mark.usefixtures("four_gpus")
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_of_every_page_are_read_by_the_command_line(page: Path) -> None:
    for line in shown_commands(page):
        parse(line)


def test_commands_of_the_pages_are_found() -> None:
    readme = shown_commands(ROOT / "README.md")
    assert "hat-deploy upscale photos/" in readme
    table = {line.split()[1] for line in shown_commands(ROOT / "docs" / "commands.md")}
    assert len(readme) >= 4
    assert len(table) >= 6


def test_the_table_of_commands_is_complete() -> None:
    text = (ROOT / "docs" / "commands.md").read_text(encoding="utf-8")
    listed = set(re.findall(r"^\| `hat-deploy (\w+)", text, re.MULTILINE))
    assert listed == set(commands())


def test_contributing_says_where_everything_is() -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (`[^|]*) \|", text.split("## Where things are")[1], re.MULTILINE)
    named = {name.rstrip("/") for row in rows for name in re.findall(r"`([a-z_./]+)`", row)}
    entries = {path.name for path in (ROOT / "hat_deploy").iterdir()}
    assert named - {"hat_deploy"} == entries - {"__init__.py", "__pycache__", "py.typed"}


def test_the_readme_is_short() -> None:
    lines = (ROOT / "README.md").read_text(encoding="utf-8").splitlines()
    assert len(lines) <= MOST_LINES_OF_README


def anchors(page: Path) -> set[str]:
    """What the headings of a page are called in links to it."""
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    headings = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    links = re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8"))
    for link in links:
        if link.startswith("https://"):
            continue
        path, _, anchor = link.partition("#")
        target = page.parent / path if path else page
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_install_works_without_a_public_index(page: Path) -> None:
    text = page.read_text(encoding="utf-8").split("## Troubleshoot by message")[0]
    for named in re.findall(r"pip install '?(hat-deploy[^\n`]*)", text):
        assert " @ git+" in named, named


def test_extras_exist() -> None:
    text = "".join(page.read_text(encoding="utf-8") for page in PAGES)
    shown = set(re.findall(r"(?:hat-deploy|\.)\[([a-z,]+)\]", text))
    named = {extra for extras in shown for extra in extras.split(",")}
    declared = set(
        re.findall(r"^(\w+) = \[", (ROOT / "pyproject.toml").read_text(encoding="utf-8"), re.M)
    )
    assert named and named <= declared
    assert not any({"cpu", "gpu"} <= set(extras.split(",")) for extras in shown)


def test_options_in_the_prose_exist() -> None:
    known = {
        option
        for command in commands().values()
        for one in (command, *getattr(command, "commands", {}).values())
        for parameter in one.params
        for option in (*parameter.opts, *parameter.secondary_opts)
    }
    pages = [page for page in PAGES if "models" not in page.parts]
    named = {
        option for page in pages for option in re.findall(r"(?<![\w-])--[a-z][a-z-]+", prose(page))
    }
    assert len(named) > 20
    assert named - NOT_OF_A_COMMAND <= known


@pytest.mark.parametrize("page", [GUIDE, ROOT / "docs" / "accuracy.md"], ids=lambda p: p.name)
def test_limits_are_those_of_verify(page: Path) -> None:
    rows = re.findall(
        r"^\| ([\w-]+) \| (\d+) dB \| ([\d.e-]+)", page.read_text(encoding="utf-8"), re.MULTILINE
    )
    assert {name: float(floor) for name, floor, _ in rows} == {p: p.floor for p in Precision}
    assert {name: float(largest) for name, _, largest in rows} == {p: p.largest for p in Precision}


def quoted_messages() -> list[str]:
    """The first column of the tables under "Troubleshoot by message"."""
    section = GUIDE.read_text(encoding="utf-8").split("## Troubleshoot by message")[1]
    return re.findall(r"^\| `(.*?)` \|", section, re.MULTILINE)


@cache
def source_strings() -> list[str]:
    """Every string of the package but docstrings; what is filled in is a line break."""
    found = []
    for path in (ROOT / "hat_deploy").rglob("*.py"):
        nodes = list(ast.walk(ast.parse(path.read_text(encoding="utf-8"))))
        docstrings = {id(node.value) for node in nodes if isinstance(node, ast.Expr)}
        for node in nodes:
            if isinstance(node, ast.JoinedStr):
                found.append("".join(_text(part) for part in node.values))
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                found += [] if id(node) in docstrings else [node.value]
    return found


def _text(part: ast.expr) -> str:
    return part.value if isinstance(part, ast.Constant) and isinstance(part.value, str) else "\n"


def is_said(message: str) -> bool:
    """Whether a string of the package holds all that a message quotes, in order."""
    pieces = [re.escape(piece.strip(" ")) for piece in message.split("...") if piece.strip(" ")]
    pattern = re.compile(".*".join(pieces), re.DOTALL)
    return any(pattern.search(text) for text in source_strings())


def test_messages_are_those_of_the_package() -> None:
    messages = quoted_messages()
    assert len(messages) > 50
    assert {message for message in messages if not is_said(message)} == set()
    assert not is_said("the moon is not a multiple of the network's window")
