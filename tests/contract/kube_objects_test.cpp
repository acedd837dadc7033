// SPDX-License-Identifier: Apache-2.0
#include "kube/kube_objects.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <fstream>
#include <sstream>
#include <thread>

#include "base/log.hpp"
#include "contract/peer.hpp"
#include "fakes/eventually.hpp"
#include "fakes/temp_folder.hpp"

// The rules for clients of an API server, against a server that says what no real one says on
// demand. What real ones say is in tests/kube/.

namespace stackspec {
namespace {

using namespace std::chrono_literals;
using nlohmann::json;
using testing::Conversation;
using testing::Peer;
using testing::PeerRequest;

/// Answers each request by the next of `answers`, the last one for ever; a watch is an answer that
/// streams.
class Server {
 public:
  struct Answer {
    int status = 200;
    std::string body = "{}";
    std::string headers = "";
    bool streams = false;  ///< `body` in one chunk.
    bool hangs = false;    ///< A stream that then stays open until the other side closes it.
    bool closes = false;   ///< No answer at all.
  };

  explicit Server(std::vector<Answer> answers)
      : answers_(std::move(answers)),
        peer_([this](Conversation& conversation, int, const std::stop_token& stop) {
          while (peer_.hear(conversation)) {
            if (!give(conversation, stop)) return;
          }
        }) {}

  std::unique_ptr<KubeObjects> api(KubeOptions options = {}, const std::string& token_file = "",
                                   const Clock& clock = system_clock()) const {
    log::set_level(log::Level::Error);
    ClusterAccess access;
    access.server.host = "127.0.0.1";
    access.server.port = peer_.port();
    access.server.plain = true;
    access.token = "first-token";
    access.token_file = token_file;
    if (options.pace.first_pause == KubePace().first_pause) {
      options.pace.first_pause = 20ms;
      options.pace.longest_pause = 40ms;
      options.pace.short_watch = 100ms;
    }
    return make_kube_objects(access, std::move(options), clock).value();
  }
  std::vector<PeerRequest> requests() const { return peer_.requests(); }
  PeerRequest request(std::size_t number) const { return peer_.requests().at(number); }

 private:
  bool give(Conversation& conversation, const std::stop_token& stop) {
    Answer answer;
    {
      const std::lock_guard lock(mutex_);
      answer = answers_[std::min(given_++, answers_.size() - 1)];
    }
    if (answer.closes) return false;
    if (!answer.streams) {
      conversation.answer(answer.status, answer.body, answer.headers);
      return true;
    }
    conversation.begin_chunks();
    if (!answer.body.empty()) conversation.chunk(answer.body);
    while (answer.hangs && !stop.stop_requested()) {
      if (conversation.closed_within(10ms)) return false;
    }
    return conversation.end_chunks();
  }

  std::vector<Answer> answers_;
  std::mutex mutex_;
  std::size_t given_ = 0;  // guarded by mutex_
  Peer peer_;
};

std::string stack_json(const std::string& name, int version) {
  return json{{"apiVersion", "stackspec.dev/v1alpha1"},
              {"kind", "StackSpec"},
              {"metadata",
               {{"name", name},
                {"namespace", "sales"},
                {"uid", "u-" + name},
                {"resourceVersion", std::to_string(version)},
                {"generation", 3},
                {"managedFields", {{{"manager", "kubectl"}}}}}},
              {"spec", {{"tag", "v1.16.6"}}},
              {"status", {{"message", "fine"}}}}
      .dump();
}

std::string event_line(const char* type, const std::string& name, int version) {
  return R"({"type":")" + std::string(type) + R"(","object":)" + stack_json(name, version) + "}\n";
}

std::string bookmark(int version) {
  return R"({"type":"BOOKMARK","object":{"kind":"StackSpec","metadata":{"resourceVersion":")" +
         std::to_string(version) + "\"}}}\n";
}

std::string status_json(int code, const std::string& reason, const std::string& message,
                        const std::string& name = "crm") {
  return json{{"kind", "Status"}, {"status", "Failure"}, {"code", code},
              {"reason", reason}, {"message", message},  {"details", {{"name", name}}}}
      .dump();
}

std::string list_json(const std::vector<std::string>& items, int version,
                      const std::string& next = "") {
  std::string text = R"({"kind":"List","metadata":{"resourceVersion":")" + std::to_string(version) +
                     R"(","continue":")" + next + R"("},"items":[)";
  for (std::size_t i = 0; i < items.size(); ++i) text += (i == 0 ? "" : ",") + items[i];
  return text + "]}";
}

Object stack(const std::string& name = "crm", std::int64_t version = 0) {
  Object object;
  object.key = {"StackSpec", "sales", name};
  object.content["spec"] = {{"tag", "v1.16.6"}};
  object.resource_version = version;
  if (version != 0) object.uid = "u-" + name;
  return object;
}

