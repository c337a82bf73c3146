"""What Windows does otherwise, imitated: locks, the ending of processes, open files, paths.

The workflow's Windows job runs this file too, with the real modules where it can.
"""

import ctypes
import ntpath
import os
import pickle
import struct
import subprocess
import sys
import types
from pathlib import PureWindowsPath

import psutil
import pytest
from comparison import make
from support import tiny_data
from ultralytics.data import utils
from ultralytics.models.yolo.detect import DetectionTrainer

from yolo_attn import atomic_files
from yolo_attn.comparison import child_processes, folder_locks, worker
from yolo_attn.data import coco_annotations
from yolo_attn.errors import ArgumentError, DataError, UserError
from yolo_attn.experiment import ground_truth_file
from yolo_attn.integration.queries import data_fingerprint, data_sets, yolo_command
from yolo_attn.integration.strict_mode import strict

pytestmark = pytest.mark.fast
IS_WINDOWS = sys.platform == "win32"


@pytest.fixture
def windows(monkeypatch):
    """Let our code believe that it runs on Windows. Its ``msvcrt`` locks bytes of an open file, as Linux can, too."""
    if IS_WINDOWS:
        return
    if sys.platform != "linux":
        pytest.skip("only Linux has locks that imitate those of Windows")
    import fcntl

    def locking(descriptor, mode, count):
        assert mode == 2
        start = os.lseek(descriptor, 0, os.SEEK_CUR)
        assert start > 1 << 20, "nobody else could read this byte, which may be a part of the text"
        lock = struct.pack("hhqqi", fcntl.F_WRLCK, os.SEEK_SET, start, count, 0)
        try:
            fcntl.fcntl(descriptor, 37, lock)  # F_OFD_SETLK
        except BlockingIOError as error:
            raise PermissionError(13, "Permission denied") from error

    monkeypatch.setattr(sys, "platform", "win32")
    monkeypatch.setitem(sys.modules, "msvcrt", types.SimpleNamespace(locking=locking, LK_NBLCK=2))
    monkeypatch.setitem(sys.modules, "fcntl", None)  # importing it fails


def test_a_second_command_is_refused_and_told_who_the_first_one_is(windows, tmp_path):
    plan = make(tmp_path / "c")
    with folder_locks.one_command(plan):
        for _ in range(2):  # a refusal leaves the first one's lock and name alone
            with pytest.raises(UserError, match=f"process {os.getpid()} on "), folder_locks.one_command(plan):
                pytest.fail("two commands in one folder")
    with folder_locks.one_command(plan):  # closing the file releases it
        assert (plan.folder / ".lock").stat().st_size < 1000  # the locked byte is behind the end


def test_a_run_is_trained_once_at_a_time(windows, tmp_path, monkeypatch):
    monkeypatch.setattr(folder_locks, "PATIENCE", 0.0)
    plan = make(tmp_path / "c")
    plan.claim()
    run = plan.runs[0]
    with folder_locks.one_command(plan), folder_locks.one_process(run):
        with pytest.raises(UserError, match=f"{run.name} is running there, 0 of 2"), folder_locks.one_command(plan):
            pass
        with pytest.raises(UserError, match=f"process {os.getpid()} on "), folder_locks.one_process(run):
            pass


def test_a_disk_without_locks_is_said_and_used(windows, tmp_path, monkeypatch, capsys):
    def none(*_):
        raise OSError(22, "Invalid argument")

    monkeypatch.setattr(sys.modules.get("msvcrt") or __import__("msvcrt"), "locking", none)
    with folder_locks.one_command(make(tmp_path / "c")):
        pass
    assert "cannot be locked (Invalid argument)" in capsys.readouterr().err


CHILD_WITH_CHILD = """
import subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
print(child.pid, flush=True)
time.sleep(600)
"""


