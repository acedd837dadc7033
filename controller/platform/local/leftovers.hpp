// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "base/process.hpp"

// A record file (base/process.hpp) is held open and locked by a process and all its descendants.
// So it also tells what a dead process left behind: no other mark survives a daemon's setsid().

namespace stackspec::local {

/// The process a record file names, dead or alive; pid 0 when there is none.
ProcessId named_in_record(const std::string& record_file);

/// The process a record names, if it lives: also one that has closed the descriptor it was given,
/// or is just ending and has closed everything. Reaps nothing.
std::optional<ProcessId> live_process(const std::string& record_file);

/// Whether anything still holds the record: the process itself or a descendant.
bool record_is_held(const std::string& record_file);

/// Sends `signal` to every process that holds the record open. Returns how many there were.
int signal_holders(const std::string& record_file, int signal);

/// `exit code 1` or `killed by signal 9` of a dead child of ours that nobody has reaped yet; empty
/// otherwise. Does not reap.
std::string exit_of(const ProcessId& process);

/// Pids of the live processes whose parent is `parent`, without those that nginx has told to
/// finish what they have.
std::vector<pid_t> working_children(pid_t parent);

}  // namespace stackspec::local