const ObjectKey kCrm{"StackSpec", "sales", "crm"};
constexpr const char* kCollection = "/apis/stackspec.dev/v1alpha1/namespaces/sales/stackspecs";

TEST(KubeObjects, ReadsAnObject) {
  const Server server({{200, stack_json("crm", 17)}});
  const auto got = server.api()->get(kCrm);
  ASSERT_TRUE(got) << got.error().message;
  EXPECT_EQ(got->key, kCrm);
  EXPECT_EQ(got->uid, "u-crm");
  EXPECT_EQ(got->resource_version, 17);
  EXPECT_EQ(got->generation, 3);
  EXPECT_EQ(got->content, (json{{"spec", {{"tag", "v1.16.6"}}}}));
  EXPECT_EQ(got->status, (json{{"message", "fine"}}));
  EXPECT_EQ(server.request(0).target, std::string(kCollection) + "/crm");
  EXPECT_EQ(server.request(0).headers.at("authorization"), "Bearer first-token");
}

TEST(KubeObjects, KeepsDataThatIsCalledLikeWhatItDrops) {
  const Server server({{200, R"({"metadata":{"name":"a","namespace":"sales","resourceVersion":"1",
    "managedFields":[{"x":{"metadata":1}}]},"data":{"managedFields":"mine","metadata":"too"}})"}});
  const auto got = server.api()->get({"ConfigMap", "sales", "a"});
  ASSERT_TRUE(got) << got.error().message;
  EXPECT_EQ(got->content, (json{{"data", {{"managedFields", "mine"}, {"metadata", "too"}}}}));
}

TEST(KubeObjects, EveryWriteIsConditional) {
  const Server server({{200, stack_json("crm", 18)}});
  const auto api = server.api();
  Object object = stack("crm", 17);
  object.status["message"] = "not for the main resource";
  object.owners = {{.api_version = "v1", .kind = "ConfigMap", .name = "o", .uid = "u"}};
  ASSERT_TRUE(api->update(object));
  ASSERT_TRUE(api->update_status(object));
  ASSERT_TRUE(api->remove(object.key, object.uid, 17));
  const auto heard = server.requests();
  ASSERT_EQ(heard.size(), 3U);
  for (int i : {0, 1}) {
    const auto metadata = json::parse(heard[static_cast<std::size_t>(i)].body).at("metadata");
    EXPECT_EQ(metadata.at("resourceVersion"), "17");
    EXPECT_EQ(metadata.at("uid"), "u-crm");
    EXPECT_EQ(metadata.at("ownerReferences").at(0).at("blockOwnerDeletion"), false);
    EXPECT_EQ(metadata.at("ownerReferences").at(0).at("controller"), true);
  }
  EXPECT_EQ(heard[0].method + " " + heard[0].target, "PUT " + std::string(kCollection) + "/crm");
  EXPECT_FALSE(json::parse(heard[0].body).contains("status"));
  EXPECT_EQ(heard[1].target, std::string(kCollection) + "/crm/status");
  EXPECT_EQ(json::parse(heard[1].body).at("status"), object.status);
  EXPECT_EQ(heard[2].method, "DELETE");
  EXPECT_EQ(json::parse(heard[2].body),
            (json{{"apiVersion", "v1"},
                  {"kind", "DeleteOptions"},
                  {"propagationPolicy", "Background"},
                  {"preconditions", {{"uid", "u-crm"}, {"resourceVersion", "17"}}}}));
}

TEST(KubeObjects, AWriteOfWhatWasNeverReadIsNotSent) {
  const Server server({{200, stack_json("crm", 18)}});
  const auto updated = server.api()->update(stack());
  ASSERT_FALSE(updated);
  EXPECT_EQ(updated.error().kind, ErrorKind::Conflict);
  for (const auto& heard : server.requests()) EXPECT_EQ(heard.method, "GET");
}

TEST(KubeObjects, StatusIsASecondWriteOfACreate) {
  const Server server({{201, stack_json("crm", 5)}, {200, stack_json("crm", 6)}});
  Object object = stack();
  object.resource_version = 99;
  object.uid = "someone else's";
  object.status["message"] = "begun";
  const auto made = server.api()->create(object);
  ASSERT_TRUE(made) << made.error().message;
  EXPECT_EQ(made->resource_version, 6);
  const auto heard = server.requests();
  ASSERT_EQ(heard.size(), 2U);
  EXPECT_EQ(heard[0].method + " " + heard[0].target, std::string("POST ") + kCollection);
  const auto posted = json::parse(heard[0].body);
  EXPECT_FALSE(posted.contains("status"));
  EXPECT_FALSE(posted.at("metadata").contains("resourceVersion"));
  EXPECT_FALSE(posted.at("metadata").contains("uid"));
  EXPECT_EQ(json::parse(heard[1].body).at("status"), object.status);
  EXPECT_EQ(json::parse(heard[1].body).at("metadata").at("resourceVersion"), "5");
}

