// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace stackspec {

/// What a line of `upgrade` output means for the verdict.
struct LogFinding {
  std::string pattern;  ///< The name of the rule: `UpgradeAborted`, `WorkspaceFailed`, …
  std::string line;     ///< The offending line, trimmed to 200 characters, ANSI stripped.
  std::string advice;   ///< For known failures: what helps. Empty otherwise.
  friend bool operator==(const LogFinding&, const LogFinding&) = default;
};

/// Lines that prove a failed or refused upgrade. Known noise (S23) is never among them.
std::vector<LogFinding> upgrade_failures(std::string_view log);

/// The same rules as one POSIX extended regular expression, for `grep -E` in the migrate task.
std::string failure_regex();

/// Advice for an error text of the ledger or the log that is a known failure; empty otherwise.
std::string advice_for(std::string_view error);

}  // namespace stackspec
