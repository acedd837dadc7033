// SPDX-License-Identifier: Apache-2.0
#include "redis/redis.hpp"

#include <gtest/gtest.h>

#include <csignal>
#include <thread>

#include "contract/certificates.hpp"
#include "contract/raw_peer.hpp"
#include "integration/redis_fixture.hpp"

namespace stackspec {
namespace {

using namespace std::chrono_literals;
using testing::connect_to;
using testing::Listener;
using testing::RedisServer;
using testing::Socket;
using testing::WithCertificates;
using Clock = std::chrono::steady_clock;

RedisSeen look(const RedisServer& server) {
  auto seen = make_redis()->read({"127.0.0.1", server.port()}, {});
  EXPECT_TRUE(seen) << seen.error().message;
  return seen ? *seen : RedisSeen();
}

TEST(Redis, SeesAnEmptyServer) {
  const RedisServer server;
  ASSERT_TRUE(server.running());
  const auto seen = look(server);
  EXPECT_TRUE(seen.reachable);
  EXPECT_EQ(seen.eviction_policy, "noeviction");
  EXPECT_EQ(seen.keys, 0);
  EXPECT_EQ(seen.queued_jobs, 0);
  EXPECT_FALSE(seen.worker_attached);
}

TEST(Redis, SeesAnEvictionPolicyThatLosesJobs) {
  const RedisServer server;
  server.command("CONFIG SET maxmemory-policy allkeys-lru");
  EXPECT_EQ(look(server).eviction_policy, "allkeys-lru");
}

TEST(Redis, CountsJobsThatWaitRunOrAreDelayedAndNothingElse) {
  const RedisServer server;
  const struct {
    const char* command;
    int jobs;  ///< in all, after it
  } rows[] = {
      {"RPUSH bull:messaging-queue:wait 1 2 3", 3},
      {"RPUSH bull:messaging-queue:active 4", 4},
      {"ZADD bull:cron-queue:delayed 1 a 2 b", 6},
      {"ZADD bull:cron-queue:prioritized 1 c", 7},
      {"RPUSH bull:cron-queue:paused 9", 8},
      {"ZADD bull:cron-queue:completed 1 d", 8},
      {"ZADD bull:cron-queue:repeat 1 e", 8},
      {"HSET bull:cron-queue:17 name x", 8},
      {"RPUSH engine:wait 1", 8},
      {"SET cache:wait 1", 8},
      {"DEL bull:messaging-queue:wait", 5},
  };
  for (const auto& row : rows) {
    SCOPED_TRACE(row.command);
    ASSERT_NE(server.command(row.command), "");
    EXPECT_EQ(look(server).queued_jobs, row.jobs);
  }
}

void fill(const RedisServer& server, int keys) {
  server.command("EVAL for\ti=1," + std::to_string(keys) +
                 "\tdo\tredis.call('SET','cache:'..i,1)\tend 0");
  ASSERT_EQ(server.command("DBSIZE"), std::to_string(keys));
}

TEST(Redis, FindsQueuesAmongThousandsOfKeys) {
  const RedisServer server;
  fill(server, 50000);
  server.command("RPUSH bull:q:wait 1 2");
  const auto seen = look(server);
  EXPECT_EQ(seen.keys, 50001);
  EXPECT_EQ(seen.queued_jobs, 2);
}

TEST(Redis, NeverCallsAQueueEmptyThatItCouldNotLookAt) {
  const RedisServer server;
  fill(server, 200000);
  EXPECT_GE(look(server).queued_jobs, 1);
}

/// A client by that name, connected as long as the socket lives.
Socket named_client(const RedisServer& server, const std::string& name) {
  Socket client = connect_to(server.port());
  EXPECT_TRUE(client.send("CLIENT SETNAME " + name + "\r\n"));
  EXPECT_TRUE(client.wait_readable(5s));
  return client;
}

TEST(Redis, SeesAWorkerByItsConnectionName) {
  const RedisServer server;
  {
    const Socket listening = named_client(server, "bull:bWVzc2FnaW5n:qe");
    const Socket other = named_client(server, "not-bull:x");
    EXPECT_FALSE(look(server).worker_attached);
    const Socket worker = named_client(server, "bull:bWVzc2FnaW5n");
    EXPECT_TRUE(look(server).worker_attached);
  }
  const auto deadline = Clock::now() + 5s;
  while (look(server).worker_attached && Clock::now() < deadline) std::this_thread::yield();
  EXPECT_FALSE(look(server).worker_attached);
}

TEST(Redis, FlushesItsDatabaseAndNoOther) {
  const RedisServer server;
  server.command("RPUSH bull:q:wait 1");
  server.command("SWAPDB 0 5");
  server.command("SET cache:x 1");
  const auto flushed = make_redis()->flush({"127.0.0.1", server.port()}, {});
  ASSERT_TRUE(flushed) << flushed.error().message;
  EXPECT_EQ(look(server).keys, 0);
  RedisTarget fifth{"127.0.0.1", server.port()};
  fifth.database = 5;
  EXPECT_EQ(make_redis()->read(fifth, {})->queued_jobs, 1);
  ASSERT_TRUE(make_redis()->flush(fifth, {}));
  EXPECT_EQ(make_redis()->read(fifth, {})->keys, 0);
}

TEST(Redis, LooksOnlyAtWorkersOfItsDatabase) {
  const RedisServer server;
  const Socket worker = named_client(server, "bull:bWVzc2FnaW5n");
  RedisTarget other{"127.0.0.1", server.port()};
  other.database = 3;
  EXPECT_TRUE(look(server).worker_attached);
  EXPECT_FALSE(make_redis()->read(other, {})->worker_attached);
}

TEST(Redis, LogsInAndNeverTellsThePassword) {
  const RedisServer server;
  server.command("ACL SETUSER crm on >hunter2-hunter2 ~* &* +@all");
  server.command("SET x 1");
  server.command("CONFIG SET requirepass only-this-one");
  const struct {
    const char *user, *password;
    bool reachable;
  } rows[] = {
      {"", "only-this-one", true},     {"crm", "hunter2-hunter2", true},     {"", "", false},
      {"crm", "hunter2-wrong", false}, {"nobody", "hunter2-hunter2", false},
  };
  for (const auto& row : rows) {
    SCOPED_TRACE(std::string(row.user) + ":" + row.password);
    const RedisTarget target{"127.0.0.1", server.port(), row.user, row.password, 0};
    const auto seen = make_redis()->read(target, {});
    ASSERT_TRUE(seen);
    EXPECT_EQ(seen->reachable, row.reachable) << seen->error;
    EXPECT_EQ(seen->error.empty(), row.reachable);
    EXPECT_EQ(seen->error.find("hunter2"), std::string::npos) << seen->error;
    EXPECT_EQ(seen->keys, row.reachable ? 1 : 0);
  }
}

TEST(Redis, FindsARedisOfOthersByItsSecret) {
  const NamedSecrets secrets = {
      {"r", {{"url", "redis://crm:p%40@cache:6380/9"}, {"tls", "rediss://cache"}}}};
  const auto target = external_redis({"r", "url"}, secrets);
  ASSERT_TRUE(target) << target.error().message;
  EXPECT_EQ(target->host, "cache");
  EXPECT_EQ(target->port, 6380);
  EXPECT_EQ(target->user, "crm");
  EXPECT_EQ(target->password, "p@");
  EXPECT_EQ(target->database, 9);
  EXPECT_FALSE(target->tls);
  EXPECT_TRUE(external_redis({"r", "tls"}, secrets)->tls);
  EXPECT_EQ(external_redis({"r", "uri"}, secrets).error().kind, ErrorKind::NotFound);
}

TEST(Redis, IsAValueWhenItIsGoneAndSeenAgainWhenItIsBack) {
  RedisServer server;
  const auto redis = make_redis();
  ASSERT_TRUE(redis->read({"127.0.0.1", server.port()}, {})->reachable);
  server.stop();
  const auto gone = redis->read({"127.0.0.1", server.port()}, {});
  ASSERT_TRUE(gone);
  EXPECT_FALSE(gone->reachable);
  const auto flushed = redis->flush({"127.0.0.1", server.port()}, {});
  ASSERT_FALSE(flushed);
  EXPECT_EQ(flushed.error().kind, ErrorKind::Unavailable);
  EXPECT_NE(flushed.error().message.find(std::to_string(server.port())), std::string::npos);
  ASSERT_TRUE(server.start());
  EXPECT_TRUE(redis->read({"127.0.0.1", server.port()}, {})->reachable);
}

TEST(Redis, GivesUpOnAPeerThatSaysNothingAndOnOneThatIsNoRedis) {
  const Listener mute;
  const auto started = Clock::now();
  const auto silent = make_redis(200ms)->read({"127.0.0.1", mute.port()}, {});
  ASSERT_TRUE(silent);
  EXPECT_FALSE(silent->reachable);
  EXPECT_LT(Clock::now() - started, 3s);

  Listener other;
  std::jthread web([&other] { other.accept().send("HTTP/1.1 400 Bad Request\r\n\r\n"); });
  const auto garbage = make_redis(2s)->read({"127.0.0.1", other.port()}, {});
  ASSERT_TRUE(garbage);
  EXPECT_FALSE(garbage->reachable);
}

/// A peer of one connection, who asks for the stop at the first word and never answers.
std::jthread stop_when_asked(const Listener& mute, std::stop_source stop) {
  return std::jthread([&mute, stop]() mutable {
    const Socket peer = mute.accept();
    peer.wait_readable(5s);
    stop.request_stop();
    peer.receive_all(5s);
  });
}

/// A Redis with TLS, and its authority.
class RedisTls : public WithCertificates {
 protected:
  void SetUp() override {
    std::signal(SIGPIPE, SIG_IGN);  // As in the program: OpenSSL writes without MSG_NOSIGNAL.
  }

