"""Old outputs are not reused if inputs or options have changed, or if they are damaged."""

import os
import random
import shutil
from pathlib import Path

import pytest
from fault_cases import Case
from fault_examples import OTHERS, Material
from fault_outputs import compare, read_outputs


def other_input(name: str) -> str:
    """Return the input with other content; empty if there is none."""
    found = [old for old in OTHERS if f"{name}/".startswith(f"{old}/")]
    return OTHERS[found[0]] + name[len(found[0]) :] if found else ""


def replace(folder: Path, material: Material, name: str, keep_times: bool) -> bool:
    """Replace an input by one with other content; return whether sizes are the same."""
    source, target = material.path(other_input(name)), folder / name
    files = [target] if target.is_file() else [p for p in sorted(target.rglob("*")) if p.is_file()]
    same = True
    for file in files:
        other = source if target.is_file() else source / file.relative_to(target)
        if not other.is_file() or other.read_bytes() == file.read_bytes():
            continue
        times = file.stat().st_atime_ns, file.stat().st_mtime_ns
        same = same and file.stat().st_size == other.stat().st_size
        shutil.copyfile(other, file)
        if keep_times:
            os.utime(file, ns=times)
    return same


def compare_rerun(case: Case, words: str, folder: Path, fresh: Path) -> str:
    """Run a command on old outputs and without them; describe what is wrong."""
    expected, ended = case.server.run(words, fresh), case.server.run(words, folder)
    if expected.code != 0:
        return f"fresh run failed: {expected.problem(0)}"
    if problem := ended.problem(0, 2):
        return problem
    if ended.code == 2:
        return ""
    outputs = read_outputs(fresh, case.example.output)
    found = read_outputs(folder, case.example.output)
    return compare(outputs, found, case.reference.varying)


def old_outputs(case: Case) -> Path:
    """Create a working folder with the outputs of an undisturbed run."""
    folder = case.new()
    shutil.copytree(case.reference.folder, folder, dirs_exist_ok=True)
    return folder


def test_stale_inputs(case: Case) -> None:
    case.needs_output()
    if case.slow:
        pytest.skip("slow")
    for name in filter(other_input, case.example.inputs):
        for keep_times in (False, True):
            folder, fresh = old_outputs(case), case.new()
            replace(fresh, case.material, name, keep_times)
            same = replace(folder, case.material, name, keep_times)
            if keep_times and not same:
                continue
            what = f"{name} changed" + (" with its size and time kept" if keep_times else "")
            case.add(what, compare_rerun(case, case.command, folder, fresh))
    if case.example.other:
        folder, fresh = old_outputs(case), case.new()
        problem = compare_rerun(case, case.other_command, folder, fresh)
        case.add("other options", problem, case.other_command)


def test_damaged_outputs(case: Case) -> None:
    """A rerun replaces truncated outputs, or refuses them."""
    case.needs_output()
    written = sorted({name for (name, part) in case.reference.outputs if part == ""})
    choose = random.Random(case.name)
    for name in choose.sample(written, min(4 if not case.slow else 1, len(written))):
        folder = old_outputs(case)
        file = folder / name
        size = file.stat().st_size
        if not size or file.suffix in (".lock", ".txt"):
            continue
        os.truncate(file, size // 2)
        ended = case.server.run(case.command, folder)
        problem = ended.problem(0, 2)
        if not problem and ended.code == 0:
            problem = case.difference(folder)
        case.add(f"{name} truncated", problem)
