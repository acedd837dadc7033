// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <hiredis/hiredis.h>

#include <chrono>
#include <memory>
#include <stop_token>
#include <string>
#include <string_view>
#include <vector>

#include "redis/redis.hpp"
#include "redis/tls.hpp"

namespace stackspec {

struct ReplyDeleter {
  void operator()(redisReply* reply) const { freeReplyObject(reply); }
};
using Reply = std::unique_ptr<redisReply, ReplyDeleter>;

/// What a string, a status or an error says; nothing for any other reply.
std::string_view text_of(const redisReply& reply);

/// One connection for one look. A stop cuts it, which ends whatever it waits for.
class RedisConnection {
 public:
  /// Errors: Unavailable, Cancelled.
  static Result<std::unique_ptr<RedisConnection>> open(const RedisTarget& target,
                                                       std::chrono::milliseconds timeout,
                                                       const std::string& authorities,
                                                       const std::stop_token& stop);

  /// Errors: Unavailable (an error reply too), Cancelled.
  Result<Reply> ask(const std::vector<std::string>& words);

 private:
  struct ContextDeleter {
    void operator()(redisContext* context) const { redisFree(context); }
  };
  struct Cut {
    int descriptor;
    void operator()() const;
  };

  RedisConnection(std::unique_ptr<redisContext, ContextDeleter> context, std::string where,
                  const std::stop_token& stop);
  Result<void> enter(const RedisTarget& target);
  Result<Reply> exchange(const std::vector<std::string>& words);
  Error failed(std::string_view command, std::string_view why) const;

  std::unique_ptr<redisContext, ContextDeleter> context_;
  std::unique_ptr<Tls> tls_;  ///< Goes before the socket does.
  std::string where_;
  std::stop_token stop_;
  std::stop_callback<Cut> on_stop_;
};

}  // namespace stackspec