  static RedisServer server(const std::string& certificate) {
    return {certificates_->file(certificate + ".pem"), certificates_->file(certificate + ".key")};
  }
  static std::unique_ptr<Redis> redis(const std::string& authority,
                                      std::chrono::milliseconds timeout = 5s) {
    return make_redis(timeout, certificates_->file(authority + ".pem"));
  }
  static RedisTarget target(int port, const std::string& host = "127.0.0.1") {
    RedisTarget made{host, port};
    made.tls = true;
    return made;
  }
};

TEST_F(RedisTls, ReadsAndFlushesAsWithout) {
  const RedisServer with_tls = server("server");
  ASSERT_TRUE(with_tls.running());
  fill(with_tls, 50000);
  with_tls.command("RPUSH bull:q:wait 1 2");
  with_tls.command("SWAPDB 0 3");
  with_tls.command("CONFIG SET requirepass hunter2");
  RedisTarget third = target(with_tls.tls_port(), "localhost");
  third.password = "hunter2";
  third.database = 3;
  const auto redis = RedisTls::redis("ca");
  const auto seen = redis->read(third, {});
  ASSERT_TRUE(seen->reachable) << seen->error;
  EXPECT_EQ(seen->eviction_policy, "noeviction");
  EXPECT_EQ(seen->keys, 50001) << seen->error;
  EXPECT_EQ(seen->queued_jobs, 2);
  ASSERT_TRUE(redis->flush(third, {}));
  EXPECT_EQ(redis->read(third, {})->keys, 0);
}

TEST_F(RedisTls, TrustsOnlyWhoIsSignedForThatHost) {
  const struct {
    const char *certificate, *authority, *host, *error;  ///< No error: it is trusted.
  } rows[] = {
      {"server", "ca", "127.0.0.1", ""},
      {"server", "ca", "localhost", ""},
      {"server", "other-ca", "127.0.0.1", "certificate verify failed"},
      {"elsewhere", "ca", "127.0.0.1", "IP address mismatch"},
      {"elsewhere", "ca", "localhost", "ostname mismatch"},
      {"only-called", "ca", "127.0.0.1", "IP address mismatch"},
      {"server", "nowhere", "127.0.0.1", "no authorities in"},
  };
  for (const auto& row : rows) {
    SCOPED_TRACE(std::string(row.certificate) + " " + row.authority + " " + row.host);
    const RedisServer with_tls = server(row.certificate);
    const auto seen = redis(row.authority)->read(target(with_tls.tls_port(), row.host), {});
    ASSERT_TRUE(seen);
    EXPECT_EQ(seen->reachable, std::string_view(row.error).empty()) << seen->error;
    EXPECT_NE(seen->error.find(row.error), std::string::npos) << seen->error;
  }
}

TEST_F(RedisTls, GivesUpOnWhoSaysNothingSpeaksWithoutTlsOrBreaksOff) {
  const Listener mute;
  const auto silent = redis("ca", 200ms)->read(target(mute.port()), {});
  EXPECT_NE(silent->error.find("no answer in time"), std::string::npos) << silent->error;

  const RedisServer plain;
  const auto refused = redis("ca", 1s)->read(target(plain.port()), {});
  EXPECT_FALSE(refused->reachable);
  EXPECT_NE(refused->error.find("TLS: "), std::string::npos) << refused->error;

  Listener broken;
  std::jthread web([&broken] { broken.accept(); });
  EXPECT_FALSE(redis("ca")->read(target(broken.port()), {})->reachable);
}

TEST_F(RedisTls, StopsInTheMiddleOfAHandshake) {
  const Listener mute;
  std::stop_source stop;
  const std::jthread peer = stop_when_asked(mute, stop);
  const auto seen = redis("ca", 20s)->read(target(mute.port()), stop.get_token());
  ASSERT_FALSE(seen);
  EXPECT_EQ(seen.error().kind, ErrorKind::Cancelled);
}

TEST(Redis, StopsWhenAsked) {
  const Listener mute;
  std::stop_source stop;
  const std::jthread peer = stop_when_asked(mute, stop);
  const auto started = Clock::now();
  const auto seen = make_redis(20s)->read({"127.0.0.1", mute.port()}, stop.get_token());
  ASSERT_FALSE(seen);
  EXPECT_EQ(seen.error().kind, ErrorKind::Cancelled);
  EXPECT_LT(Clock::now() - started, 5s);
  EXPECT_FALSE(make_redis()->flush({"127.0.0.1", mute.port()}, stop.get_token()));
}

}  // namespace
}  // namespace stackspec