TEST(KubeObjects, CompletesEvents) {
  const Server server({{201, R"({"metadata":{"name":"crm.1","resourceVersion":"1"}})"}});
  Object event;
  event.key = {"Event", "sales", "crm.1"};
  event.content = {{"reason", "HopStarted"}, {"eventTime", "2026-11-21T09:00:00Z"}};
  KubeOptions options;
  options.reporter = "pod-7";
  ASSERT_TRUE(server.api(options)->create(event));
  const auto sent = json::parse(server.request(0).body);
  EXPECT_EQ(server.request(0).target, "/apis/events.k8s.io/v1/namespaces/sales/events");
  EXPECT_EQ(sent.at("eventTime"), "2026-11-21T09:00:00.000000Z");
  EXPECT_EQ(sent.at("reportingController"), "stackspec.dev/controller");
  EXPECT_EQ(sent.at("reportingInstance"), "pod-7");
  EXPECT_EQ(sent.at("action"), "HopStarted");
}

TEST(KubeObjects, ErrorsSayWhatToDo) {
  const struct {
    int status;
    std::string body;
    ErrorKind kind;
    const char* message;
  } rows[] = {
      {400, status_json(400, "BadRequest", "odd"), ErrorKind::Invalid, "odd"},
      {401, status_json(401, "Unauthorized", "Unauthorized"), ErrorKind::Forbidden, "credentials"},
      {403, status_json(403, "Forbidden", "user x cannot get"), ErrorKind::Forbidden,
       "get StackSpec sales/crm: not allowed on stackspecs.stackspec.dev: user x cannot get"},
      {404, status_json(404, "NotFound", "not found"), ErrorKind::NotFound, "not found"},
      {404, "404 page not found\n", ErrorKind::Unavailable, "are the CRDs installed"},
      {404, status_json(404, "NotFound", "the server could not find the requested resource", ""),
       ErrorKind::Unavailable, "does not serve stackspecs.stackspec.dev/v1alpha1"},
      {409, status_json(409, "Conflict", "modified"), ErrorKind::Conflict, "modified"},
      {409, status_json(409, "AlreadyExists", "exists"), ErrorKind::Conflict, "exists"},
      {410, status_json(410, "Expired", "too old"), ErrorKind::Expired, "too old"},
      {413, "too large", ErrorKind::Invalid, "too large"},
      {422, status_json(422, "Invalid", "spec.tag: bad"), ErrorKind::Invalid, "spec.tag: bad"},
      {429, status_json(429, "TooManyRequests", "slow down"), ErrorKind::Unavailable, "slow down"},
      {500, status_json(500, "InternalError", "oh"), ErrorKind::Unavailable, "oh"},
      {503, "<html>proxy</html>", ErrorKind::Unavailable, "proxy"},
      {302, "", ErrorKind::Unavailable, "status 302"},
      {200, "<html>login</html>", ErrorKind::Unavailable, "not JSON"},
      {200, "[]", ErrorKind::Unavailable, "not JSON"},
      {200, "{}", ErrorKind::Unavailable, "without metadata"},
      {200, R"({"metadata":{"resourceVersion":"x"}})", ErrorKind::Unavailable, "not a number"},
      {200, R"({"metadata":{"labels":7}})", ErrorKind::Unavailable, "unreadable"},
  };
  for (const auto& row : rows) {
    SCOPED_TRACE(std::to_string(row.status) + " " + row.body);
    const Server server({{row.status, row.body}});
    const auto got = server.api()->get(kCrm);
    ASSERT_FALSE(got);
    EXPECT_EQ(got.error().kind, row.kind) << got.error().message;
    EXPECT_NE(got.error().message.find(row.message), std::string::npos) << got.error().message;
  }
}

TEST(KubeObjects, NamesThatAreNoneAreNotAsked) {
  const Server server({{200, "{}"}});
  const auto api = server.api();
  const ObjectKey keys[] = {{"StackSpec", "sales", ""},      {"StackSpec", "", "crm"},
                            {"StackSpec", "sales", "a/b"},   {"StackSpec", "sales", "../x"},
                            {"StackSpec", "a/b", "crm"},     {"StackSpec", "sales", "a?b"},
                            {"Namespace", "sales", "sales"}, {"Elephant", "sales", "crm"}};
  for (const auto& key : keys) {
    SCOPED_TRACE(key.kind + " " + key.ns + " " + key.name);
    Object object;
    object.key = key;
    object.resource_version = 1;
    EXPECT_EQ(api->get(key).error().kind, ErrorKind::Invalid);
    EXPECT_EQ(api->update(object).error().kind, ErrorKind::Invalid);
    EXPECT_EQ(api->remove(key, "", 0).error().kind, ErrorKind::Invalid);
  }
  EXPECT_TRUE(server.requests().empty());
}

// ---- trying again ----

