"""Builds test programs against any copy of the headers, without CMake and without what a bug cannot change, and runs them."""

import contextlib
import hashlib
import json
import os
import re
import resource
import shutil
import signal
import subprocess
import threading
import time
from pathlib import Path

# Not optimized: what a compiler spends on templates is most of the time, and only these run longer than that.
OPTIMIZED = {"kernels_test", "instruction_sets_test", "contract_test", "layers_test", "threads_test"}
# The compiled library, which all tests link, and the tables of kernels, for those that call them by themselves.
LIBRARY = {name: f"../src/{name}.cpp" for name in ("float", "half", "bfloat16", "double", "long_double")}
TABLES = {"block_kernels": "kernels/block_kernels.cpp"}
USE_TABLES = {"kernels_test", "group_kernels_test", "streaming_test"}
# Headers that only the library's units include; those tests that call kernels, or name such a header, include them too.
OUT_OF_LINE = re.compile(r"core/(calls|call_checks|layer|forward|backward|gradient|gradient_sums|feature_rows|feature_sums|"
                         r"piece_sums|schedule|slab|statistics|blocks|valid_calls|valid_parts)\.hpp|kernels/.*\.inl|"
                         r"kernels/(dispatch|reference|targets)\.hpp")
HANGS = "hangs"
LEVELS = {True: "-O1", False: "-O0"}
THROUGH_ALL = {"kernels_test", "group_kernels_test", "instruction_sets_test"}
INSTRUCTION_SETS = ("best", "baseline", "avx2")
# Where tests/CMakeLists.txt looks for programs NAME_test.cpp.
FOLDERS = ("api", "results", "bits", "parts", "safety")
# Programs that are not called so, or not without arguments.
SOURCES = {"conformance": "results/conformance.cpp", "fuzz_numeric": "fuzz/fuzz_numeric.cpp", **LIBRARY, **TABLES}
ARGUMENTS = {"conformance": ["data/pytorch/manifest.txt"], "fuzz_numeric": ["--n", "20"]}
# Not a program of tests: tests/link, where what is linked is looked at.
LINK = "link"

# Everything that tests include and no bug can be in.
COMMON = """
#include <Eigen/Core>
#include <unsupported/Eigen/CXX11/Tensor>
#include <algorithm>
#include <array>
#include <atomic>
#include <cmath>
#include <functional>
#include <map>
#include <optional>
#include <random>
#include <string>
#include <vector>
#include "catch.hpp"
"""


class DoesNotCompile(Exception):
    pass


