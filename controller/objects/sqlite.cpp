// SPDX-License-Identifier: Apache-2.0
#include <sys/random.h>

#include <algorithm>
#include <array>
#include <condition_variable>
#include <mutex>
#include <utility>

#include "base/clock.hpp"
#include "objects/object_api.hpp"
#include "objects/object_json.hpp"
#include "objects/sqlite_handle.hpp"

namespace stackspec {

namespace {

using Step = Statement::Step;
using Mode = Transaction::Mode;

constexpr std::int64_t kFormat = 1;       ///< PRAGMA user_version of the tables below.
constexpr std::int64_t kHistory = 1000;   ///< Writes that a watch can go back.
constexpr std::int64_t kWatchBatch = 64;  ///< Events read at once, so that memory stays small.

constexpr std::string_view kSettings[] = {
    "PRAGMA journal_mode=WAL", "PRAGMA synchronous=FULL",
    "PRAGMA cache_size=-256",  // KiB: the objects of one host are few, the controller stays small
    "PRAGMA mmap_size=0",      "PRAGMA wal_autocheckpoint=250", "PRAGMA journal_size_limit=1048576",
};

constexpr std::string_view kTables[] = {
    "CREATE TABLE IF NOT EXISTS objects(kind TEXT, ns TEXT, name TEXT, uid TEXT NOT NULL,"
    " rv INTEGER NOT NULL, generation INTEGER NOT NULL, created TEXT NOT NULL,"
    " deleted TEXT NOT NULL, meta TEXT NOT NULL, content TEXT NOT NULL, status TEXT NOT NULL,"
    " PRIMARY KEY(kind, ns, name)) WITHOUT ROWID",
    "CREATE TABLE IF NOT EXISTS log(rv INTEGER PRIMARY KEY, kind TEXT NOT NULL,"
    " type INTEGER NOT NULL, object TEXT NOT NULL)",
    "CREATE TABLE IF NOT EXISTS counter(id INTEGER PRIMARY KEY CHECK(id = 1),"
    " rv INTEGER NOT NULL)",
    "INSERT OR IGNORE INTO counter VALUES(1, 0)",
    "PRAGMA user_version=1",
};

constexpr std::string_view kColumns =
    "SELECT kind, ns, name, uid, rv, generation, created, deleted, meta, content, status"
    " FROM objects WHERE kind = ?1";

std::string words_for(const ObjectKey& key) {
  return key.kind + " " + key.ns + "/" + key.name;
}

Result<std::string> text_of(const nlohmann::json& json) {
  try {
    return json.dump();
  } catch (const nlohmann::json::exception& failure) {
    return Error{ErrorKind::Invalid, failure.what()};
  }
}

Result<nlohmann::json> json_of(const std::string& text) {
  auto json = nlohmann::json::parse(text, nullptr, false);
  if (json.is_discarded()) return Error{ErrorKind::Internal, "stored text is not JSON"};
  return json;
}

/// Random (version 4), as Kubernetes gives.
Result<std::string> random_uuid() {
  std::array<unsigned char, 16> bytes{};
  if (::getrandom(bytes.data(), bytes.size(), 0) != static_cast<ssize_t>(bytes.size())) {
    return Error{ErrorKind::Unavailable, "no random bytes from the kernel"};
  }
  bytes[6] = static_cast<unsigned char>((bytes[6] & 0x0FU) | 0x40U);
  bytes[8] = static_cast<unsigned char>((bytes[8] & 0x3FU) | 0x80U);
  constexpr char kDigits[] = "0123456789abcdef";
  std::string text;
  for (std::size_t i = 0; i < bytes.size(); ++i) {
    if (i == 4 || i == 6 || i == 8 || i == 10) text += '-';
    text += {kDigits[bytes[i] >> 4], kDigits[bytes[i] & 15]};
  }
  return text;
}

nlohmann::json meta_of(const Object& object) {
  auto meta = nlohmann::json::object();
  meta["finalizers"] = object.finalizers;
  meta["labels"] = object.labels;
  meta["annotations"] = object.annotations;
  if (!object.owners.empty()) meta["ownerReferences"] = to_json(object.owners);
  return meta;
}

Result<Object> object_in(const Statement& row) {
  Object object;
  object.key = {row.text(0), row.text(1), row.text(2)};
  object.uid = row.text(3);
  object.resource_version = row.integer(4);
  object.generation = row.integer(5);
  object.creation_timestamp = row.text(6);
  object.deletion_timestamp = row.text(7);
  const auto meta = TRY(json_of(row.text(8)));
  object.content = TRY(json_of(row.text(9)));
  object.status = TRY(json_of(row.text(10)));
  try {
    meta.at("finalizers").get_to(object.finalizers);
    meta.at("labels").get_to(object.labels);
    meta.at("annotations").get_to(object.annotations);
    const auto owners = meta.find("ownerReferences");
    if (owners != meta.end()) object.owners = owners_from_json(*owners);
  } catch (const nlohmann::json::exception& failure) {
    return Error{ErrorKind::Internal, words_for(object.key) + ": " + failure.what()};
  }
  return object;
}

Result<void> check_precondition(const Object& stored, const std::string& uid,
                                std::int64_t resource_version) {
  if (!uid.empty() && uid != stored.uid) {
    return Error{ErrorKind::Conflict,
                 words_for(stored.key) + " is another object of that name: uid " + stored.uid};
  }
  if (resource_version != stored.resource_version) {
    return Error{ErrorKind::Conflict, words_for(stored.key) + " was changed: resourceVersion " +
                                          std::to_string(stored.resource_version) + ", not " +
                                          std::to_string(resource_version)};
  }
  return {};
}

Result<void> check_finalizers(const Object& stored, const Object& wanted) {
  if (stored.deletion_timestamp.empty()) return {};
  for (const auto& finalizer : wanted.finalizers) {
    const auto& known = stored.finalizers;
    if (std::find(known.begin(), known.end(), finalizer) == known.end()) {
      return Error{ErrorKind::Invalid, words_for(stored.key) + " is being deleted: finalizer " +
                                           finalizer + " cannot be added"};
    }
  }
  return {};
}

class SqliteObjects final : public ObjectApi {
 public:
  explicit SqliteObjects(SqliteHandle handle) : handle_(std::move(handle)) {}