def test_ending_a_process_ends_its_children(windows, monkeypatch):
    """As behind the launcher of a virtual environment. Here a program in the place of taskkill ends the tree."""
    process = subprocess.Popen([sys.executable, "-c", CHILD_WITH_CHILD], stdout=subprocess.PIPE)
    child = int(process.stdout.readline())
    original, asked = subprocess.run, []

    def taskkill(command, **options):
        asked.append(command)
        if IS_WINDOWS:
            return original(command, **options)
        for found in (*psutil.Process(int(command[-1])).children(recursive=True), psutil.Process(int(command[-1]))):
            found.kill()
        return None

    def tired(timeout=None):
        if timeout:
            raise subprocess.TimeoutExpired("x", timeout)
        return subprocess.Popen.wait(process)

    monkeypatch.setattr(subprocess, "run", taskkill)
    monkeypatch.setattr(process, "wait", tired)
    child_processes.end(process)
    process.stdout.close()
    assert asked == [["taskkill", "/F", "/T", "/PID", str(process.pid)]]
    _, alive = psutil.wait_procs([psutil.Process(child)] if psutil.pid_exists(child) else [], timeout=10)
    assert not [p for p in alive if p.status() != psutil.STATUS_ZOMBIE]


def test_without_taskkill_the_process_itself_is_ended(windows, monkeypatch):
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])

    def missing(*_, **__):
        raise FileNotFoundError(2, "no such file", "taskkill")

    monkeypatch.setattr(subprocess, "run", missing)
    child_processes._kill(process)
    assert process.wait(10) != 0


@pytest.mark.parametrize(
    ("status", "match"),
    [(0xC0000005, "access violation"), (0xC0000017, "memory"), (1, "status 1 "), (0xC0000001, "status 3221225473 ")],
)
def test_how_a_process_ended(tmp_path, status, match):
    assert match in str(child_processes.error_of(tmp_path / "error.json", status))


def test_ctrl_c_ends_the_command(monkeypatch):
    class Ended:
        def wait(self, seconds):
            return 0xC000013A

    with pytest.raises(KeyboardInterrupt):
        child_processes.wait(Ended())


@pytest.mark.skipif(IS_WINDOWS, reason="the real one is used by the tests of comparisons")
@pytest.mark.parametrize("handle", [7, None])
def test_a_worker_waits_for_the_process_that_started_it(windows, monkeypatch, handle):
    """By the handle of that process, whose number is in the environment; not by the launcher between the two."""
    calls = []

    class Function:
        def __init__(self, name, result):
            self.name, self.result = name, result

        def __call__(self, *given):
            calls.append((self.name, *(getattr(value, "value", value) for value in given)))
            return self.result

    kernel = types.SimpleNamespace(OpenProcess=Function("open", handle), WaitForSingleObject=Function("wait", 0))
    monkeypatch.setattr(ctypes, "WinDLL", lambda name: kernel, raising=False)
    monkeypatch.setattr(os, "getppid", lambda: pytest.fail("the launcher"))
    worker._wait_for_end(4321)
    assert kernel.OpenProcess.restype is ctypes.c_void_p  # a handle has 64 bits
    assert calls == [("open", 0x00100000, False, 4321), *([("wait", 7, 0xFFFFFFFF)] if handle else [])]


def test_a_file_that_another_process_reads_is_replaced_a_little_later(windows, tmp_path, monkeypatch):
    """Windows refuses to replace an open file."""
    file, refusals = tmp_path / "a.json", [1, 1]
    original = type(file).replace

    def replace(self, target):
        if refusals:
            refusals.pop()
            raise PermissionError(13, "The process cannot access the file", str(self))
        return original(self, target)

    monkeypatch.setattr(type(file), "replace", replace)
    atomic_files.write_text(file, "new")
    assert file.read_text() == "new"
    monkeypatch.setattr(atomic_files, "_WAITS", (0.0, 0.0))
    refusals += [1] * 9
    with pytest.raises(ArgumentError, match=r"a\.json cannot be written: The process cannot access the file"):
        atomic_files.write_text(file, "newer")
    assert file.read_text() == "new"
    assert [path.name for path in tmp_path.iterdir()] == ["a.json"]


