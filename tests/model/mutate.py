#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Removes one guard of the planner at a time and sees which tests notice.

usage: tests/model/mutate.py BUILD_FOLDER

Works on a copy of the sources, so the checkout stays as it is; BUILD_FOLDER is made by
`cmake --preset dev -B BUILD_FOLDER` of that copy. Prints the table of docs/verification.md and exits 1
when a mutant survives.
"""
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[2]

# guard, what it keeps, file, text, text without the guard
MUTANTS = [
    ("proven-backup", "I2: only a proven backup allows a migration", "plan/ladder.cpp",
     'if (!backup->proven) return "backup "', 'if (false) return "backup "'),
    ("backup-version", "I2: the backup is of the running version", "plan/ladder.cpp",
     "if (backup->source_version != hop_from(journey)) {", "if (false) {"),
    ("backup-database", "I2: the backup is of this database", "plan/ladder.cpp",
     "backup->system_identifier != running) {", "false) {"),
    ("prove-checked", "I2: Prove judges what it saw, not that its task ended", "plan/ladder.cpp",
     'if (!why_not.empty()) return Bad{"BackupNotProven", why_not};\n  return Next{Step::Migrate};',
     "return Next{Step::Migrate};"),
    ("backup-first", "I2: Fence leads to Backup", "plan/ladder.cpp",
     "? Step::RollBack : Step::Backup}", "? Step::RollBack : Step::Migrate}"),
    ("gateway-closed", "I4: no user writes behind the fence", "plan/ladder.cpp",
     "if (context.seen.gateway_open) {  // guard(gateway-closed)", "if (false) {"),
    ("fence-kept", "I2: a fence lowered by hand voids the backup", "plan/ladder.cpp",
     "if (!is(turn, Do{})) return turn;  // guard(fence-kept)", "return turn;"),
    ("server-stopped", "I3/I4: the server is down while the database changes", "plan/ladder.cpp",
     "turn = stop_component(context, Component::Server);", "turn = Done{};"),
    ("worker-stopped", "I3: the worker is down while the database changes", "plan/ladder.cpp",
     "Turn turn = stop_component(context, Component::Worker);\n  if (!is(turn, Done{})) return turn;\n"
     "  if (context.seen.gateway_open) {", "Turn turn = Done{};\n  if (context.seen.gateway_open) {"),
    ("no-sessions", "I4: nobody else is on the database", "plan/ladder.cpp",
     "turn = wait_for_sessions(context);", "turn = Done{};"),
    ("sql-gate", "I1/I10: exit 0 proves nothing, the database does", "plan/ladder.cpp",
     'turn = judge_migration(context, TaskKind::Migrate, "MigrationIncomplete");', "turn = Done{};"),
    ("verify", "I10: a real query answers before users come back", "plan/ladder.cpp",
     "turn = verify_server(context, version_of(journey.hop_to), 1);", "turn = Done{};"),
    ("one-hop", "I1: one release at a time", "plan/plan.cpp",
     "for (const Hop& hop : *path) tags.push_back(to_string(hop.to));",
     "tags.push_back(to_string(path->back().to));"),
    ("restore-proven", "I2: only a proven backup is restored", "plan/ladder.cpp",
     "if (backup == nullptr || !backup->proven) {  // guard(restore-proven)",
     "if (backup == nullptr) {"),
    ("restore-fenced", "I4: users are away while data is put back", "plan/ladder.cpp",
     "Turn restore_data(Context& context) {\n  Turn turn = hold_fence(context);",
     "Turn restore_data(Context& context) {\n  Turn turn = Done{};"),
    ("loss-accepted", "I4: a person accepts the loss", "plan/plan.cpp",
     "return why_not_restore(context.seen, each).empty();  // guard(loss-accepted)", "return true;"),
    ("flush-redis", "caches and queues go with the data they belong to", "plan/ladder.cpp",
     "if (context.seen.redis.keys > 0) return Do{FlushRedis{}};", ""),
    ("latch", "I7: a bad verdict is not tried again by itself", "plan/plan.cpp",
     "if (context.status.latch) return Done{};  // guard(latch)", ""),
    ("clean-start", "a dirty database is not upgraded", "plan/ladder.cpp",
     "add_ledger_gates(context, version_of(journey.from), gates);", ""),
    ("unfence", "I13: a failed backup ends with the old version serving", "plan/ladder.cpp",
     "case Step::Prove: return Step::Unfence;", "case Step::Prove: return std::nullopt;"),
    ("roll-back", "I13: a failed migration ends with the old version serving", "plan/ladder.cpp",
     "return Step::RollBack;\n    case Step::Plan:", "return std::nullopt;\n    case Step::Plan:"),
    ("fence-timeout", "I13: the fence does not wait for ever", "plan/ladder.cpp",
     "context.status.upgrade->step_started_at) > limit) {", "context.status.upgrade->step_started_at) > limit * 1000000) {"),
    ("three-attempts", "I7: interrupted work is tried three times, not for ever", "plan/ladder.cpp",
     "constexpr int kMaxAttempts = 3;", "constexpr int kMaxAttempts = 1000;"),
    ("external-url", "a Secret that names no database is not acted upon", "plan/converge.cpp",
     "if (!seen.unusable_urls.empty()) return Wait{seen.unusable_urls};", ""),
    ("external-same", "the external database is the one that was proven, in every pass", "plan/converge.cpp",
     "if (!known.empty() && known != database.system_identifier) {", "if (false) {"),
    ("external-owner", "no two stacks have one database", "plan/converge.cpp",
     "if (!owner.empty() && owner != self) {", "if (false) {"),
    ("external-occupied", "nothing is installed over a schema that is not Twenty's", "plan/converge.cpp",
     "if (owner.empty() && database.external.occupied) {", "if (false) {"),
    ("external-platform", "nothing begins where the platform cannot do it", "plan/converge.cpp",
     "if (external && !context.seen.platform.external_services) {", "if (false) {"),
    ("external-rights", "what tasks may not do is known before the fence", "plan/ladder.cpp",
     "if (!database.external.may_create) {", "if (false) {"),
    ("external-direct", "locks are not taken through a pooler", "plan/ladder.cpp",
     "if (!database.external.direct) {", "if (false) {"),
    ("external-looked", "a look that was not thorough proves nothing", "plan/ladder.cpp",
     "if (!is_looked_at(context)) {", "if (false) {"),
    ("external-dependents", "a restore does not take from others what they built on the tables",
     "plan/ladder.cpp", "if (may_restore) add_dependents_gate(context, gates);", ""),
    ("external-install", "nothing is installed beside another program on the database", "plan/ladder.cpp",
     'if (journey.kind == "Install") add_session_gates(context, gates);', ""),
    ("external-sessions", "other programs are named before users are sent away", "plan/ladder.cpp",
     "add_session_gates(context, gates);\n  }\n  add_external_gates", "}\n  add_external_gates"),
    ("external-shared", "in a shared database only sessions of its own user count", "plan/ladder.cpp",
     "if (external && external->shared) {", "if (false) {"),
    ("external-extension", "what only an administrator installs is named before the fence", "plan/ladder.cpp",
     "if (!has(database.extensions) && !has(database.available_extensions)) {", "if (false) {"),
    ("external-eviction", "a Redis that drops keys is not used", "plan/ladder.cpp",
     'eviction != "noeviction") {', "false) {"),
]

PROGRAMS = ["model_test", "plan_test"]
LIMIT = 200  # seconds; without a mutant the slower one takes a tenth of it


def failures(build):
    """Names of the failing tests, or None when the mutant does not compile."""
    made = subprocess.run(["ninja", "-C", build, *PROGRAMS], capture_output=True, text=True)
    if made.returncode != 0:
        return None
    found = []
    for program in PROGRAMS:
        try:
            run = subprocess.run([f"{build}/tests/{program}"], capture_output=True, text=True,
                                 timeout=LIMIT)
        except subprocess.TimeoutExpired:
            found.append(f"{program} (does not end)")
            continue
        found += re.findall(r"^\[  FAILED  \] (\S+?)(?: \(|,|$)", run.stdout, re.M)
        if run.returncode < 0:
            found.append(f"{program} (crash)")
    return sorted(set(found))


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    build = pathlib.Path(sys.argv[1]).resolve()
    survivors = 0
    with tempfile.TemporaryDirectory() as folder:
        copy = pathlib.Path(folder) / "sources"
        shutil.copytree(ROOT, copy, ignore=shutil.ignore_patterns("build", ".git"))
        subprocess.run(["cmake", "-S", copy, "-B", build, "-G", "Ninja", "-DCMAKE_BUILD_TYPE=Debug",
                        "-DCMAKE_CXX_FLAGS=-O1", "-DCMAKE_CXX_COMPILER_LAUNCHER=ccache"],
                       check=True, stdout=subprocess.DEVNULL)
        if failures(build) != []:
            sys.exit("the tests fail before anything is removed")
        print("| guard removed | what it keeps | caught by |\n|---|---|---|")
        for name, keeps, file, text, without in MUTANTS:
            path = copy / "controller" / file
            original = path.read_text()
            if original.count(text) < 1:
                sys.exit(f"{name}: its text is not in {file} any more; mend the table")
            path.write_text(original.replace(text, without, 1))
            caught = failures(build)
            path.write_text(original)
            if caught is None:
                sys.exit(f"{name}: the mutant does not compile; mend the table")
            survivors += not caught
            print(f"| {name} | {keeps} | {', '.join(caught[:3]) or '**nothing**'} |", flush=True)
    sys.exit(survivors > 0)


if __name__ == "__main__":
    main()
