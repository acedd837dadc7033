// SPDX-License-Identifier: Apache-2.0
#include "contract/objects_contract.hpp"

#include <gtest/gtest.h>

#include <atomic>
#include <condition_variable>
#include <mutex>
#include <set>
#include <thread>
#include <vector>

#include "base/clock.hpp"

namespace stackspec {
namespace {

using namespace std::chrono_literals;
using Type = WatchEvent::Type;

constexpr const char* kFinalizer = "stackspec.dev/contract-test";

/// A watch on a thread of its own.
class Watching {
 public:
  Watching(ObjectApi& api, const std::string& kind, std::int64_t from, std::string ns)
      : ns_(std::move(ns)), thread_([this, &api, kind, from](std::stop_token stop) {
          const auto end = api.watch(
              kind, from, [this](const WatchEvent& event) { keep(event); }, stop);
          const std::lock_guard lock(mutex_);
          if (!end) end_ = end.error().kind;
          changed_.notify_all();
        }) {}

  /// The first `count` events, or what there is after a long while.
  std::vector<WatchEvent> first(std::size_t count) {
    std::unique_lock lock(mutex_);
    changed_.wait_for(lock, 20s, [&] { return events_.size() >= count || end_.has_value(); });
    return events_;
  }

  /// How the watch ended by itself.
  std::optional<ErrorKind> end() {
    std::unique_lock lock(mutex_);
    changed_.wait_for(lock, 20s, [&] { return end_.has_value(); });
    return end_;
  }

  std::optional<ErrorKind> stop() {
    thread_.request_stop();
    return end();
  }

 private:
  void keep(const WatchEvent& event) {
    if (event.object.key.ns != ns_) return;
    const std::lock_guard lock(mutex_);
    events_.push_back(event);
    changed_.notify_all();
  }

  std::string ns_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<WatchEvent> events_;  // guarded by mutex_
  std::optional<ErrorKind> end_;    // guarded by mutex_
  std::jthread thread_;             // last: it uses the others
};

class ObjectsContract : public testing::TestWithParam<ObjectsFactory> {
 protected:
  void SetUp() override {
    made_ = GetParam().make();
    ASSERT_TRUE(made_.inner != nullptr);
    clear();
  }
  void TearDown() override { clear(); }

  ObjectApi& api() { return made_.api(); }

  Object stack(const std::string& name, const std::string& url = "https://one.example.org") {
    Object object;
    object.key = {"StackSpec", GetParam().ns, name};
    object.content["spec"] = {{"tag", "v1.16.6"}, {"serverUrl", url}};
    return object;
  }
  Object make(const std::string& name) { return must(api().create(stack(name))); }
  std::int64_t now() { return must(api().list("StackSpec", "")).resource_version; }

  template <class Value>
  static Value must(Result<Value> result) {
    EXPECT_TRUE(result) << (result ? "" : result.error().message);
    return result ? *std::move(result) : Value();
  }
  template <class Value>
  static std::string kind_of(const Result<Value>& result) {
    return result ? "success" : std::string(to_string(result.error().kind));
  }
  static void set_url(Object& object, const std::string& url) {
    object.content["spec"]["serverUrl"] = url;
  }
  static std::string url_of(const Object& object) {
    return object.content.at("spec").at("serverUrl");
  }
  static std::string message_of(const Object& object) {
    return object.status.value("message", std::string());
  }

 private:
  void clear() {
    for (const auto& ns : {GetParam().ns, GetParam().other_ns}) {
      for (auto& object : must(api().list("StackSpec", ns)).items) {
        if (!object.finalizers.empty()) {
          object.finalizers.clear();
          const auto updated = api().update(object);
          ASSERT_TRUE(updated) << updated.error().message;
        }
        static_cast<void>(api().remove(object.key, "", 0));
      }
    }
  }

