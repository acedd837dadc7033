// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <memory>
#include <stop_token>
#include <string>

#include "base/authorities.hpp"
#include "base/result.hpp"
#include "plan/seen.hpp"
#include "twenty/service_url.hpp"

namespace stackspec {

struct RedisTarget {
  std::string host;
  int port = 6379;
  std::string user = {}, password = {};  ///< Never part of an error.
  int database = 0;
  bool tls = false;  ///< The certificate must be for `host`.
};

/// The Redis that somebody else runs, from the URL in a Secret; errors of find_redis_url().
Result<RedisTarget> external_redis(const SecretKeyRef& ref, const NamedSecrets& secrets);

/// A stack's Redis, which holds the job queues. The only folder with hiredis. Any thread.
class Redis {
 public:
  virtual ~Redis() = default;

  /// A Redis that does not answer is a value: reachable = false and `error`. Error: Cancelled only.
  virtual Result<RedisSeen> read(const RedisTarget& target, std::stop_token stop) = 0;

  /// Empties the database of `target`, queued jobs too, and no other. Errors: Unavailable,
  /// Cancelled.
  virtual Result<void> flush(const RedisTarget& target, std::stop_token stop) = 0;
};

/// `authorities`: PEM file of those who may have signed the certificate of a Redis with TLS.
std::unique_ptr<Redis> make_redis(
    std::chrono::milliseconds timeout = std::chrono::milliseconds(2000),
    const std::string& authorities = kSystemAuthorities);

}  // namespace stackspec
