"""The frame of all commands: exit codes, one line for an error, tracebacks only when they are asked for."""

from __future__ import annotations

import argparse
import io
import logging
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from icface.command import Parser, print_error, run_command
from icface.errors import ConfigError, SourceError, nearest


@pytest.fixture(autouse=True)
def logging_as_before() -> Iterator[None]:
    """Handlers and level of the root logger, which a command may set."""
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)


def parser() -> Parser:
    made = Parser(prog="tool")
    made.add_argument("--count", type=int, default=1)
    made.add_argument("-v", dest="verbose", action="count", default=0)
    return made


@pytest.mark.parametrize(("result", "code"), [(None, 0), (0, 0), (3, 3)])
def test_the_bodys_result_is_the_exit_code(result: int | None, code: int) -> None:
    assert run_command(parser(), lambda flags: result, []) == code


def test_the_body_gets_the_flags() -> None:
    assert run_command(parser(), lambda flags: int(flags.count), ["--count", "7"]) == 7


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (SourceError("no face\n  found"), 1, "error: no face found\n"),
        (ConfigError("a flag that cannot be"), 2, "error: a flag that cannot be\n"),
        (OSError(28, "No space left on device"), 1, "error: [Errno 28] No space left on device\n"),
        (KeyboardInterrupt(), 1, "error: interrupted\n"),
    ],
)
def test_an_error_is_one_line(
    error: BaseException, code: int, line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    def body(flags: argparse.Namespace) -> None:
        raise error

    assert run_command(parser(), body, [], stopped="interrupted") == code
    assert capsys.readouterr().err == line


def test_two_v_give_the_traceback(capsys: pytest.CaptureFixture[str]) -> None:
    def body(flags: argparse.Namespace) -> None:
        raise SourceError("no face")

    assert run_command(parser(), body, ["-vv"]) == 1
    printed = capsys.readouterr().err
    assert "Traceback" in printed and "in body" in printed and printed.endswith("error: no face\n")


def test_what_is_no_users_error_is_not_hidden() -> None:
    def body(flags: argparse.Namespace) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        run_command(parser(), body, [])


@pytest.mark.parametrize("flags", [["--count", "many"], ["--cou", "1"], ["--none"]])
def test_a_wrong_flag_is_one_line_and_code_2(flags: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """Flags cannot be abbreviated."""
    assert run_command(parser(), lambda flags: 0, flags) == 2
    printed = capsys.readouterr().err
    assert printed.startswith("error: ") and printed.endswith("; see tool --help\n")
    assert printed.count("\n") == 1


def test_help_is_no_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(parser(), lambda flags: 5, ["--help"]) == 0
    assert "--count" in capsys.readouterr().out


def test_a_message_of_several_lines_is_printed_as_one(capsys: pytest.CaptureFixture[str]) -> None:
    print_error("first\n\n   second")
    assert capsys.readouterr().err == "error: first second\n"


@pytest.mark.parametrize(
    ("flag", "hint"),
    [
        ("--cuont=3", " (did you mean --count?)"),
        ("--coun", " (did you mean --count?)"),
        ("--number", " (did you mean --count?)"),
        ("--zzz", ""),
    ],
)
def test_a_wrong_flag_names_the_one_that_was_meant(
    flag: str, hint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    made = Parser(prog="tool", synonyms={"--number": "--count"})
    made.add_argument("--count", type=int)
    assert run_command(made, lambda flags: 0, [flag, "1"]) == 2
    assert capsys.readouterr().err == f"error: there is no flag {flag}{hint}; see tool --help\n"


@pytest.mark.parametrize("words", [["a", "--count", "-30:30:7", "b"], ["--count", "-30:30:7", "a", "b"]])
def test_words_of_no_flag_are_collected_and_values_may_begin_with_a_minus(words: list[str]) -> None:
    made = Parser(prog="tool", rest="files")
    made.add_argument("--file", action="append", default=[], dest="files")
    made.add_argument("--count")
    flags = made.parse_args([*words, "--file", "c"])
    assert flags.files == ["c", "a", "b"] and flags.count == "-30:30:7"


def test_files_whose_names_begin_with_a_minus(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "-me.jpg").touch()
    made = Parser(prog="tool", rest="files")
    made.add_argument("--file", action="append", default=[], dest="files")
    assert made.parse_args(["a", "--", "-me.jpg", "--file"]).files == ["a", "-me.jpg", "--file"]
    with pytest.raises(SystemExit):
        made.parse_args(["-me.jpg"])
    assert "no flag -me.jpg, but a file; write ./-me.jpg" in capsys.readouterr().err


def test_names_that_are_no_text_are_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    """A file's name may be any bytes; Python keeps those that are no text as lone surrogates."""
    out = io.TextIOWrapper(io.BytesIO(), encoding="ascii", errors="strict", write_through=True)
    monkeypatch.setattr(sys, "stdout", out)
    assert run_command(parser(), lambda flags: print("a\udcff\u6f22.png"), []) == 0
    assert out.buffer.getvalue().split() == [rb"a\udcff\u6f22.png"]


def test_a_name_cannot_steer_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    def body(flags: argparse.Namespace) -> None:
        logging.getLogger("icface.any").warning("a\x1b[31m.jpg: taken\nas it is")

    logging.getLogger().handlers[:] = []
    run_command(parser(), body, [])
    assert capsys.readouterr().err == "a\ufffd[31m.jpg: taken\nas it is\n"


@pytest.mark.parametrize(
    ("written", "meant"),
    [("AU2", "AU02"), ("au12", "AU12"), ("mouht", "mouth"), ("exp", ""), ("expr", "expression"), ("xyz", "")],
)
def test_the_nearest_name_is_found(written: str, meant: str) -> None:
    names = ("AU02", "AU12", "AU20", "AU25", "mouth", "expression")
    assert nearest(written, names) == (f" (did you mean {meant}?)" if meant else "")


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such signal of a pipe")
def test_nobody_reads_the_output_any_more() -> None:
    import subprocess

    program = (
        "import sys; from icface.command import Parser, run_command\n"
        "sys.exit(run_command(Parser(), lambda flags: print('x' * 10**6, flush=True), []))"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout is not None and process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == b"" and process.wait(30) == 1