TEST(KubeObjects, TriesAgainOnlyWhatCannotHaveBeenDone) {
  const auto good = Server::Answer{200, stack_json("crm", 18)};
  const struct {
    const char* name;
    Server::Answer first;
    bool get_again;
    bool put_again;
  } rows[] = {
      {"429 with Retry-After", {429, "", "Retry-After: 1\r\n"}, true, true},
      {"429", {429, ""}, false, false},
      {"503 with Retry-After", {503, "", "Retry-After: 1\r\n"}, true, false},
      {"503", {503, ""}, false, false},
      {"500 with Retry-After", {500, "", "Retry-After: 1\r\n"}, true, false},
      {"409 with Retry-After", {409, "", "Retry-After: 1\r\n"}, false, false},
      {"connection broken", {.closes = true}, true, false},
  };
  for (const auto& row : rows) {
    for (const bool writes : {false, true}) {
      SCOPED_TRACE(std::string(row.name) + (writes ? " PUT" : " GET"));
      const Server server({row.first, good});
      const auto api = server.api();
      const auto answer = writes ? api->update(stack("crm", 17)) : api->get(kCrm);
      const bool again = writes ? row.put_again : row.get_again;
      EXPECT_EQ(answer.has_value(), again);
      EXPECT_EQ(server.requests().size(), again ? 2U : 1U);
    }
  }
}

TEST(KubeObjects, TriesSoOftenAndNotForEver) {
  const Server server({{429, "", "Retry-After: 1\r\n"}});
  KubeOptions options;
  options.pace.most_tries = 3;
  EXPECT_EQ(server.api(options)->get(kCrm).error().kind, ErrorKind::Unavailable);
  EXPECT_EQ(server.requests().size(), 3U);
}

TEST(KubeObjects, WaitsNoLongerThanTheCallMayTake) {
  const Server server({{429, "", "Retry-After: 32\r\n"}});
  KubeOptions options;
  options.pace.write_timeout = 2s;
  const auto started = std::chrono::steady_clock::now();
  const auto answer = server.api(options)->update(stack("crm", 17));
  ASSERT_FALSE(answer);
  EXPECT_EQ(answer.error().kind, ErrorKind::Unavailable);
  EXPECT_LT(std::chrono::steady_clock::now() - started, 20s);
  EXPECT_EQ(server.requests().size(), 1U);
}

TEST(KubeObjects, EndsEveryCallWhenStopped) {
  const Server server({{429, "", "Retry-After: 20\r\n"}});
  std::stop_source stop;
  KubeOptions options;
  options.stop = stop.get_token();
  const auto api = server.api(options);
  std::jthread stops([&] {
    static_cast<void>(eventually([&] { return !server.requests().empty(); }));
    stop.request_stop();
  });
  const auto answer = api->get(kCrm);
  ASSERT_FALSE(answer);
  EXPECT_EQ(answer.error().kind, ErrorKind::Cancelled);
  EXPECT_EQ(api->watch("StackSpec", 5, [](const WatchEvent&) {}, {}).error().kind,
            ErrorKind::Cancelled);
}

TEST(KubeObjects, AsksSoManyThingsAtATimeAndNoMore) {
  std::atomic<int> now{0}, most{0};
  std::atomic<bool> open{false};
  Peer* self = nullptr;
  Peer peer([&](Conversation& conversation, int, const std::stop_token&) {
    while (self->hear(conversation)) {
      const int mine = ++now;
      for (int seen = most; seen < mine && !most.compare_exchange_weak(seen, mine);) {
      }
      static_cast<void>(eventually([&] { return open.load(); }, 25s));
      --now;
      conversation.answer(200, stack_json("crm", 1));
    }
  });
  self = &peer;
  ClusterAccess access;
  access.server.host = "127.0.0.1";
  access.server.port = peer.port();
  access.server.plain = true;
  const auto api = make_kube_objects(access, {}).value();
  std::atomic<int> good{0};
  {
    std::vector<std::jthread> callers;
    for (int i = 0; i < 24; ++i) {
      callers.emplace_back([&] { good += api->get(kCrm).has_value() ? 1 : 0; });
    }
    EXPECT_TRUE(eventually([&] { return now.load() == 16; }, 20s));
    open = true;
  }
  EXPECT_EQ(good.load(), 24);
  EXPECT_EQ(most.load(), 16);
}

class HandClock final : public Clock {
 public:
  WallTime wall_now() const override { return {}; }
  SteadyTime steady_now() const override { return now_; }
  void forward(std::chrono::seconds time) { now_ += time; }

 private:
  SteadyTime now_{std::chrono::seconds(1000)};
};

void write(const std::string& path, const std::string& text) {
  std::ofstream(path) << text;
}

