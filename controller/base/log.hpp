// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <nlohmann/json.hpp>
#include <string_view>

namespace stackspec::log {

enum class Level { Debug, Info, Warn, Error };

/// One JSON line on stderr: `{"timestamp":…,"level":…,"message":…, …fields}`. The message is
/// constant, what varies is a field (S22 names: event, requestId, method, path, status, durationMs,
/// attempt, maxAttempts, delayMs; ours: stack, step, gate, task). Invalid UTF-8 is replaced. Values
/// registered with mask() never get out. Any thread.
void write(Level level, std::string_view message, const nlohmann::json& fields);

inline void debug(std::string_view message, const nlohmann::json& fields = {}) {
  write(Level::Debug, message, fields);
}
inline void info(std::string_view message, const nlohmann::json& fields = {}) {
  write(Level::Info, message, fields);
}
inline void warn(std::string_view message, const nlohmann::json& fields = {}) {
  write(Level::Warn, message, fields);
}
inline void error(std::string_view message, const nlohmann::json& fields = {}) {
  write(Level::Error, message, fields);
}

/// Lines below `level` are not written. Set once by main.
void set_level(Level level);

/// Replaces every known secret value in `text` by `[redacted]`.
std::string masked(std::string_view text);
/// Makes `secret` (8 characters or more) known to masked() and write(). Any thread.
void mask(std::string_view secret);

}  // namespace stackspec::log
