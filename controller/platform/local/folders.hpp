// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <sys/types.h>

#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <vector>

#include "api/stack.hpp"
#include "base/result.hpp"
#include "plan/plan.hpp"
#include "twenty/component.hpp"

namespace stackspec::local {

/// The user the stack's processes run as; no ids when that is ourselves.
struct RunAs {
  std::string name;
  std::optional<uid_t> uid;
  std::optional<gid_t> gid;
};

/// Errors: Invalid when the user is unknown, is root, or cannot be changed to.
Result<RunAs> find_run_as(const std::string& name);

/// Whether the user gets to `folder` through all its parents. Error: Invalid, naming the first
/// folder that shuts the user out and the command that helps.
Result<void> check_reachable(const std::string& folder, const RunAs& user);

/// Creates it (and its parents, 0711) when absent, with `mode`. Errors: Forbidden, Unavailable.
Result<void> make_folder(const std::string& folder, mode_t mode);
/// The same, owned by `user`. Error: Invalid when it exists and belongs to somebody else.
Result<void> make_folder_of(const std::string& folder, mode_t mode, const RunAs& user);

/// Names inside the data folder of one stack. What decides (what was told, record files, logs,
/// scripts) belongs to the controller's user; what the processes write belongs to theirs.
class StackFolder {
 public:
  StackFolder(const std::string& data_folder, const StackKey& key);

  const std::string& root() const { return root_; }
  std::string ports() const { return root_ + "/ports.json"; }
  std::string told(Component component) const;      ///< What it was last told to run.
  std::string started(Component component) const;   ///< What its last start was.
  std::string stopping(Component component) const;  ///< Present while it is being stopped.
  std::string exit_note(Component component) const;
  std::string record(Component component) const;
  std::string log(Component component) const;
  std::string of(std::string_view name) const { return root_ + "/" + std::string(name); }
  std::string tasks() const { return root_ + "/tasks"; }
  std::string backups(const StackSpec& spec) const;

  bool exists() const;
  /// Idempotent.
  Result<void> make(const RunAs& user) const;

 private:
  std::string root_;
};

/// The remembered ports of the stack, chosen among free ones when there are none yet. Never one of
/// another stack below `data_folder`.
Result<Endpoints> stack_endpoints(const std::string& data_folder, const StackFolder& folder,
                                  const StackSpec& spec);

/// Absent when the file is not there or is not JSON (our own are written atomically).
std::optional<nlohmann::json> read_json(const std::string& path);
Result<void> write_json(const std::string& path, const nlohmann::json& value);

bool path_exists(const std::string& path);
/// The last `bytes` of a file, from a line's start where one is in sight; empty when unreadable.
std::string tail_of(const std::string& path, std::size_t bytes);
/// The last line that is not blank, trimmed to 300 characters, secrets masked.
std::string last_line_of(const std::string& path);
/// Keeps `log`, `log.1`, `log.2` of at most 10 MB each; writers keep their open file.
void rotate_log(const std::string& path);

}  // namespace stackspec::local
