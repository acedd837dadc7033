// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <string>

#include "base/result.hpp"

// Small questions to the stack's own processes on loopback: is it up? Everything deeper is read by
// database/, redis/ and http/.

namespace stackspec::local {

inline constexpr std::chrono::milliseconds kProbeTimeout{2000};

/// A GET answered with 2xx. Error: Unavailable, saying what came instead.
Result<void> probe_http(int port, const std::string& path);
/// Accepts clients: an answer to the first packet other than "starting up" or "shutting down".
Result<void> probe_postgres(int port);
/// Answers PING with PONG: a Redis that is still loading its data does not.
Result<void> probe_redis(int port);
Result<void> probe_connect(int port);

}  // namespace stackspec::local
