#!/usr/bin/env python3
"""Tests the tests: plants bugs in a copy of include/, one at a time, and says which of them the suite catches.

Named bugs are written down in tests/bugs/named.txt; mechanical ones (another operator, a constant one larger, a bound
one smaller) are drawn from all code lines by a fixed seed. For each, the programs that tests/bugs/order.txt names for
its file are built and run; for those that survive this, all others, up to the first that fails. A bug that survives must
be in tests/bugs/equivalent.txt, with the reason why nobody can observe it; otherwise the exit status is 1.

Needs Python 3 with its standard library alone, and what the tests need.

    scripts/plant_bugs.py --short            three bugs, in some three minutes
    scripts/plant_bugs.py                    all: a matter of hours
    scripts/plant_bugs.py --only 'momentum'  those with this in their name
"""

import argparse
import itertools
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from planting import bugs, mutations
from planting.suite import DoesNotCompile, Suite, read_order

ROOT = Path(__file__).resolve().parent.parent
MECHANICAL = 150


def main():
    options = read_options()
    order = read_order(ROOT / "tests/bugs/order.txt")
    reasons = bugs.read_equivalent(ROOT / "tests/bugs/equivalent.txt")
    named = bugs.read_named(ROOT / "tests/bugs/named.txt", ROOT)
    report = Report(options.work / "report.txt", reasons)
    report.say("compiling what no bug can change, once for all")
    suite = Suite(ROOT, options.work)
    if options.mechanical:
        drawn = mutations.candidates(ROOT, suite.compiled_lines(), options.seed)
    everything = suite.programs()

    def listed(bug):
        return order.get(bug.file, order["other"])

    def judge(bug, programs):
        report.start(bug)
        begin = time.monotonic()
        with tempfile.TemporaryDirectory(dir=options.work) as folder:
            include = bugs.plant(bug, ROOT, Path(folder))
            try:
                killer = suite.judge(Path(folder), include, bug.file, programs)
            except DoesNotCompile as error:
                report.say(f"does not compile: {bug.name}")
                return bug, error
        report.add(bug, killer, time.monotonic() - begin)
        return bug, None

    def judge_by_listed(bug):
        return judge(bug, listed(bug))

    def judge_by_others(bug):
        return judge(bug, [program for program in everything if program not in listed(bug)])

    if options.named:
        chosen = [bug for bug in named if not options.short or bug.short]
        chosen = select(chosen, options)[: options.count]
        report.expect(len(chosen), "named bugs")
        for bug, error in in_parallel(judge_by_listed, chosen, options.jobs):
            if error:
                raise SystemExit(f"{bug.name}: does not compile:\n{error}")
    if options.mechanical:
        # What does not compile is no bug: the next one takes its place.
        left, waiting = options.count or MECHANICAL, select(drawn, options)
        while left > 0 and waiting:
            batch, waiting = waiting[:left], waiting[left:]
            report.expect(len(batch), "mechanical bugs")
            left -= sum(error is None for _, error in in_parallel(judge_by_listed, batch, options.jobs))
    if not options.listed and report.survivors():
        report.expect(len(report.survivors()), "survivors, by all other programs")
        for bug, error in in_parallel(judge_by_others, report.survivors(), options.jobs):
            if error:
                report.add(bug, "the compiler", 0)
    return report.finish()


def read_options():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--named", action="store_true", help="named bugs alone")
    parser.add_argument("--mechanical", action="store_true", help="mechanical bugs alone")
    parser.add_argument("--short", action="store_true", help="the three named bugs marked as short")
    parser.add_argument("--only", metavar="NAME", help="bugs with this in their name")
    parser.add_argument("--count", metavar="N", type=int, help=f"so many of a kind (mechanical: {MECHANICAL})")
    parser.add_argument("--first", metavar="K", type=int, default=1, help="from number K of a kind on")
    parser.add_argument("--listed", action="store_true", help="only with the programs that order.txt names for the file")
    parser.add_argument("--seed", type=int, default=1, help="of the mechanical bugs (1)")
    parser.add_argument("--jobs", type=int, default=1, help="bugs at a time (1)")
    parser.add_argument("--work", type=Path, default=ROOT / "build/bugs", help="folder to build in (build/bugs)")
    options = parser.parse_args()
    if options.short or not options.mechanical:
        options.mechanical = not options.short and not options.named
        options.named = True
    options.work = options.work.resolve()
    options.work.mkdir(parents=True, exist_ok=True)
    return options


def select(chosen, options):
    return [bug for bug in chosen if bug.number >= options.first and (options.only or "") in bug.name]


def in_parallel(judge, chosen, jobs):
    with ThreadPoolExecutor(jobs) as pool:
        yield from pool.map(judge, chosen)


class Report:
    """A line for each bug as it is known, and the counts in the end; on the screen also what has been begun, and when."""

    def __init__(self, path, reasons):
        self.file, self.reasons, self.verdicts = open(path, "w"), reasons, {}
        self.begin, self.numbers, self.total = time.monotonic(), itertools.count(1), 0

    def expect(self, total, what):
        self.numbers, self.total = itertools.count(1), total
        self.say(f"{what}: {total}")

    def start(self, bug):
        self.say(f"begun {next(self.numbers)} of {self.total}: {bug.name}")

    def say(self, text):
        print(f"{time.monotonic() - self.begin:5.0f} s  {text}", flush=True)

    def add(self, bug, killer, seconds):
        reason = self.reasons.get(bug.name)
        verdict, why = ("caught", f"by {killer}") if killer else ("equivalent", reason) if reason else ("SURVIVED", "")
        if killer and reason:
            why += " (but tests/bugs/equivalent.txt says that nobody can observe it)"
        self.verdicts[bug] = verdict
        self._write(f"{verdict:10} {seconds:6.0f} s {bug.number:8}  {bug.name}" + (f"\n{'':30}{why}" if why else ""))

    def survivors(self):
        return [bug for bug, verdict in self.verdicts.items() if verdict == "SURVIVED"]

    def finish(self):
        verdicts = list(self.verdicts.values())
        counts = ", ".join(f"{verdicts.count(word)} {word.lower()}" for word in ("caught", "equivalent", "SURVIVED"))
        self._write(f"{len(verdicts)} bugs: {counts}")
        self.file.close()
        return 1 if self.survivors() or not verdicts else 0

    def _write(self, text):
        self.say(text)
        print(text, file=self.file, flush=True)


if __name__ == "__main__":
    sys.exit(main())