  Result<Object> get(const ObjectKey& key) override;
  Result<ObjectList> list(const std::string& kind, const std::string& ns) override;
  Result<Object> create(const Object& object) override;
  Result<Object> update(const Object& object) override;
  Result<Object> update_status(const Object& object) override;
  Result<void> remove(const ObjectKey& key, const std::string& uid,
                      std::int64_t resource_version) override;
  Result<void> watch(const std::string& kind, std::int64_t from,
                     const std::function<void(const WatchEvent&)>& on_event,
                     std::stop_token stop) override;

 private:
  /// What a watch has to hand on, and how far it has then seen.
  struct Batch {
    std::vector<WatchEvent> events;
    std::int64_t seen = 0;
  };

  Result<std::optional<Object>> find_locked(const ObjectKey& key);
  Result<Object> need_locked(const ObjectKey& key);
  Result<std::int64_t> counter_locked();
  /// Gives `object` the next version, stores it and its event, and commits.
  Result<Object> write_locked(Transaction& transaction, WatchEvent::Type type, Object object);
  Result<void> store_locked(const Object& object);
  Result<Batch> events_locked(const std::string& kind, std::int64_t from);

  std::mutex mutex_;
  std::condition_variable_any changed_;
  SqliteHandle handle_;       // guarded by mutex_
  std::uint64_t writes_ = 0;  // guarded by mutex_
};

Result<std::optional<Object>> SqliteObjects::find_locked(const ObjectKey& key) {
  auto row = TRY(handle_.prepare(std::string(kColumns) + " AND ns = ?2 AND name = ?3", key.kind,
                                 key.ns, key.name));
  if (TRY(row.step()) == Step::Done) return std::optional<Object>();
  return std::optional<Object>(TRY(object_in(row)));
}

Result<Object> SqliteObjects::need_locked(const ObjectKey& key) {
  auto found = TRY(find_locked(key));
  if (!found) return Error{ErrorKind::NotFound, "no " + words_for(key)};
  return *std::move(found);
}

Result<std::int64_t> SqliteObjects::counter_locked() {
  auto row = TRY(handle_.prepare("SELECT rv FROM counter"));
  TRY(row.step());
  return row.integer(0);
}

Result<void> SqliteObjects::store_locked(const Object& object) {
  const std::string meta = TRY(text_of(meta_of(object)));
  const std::string content = TRY(text_of(object.content));
  const std::string status = TRY(text_of(object.status));
  return handle_.run("INSERT OR REPLACE INTO objects VALUES(?1,?2,?3,?4,?5,?6,?7,?8,?9,?10,?11)",
                     object.key.kind, object.key.ns, object.key.name, object.uid,
                     object.resource_version, object.generation, object.creation_timestamp,
                     object.deletion_timestamp, meta, content, status);
}

Result<Object> SqliteObjects::write_locked(Transaction& transaction, WatchEvent::Type type,
                                           Object object) {
  object.resource_version = TRY(counter_locked()) + 1;
  if (type == WatchEvent::Type::Deleted) {
    TRY(handle_.run("DELETE FROM objects WHERE kind = ?1 AND ns = ?2 AND name = ?3",
                    object.key.kind, object.key.ns, object.key.name));
  } else {
    TRY(store_locked(object));
  }
  const std::string event = TRY(text_of(to_json(object)));
  TRY(handle_.run("INSERT INTO log VALUES(?1, ?2, ?3, ?4)", object.resource_version,
                  object.key.kind, static_cast<std::int64_t>(type), event));
  TRY(handle_.run("DELETE FROM log WHERE rv <= ?1", object.resource_version - kHistory));
  TRY(handle_.run("UPDATE counter SET rv = ?1", object.resource_version));
  TRY(transaction.commit());
  ++writes_;
  changed_.notify_all();
  return object;
}

Result<Object> SqliteObjects::get(const ObjectKey& key) {
  const std::lock_guard lock(mutex_);
  return need_locked(key);
}

Result<ObjectList> SqliteObjects::list(const std::string& kind, const std::string& ns) {
  const std::lock_guard lock(mutex_);
  const auto transaction = TRY(Transaction::begin(handle_, Mode::Read));
  ObjectList list;
  list.resource_version = TRY(counter_locked());
  auto row = TRY(handle_.prepare(
      std::string(kColumns) + " AND (?2 = '' OR ns = ?2) ORDER BY ns, name", kind, ns));
  while (TRY(row.step()) == Step::Row) list.items.push_back(TRY(object_in(row)));
  return list;
}

Result<Object> SqliteObjects::create(const Object& object) {
  if (object.key.kind.empty() || object.key.name.empty()) {
    return Error{ErrorKind::Invalid, "an object needs a kind and a name"};
  }
  const std::lock_guard lock(mutex_);
  auto transaction = TRY(Transaction::begin(handle_, Mode::Write));
  if (TRY(find_locked(object.key))) {
    return Error{ErrorKind::Conflict, words_for(object.key) + " exists already"};
  }
  Object made = object;
  made.uid = TRY(random_uuid());
  made.generation = 1;
  made.creation_timestamp = to_rfc3339(system_clock().wall_now());
  made.deletion_timestamp.clear();
  return write_locked(transaction, WatchEvent::Type::Added, std::move(made));
}

Result<Object> SqliteObjects::update(const Object& object) {
  const std::lock_guard lock(mutex_);
  auto transaction = TRY(Transaction::begin(handle_, Mode::Write));
  Object stored = TRY(need_locked(object.key));
  TRY(check_precondition(stored, object.uid, object.resource_version));
  TRY(check_finalizers(stored, object));
  // As text: 1 and 1.0 are equal as values, but not the same content.
  const bool same_content = TRY(text_of(object.content)) == TRY(text_of(stored.content));
  if (same_content && meta_of(object) == meta_of(stored)) return stored;
  stored.content = object.content;
  stored.finalizers = object.finalizers;
  stored.labels = object.labels;
  stored.annotations = object.annotations;
  stored.owners = object.owners;
  if (!same_content) ++stored.generation;
  const bool gone = !stored.deletion_timestamp.empty() && stored.finalizers.empty();
  return write_locked(transaction, gone ? WatchEvent::Type::Deleted : WatchEvent::Type::Modified,
                      std::move(stored));
}

Result<Object> SqliteObjects::update_status(const Object& object) {
  const std::lock_guard lock(mutex_);
  auto transaction = TRY(Transaction::begin(handle_, Mode::Write));
  Object stored = TRY(need_locked(object.key));
  TRY(check_precondition(stored, object.uid, object.resource_version));
  if (TRY(text_of(object.status)) == TRY(text_of(stored.status))) return stored;
  stored.status = object.status;
  return write_locked(transaction, WatchEvent::Type::Modified, std::move(stored));
}

Result<void> SqliteObjects::remove(const ObjectKey& key, const std::string& uid,
                                   std::int64_t resource_version) {
  const std::lock_guard lock(mutex_);
  auto transaction = TRY(Transaction::begin(handle_, Mode::Write));
  Object stored = TRY(need_locked(key));
  TRY(check_precondition(stored, uid,
                         resource_version == 0 ? stored.resource_version : resource_version));
  if (stored.finalizers.empty()) {
    TRY(write_locked(transaction, WatchEvent::Type::Deleted, std::move(stored)));
    return {};
  }
  if (!stored.deletion_timestamp.empty()) return {};
  stored.deletion_timestamp = to_rfc3339(system_clock().wall_now());
  TRY(write_locked(transaction, WatchEvent::Type::Modified, std::move(stored)));
  return {};
}

Result<SqliteObjects::Batch> SqliteObjects::events_locked(const std::string& kind,
                                                          std::int64_t from) {
  const auto transaction = TRY(Transaction::begin(handle_, Mode::Read));
  const auto newest = TRY(counter_locked());
  if (from > newest || from < newest - kHistory) {
    return Error{ErrorKind::Expired, "resourceVersion " + std::to_string(from) +
                                         " is not in the watch history: list again"};
  }
  Batch batch;
  auto row = TRY(handle_.prepare(
      "SELECT rv, type, object FROM log WHERE rv > ?1 AND kind = ?2 ORDER BY rv LIMIT ?3", from,
      kind, kWatchBatch));
  while (TRY(row.step()) == Step::Row) {
    WatchEvent event;
    event.type = static_cast<WatchEvent::Type>(row.integer(1));
    const auto object = TRY(json_of(row.text(2)));
    event.object = TRY(object_from_json(object));
    batch.seen = row.integer(0);
    batch.events.push_back(std::move(event));
  }
  // Nothing more of this kind: other kinds' writes must not make this position too old.
  if (batch.events.size() < static_cast<std::size_t>(kWatchBatch)) batch.seen = newest;
  return batch;
}

Result<void> SqliteObjects::watch(const std::string& kind, std::int64_t from,
                                  const std::function<void(const WatchEvent&)>& on_event,
                                  std::stop_token stop) {
  std::unique_lock lock(mutex_);
  while (!stop.stop_requested()) {
    const auto known = writes_;
    const Batch batch = TRY(events_locked(kind, from));
    from = batch.seen;
    if (batch.events.empty()) {
      changed_.wait(lock, stop, [&] { return writes_ != known; });
      continue;
    }
    lock.unlock();
    for (const auto& event : batch.events) {
      if (stop.stop_requested()) break;
      on_event(event);
    }
    lock.lock();
  }
  return Error{ErrorKind::Cancelled, "watch stopped"};
}

Result<void> prepare_tables(SqliteHandle& handle) {
  for (const auto setting : kSettings) TRY(handle.run(setting));
  auto transaction = TRY(Transaction::begin(handle, Mode::Write));
  {
    auto row = TRY(handle.prepare("PRAGMA user_version"));
    TRY(row.step());
    if (row.integer(0) > kFormat) {
      return Error{ErrorKind::Unavailable, "it was written by a newer stackspec (format " +
                                               std::to_string(row.integer(0)) + "): use that one"};
    }
  }
  for (const auto table : kTables) TRY(handle.run(table));
  return transaction.commit();
}

}  // namespace

Result<std::unique_ptr<ObjectApi>> make_sqlite_objects(const std::string& path) {
  const std::string where = "open objects " + path;
  auto handle = SqliteHandle::open(path);
  if (!handle) return std::move(handle).error().in(where);
  if (auto prepared = prepare_tables(*handle); !prepared) {
    return std::move(prepared).error().in(where);
  }
  return std::unique_ptr<ObjectApi>(std::make_unique<SqliteObjects>(std::move(*handle)));
}

}  // namespace stackspec