TEST(KubeObjects, ReadsTheTokenAnewEveryMinuteAndKeepsItWhenItCannot) {
  const Server server({{200, stack_json("crm", 1)}});
  const TempFolder folder;
  const std::string file = folder / "token";
  write(file, "one-token\n");
  HandClock clock;
  const auto api = server.api({}, file, clock);
  const auto sent = [&] {
    EXPECT_TRUE(api->get(kCrm));
    return server.requests().back().headers.at("authorization");
  };
  EXPECT_EQ(sent(), "Bearer one-token");
  write(file, "two-token\n");
  EXPECT_EQ(sent(), "Bearer one-token");
  clock.forward(61s);
  EXPECT_EQ(sent(), "Bearer two-token");
  std::filesystem::remove(file);
  clock.forward(61s);
  EXPECT_EQ(sent(), "Bearer two-token");
  write(file, "three-token\n");
  clock.forward(11s);
  EXPECT_EQ(sent(), "Bearer three-token");
}

TEST(KubeObjects, ARefusedTokenIsReadAnewAtOnce) {
  const Server server(
      {{200, stack_json("crm", 1)}, {401, ""}, {200, stack_json("crm", 2)}, {401, ""}});
  const TempFolder folder;
  const std::string file = folder / "token";
  write(file, "one-token");
  HandClock clock;
  const auto api = server.api({}, file, clock);
  ASSERT_TRUE(api->get(kCrm));
  write(file, "two-token");
  ASSERT_TRUE(api->update(stack("crm", 1))) << "a 401 was not acted upon";
  EXPECT_EQ(server.requests().back().headers.at("authorization"), "Bearer two-token");
  EXPECT_EQ(api->get(kCrm).error().kind, ErrorKind::Forbidden);
  EXPECT_EQ(server.requests().size(), 4U) << "the same token is not sent twice";
}

std::string parameter(const std::string& target, const std::string& name) {
  const auto at = target.find(name + "=");
  if (at == std::string::npos) return "";
  const auto from = at + name.size() + 1;
  return target.substr(from, target.find('&', from) - from);
}

// ---- lists ----

/// As a server whose lists cannot be streamed says it.
const Server::Answer kNoStreams{
    422, status_json(422, "Invalid", "sendInitialEvents is forbidden for watch unless ...")};
const std::string kInitialEventsEnd =
    R"({"type":"BOOKMARK","object":{"metadata":{"resourceVersion":"30",)"
    R"("annotations":{"k8s.io/initial-events-end":"true"}}}})"
    "\n";

TEST(KubeObjects, AListOfManyPagesIsStreamedFromTheServersMemory) {
  const Server server({{200, list_json({stack_json("a", 1)}, 9, "t")},
                       {.body = event_line("ADDED", "b", 12) + bookmark(20) +
                                event_line("ADDED", "a", 11) + kInitialEventsEnd,
                        .streams = true,
                        .hangs = true}});
  const auto list = server.api()->list("StackSpec", "sales");
  ASSERT_TRUE(list) << list.error().message;
  EXPECT_EQ(list->resource_version, 30) << "of the end, not of an object or another bookmark";
  ASSERT_EQ(list->items.size(), 2U) << "nothing of the page is left";
  EXPECT_EQ(list->items[0].key.name, "a");
  EXPECT_EQ(list->items[0].resource_version, 11);
  ASSERT_EQ(server.requests().size(), 2U);
  const std::string target = server.request(1).target;
  EXPECT_EQ(parameter(target, "sendInitialEvents"), "true");
  EXPECT_EQ(parameter(target, "resourceVersionMatch"), "NotOlderThan");
  EXPECT_EQ(parameter(target, "allowWatchBookmarks"), "true");
  EXPECT_EQ(target.find("resourceVersion="), std::string::npos) << "the newest there is";
}

TEST(KubeObjects, AListThatCannotBeStreamedGoesOnPageByPage) {
  const auto page = Server::Answer{200, list_json({stack_json("a", 1)}, 9, "t")};
  const auto last = Server::Answer{200, list_json({stack_json("b", 2)}, 9)};
  const struct {
    const char* name;
    Server::Answer stream;
    bool hands_out = false;   ///< Something; then the list begins anew, without a stream.
    bool is_refusal = false;  ///< Of this server's: it is not asked for one again.
  } rows[] = {
      {.name = "refused", .stream = kNoStreams, .is_refusal = true},
      {"busy", {429, "", "Retry-After: 1\r\n"}},
      {"cut", {.body = event_line("ADDED", "x", 11), .streams = true}, true},
      {.name = "refused in the stream",
       .stream = {.body = R"({"type":"ERROR","object":{"code":500,"message":"feature disabled"}})"
                          "\n",
                  .streams = true},
       .is_refusal = true},
      {"broken off",
       {.body = event_line("ADDED", "x", 11) + R"({"type":"ERROR","object":{"code":410}})" + "\n",
        .streams = true},
       true},
      {"no words", {.body = "not json\n", .streams = true}},
  };
  for (const auto& row : rows) {
    SCOPED_TRACE(row.name);
    const auto once = row.hands_out ? std::vector{page, row.stream, page, last}
                                    : std::vector{page, row.stream, last};
    auto answers = once;
    const auto twice = row.is_refusal ? std::vector{page, last} : once;
    answers.insert(answers.end(), twice.begin(), twice.end());
    const Server server(answers);
    const auto api = server.api();
    for (int i = 0; i < 2; ++i) {
      const auto list = api->list("StackSpec", "sales");
      ASSERT_TRUE(list) << list.error().message;
      ASSERT_EQ(list->items.size(), 2U);
      EXPECT_EQ(list->items[1].key.name, "b");
      EXPECT_EQ(list->resource_version, 9);
    }
    EXPECT_EQ(server.requests().size(), answers.size());
  }
}

