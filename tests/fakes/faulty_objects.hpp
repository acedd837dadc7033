// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "objects/object_api.hpp"

namespace stackspec {

/// Thrown in the middle of a write: the process is dead from here. A harness catches it, throws
/// everything in memory away and starts again on what was stored.
struct Crash {};

/// What happens to one write.
enum class WriteFault {
  None,
  Unavailable,  ///< Nothing is written.
  LostReply,    ///< Written, but the caller is told Unavailable.
  Conflict,     ///< Nothing is written; someone else is said to have been first.
  CrashBefore,  ///< Crash, nothing is written.
  CrashAfter,   ///< Written, then Crash.
};
constexpr WriteFault kAllWriteFaults[] = {WriteFault::None,        WriteFault::Unavailable,
                                          WriteFault::LostReply,   WriteFault::Conflict,
                                          WriteFault::CrashBefore, WriteFault::CrashAfter};

/// What happens to one get() or list().
struct ReadFault {
  bool unavailable = false;
  int versions_old = 0;  ///< Answers as the world was this many writes ago.
};

enum class WriteVerb { Create, Update, UpdateStatus, Remove };

/// One attempt to write: the ground truth for invariants.
struct WriteRecord {
  int number = 0;  ///< From 1; failed attempts count.
  WriteVerb verb = WriteVerb::Create;
  ObjectKey key;
  WriteFault fault = WriteFault::None;
  std::optional<ErrorKind> error;  ///< What the store said, when it was asked and refused.
  bool wrote = false;              ///< The stored object is another one than before.
  bool content_changed = false;
  bool status_changed = false;
  nlohmann::json before;  ///< As objects/object_json.hpp writes it; null: there was none.
  nlohmann::json after;
};

/// An ObjectApi with an unreliable line to it. Deterministic: the plans decide by number. Writers
/// that go to `inner` directly are "someone else": not counted, not recorded, never stale.
class FaultyObjects final : public ObjectApi {
 public:
  explicit FaultyObjects(ObjectApi& inner) : inner_(inner) {}

  /// Asked before each write, with its number and what it is about. None of its calls may come
  /// back here.
  void plan_writes(std::function<WriteFault(int number, WriteVerb, const ObjectKey&)> plan);
  /// Asked before each get() and list(), with its number from 1.
  void plan_reads(std::function<ReadFault(int number)> plan);
  /// No more faults; the log stays.
  void heal();

  std::vector<WriteRecord> writes() const;
  int write_count() const;

  Result<Object> get(const ObjectKey& key) override;
  Result<ObjectList> list(const std::string& kind, const std::string& ns) override;
  Result<Object> create(const Object& object) override;
  Result<Object> update(const Object& object) override;
  Result<Object> patch(const ObjectPatch& patch) override;
  Result<Object> update_status(const Object& object) override;
  Result<void> remove(const ObjectKey& key, const std::string& uid,
                      std::int64_t resource_version) override;
  /// Never faulty: what a watch delivers is true, only late.
  Result<void> watch(const std::string& kind, std::int64_t from,
                     const std::function<void(const WatchEvent&)>& on_event,
                     std::stop_token stop) override;

 private:
  /// One stored change, newest last.
  struct Change {
    ObjectKey key;
    std::optional<Object> before;
    std::int64_t version = 0;  ///< The counter of the store after it.
  };

  template <class Value>
  Result<Value> write(WriteVerb verb, const ObjectKey& key,
                      const std::function<Result<Value>()>& act);
  std::optional<Object> stored(const ObjectKey& key);
  void record(WriteRecord record, std::optional<Object> before);
  ReadFault next_read_locked();
  /// The first change that a reader this far behind has not seen.
  std::size_t first_unseen_locked(int versions_old) const;

  ObjectApi& inner_;
  mutable std::mutex mutex_;
  std::function<WriteFault(int, WriteVerb, const ObjectKey&)> write_plan_;  // guarded by mutex_
  std::function<ReadFault(int)> read_plan_;                                 // guarded by mutex_
  std::vector<WriteRecord> writes_;                                         // guarded by mutex_
  std::vector<Change> changes_;                                             // guarded by mutex_
  int reads_ = 0;                                                           // guarded by mutex_
};

}  // namespace stackspec
