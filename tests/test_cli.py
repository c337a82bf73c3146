"""The command line as a whole: help pages, spellings, mistakes, exit statuses, start-up time. In this process."""

import re
import shlex
import subprocess
from pathlib import Path

import pytest
from support import ROOT, run, run_file
from ultralytics.utils import DEFAULT_CFG_DICT

from yolo_attn import __version__
from yolo_attn.cli import main
from yolo_attn.cli.main import COMMANDS, ULTRALYTICS_COMMANDS, call_of, command_line, guarded
from yolo_attn.errors import ArgumentError
from yolo_attn.integration.queries import model_graph, model_sizes, ultralytics_arguments
from yolo_attn.integration.queries.training_arguments import ADDED_TO

fast = pytest.mark.fast

# Every command: what it must be given, an option with a value, and a flag.
GOOD = {
    "blocks": (["EMA"], None, "markdown"),
    "info": (["yolo11n.yaml"], ("task", "detect"), None),
    "place": (["yolo11.yaml", "EMA", "at=neck.P3"], ("args", "factor=8"), "force"),
    "diagram": (["yolo11n.yaml", "-o", "a.svg"], ("imgsz", "320"), "force"),
    "convert": (["a.yaml", "-o", "b.yaml"], None, "force"),
    "check": (["yolo11n.yaml"], ("scale", "n"), "strict"),
    "transfer": (["a.pt", "yolo11n.yaml", "-o", "b.pt"], ("map", "6=7"), "partial"),
    "compare": (["experiment.yaml"], ("gpus_per_run", "0.5"), None),
    "report": (["runs/x"], None, None),
    "data from-coco": (["a.json", "images", "out"], ("split", "val"), None),
    "completion": (["bash"], None, None),
    **{name: (["model=yolo11n.yaml"], ("imgsz", "320"), None) for name in ULTRALYTICS_COMMANDS},
}


def over(commands):
    """Parametrise a test; the commands of Ultralytics after the first are alike, and not fast."""
    slower = ULTRALYTICS_COMMANDS[1:]
    return pytest.mark.parametrize("command", [pytest.param(c, marks=[] if c in slower else fast) for c in commands])


WITH_VALUE = [name for name, given in GOOD.items() if given[1]]


def parsed(command, *given):
    call = call_of([*command.split(), *given])
    return call.args, call.keywords


def error_of(capsys, *given):
    assert main(given) == 2
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert err.startswith("yolo-attn: ")
    return err


@fast
def test_every_command_is_here():
    assert {name.split()[0] for name in GOOD} == {*COMMANDS, *ULTRALYTICS_COMMANDS, "completion"}


@over(["", "data", *GOOD])
def test_help_breaks_no_word_and_ends_in_examples(command, capsys, monkeypatch):
    pages = {}
    for width, words in (
        (2000, [*command.split(), "--help"]),
        (80, [*command.split(), "-h"]),
        (140, ["help", command]),
    ):
        monkeypatch.setenv("COLUMNS", str(width))
        assert main([word for part in words for word in part.split()]) == 0
        pages[width] = capsys.readouterr().out
        assert max(map(len, pages[width].splitlines())) <= width
    words = [set(re.findall(r"[^\s│╭╮╰╯─\\]+", page)) for page in pages.values()]
    assert words[0] == words[1] == words[2]
    examples = pages[80].partition("Examples:\n")[2].replace("\\\n", " ").splitlines()
    assert examples or command == "data"
    for program, *given in map(shlex.split, examples):
        assert program == "yolo-attn"
        assert call_of(given[: given.index(">")] if ">" in given else given)


def test_the_cheap_examples_of_the_help_pages_run(capsys, monkeypatch, tmp_path):
    """In an empty folder, one after the other."""
    monkeypatch.chdir(tmp_path)
    for command in ("", "blocks", "info", "place", "check", "diagram"):
        assert main([*command.split(), "--help"]) == 0
        for line in re.sub(r"\\\n *", "", capsys.readouterr().out.partition("Examples:\n")[2]).splitlines():
            if line.split()[1] not in ("train", "compare") and not Path(line.split()[-1]).exists():
                assert main(shlex.split(line)[1:]) == 0, line
    made = {"yolo11n-ema.svg", "yolo11-mine.yaml", "yolo11-pmfs.yaml", "afpn.png"}
    assert made <= {path.name for path in tmp_path.iterdir()}


