// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <stop_token>

#include "api/stack.hpp"
#include "base/result.hpp"
#include "catalog/catalog.hpp"
#include "database/database.hpp"
#include "http/http.hpp"
#include "plan/seen.hpp"
#include "platform/platform.hpp"
#include "redis/redis.hpp"

namespace stackspec {

/// Reads the world of one stack: platform, database, Redis and HTTP, in one look. Changes nothing.
/// What cannot be reached is absent or unreachable in the answer; an Error only when the platform
/// itself cannot be asked. Any thread, different stacks at once.
class Observer {
 public:
  virtual ~Observer() = default;
  virtual Result<Seen> observe(const Stack& stack, const SecretValues& secrets,
                               const Catalog& catalog, std::stop_token stop) = 0;
};

/// What the platform alone tells.
Seen seen_of(PlatformSeen found);

std::unique_ptr<Observer> make_observer(Platform& platform, Database& database, Redis& redis,
                                        HttpClient& http);

}  // namespace stackspec
