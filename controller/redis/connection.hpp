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

namespace stackspec {

struct ReplyDeleter {
  void operator()(redisReply* reply) const { freeReplyObject(reply); }
};
using Reply = std::unique_ptr<redisReply, ReplyDeleter>;

/// TLS over a socket that is connected and blocks, its time-outs set. It is not closed here.
class Tls {
 public:
  /// `host` must be a name, or the IP address, in the server's certificate, which one of the
  /// authorities in the PEM file `authorities` must have signed. Error: Unavailable, why.
  static Result<std::unique_ptr<Tls>> open(int socket, const std::string& host,
                                           const std::string& authorities);
  virtual ~Tls() = default;

  /// All of it. Errors: Unavailable.
  virtual Result<void> send(std::string_view bytes) = 0;
  /// What there is, at least one byte. Errors: Unavailable, when it is closed too.
  virtual Result<std::string_view> receive() = 0;
};

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