def test_no_replacement_is_tried_twice_elsewhere(tmp_path, monkeypatch):
    if IS_WINDOWS:
        pytest.skip("this is Windows")
    tries = []

    def replace(self, target):
        tries.append(target)
        raise PermissionError(13, "Permission denied", str(self))

    monkeypatch.setattr(type(tmp_path), "replace", replace)
    with pytest.raises(ArgumentError, match="Permission denied"):
        atomic_files.write_text(tmp_path / "a.json", "new")
    assert len(tries) == 1


# Paths


def test_an_image_is_found_in_a_coco_json_by_the_end_of_its_path(monkeypatch, tmp_path):
    monkeypatch.setattr(coco_annotations, "PurePath", PureWindowsPath)
    pictures = [(rf"D:\data\images\{name}.jpg", name, 4, 6) for name in "ab"]
    entries = [{"id": 1, "file_name": "images\\b.jpg"}, {"id": 2, "file_name": "a.jpg"}]
    found = coco_annotations._matched(tmp_path / "x.json", entries, pictures)
    assert [entry["id"] for entry in found] == [2, 1]


@pytest.mark.parametrize(
    ("images", "kept"), [(r"C:\runs\data\images", "../data/images"), (r"D:\data\images", r"D:\data\images")]
)
def test_the_image_folder_of_a_record_is_relative_with_slashes_or_on_another_drive(monkeypatch, images, kept):
    class Folder(PureWindowsPath):
        def resolve(self):
            return self

    monkeypatch.setattr(ground_truth_file, "Path", PureWindowsPath)
    monkeypatch.setattr(ground_truth_file.os, "path", ntpath)
    assert ground_truth_file._relative(images, Folder(r"C:\runs\compare")) == kept


def test_a_data_set_on_two_drives_has_a_fingerprint(monkeypatch, tmp_path):
    data = utils.check_det_dataset(str(tiny_data(tmp_path / "data")))
    before = data_fingerprint.fingerprint(data)

    def two_drives(_):
        raise ValueError("Paths don't have the same drive")

    monkeypatch.setattr(os.path, "commonpath", two_drives)
    after = data_fingerprint.fingerprint(data)
    assert after["digest"] != before["digest"]  # whole paths: the drives belong to the names
    assert after["splits"]["train"]["images"] == before["splits"]["train"]["images"] == 4


@pytest.mark.parametrize(
    "path", [r"C:\data\new.yaml", r"C:\[1]\x.yaml", r".\runs\test", r"\\server\share\x.pt", "D:/x"]
)
def test_paths_are_no_numbers_or_escapes(path):
    assert yolo_command.value(path) == path


def test_a_data_yaml_with_a_drive_that_is_not_here(tmp_path):
    file = tmp_path / "mine.yaml"
    file.write_text("path: Q:\\data\ntrain: images\nval: images\nnames: [a]\n", encoding="utf-8")
    with strict(), pytest.raises(DataError, match=r"Q:.data"):
        utils.check_det_dataset(str(file))


def test_a_folder_on_a_drive_that_is_not_there():
    class Absent(PureWindowsPath):
        def exists(self):
            return False

    assert data_sets.nearest_folder(Absent(r"Q:\data\images")).endswith("no Q:\\")


def test_a_data_set_can_be_sent_to_a_new_process(tmp_path):
    """Windows, macOS, and Linux from Python 3.14 on start the data loader's processes afresh."""
    data = tiny_data(tmp_path / "data")
    overrides = {"model": "yolo11n-ema.yaml", "data": str(data), "imgsz": 64, "batch": 2, "device": "cpu"}
    trainer = DetectionTrainer(overrides={**overrides, "project": str(tmp_path), "plots": False})
    trainer.model = trainer.get_model(cfg="yolo11n-ema.yaml", verbose=False)
    dataset = trainer.build_dataset(trainer.data["train"], batch=2)
    again = pickle.loads(pickle.dumps(dataset))
    assert again.im_files == dataset.im_files
    assert again[0]["img"].shape == (3, 64, 64)
