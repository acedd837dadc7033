// SPDX-License-Identifier: Apache-2.0
#include "fakes/faulty_objects.hpp"

#include <algorithm>
#include <map>
#include <utility>

#include "objects/object_json.hpp"

namespace stackspec {

namespace {

Error unavailable() {
  return {ErrorKind::Unavailable, "injected: no answer"};
}

nlohmann::json json_or_null(const std::optional<Object>& object) {
  return object ? to_json(*object) : nlohmann::json();
}

}  // namespace

void FaultyObjects::plan_writes(std::function<WriteFault(int, WriteVerb, const ObjectKey&)> plan) {
  const std::lock_guard lock(mutex_);
  write_plan_ = std::move(plan);
}

void FaultyObjects::plan_reads(std::function<ReadFault(int)> plan) {
  const std::lock_guard lock(mutex_);
  read_plan_ = std::move(plan);
}

void FaultyObjects::heal() {
  const std::lock_guard lock(mutex_);
  write_plan_ = nullptr;
  read_plan_ = nullptr;
}

std::vector<WriteRecord> FaultyObjects::writes() const {
  const std::lock_guard lock(mutex_);
  return writes_;
}

int FaultyObjects::write_count() const {
  const std::lock_guard lock(mutex_);
  return static_cast<int>(writes_.size());
}

std::optional<Object> FaultyObjects::stored(const ObjectKey& key) {
  auto object = inner_.get(key);
  return object ? std::optional(*std::move(object)) : std::nullopt;
}

void FaultyObjects::record(WriteRecord record, std::optional<Object> before) {
  const auto after = stored(record.key);
  record.before = json_or_null(before);
  record.after = json_or_null(after);
  record.wrote = record.before != record.after;
  const nlohmann::json none;
  record.content_changed = (before ? before->content : none) != (after ? after->content : none);
  record.status_changed = (before ? before->status : none) != (after ? after->status : none);
  if (record.wrote) {
    const auto list = inner_.list(record.key.kind, record.key.ns);
    changes_.push_back({record.key, std::move(before), list ? list->resource_version : 0});
  }
  writes_.push_back(std::move(record));
}

template <class Value>
Result<Value> FaultyObjects::write(WriteVerb verb, const ObjectKey& key,
                                   const std::function<Result<Value>()>& act) {
  const std::lock_guard lock(mutex_);
  WriteRecord entry;
  entry.number = static_cast<int>(writes_.size()) + 1;
  entry.verb = verb;
  entry.key = key;
  if (write_plan_) entry.fault = write_plan_(entry.number, verb, key);
  const auto fault = entry.fault;
  auto before = stored(key);
  if (fault == WriteFault::Unavailable || fault == WriteFault::Conflict ||
      fault == WriteFault::CrashBefore) {
    record(std::move(entry), std::move(before));
    if (fault == WriteFault::CrashBefore) throw Crash{};
    if (fault == WriteFault::Unavailable) return unavailable();
    return Error{ErrorKind::Conflict, "injected: someone else was first"};
  }
  Result<Value> result = act();
  if (!result) entry.error = result.error().kind;
  record(std::move(entry), std::move(before));
  if (fault == WriteFault::CrashAfter) throw Crash{};
  if (fault == WriteFault::LostReply) return unavailable();
  return result;
}

ReadFault FaultyObjects::next_read_locked() {
  ++reads_;
  return read_plan_ ? read_plan_(reads_) : ReadFault{};
}

std::size_t FaultyObjects::first_unseen_locked(int versions_old) const {
  const auto back = static_cast<std::size_t>(std::max(versions_old, 0));
  return changes_.size() - std::min(back, changes_.size());
}

Result<Object> FaultyObjects::get(const ObjectKey& key) {
  const std::lock_guard lock(mutex_);
  const ReadFault fault = next_read_locked();
  if (fault.unavailable) return unavailable();
  for (auto i = first_unseen_locked(fault.versions_old); i < changes_.size(); ++i) {
    if (changes_[i].key != key) continue;
    if (changes_[i].before) return *changes_[i].before;
    return Error{ErrorKind::NotFound, "no " + key.kind + " " + key.ns + "/" + key.name};
  }
  return inner_.get(key);
}

Result<ObjectList> FaultyObjects::list(const std::string& kind, const std::string& ns) {
  const std::lock_guard lock(mutex_);
  const ReadFault fault = next_read_locked();
  if (fault.unavailable) return unavailable();
  auto list = TRY(inner_.list(kind, ns));
  const auto first = first_unseen_locked(fault.versions_old);
  if (first == changes_.size()) return list;

  std::map<ObjectKey, Object> objects;
  for (auto& object : list.items) objects.emplace(object.key, std::move(object));
  for (auto i = changes_.size(); i-- > first;) {
    const Change& change = changes_[i];
    if (change.key.kind != kind || (!ns.empty() && change.key.ns != ns)) continue;
    objects.erase(change.key);
    if (change.before) objects.emplace(change.key, *change.before);
  }
  list.items.clear();
  for (auto& [key, object] : objects) list.items.push_back(std::move(object));
  list.resource_version = changes_[first].version - 1;
  return list;
}

Result<Object> FaultyObjects::create(const Object& object) {
  return write<Object>(WriteVerb::Create, object.key, [&] { return inner_.create(object); });
}

Result<Object> FaultyObjects::update(const Object& object) {
  return write<Object>(WriteVerb::Update, object.key, [&] { return inner_.update(object); });
}

Result<Object> FaultyObjects::patch(const ObjectPatch& patch) {
  return write<Object>(WriteVerb::Update, patch.key, [&] { return inner_.patch(patch); });
}

Result<Object> FaultyObjects::update_status(const Object& object) {
  return write<Object>(WriteVerb::UpdateStatus, object.key,
                       [&] { return inner_.update_status(object); });
}

Result<void> FaultyObjects::remove(const ObjectKey& key, const std::string& uid,
                                   std::int64_t resource_version) {
  return write<void>(WriteVerb::Remove, key,
                     [&] { return inner_.remove(key, uid, resource_version); });
}

Result<void> FaultyObjects::watch(const std::string& kind, std::int64_t from,
                                  const std::function<void(const WatchEvent&)>& on_event,
                                  std::stop_token stop) {
  return inner_.watch(kind, from, on_event, std::move(stop));
}

}  // namespace stackspec