TEST(KubeObjects, WhatCameBeforeAListBeganAnewIsVoid) {
  const auto page = Server::Answer{200, list_json({stack_json("a", 1)}, 9, "t")};
  const auto last = Server::Answer{200, list_json({stack_json("b", 2)}, 9)};
  const Server server(
      {page, {.body = event_line("ADDED", "gone", 11), .streams = true}, page, last});
  std::vector<std::string> told;
  const auto version = server.api()->each(
      "StackSpec", "sales", [&] { told.emplace_back("begin"); },
      [&](Object&& object) { told.push_back(object.key.name); });
  ASSERT_TRUE(version) << version.error().message;
  EXPECT_EQ(*version, 9);
  EXPECT_EQ(told, (std::vector<std::string>{"begin", "gone", "begin", "a", "b"}));
}

TEST(KubeObjects, ListsPageByPageFromTheNewest) {
  const Server server({{200, list_json({stack_json("b", 3)}, 9, "to/ken=")},
                       kNoStreams,
                       {200, list_json({stack_json("a", 4)}, 9)}});
  KubeOptions options;
  options.label_selectors["StackSpec"] = "a=b,c in (d)";
  options.only_names["StackSpec"] = "crm";
  const auto list = server.api(options)->list("StackSpec", "sales");
  ASSERT_TRUE(list) << list.error().message;
  EXPECT_EQ(list->resource_version, 9);
  ASSERT_EQ(list->items.size(), 2U);
  EXPECT_EQ(list->items[0].key.name, "a");
  const std::string first = std::string(kCollection) +
                            "?labelSelector=a%3Db%2Cc%20in%20%28d%29&"
                            "fieldSelector=metadata.name%3Dcrm&limit=";
  EXPECT_EQ(server.request(0).target, first + "20")
      << "no resourceVersion: time never runs backwards";
  EXPECT_EQ(server.request(2).target, first + "100&continue=to%2Fken%3D");
}

TEST(KubeObjects, AListWhoseNextPageExpiredBeginsAgain) {
  const Server server({{200, list_json({stack_json("a", 1)}, 5, "t")},
                       kNoStreams,
                       {410, status_json(410, "Expired", "continue expired")},
                       {200, list_json({stack_json("a", 1)}, 7, "u")},
                       {200, list_json({stack_json("b", 2)}, 7)}});
  const auto list = server.api()->list("StackSpec", "");
  ASSERT_TRUE(list) << list.error().message;
  EXPECT_EQ(list->items.size(), 2U);
  EXPECT_EQ(list->resource_version, 7);
  EXPECT_EQ(server.request(0).target, "/apis/stackspec.dev/v1alpha1/stackspecs?limit=20");
}

TEST(KubeObjects, AListThatAlwaysExpiresEnds) {
  const Server server({{410, status_json(410, "Expired", "no")}});
  EXPECT_EQ(server.api()->list("StackSpec", "").error().kind, ErrorKind::Expired);
  EXPECT_EQ(server.requests().size(), 4U);
}

TEST(KubeObjects, OfGivenNamespacesTheOldestVersionCounts) {
  const Server server({{200, list_json({stack_json("a", 1)}, 5)}, {200, list_json({}, 8)}});
  KubeOptions options;
  options.namespaces = {"sales", "support"};
  const auto list = server.api(options)->list("StackSpec", "");
  ASSERT_TRUE(list) << list.error().message;
  EXPECT_EQ(list->resource_version, 5);
  EXPECT_EQ(list->items.size(), 1U);
  ASSERT_EQ(server.requests().size(), 2U);
  EXPECT_NE(server.request(1).target.find("/namespaces/support/"), std::string::npos);
}

// ---- watches ----

struct Watched {
  std::vector<std::pair<std::string, std::int64_t>> events;
  ErrorKind end = ErrorKind::Internal;
};

