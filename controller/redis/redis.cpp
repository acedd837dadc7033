// SPDX-License-Identifier: Apache-2.0
#include "redis/redis.hpp"

#include <cstdlib>
#include <optional>
#include <set>
#include <string_view>

#include "redis/connection.hpp"

namespace stackspec {
namespace {

constexpr int kScanAtOnce = 1000;
/// Enough for 100,000 keys; a look must not take longer than its worth.
constexpr int kMostScans = 100;

std::int64_t number_of(const redisReply& reply) {
  return reply.type == REDIS_REPLY_INTEGER ? reply.integer : 0;
}

/// The value of one `name:value` line of INFO.
std::string info_field(std::string_view info, const std::string& name) {
  const auto at = info.find("\n" + name + ":");
  if (at == std::string_view::npos) return {};
  const auto start = at + name.size() + 2;
  return std::string(info.substr(start, info.find_first_of("\r\n", start) - start));
}

/// One field of a line of CLIENT LIST.
std::string_view client_field(std::string_view line, std::string_view name) {
  const auto at = line.find(name);
  if (at == std::string_view::npos) return {};
  const auto start = at + name.size();
  return line.substr(start, line.find(' ', start) - start);
}

/// BullMQ names the connection a worker waits on `bull:<queue in base64>`, and `…:qe` the one of
/// somebody who only listens to events.
bool has_worker(std::string_view clients, int database) {
  while (!clients.empty()) {
    const auto end = clients.find('\n');
    const auto line = clients.substr(0, end);
    clients = end == std::string_view::npos ? std::string_view() : clients.substr(end + 1);
    const auto name = client_field(line, " name=");
    if (client_field(line, " db=") != std::to_string(database)) continue;
    if (name.starts_with("bull:") && !name.ends_with(":qe")) return true;
  }
  return false;
}

/// How a queue's key counts its jobs; nullopt for keys that hold no waiting work.
std::optional<std::string> counting_command(std::string_view key) {
  const auto part = key.substr(key.rfind(':') + 1);
  if (part == "wait" || part == "active" || part == "paused") return "LLEN";
  if (part == "delayed" || part == "prioritized") return "ZCARD";
  return std::nullopt;
}

class HiredisRedis final : public Redis {
 public:
  HiredisRedis(std::chrono::milliseconds timeout, std::string authorities)
      : timeout_(timeout), authorities_(std::move(authorities)) {}

  Result<RedisSeen> read(const RedisTarget& target, std::stop_token stop) override {
    auto seen = look(target, stop);
    if (stop.stop_requested()) return Error{ErrorKind::Cancelled, "cancelled"};
    if (seen) return seen;
    RedisSeen nothing;
    nothing.error = seen.error().message;
    return nothing;
  }

  Result<void> flush(const RedisTarget& target, std::stop_token stop) override {
    if (stop.stop_requested()) return Error{ErrorKind::Cancelled, "cancelled"};
    const auto connection = TRY(RedisConnection::open(target, timeout_, authorities_, stop));
    TRY(connection->ask({"FLUSHDB"}));
    return {};
  }

 private:
  Result<RedisSeen> look(const RedisTarget& target, const std::stop_token& stop) const {
    const auto connection = TRY(RedisConnection::open(target, timeout_, authorities_, stop));
    // While it loads its file it answers PING with an error: not there yet.
    TRY(connection->ask({"PING"}));
    RedisSeen seen;
    seen.reachable = true;
    const auto memory = TRY(connection->ask({"INFO", "memory"}));
    seen.eviction_policy = info_field(text_of(*memory), "maxmemory_policy");
    const auto size = TRY(connection->ask({"DBSIZE"}));
    seen.keys = number_of(*size);
    const auto clients = TRY(connection->ask({"CLIENT", "LIST"}));
    seen.worker_attached = has_worker(text_of(*clients), target.database);
    seen.queued_jobs = TRY(queued_jobs(*connection));
    return seen;
  }

  static Result<std::int64_t> queued_jobs(RedisConnection& connection) {
    std::set<std::string> keys;  // SCAN may name a key twice.
    std::string cursor = "0";
    int scans = 0;
    do {
      const auto reply = TRY(connection.ask(
          {"SCAN", cursor, "MATCH", "bull:*", "COUNT", std::to_string(kScanAtOnce)}));
      if (reply->type != REDIS_REPLY_ARRAY || reply->elements != 2) break;
      cursor = std::string(text_of(*reply->element[0]));
      const redisReply& page = *reply->element[1];
      for (std::size_t i = 0; i < page.elements; ++i) {
        const auto key = text_of(*page.element[i]);
        if (counting_command(key)) keys.emplace(key);
      }
    } while (cursor != "0" && ++scans < kMostScans);
    std::int64_t jobs = 0;
    for (const auto& key : keys) {
      const auto count = TRY(connection.ask({*counting_command(key), key}));
      jobs += number_of(*count);
    }
    // Not all was looked at: unknown must not read as "empty".
    return cursor == "0" ? jobs : std::max<std::int64_t>(jobs, 1);
  }

  const std::chrono::milliseconds timeout_;
  const std::string authorities_;
};

}  // namespace

Result<RedisTarget> external_redis(const SecretKeyRef& ref, const NamedSecrets& secrets) {
  const ServiceUrl url = TRY(find_redis_url(secrets, ref));
  const int database = std::atoi(url.database.c_str());
  return RedisTarget{url.host, url.port, url.user, url.password, database, url.tls};
}

std::unique_ptr<Redis> make_redis(std::chrono::milliseconds timeout,
                                  const std::string& authorities) {
  return std::make_unique<HiredisRedis>(timeout, authorities);
}

}  // namespace stackspec
