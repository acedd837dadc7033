// SPDX-License-Identifier: Apache-2.0
#include "redis/connection.hpp"

#include <sys/socket.h>

#include <utility>

namespace stackspec {
namespace {

timeval to_timeval(std::chrono::milliseconds time) {
  const auto seconds = std::chrono::duration_cast<std::chrono::seconds>(time);
  return {seconds.count(), std::chrono::microseconds(time - seconds).count()};
}

/// As it goes over the wire. Empty: out of memory.
std::string encoded(const std::vector<std::string>& words) {
  std::vector<const char*> texts;
  std::vector<std::size_t> sizes;
  for (const auto& word : words) {
    texts.push_back(word.data());
    sizes.push_back(word.size());
  }
  char* made = nullptr;
  const int size =
      redisFormatCommandArgv(&made, static_cast<int>(words.size()), texts.data(), sizes.data());
  if (size <= 0) return {};
  std::string bytes(made, static_cast<std::size_t>(size));
  redisFreeCommand(made);
  return bytes;
}

}  // namespace

std::string_view text_of(const redisReply& reply) {
  if (reply.type != REDIS_REPLY_STRING && reply.type != REDIS_REPLY_STATUS &&
      reply.type != REDIS_REPLY_ERROR) {
    return {};
  }
  return {reply.str, static_cast<std::size_t>(reply.len)};
}

void RedisConnection::Cut::operator()() const {
  ::shutdown(descriptor, SHUT_RDWR);
}

Result<std::unique_ptr<RedisConnection>> RedisConnection::open(const RedisTarget& target,
                                                               std::chrono::milliseconds timeout,
                                                               const std::string& authorities,
                                                               const std::stop_token& stop) {
  const std::string where = "redis " + target.host + ":" + std::to_string(target.port);
  std::unique_ptr<redisContext, ContextDeleter> context(
      redisConnectWithTimeout(target.host.c_str(), target.port, to_timeval(timeout)));
  if (!context) return Error{ErrorKind::Unavailable, where + ": out of memory"};
  if (context->err != 0) return Error{ErrorKind::Unavailable, where + ": " + context->errstr};
  redisSetTimeout(context.get(), to_timeval(timeout));
  const int socket = context->fd;
  std::unique_ptr<RedisConnection> connection(new RedisConnection(std::move(context), where, stop));
  if (target.tls) {
    auto tls = Tls::open(socket, target.host, authorities);
    if (stop.stop_requested()) return Error{ErrorKind::Cancelled, "cancelled"};
    if (!tls) return std::move(tls).error().in(where + ": TLS");
    connection->tls_ = std::move(tls).value();
  }
  TRY(connection->enter(target));
  return connection;
}

RedisConnection::RedisConnection(std::unique_ptr<redisContext, ContextDeleter> context,
                                 std::string where, const std::stop_token& stop)
    : context_(std::move(context)),
      where_(std::move(where)),
      stop_(stop),
      on_stop_(stop, Cut{context_->fd}) {}

Result<Reply> RedisConnection::ask(const std::vector<std::string>& words) {
  if (stop_.stop_requested()) return Error{ErrorKind::Cancelled, "cancelled"};
  auto reply = exchange(words);
  if (stop_.stop_requested()) return Error{ErrorKind::Cancelled, "cancelled"};
  if (!reply) return failed(words[0], reply.error().message);
  if ((*reply)->type == REDIS_REPLY_ERROR) {
    return failed(words[0], text_of(**reply));
  }
  return reply;
}

Result<Reply> RedisConnection::exchange(const std::vector<std::string>& words) {
  const std::string bytes = encoded(words);
  if (bytes.empty()) return Error{ErrorKind::Unavailable, "out of memory"};
  void* reply = nullptr;
  if (!tls_) {
    redisAppendFormattedCommand(context_.get(), bytes.data(), bytes.size());
    redisGetReply(context_.get(), &reply);
    if (reply == nullptr) return Error{ErrorKind::Unavailable, context_->errstr};
    return Reply(static_cast<redisReply*>(reply));
  }
  TRY(tls_->send(bytes));
  for (;;) {
    if (redisReaderGetReply(context_->reader, &reply) != REDIS_OK) {
      return Error{ErrorKind::Unavailable, context_->reader->errstr};
    }
    if (reply != nullptr) return Reply(static_cast<redisReply*>(reply));
    const std::string_view more = TRY(tls_->receive());
    redisReaderFeed(context_->reader, more.data(), more.size());
  }
}

Result<void> RedisConnection::enter(const RedisTarget& target) {
  if (!target.password.empty()) {
    std::vector<std::string> words = {"AUTH"};
    if (!target.user.empty()) words.push_back(target.user);
    words.push_back(target.password);
    TRY(ask(words));
  }
  if (target.database != 0) TRY(ask({"SELECT", std::to_string(target.database)}));
  return {};
}

Error RedisConnection::failed(std::string_view command, std::string_view why) const {
  return {ErrorKind::Unavailable, where_ + ": " + std::string(command) + ": " + std::string(why)};
}

}  // namespace stackspec