/// Watches until `enough` events came, or it ends by itself.
Watched watch(const Server& server, std::size_t enough, KubeOptions options = {}) {
  Watched got;
  std::stop_source stop;
  const auto api = server.api(std::move(options));
  const auto end = api->watch(
      "StackSpec", 10,
      [&](const WatchEvent& event) {
        got.events.emplace_back(event.object.key.name, event.object.resource_version);
        if (got.events.size() == enough) stop.request_stop();
      },
      stop.get_token());
  if (!end) got.end = end.error().kind;
  return got;
}

TEST(KubeWatch, GoesOnFromTheLastEventOrBookmark) {
  const Server server({
      {.body = event_line("ADDED", "a", 11) + event_line("MODIFIED", "a", 12), .streams = true},
      {.body = bookmark(40), .streams = true},
      {.body = "", .streams = true},
      {.body = event_line("DELETED", "a", 41), .streams = true, .hangs = true},
  });
  const auto got = watch(server, 3);
  EXPECT_EQ(got.end, ErrorKind::Cancelled);
  ASSERT_EQ(got.events.size(), 3U);
  EXPECT_EQ(got.events[2].second, 41);
  const char* from[] = {"10", "12", "40", "40"};
  for (std::size_t i = 0; i < 4; ++i) {
    SCOPED_TRACE(i);
    const std::string target = server.request(i).target;
    EXPECT_EQ(parameter(target, "resourceVersion"), from[i]);
    EXPECT_EQ(parameter(target, "watch"), "true");
    EXPECT_EQ(parameter(target, "allowWatchBookmarks"), "true");
    const int seconds = std::stoi(parameter(target, "timeoutSeconds"));
    EXPECT_GE(seconds, 300);
    EXPECT_LE(seconds, 600);
  }
}

TEST(KubeWatch, BothShapesOfGoneAndAVersionTooLargeAreExpired) {
  const std::string too_large =
      R"({"kind":"Status","code":504,"reason":"Timeout","message":"Too large resource version",)"
      R"("details":{"causes":[{"reason":"ResourceVersionTooLarge"}]}})";
  const auto in_stream = [](const std::string& status) {
    return Server::Answer{
        .body = R"({"type":"ERROR","object":)" + status + "}\n", .streams = true, .hangs = true};
  };
  const std::string gone = status_json(410, "Expired", "too old resource version");
  const Server::Answer rows[] = {{410, gone},
                                 {504, too_large},
                                 in_stream(gone),
                                 in_stream(too_large),
                                 in_stream(status_json(500, "InternalError", "etcd"))};
  for (const auto& row : rows) {
    SCOPED_TRACE(row.body);
    const Server server({row});
    const auto got = watch(server, 1);
    EXPECT_EQ(got.end, ErrorKind::Expired);
    EXPECT_EQ(server.requests().size(), 1U) << "the position is lost: no second watch from it";
  }
}

TEST(KubeWatch, EventsBeforeTheyAreGoneAreHandedOut) {
  const Server server({{.body = event_line("ADDED", "a", 11) + R"({"type":"ERROR","object":)" +
                                status_json(410, "Expired", "too old") + "}\n",
                        .streams = true}});
  const auto got = watch(server, 9);
  EXPECT_EQ(got.end, ErrorKind::Expired);
  EXPECT_EQ(got.events.size(), 1U);
}

TEST(KubeWatch, OutagesAreWaitedOutAtTheSamePosition) {
  const Server::Answer good{.body = event_line("ADDED", "a", 11), .streams = true, .hangs = true};
  const Server::Answer rows[] = {
      {429, "", "Retry-After: 1\r\n"},
      {503, "apiserver is shutting down"},
      {403, status_json(403, "Forbidden", "cannot watch")},
      {404, "404 page not found"},
      {401, ""},
      {.closes = true},
      {.body = "not json\n", .streams = true},
      {.body = R"({"type":"ADDED"})"
               "\n",
       .streams = true},
      {.body = event_line("EXPLODED", "a", 12), .streams = true},
      {.body = R"({"type":"ADDED","object":{"spec":{}}})"
               "\n",
       .streams = true},
      {.body = "", .streams = true},
      {.body = R"({"type":"ADDED","object":{"metad)", .streams = true},
  };
  for (const auto& row : rows) {
    SCOPED_TRACE(std::to_string(row.status) + row.body);
    const Server server({row, good});
    const auto got = watch(server, 1);
    EXPECT_EQ(got.end, ErrorKind::Cancelled);
    ASSERT_EQ(got.events.size(), 1U);
    EXPECT_EQ(server.requests().size(), 2U);
    for (const auto& heard : server.requests()) {
      EXPECT_EQ(parameter(heard.target, "resourceVersion"), "10");
      EXPECT_EQ(parameter(heard.target, "limit"), "") << "nobody listed";
    }
  }
}