  ObjectsUnderTest made_;
};

TEST_P(ObjectsContract, CreateGivesUidVersionAndTime) {
  Object wanted = stack("crm");
  wanted.labels["team"] = "ops";
  wanted.annotations["note"] = "line one\nline \"two\" — ünïcode";
  wanted.finalizers = {kFinalizer};
  // Of a kind that no server knows, so that nothing is collected with it.
  wanted.owners = {{.api_version = "contract.example.org/v1",
                    .kind = "Nothing",
                    .name = "nobody",
                    .uid = "00000000-0000-4000-8000-000000000000",
                    .controller = false,
                    .block_deletion = false}};
  wanted.uid = "mine";
  wanted.deletion_timestamp = "2020-01-01T00:00:00Z";
  wanted.status["message"] = "as created";
  const auto before = system_clock().wall_now();
  const Object made = must(api().create(wanted));
  EXPECT_EQ(made.uid.size(), 36U) << made.uid;
  EXPECT_GT(made.resource_version, 0);
  EXPECT_EQ(made.generation, 1);
  EXPECT_EQ(made.deletion_timestamp, "");
  const auto created = parse_rfc3339(made.creation_timestamp);
  ASSERT_TRUE(created) << made.creation_timestamp;
  EXPECT_LE(*created - before, 60s);
  EXPECT_GE(*created - before, -60s);

  const Object got = must(api().get(wanted.key));
  EXPECT_EQ(got.key, wanted.key);
  EXPECT_EQ(got.uid, made.uid);
  EXPECT_EQ(got.resource_version, made.resource_version);
  EXPECT_EQ(got.creation_timestamp, made.creation_timestamp);
  EXPECT_EQ(got.labels, wanted.labels);
  EXPECT_EQ(got.annotations, wanted.annotations);
  EXPECT_EQ(got.finalizers, wanted.finalizers);
  EXPECT_EQ(got.owners, wanted.owners);
  EXPECT_EQ(url_of(got), "https://one.example.org");
  EXPECT_EQ(message_of(got), "as created");
}

TEST_P(ObjectsContract, CreateOfWhatExistsIsConflict) {
  make("crm");
  EXPECT_EQ(kind_of(api().create(stack("crm", "https://two.example.org"))), "Conflict");
  EXPECT_EQ(url_of(must(api().get(stack("crm").key))), "https://one.example.org");
}

TEST_P(ObjectsContract, WhatIsNotThereIsNotFound) {
  Object nothing = stack("nothing");
  nothing.resource_version = 1;
  EXPECT_EQ(kind_of(api().get(nothing.key)), "NotFound");
  EXPECT_EQ(kind_of(api().update(nothing)), "NotFound");
  EXPECT_EQ(kind_of(api().update_status(nothing)), "NotFound");
  EXPECT_EQ(kind_of(api().remove(nothing.key, "", 0)), "NotFound");
}

TEST_P(ObjectsContract, ListsOneNamespaceOrAllInOrder) {
  for (const auto* name : {"mid", "aid", "zoo"}) make(name);
  Object other = stack("bar");
  other.key.ns = GetParam().other_ns;
  must(api().create(other));

  std::vector<std::string> names;
  for (const auto& item : must(api().list("StackSpec", GetParam().ns)).items) {
    names.push_back(item.key.name);
  }
  EXPECT_EQ(names, (std::vector<std::string>{"aid", "mid", "zoo"}));
  names.clear();
  for (const auto& item : must(api().list("StackSpec", "")).items) {
    if (item.key.ns == GetParam().ns || item.key.ns == GetParam().other_ns) {
      names.push_back(item.key.name);
    }
  }
  EXPECT_EQ(names, (std::vector<std::string>{"aid", "mid", "zoo", "bar"}));
  EXPECT_TRUE(must(api().list("StackBackup", GetParam().ns)).items.empty());
}

TEST_P(ObjectsContract, EachHandsOutWhatAListHas) {
  for (const auto* name : {"mid", "aid", "zoo"}) make(name);
  const auto list = must(api().list("StackSpec", GetParam().ns));
  std::set<std::string> names;
  int begun = 0;
  const auto version = must(api().each(
      "StackSpec", GetParam().ns,
      [&] {
        ++begun;
        names.clear();
      },
      [&](Object&& object) { names.insert(object.key.name); }));
  EXPECT_GE(begun, 1);
  EXPECT_EQ(names, (std::set<std::string>{"aid", "mid", "zoo"}));
  EXPECT_GE(version, list.resource_version);
}

TEST_P(ObjectsContract, WriteNeedsTheStoredVersion) {
  const Object first = make("crm");
  Object changed = first;
  set_url(changed, "https://two.example.org");
  const Object second = must(api().update(changed));
  EXPECT_GT(second.resource_version, first.resource_version);

  set_url(changed, "https://three.example.org");
  changed.status["message"] = "late";
  for (const auto version : {first.resource_version, second.resource_version + 1000}) {
    changed.resource_version = version;
    EXPECT_EQ(kind_of(api().update(changed)), "Conflict");
    EXPECT_EQ(kind_of(api().update_status(changed)), "Conflict");
    EXPECT_EQ(kind_of(api().remove(changed.key, "", version)), "Conflict");
  }
  const Object stored = must(api().get(first.key));
  EXPECT_EQ(url_of(stored), "https://two.example.org");
  EXPECT_EQ(message_of(stored), "");
  EXPECT_EQ(stored.resource_version, second.resource_version);
}

TEST_P(ObjectsContract, WriteToAnotherObjectOfThatNameIsConflict) {
  const Object first = make("crm");
  ASSERT_TRUE(api().remove(first.key, first.uid, first.resource_version));
  const Object second = make("crm");
  EXPECT_NE(second.uid, first.uid);
  Object mixed = second;
  mixed.uid = first.uid;
  set_url(mixed, "https://two.example.org");
  EXPECT_EQ(kind_of(api().update(mixed)), "Conflict");
  EXPECT_EQ(kind_of(api().remove(first.key, first.uid, 0)), "Conflict");
  EXPECT_EQ(must(api().get(first.key)).resource_version, second.resource_version);
}

TEST_P(ObjectsContract, GenerationFollowsContentAlone) {
  Object object = make("crm");
  object.labels["team"] = "ops";
  object.annotations["stackspec.dev/retry"] = "1";
  object = must(api().update(object));
  EXPECT_EQ(object.generation, 1);
  object.status["message"] = "working";
  object = must(api().update_status(object));
  EXPECT_EQ(object.generation, 1);
  set_url(object, "https://two.example.org");
  object = must(api().update(object));
  EXPECT_EQ(object.generation, 2);
  EXPECT_EQ(must(api().get(object.key)).generation, 2);
}

TEST_P(ObjectsContract, UpdateLeavesStatusAndStatusLeavesTheRest) {
  Object object = make("crm");
  object.status["message"] = "first";
  object = must(api().update_status(object));

  Object mixed = object;
  set_url(mixed, "https://two.example.org");
  mixed.status["message"] = "second";
  const Object updated = must(api().update(mixed));
  EXPECT_EQ(message_of(updated), "first");
  EXPECT_EQ(url_of(updated), "https://two.example.org");

  mixed = updated;
  set_url(mixed, "https://three.example.org");
  mixed.labels["team"] = "ops";
  mixed.finalizers = {kFinalizer};
  mixed.status["message"] = "third";
  const Object reported = must(api().update_status(mixed));
  EXPECT_EQ(message_of(reported), "third");
  EXPECT_EQ(url_of(reported), "https://two.example.org");
  const Object stored = must(api().get(object.key));
  EXPECT_TRUE(stored.labels.empty());
  EXPECT_TRUE(stored.finalizers.empty());
  EXPECT_EQ(message_of(stored), "third");
}

TEST_P(ObjectsContract, PatchWritesItsPartsAlone) {
  Object object = make("crm");
  object.status["message"] = "working";
  object = must(api().update_status(object));
  ObjectPatch first{.key = object.key, .resource_version = object.resource_version};
  first.labels["team"] = "ops";
  first.annotations["stackspec.dev/a"] = "1";
  object = must(api().patch(first));
  EXPECT_EQ(object.generation, 1);

  ObjectPatch second{.key = object.key, .resource_version = object.resource_version};
  second.annotations = {{"stackspec.dev/a", "2"}, {"other", "3"}};
  second.content["/spec/serverUrl"] = "https://two.example.org";
  second.owners = {{.api_version = "stackspec.dev/v1alpha1",
                    .kind = "StackSpec",
                    .name = "owner",
                    .uid = make("owner").uid}};
  const Object patched = must(api().patch(second));
  EXPECT_EQ(patched.labels, first.labels);
  EXPECT_EQ(patched.annotations, second.annotations);
  EXPECT_EQ(patched.owners, second.owners);
  EXPECT_EQ(url_of(patched), "https://two.example.org");
  EXPECT_EQ(patched.content.at("spec").at("tag"), "v1.16.6");
  EXPECT_EQ(message_of(patched), "working");
  EXPECT_EQ(patched.generation, 2);
  EXPECT_EQ(must(api().get(object.key)).resource_version, patched.resource_version);

  second.resource_version = patched.resource_version;
  EXPECT_EQ(must(api().patch(second)).resource_version, patched.resource_version);
}

TEST_P(ObjectsContract, PatchIsOfTheStateThatWasSeen) {
  const Object seen = make("crm");
  Object changed = seen;
  set_url(changed, "https://two.example.org");
  changed = must(api().update(changed));
  ObjectPatch patch{.key = seen.key};
  patch.labels["team"] = "ops";
  for (const auto version : {seen.resource_version, changed.resource_version + 1000}) {
    patch.resource_version = version;
    EXPECT_EQ(kind_of(api().patch(patch)), "Conflict");
  }
  patch.resource_version = changed.resource_version;
  patch.content["/nowhere/at/all"] = 1;
  EXPECT_EQ(kind_of(api().patch(patch)), "Invalid");
  EXPECT_EQ(must(api().get(seen.key)).resource_version, changed.resource_version);
  patch.key.name = "nobody";
  EXPECT_EQ(kind_of(api().patch(patch)), "NotFound");
}

TEST_P(ObjectsContract, WritingTheSameWritesNothing) {
  Object object = make("crm");
  object.labels["team"] = "ops";
  object.status["message"] = "ready";
  object = must(api().update_status(must(api().update(object))));
  object.status["message"] = "ready";
  object = must(api().update_status(object));
  const auto before = now();
  EXPECT_EQ(must(api().update(object)).resource_version, object.resource_version);
  EXPECT_EQ(must(api().update_status(object)).resource_version, object.resource_version);
  EXPECT_EQ(must(api().get(object.key)).resource_version, object.resource_version);
  Watching watching(api(), "StackSpec", before, GetParam().ns);
  make("marker");
  EXPECT_EQ(watching.first(1).at(0).object.key.name, "marker") << "a no-op was an event";
}

TEST_P(ObjectsContract, VersionsGrowOverAllObjects) {
  Object one = make("one");
  const Object two = make("two");
  EXPECT_GT(two.resource_version, one.resource_version);
  EXPECT_GE(now(), two.resource_version);
  one.status["message"] = "later";
  one = must(api().update_status(one));
  EXPECT_GT(one.resource_version, two.resource_version);
}

TEST_P(ObjectsContract, FinalizerHoldsTheDeletionUntilItGoes) {
  Object object = stack("crm");
  object.finalizers = {kFinalizer, std::string(kFinalizer) + "-2"};
  object = must(api().create(object));
  ASSERT_TRUE(api().remove(object.key, object.uid, object.resource_version));
  Object dying = must(api().get(object.key));
  EXPECT_TRUE(parse_rfc3339(dying.deletion_timestamp)) << dying.deletion_timestamp;
  EXPECT_GT(dying.resource_version, object.resource_version);

  ASSERT_TRUE(api().remove(object.key, "", 0)) << "asked twice";
  EXPECT_EQ(must(api().get(object.key)).resource_version, dying.resource_version);
  EXPECT_EQ(kind_of(api().create(stack("crm"))), "Conflict") << "the name is still taken";

  Object more = dying;
  more.finalizers.push_back("stackspec.dev/too-late");
  EXPECT_EQ(kind_of(api().update(more)), "Invalid");
  dying.status["message"] = "letting go";
  dying = must(api().update_status(dying));
  dying.finalizers.pop_back();
  dying = must(api().update(dying));
  EXPECT_FALSE(dying.deletion_timestamp.empty());
  dying.finalizers.clear();
  must(api().update(dying));
  EXPECT_EQ(kind_of(api().get(object.key)), "NotFound");
  EXPECT_NE(make("crm").uid, object.uid);
}

TEST_P(ObjectsContract, WatchTellsEveryChangeInOrder) {
  make("before");
  const auto from = now();
  Object object = stack("crm");
  object.finalizers = {kFinalizer};
  object = must(api().create(object));
  Watching watching(api(), "StackSpec", from, GetParam().ns);
  set_url(object, "https://two.example.org");
  object = must(api().update(object));
  object.status["message"] = "ready";
  object = must(api().update_status(object));
  ASSERT_TRUE(api().remove(object.key, "", 0));
  object = must(api().get(object.key));
  object.finalizers.clear();
  must(api().update(object));
  make("after");

  const auto events = watching.first(6);
  ASSERT_EQ(events.size(), 6U);
  const Type types[] = {Type::Added,    Type::Modified, Type::Modified,
                        Type::Modified, Type::Deleted,  Type::Added};
  auto version = from;
  for (std::size_t i = 0; i < 6; ++i) {
    SCOPED_TRACE(i);
    EXPECT_EQ(static_cast<int>(events[i].type), static_cast<int>(types[i]));
    EXPECT_EQ(events[i].object.key.name, i < 5 ? "crm" : "after");
    EXPECT_GT(events[i].object.resource_version, version);
    version = events[i].object.resource_version;
  }
  EXPECT_EQ(url_of(events[0].object), "https://one.example.org") << "as of this event";
  EXPECT_EQ(url_of(events[1].object), "https://two.example.org");
  EXPECT_EQ(message_of(events[4].object), "ready") << "the last state";
  EXPECT_EQ(watching.stop(), ErrorKind::Cancelled);
}

TEST_P(ObjectsContract, WatchResumesFromAnyEvent) {
  const auto from = now();
  for (int i = 0; i < 5; ++i) make("crm-" + std::to_string(i));
  const auto all = Watching(api(), "StackSpec", from, GetParam().ns).first(5);
  ASSERT_EQ(all.size(), 5U);
  for (std::size_t seen = 0; seen < 4; ++seen) {
    Watching rest(api(), "StackSpec", all[seen].object.resource_version, GetParam().ns);
    const auto events = rest.first(4 - seen);
    ASSERT_EQ(events.size(), 4 - seen);
    EXPECT_EQ(events[0].object.key, all[seen + 1].object.key);
  }
}

TEST_P(ObjectsContract, WatchTellsOnlyOfItsKind) {
  const auto from = now();
  Watching watching(api(), "StackBackup", from, GetParam().ns);
  make("crm");
  Object backup;
  backup.key = {"StackBackup", GetParam().ns, "backup"};
  backup.content["spec"] = {{"stackRef", {{"name", "crm"}}}};
  must(api().create(backup));
  const auto events = watching.first(1);
  ASSERT_TRUE(api().remove(backup.key, "", 0));
  ASSERT_EQ(events.size(), 1U);
  EXPECT_EQ(events[0].object.key, backup.key);
}

TEST_P(ObjectsContract, QuietWatchStopsAtOnce) {
  Watching watching(api(), "StackSpec", now(), GetParam().ns);
  EXPECT_EQ(watching.stop(), ErrorKind::Cancelled);
}

TEST_P(ObjectsContract, ReaderMayWriteFromItsWatch) {
  const auto from = now();
  make("crm");
  std::stop_source stop;
  const auto end = api().watch(
      "StackSpec", from,
      [&](const WatchEvent& event) {
        if (message_of(event.object) == "seen") stop.request_stop();
        Object object = event.object;
        object.status["message"] = "seen";
        static_cast<void>(api().update_status(object));
      },
      stop.get_token());
  EXPECT_EQ(kind_of(end), "Cancelled");
}

TEST_P(ObjectsContract, TooOldAPositionIsExpired) {
  const int writes = GetParam().writes_until_expired;
  if (writes == 0) GTEST_SKIP() << GetParam().name << " cannot be made to forget";
  Object object = make("crm");
  const auto old = object.resource_version;
  Watching kept_up(api(), "StackBackup", old, GetParam().ns);
  for (int i = 0; i < writes; ++i) {
    object.status["message"] = std::to_string(i);
    object = must(api().update_status(object));
  }
  Watching watching(api(), "StackSpec", old - 1, GetParam().ns);
  EXPECT_EQ(watching.end(), ErrorKind::Expired);
  EXPECT_TRUE(watching.first(0).empty());
  Watching current(api(), "StackSpec", object.resource_version, GetParam().ns);
  object.status["message"] = "one more";
  must(api().update_status(object));
  EXPECT_EQ(current.first(1).size(), 1U);
  EXPECT_EQ(kept_up.stop(), ErrorKind::Cancelled) << "no news is not too old";
}

TEST_P(ObjectsContract, OfWritersAtOnceExactlyOneWins) {
  const Object first = make("crm");
  for (int round = 0; round < 10; ++round) {
    const Object base = must(api().get(first.key));
    std::atomic<int> won = 0;
    std::atomic<int> lost = 0;
    {
      std::vector<std::jthread> writers;
      for (int i = 0; i < 4; ++i) {
        writers.emplace_back([&, i] {
          Object mine = base;
          set_url(mine, "https://w" + std::to_string(round * 10 + i) + ".example.org");
          const auto written = api().update(mine);
          if (written) ++won;
          if (!written && written.error().kind == ErrorKind::Conflict) ++lost;
        });
      }
    }
    EXPECT_EQ(won, 1);
    EXPECT_EQ(lost, 3);
  }
}

TEST_P(ObjectsContract, NoIncrementIsLostAndAWatchSeesThemAll) {
  Object object = make("crm");
  object.status["message"] = "0";
  object = must(api().update_status(object));
  Watching watching(api(), "StackSpec", object.resource_version, GetParam().ns);
  {
    std::vector<std::jthread> writers;
    for (int i = 0; i < 4; ++i) {
      writers.emplace_back([&] {
        for (int done = 0; done < 15;) {
          auto mine = api().get(object.key);
          if (!mine) continue;
          mine->status["message"] = std::to_string(std::stoi(message_of(*mine)) + 1);
          if (api().update_status(*mine)) ++done;
        }
      });
    }
  }
  EXPECT_EQ(message_of(must(api().get(object.key))), "60");
  const auto events = watching.first(60);
  ASSERT_EQ(events.size(), 60U);
  for (std::size_t i = 0; i < 60; ++i) {
    ASSERT_EQ(message_of(events[i].object), std::to_string(i + 1));
  }
}

TEST_P(ObjectsContract, BytesThatAreNoTextAreRefused) {
  Object object = stack("crm");
  object.content["spec"]["serverUrl"] = "https://caf\xe9.example.org";
  EXPECT_EQ(kind_of(api().create(object)), "Invalid");
  EXPECT_EQ(kind_of(api().get(object.key)), "NotFound");
}

std::string test_name(const testing::TestParamInfo<ObjectsFactory>& info) {
  return info.param.name;
}

INSTANTIATE_TEST_SUITE_P(Objects, ObjectsContract, testing::ValuesIn(objects_factories()),
                         test_name);

}  // namespace
}  // namespace stackspec
