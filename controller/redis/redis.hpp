// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <memory>
#include <stop_token>
#include <string>

#include "base/result.hpp"
#include "plan/seen.hpp"

namespace stackspec {

/// A stack's Redis, which holds the job queues. The only folder with hiredis. Any thread.
class Redis {
 public:
  virtual ~Redis() = default;

  /// A Redis that does not answer is a value: reachable = false. Error: Cancelled only.
  virtual Result<RedisSeen> read(const std::string& host, int port, std::stop_token stop) = 0;

  /// Empties all of it, queued jobs too. Errors: Unavailable, Cancelled.
  virtual Result<void> flush_all(const std::string& host, int port, std::stop_token stop) = 0;
};

std::unique_ptr<Redis> make_redis(
    std::chrono::milliseconds timeout = std::chrono::milliseconds(2000));

}  // namespace stackspec
