// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/result.hpp"

namespace stackspec {

/// A process that cannot be mistaken for a later one with the same number.
struct ProcessId {
  pid_t pid = 0;
  std::uint64_t start_time = 0;  ///< Field 22 of /proc/<pid>/stat, clock ticks since boot.
  friend bool operator==(const ProcessId&, const ProcessId&) = default;
};

struct ProcessSpec {
  std::vector<std::string> argv;
  std::vector<std::string> env;  ///< NAME=value, complete; nothing is inherited.
  std::string directory;
  std::string log_file;  ///< stdout and stderr, appended, mode 0640.
  /// Locked (fcntl, open file description) before the exec and for as long as the process or a
  /// descendant that kept the descriptor lives: a second start while it is held ends at once. It
  /// also holds the ProcessId, as text, for adoption.
  std::string record_file;
  std::optional<uid_t> uid = {};  ///< Dropped to before exec.
  std::optional<gid_t> gid = {};
};

/// Starts a process in a session of its own, not tied to ours: it outlives this program. Returns
/// after the exec succeeded. Errors: Conflict when `record_file` is locked (it already runs),
/// NotFound (no such program or folder), Unavailable.
Result<ProcessId> start_process(const ProcessSpec& spec);

/// The process of a record file, if it still lives (a zombie does not). After our own restart this
/// is how children are adopted.
std::optional<ProcessId> recorded_process(const std::string& record_file);

/// A zombie is not alive. Reaps it if it was a child of ours.
bool is_alive(const ProcessId& process);

/// To the whole process group; only if it still is the same process. False: it had ended. What a
/// zombie left in its group is signalled too.
bool signal_group(const ProcessId& process, int signal);

}  // namespace stackspec