class Suite:
    """`work` keeps what does not depend on a bug from one run to the next."""

    def __init__(self, root, work):
        self.root, self.tests, self.work = root, root / "tests", work
        self.sources = {path.stem: path for folder in FOLDERS for path in (self.tests / folder).glob("*_test.cpp")}
        self.sources.update((name, self.tests / source) for name, source in SOURCES.items())
        self.compiler = os.environ.get("CXX", "c++")
        self.lock = threading.RLock()  # for what is built once for all
        self.clean = work / "clean"
        self.clean.mkdir(parents=True, exist_ok=True)
        self.flags = ["-std=gnu++17", "-pthread", "-DEIGEN_USE_THREADS=", "-isystem", self._eigen(), f"-I{self.tests}"]
        self._forget_what_is_old()
        for level in LEVELS.values():
            self._common_headers(level)
        if not (self.clean / "catch_main.o").exists():
            self._compile(self.tests / "catch_main.cpp", self.clean / "catch_main.o", root / "include", "-O0")
        times = self.clean / "seconds.json"
        self.seconds = json.loads(times.read_text()) if times.exists() else {}

    def programs(self):
        """All of them, those that are built and run soonest first."""
        order = read_order(self.tests / "bugs/order.txt")["all"]
        here = {*self.sources, LINK} - {*LIBRARY, *TABLES}
        if set(order) != here:
            raise SystemExit(f"order.txt: expected all programs once, {sorted(set(order) ^ here)} are not")
        return order

    def compiled_lines(self):
        """File below include/eigennorm -> numbers of its lines that are there for this compiler and processor."""
        command = [self.compiler, *self.flags, f"-I{self.root / 'include'}", "-DEIGENNORM_IMPLEMENTATION", "-E",
                   self.root / "include/eigennorm/eigennorm.hpp"]  # fmt: skip
        text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        lines, current, number = {}, None, 0
        for line in text.splitlines():
            marker = re.match(r'# (\d+) "(.*)"', line)
            if marker:
                number, parts = int(marker[1]), marker[2].split("include/eigennorm/")
                current = lines.setdefault(parts[1], set()) if len(parts) == 2 else None
            else:
                if current is not None and line.strip():
                    current.add(number)
                number += 1
        return lines

    # ---- one bug

    def judge(self, folder, include, file, programs):
        """The first program that fails with these headers, and how; None where all pass."""
        for name in programs:
            self.require_clean(name)
            if name == LINK:
                said = self._link_flags(folder, include)
            else:
                program = self._build(name, folder, include, file)
                said = self._run(name, program, self._sets_for(name, file), 4 * self.seconds[name] + 10)
                program.unlink()
            if said:
                return f"{name}: {said}"
        return None

    def require_clean(self, name):
        """A program that fails without a bug finds none."""
        with self.lock:
            if name in self.seconds:
                return
            begin = time.monotonic()
            try:
                if name == LINK:
                    said = self._link_flags(self.clean, self.root / "include")
                else:
                    program = self._build(name, self.clean, self.root / "include", None)
                    begin = time.monotonic()
                    said = self._run(name, program, INSTRUCTION_SETS[:1], 3600)
            except DoesNotCompile as error:
                raise SystemExit(f"{name} does not compile without any bug:\n{error}") from error
            if said:
                raise SystemExit(f"{name} fails without any bug: {said}")
            self.seconds[name] = round(time.monotonic() - begin, 2)
            (self.clean / "seconds.json").write_text(json.dumps(self.seconds))

    @staticmethod
    def _sets_for(name, file):
        # Only these files know of instruction sets; these programs go through all of them by themselves.
        differ = file.endswith(".inl") or file in ("kernels/dispatch.hpp", "kernels/targets.hpp")
        return INSTRUCTION_SETS if differ and name not in THROUGH_ALL else INSTRUCTION_SETS[:1]

    # ---- building

    def _build(self, name, folder, include, file):
        tables = TABLES if name in USE_TABLES else ()
        objects = [self._object(each, folder, include, file) for each in (name, *LIBRARY, *tables)]
        if name not in ARGUMENTS:
            objects.append(self.clean / "catch_main.o")
        program = folder / name
        self._call([self.compiler, "-pthread", "-o", program, *objects])
        return program

    def _object(self, name, folder, include, file):
        """Compiled once a bug, or once for all where the bug cannot be in it."""
        is_test = name not in LIBRARY and name not in TABLES
        if file is None or (is_test and not self._has_own_core(name) and OUT_OF_LINE.fullmatch(file)):
            folder, include = self.clean, self.root / "include"
        path = folder / f"{name}.o"
        with self.lock if folder == self.clean else contextlib.nullcontext():
            if not path.exists():
                # Sources and tests include the headers from the folder that has the bug.
                extra = ["-DEIGENNORM_COMPILED"] if is_test else []
                self._compile(self.sources[name], path, include, LEVELS[not is_test or name in OPTIMIZED], extra, True)
        return path

    def _has_own_core(self, name):
        """Whether a test makes instances of what the library is compiled from."""
        return name in USE_TABLES or re.search(r"eigennorm/(core|kernels)/", self.sources[name].read_text()) is not None

    def _link_flags(self, folder, include):
        """A unit for this processor before a plain one: do they get on, and whose code do the baseline kernels have?"""
        objects = []
        for name, flags in (("second", ["-march=native"]), ("first", []), ("main", [])):
            objects.append(folder / f"link_{name}.o")
            self._compile(self.tests / f"link/{name}.cpp", objects[-1], include, "-O1", flags)
        program = folder / LINK
        self._call([self.compiler, "-pthread", "-o", program, *objects])
        for command in ([program], [self.tests / "link/no_vex.sh", "objdump", program]):
            done = subprocess.run(command, capture_output=True, text=True)
            if done.returncode:
                return (done.stdout.strip().splitlines() or [f"signal {-done.returncode}"])[-1]
        return None

    def _compile(self, source, path, include, level, extra=(), common=False):
        headers = ["-include", self.clean / f"common{level}.hpp"] if common else []
        # Under another name first, so that a run that was interrupted leaves no half of a file.
        part = path.with_suffix(".part")
        self._call([self.compiler, *self.flags, level, f"-I{include}", *headers, *extra, "-c", source, "-o", part])
        part.rename(path)

    def _common_headers(self, level):
        header = self.clean / f"common{level}.hpp"
        if not header.with_name(header.name + ".gch").exists():
            header.write_text(COMMON)
            part = header.with_name("part.gch")
            self._call([self.compiler, *self.flags, level, "-x", "c++-header", header, "-o", part])
            part.rename(header.with_name(header.name + ".gch"))

    @staticmethod
    def _call(command):
        for _ in range(3):
            # Seconds of the processor, so that a busy machine makes no difference.
            done = subprocess.run([str(word) for word in command], capture_output=True, text=True,
                                  preexec_fn=_limit_compiler)  # fmt: skip
            if done.returncode == 0:
                return
            # A compiler that was ended from outside, for want of memory say, has said nothing about the code.
            ended = "signal terminated program" in done.stderr or done.returncode < 0
            if not ended or "CPU time limit" in done.stderr:
                break
            time.sleep(5)
        raise DoesNotCompile(done.stderr)

    @staticmethod
    def _eigen():
        for folder in ("/usr/include/eigen3", "/usr/local/include/eigen3", os.environ.get("EIGEN", "")):
            if (Path(folder) / "Eigen/Core").exists():
                return folder
        raise SystemExit("Eigen is not in a usual place: name its folder in the variable EIGEN")

    def _forget_what_is_old(self):
        """What was built from other sources than these."""
        digest = hashlib.sha256(repr((self.compiler, self.flags, LEVELS, OPTIMIZED, COMMON)).encode())
        folders = (self.root / "include", self.root / "src", self.tests)
        for path in sorted(path for folder in folders for path in folder.rglob("*.?*") if path.is_file()):
            digest.update(path.read_bytes())
        mark = self.clean / "sources"
        if not mark.exists() or mark.read_text() != digest.hexdigest():
            shutil.rmtree(self.clean)
            self.clean.mkdir()
            mark.write_text(digest.hexdigest())

    # ---- running

    def _run(self, name, program, sets, limit):
        for which in sets:
            said = self._run_once(name, program, which, limit)
            if said:
                return said if which == sets[0] else f"{said}, {which}"
        return None

    def _run_once(self, name, program, which, limit):
        """What fails, or None. Again where the program was ended from outside, or where a busy machine may have made it slow."""
        for attempt in range(2):
            said, status = self._start(name, program, which, limit * 3**attempt)
            if status not in (-signal.SIGTERM, -signal.SIGKILL, HANGS):
                break
        return said

    def _start(self, name, program, which, limit):
        environment = {key: value for key, value in os.environ.items() if key != "EIGENNORM_ISA"}
        if which != "best":
            environment["EIGENNORM_ISA"] = which
        arguments = ARGUMENTS.get(name, ["--abort"])
        with open(program.with_suffix(".out"), "w+", errors="replace") as output:
            process = subprocess.Popen([program, *arguments], cwd=self.tests, env=environment, stdout=output,
                                       stderr=output, preexec_fn=_limit_memory)  # fmt: skip
            try:
                status = process.wait(limit)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
                return "hang", HANGS
            output.seek(0)
            return (None if status == 0 else _first_failure(output.read(), status)), status


def _limit_compiler():
    resource.setrlimit(resource.RLIMIT_CPU, (300, 310))


def _limit_memory():
    resource.setrlimit(resource.RLIMIT_AS, (16 << 30, 16 << 30))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _first_failure(text, status):
    """The name of the test that failed, as Catch2 writes it between two lines of dashes."""
    found = re.search(r"^-{70,}\n(.+)\n", text, re.MULTILINE)
    words = found[1].strip() if found else (text.strip().splitlines() or ["no word"])[-1]
    return f"{words}{f' (signal {-status})' if status < 0 else ''}"


def read_order(path):
    """File -> its programs, from lines `file: program program ...`."""
    order = {}
    for line in path.read_text().splitlines():
        if line and not line.startswith("#"):
            file, _, programs = line.partition(":")
            order[file] = programs.split()
    return order