@over(WITH_VALUE)
def test_three_spellings_are_one(command):
    given, (name, value), flag = GOOD[command]
    wanted = parsed(command, *given, f"--{name}", value)
    assert wanted != parsed(command, *given)
    assert parsed(command, *given, f"--{name}={value}") == wanted
    assert parsed(command, *given, f"{name}={value}") == wanted
    assert parsed(command, *given, f"--{name.replace('_', '-')}", value) == wanted
    if flag:
        spellings = [f"--{flag}", f"--{flag}=True", f"{flag}=True"]
        assert len({str(parsed(command, *given, f"{name}={value}", s)) for s in spellings}) == 1


@over(WITH_VALUE)
def test_mistakes_with_an_option(command, capsys):
    given, (name, value), flag = GOOD[command]
    before = [*command.split(), *given]
    assert f"--{name}x" in (line := error_of(capsys, *before, f"--{name}x", value))
    assert f"'--{name}'?" in line
    assert f"--{name}x" in error_of(capsys, *before, f"{name}x={value}")
    for wrong in ([f"--{name}"], [f"--{name}", f"--{flag or 'model'}"], [f"--{name}", f"{name}={value}"], [f"{name}="]):
        assert f"--{name} has no value" in error_of(capsys, *before, *wrong)
    twice = error_of(capsys, *before, f"--{name}", value, f"{name}={value}")
    assert f"--{name} is given twice" in twice


@over(GOOD)
def test_mistakes_of_every_command(command, capsys):
    given = GOOD[command][0]
    assert "--nonsense" in error_of(capsys, *command.split(), *given, "--nonsense")
    if command not in ("blocks", "place"):
        too_many = [*command.split(), *given, *["one"] * (command in ULTRALYTICS_COMMANDS), "two"]
        assert "unexpected argument 'two'" in error_of(capsys, *too_many)


@fast
@pytest.mark.parametrize(
    ("given", "parts"),
    [
        (["chek"], ["'chek'", "'check'"]),
        (["data", "from-cocoa"], ["'from-cocoa'", "from-coco"]),
        (["check"], ["--model", "check --help"]),
        (["diagram", "yolo11n.yaml"], ["--output"]),
        (["diagram", "yolo11n.yaml", "-o", "a.svg", "imgsz=large"], ["--imgsz", "large"]),
        (["compare", "--models", "a.yaml", "models=b.yaml"], ["--models is given twice"]),
        (["place", "yolo11.yaml", "EMA", "--at", "neck.P3", "-o", "a", "GSoP", "--output", "b"], ["--output", "twice"]),
        (["place", "yolo11.yaml", "--at", "neck.P3"], ["--at", "EMA"]),
        (["place", "yolo11.yaml", "EMA"], ["EMA: ", "--at"]),
        (["place", "yolo11.yaml", "EMA", "--at", "neck.P3", "reroute=al"], ['"al"', '"all", "detect", "path"']),
        (["place", "yolo11.yaml", "EMA", "--at", "neck.P3", "--args", "factor=8,3"], ["EMA: --args '3'"]),
        (["check", "yolo11.yaml", "--scale"], ["check: --scale has no value"]),
        (["train", "model=yolo11n.yaml", "epoch=3"], ["epoch", "--epochs"]),
        (["compare", "--bsae", "x"], ["'--bsae'", "'--base'"]),  # '--save' is as near
        (["train", "model=yolo11n.yaml", "epochs"], ["--epochs has no value"]),
        (["data"], ["from-coco"]),
        (["--nonsense"], ["'--nonsense'"]),
        (["data", "from-coco", "a.json"], ["--images is missing"]),
    ],
)
def test_mistakes(given, parts, capsys):
    line = error_of(capsys, *given)
    assert all(part in line for part in parts), line


@fast
@pytest.mark.parametrize("command", ["info", "check", "place", "diagram"])
def test_the_model_is_taken_in_three_ways(command):
    rest = ["-o", "a.svg"] if command == "diagram" else []
    ways = [["m.yaml"], ["model=m.yaml"], ["--model", "m.yaml"], ["--model=m.yaml"]]
    assert len({str(parsed(command, *way, *rest)) for way in ways}) == 1