TEST(KubeWatch, AWatchThatEndsAtOnceIsOpenedEverMoreSlowly) {
  const Server server({{.body = "", .streams = true}});
  KubeOptions options;
  options.pace.first_pause = 80ms;
  options.pace.longest_pause = 400ms;
  std::stop_source stop;
  const auto api = server.api(options);
  std::jthread watching([&] {
    static_cast<void>(api->watch(
        "StackSpec", 10, [](const WatchEvent&) {}, stop.get_token()));
  });
  ASSERT_TRUE(eventually([&] { return server.requests().size() >= 2; }));
  const auto started = std::chrono::steady_clock::now();
  ASSERT_TRUE(eventually([&] { return server.requests().size() >= 6; }));
  // The pauses 2 to 5 are at least 80, 160, 200 and 200 ms, less what the first answer took.
  EXPECT_GE(std::chrono::steady_clock::now() - started, 500ms);
  stop.request_stop();
}

/// The pauses of its watch, as the log told them.
std::vector<int> pauses_in(const std::string& log) {
  std::vector<int> pauses;
  std::istringstream lines(log);
  for (std::string line; std::getline(lines, line);) {
    const json told = json::parse(line, nullptr, false);
    if (told.is_object() && told.contains("delayMs")) pauses.push_back(told["delayMs"]);
  }
  return pauses;
}

TEST(KubeWatch, AfterAHealthyTimeThePausesBeginAnew) {
  const Server::Answer fails{.status = 500, .body = "etcd is away"};
  const Server::Answer quiet{.streams = true, .hangs = true};
  const Server server({fails, fails, fails, fails, fails, quiet, fails, quiet});
  KubeOptions options;
  options.pace.first_pause = 8ms;
  options.pace.longest_pause = 10s;
  options.pace.healthy_again = 2s;
  options.pace.watch_silence = 2500ms;
  std::stop_source stop;
  const auto api = server.api(options);
  log::set_level(log::Level::Warn);
  ::testing::internal::CaptureStderr();
  {
    std::jthread watching([&] {
      static_cast<void>(api->watch(
          "StackSpec", 10, [](const WatchEvent&) {}, stop.get_token()));
    });
    EXPECT_TRUE(eventually([&] { return server.requests().size() >= 8; }));
    stop.request_stop();
  }
  const auto pauses = pauses_in(::testing::internal::GetCapturedStderr());
  log::set_level(log::Level::Error);
  ASSERT_EQ(pauses.size(), 6U);
  EXPECT_GE(pauses[4], 64) << "until then they doubled";
  EXPECT_LE(pauses[5], 8);
}

TEST(KubeWatch, SilenceEndsAStreamAndNotTheWatch) {
  const Server server({{.body = event_line("ADDED", "a", 11), .streams = true, .hangs = true},
                       {.body = event_line("MODIFIED", "a", 12), .streams = true, .hangs = true}});
  KubeOptions options;
  options.pace.watch_silence = 150ms;
  const auto got = watch(server, 2, options);
  EXPECT_EQ(got.end, ErrorKind::Cancelled);
  EXPECT_EQ(got.events.size(), 2U);
  EXPECT_EQ(parameter(server.request(1).target, "resourceVersion"), "11");
}

TEST(KubeWatch, FromNowhereMeansListFirst) {
  const Server server({{200, "{}"}});
  EXPECT_EQ(server.api()->watch("StackSpec", 0, [](const WatchEvent&) {}, {}).error().kind,
            ErrorKind::Expired);
  EXPECT_TRUE(server.requests().empty());
}

TEST(KubeWatch, OfSeveralNamespacesEndsWithTheFirstThatIsLost) {
  const Server server({{.body = event_line("ADDED", "a", 11), .streams = true, .hangs = true},
                       {.body = event_line("ADDED", "b", 12), .streams = true, .hangs = true}});
  KubeOptions options;
  options.namespaces = {"sales", "support"};
  const auto got = watch(server, 2, options);
  EXPECT_EQ(got.end, ErrorKind::Cancelled);
  EXPECT_EQ(got.events.size(), 2U);

  const Server lost({{.body = event_line("ADDED", "a", 11), .streams = true, .hangs = true},
                     {410, status_json(410, "Expired", "too old")}});
  EXPECT_EQ(watch(lost, 9, options).end, ErrorKind::Expired);
}

TEST(PodLog, IsTheEndInWholeLines) {
  std::string log;
  for (int i = 0; i < 100; ++i) log += "line " + std::to_string(i) + "\n";
  const Server server({{200, log}});
  const auto api = server.api();
  const auto tail = api->pod_log("sales", "crm-migrate-abc", "task", 30);
  ASSERT_TRUE(tail) << tail.error().message;
  EXPECT_EQ(*tail, "line 97\nline 98\nline 99\n");
  EXPECT_EQ(api->pod_log("sales", "crm-migrate-abc", "task", 1U << 20U).value(), log);
  EXPECT_EQ(server.request(0).target,
            "/api/v1/namespaces/sales/pods/crm-migrate-abc/log?tailLines=1000&container=task");
}

}  // namespace
}  // namespace stackspec