def test_info_lists_inputs_and_counts_operations_as_reports_do(capsys):
    assert main(["info", "yolo11n-pmfs.yaml", "imgsz=320"]) == 0
    out = capsys.readouterr().out
    assert "4, 6, 10" in out
    content = model_graph.load("yolo11n-pmfs.yaml")
    assert f"{model_sizes.parameters(content):,} parameters, {model_sizes.gflops(content, imgsz=320):.2f}" in out


@fast
def test_arguments_of_ultralytics():
    _, options = parsed(
        "train", "detect", "half", "--save", "--imgsz", "320", "640", "batch=-1", "--lr0", "-0.5", "val"
    )
    switches = dict.fromkeys(("half", "save", "val"), "True")
    assert options == switches | {"imgsz": ["320", "640"], "batch": "-1", "lr0": "-0.5"}
    known = ultralytics_arguments.read()
    assert {*DEFAULT_CFG_DICT, "half", "int8"} - {"mode"} <= set(known)
    assert {n for names in ADDED_TO.values() for n in names} == {
        argument.name for argument in ultralytics_arguments.OWN
    }
    assert (known["epochs"].type, known["epochs"].default, known["imgsz"].section) == ("int", "100", "Train")


@fast
@pytest.mark.parametrize(
    ("error", "status", "said"),
    [
        (ArgumentError("a=1 must\n be 2"), 2, "yolo-attn: a=1 must be 2\n"),
        (KeyboardInterrupt(), 130, "yolo-attn: interrupted\n"),
        (ZeroDivisionError("ours"), 1, "ZeroDivisionError: ours\nyolo-attn: internal error"),
    ],
)
def test_exit_statuses(error, status, said, capsys, monkeypatch):
    def job():
        raise error

    assert guarded(job) == status
    assert said in (err := capsys.readouterr().err)
    assert ("Traceback" in err) == (status == 1)
    monkeypatch.setenv("YOLO_ATTN_DEBUG", "1")
    assert guarded(job) == status
    assert ("Traceback" in capsys.readouterr().err) == (status != 130)


@fast
def test_help_of_a_wrong_command_and_the_version(capsys):
    assert main(["data", "from-cocoa", "--help"]) == 0
    assert "from-coco" in capsys.readouterr().out
    for command in ([], ["check"], ["data"]):
        assert main([*command, "--version"]) == 0
        assert capsys.readouterr().out == f"{__version__}\n"


@fast
def test_completion(capsys, tmp_path):
    assert main(["completion", "bash"]) == 0
    script = tmp_path / "completion"
    script.write_text(capsys.readouterr().out, encoding="utf-8")
    assert subprocess.run(["bash", "-n", script]).returncode == 0
    assert all(part in script.read_text(encoding="utf-8") for part in (*COMMANDS, "from-coco", "--reroute", "--epochs"))


@fast
def test_start_up_needs_no_torch(tmp_path):
    """Its CPU time, as a multiple of that of the libraries it needs; the best of a few."""
    code = """
        import sys, time
        start = time.process_time()
        import cyclopts, msgspec, rich.console, rich.table
        libraries = time.process_time() - start
        from yolo_attn.cli import main
        main(["--help"])
        took = (time.process_time() - start) / libraries
        main(["train", "--help"])
        main(["report", "nowhere"])
        print(took, sorted({"torch", "ultralytics"} & set(sys.modules)))
    """
    for _ in range(3):
        took, _, modules = run(code, tmp_path).splitlines()[-1].partition(" ")
        assert modules == "[]"
        if float(took) < 5:
            return
    pytest.fail(f"--help took {took} times as long as the import of its libraries")


@fast
def test_the_module_and_the_script_are_the_command():
    for command in (["-m", "yolo_attn"], [str(ROOT / "train_detect.py"), "blocks"]):
        done = run_file([*command, "--help"], ROOT)
        assert done.returncode == 0
        assert "Usage: yolo-attn" in done.stdout
    assert {name for name in command_line() if not name.startswith("-")} >= set(COMMANDS)
