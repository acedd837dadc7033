// SPDX-License-Identifier: Apache-2.0
#include "platform/kubernetes/packed_children.hpp"

#include <concepts>
#include <cstring>
#include <map>
#include <optional>
#include <set>
#include <type_traits>
#include <utility>

namespace stackspec::kubernetes {
namespace {

/// What is written, and read back in the same order.
class Out {
 public:
  void raw(const std::size_t& value) {
    bytes_.append(reinterpret_cast<const char*>(&value), sizeof value);
  }
  /// Small numbers in one byte, of either sign.
  void number(std::int64_t value) {
    auto rest = (static_cast<std::uint64_t>(value) << 1U) ^ static_cast<std::uint64_t>(value >> 63);
    for (; rest >= 128; rest >>= 7U) bytes_ += static_cast<char>(rest | 128U);
    bytes_ += static_cast<char>(rest);
  }
  void text(const std::string& value) {
    number(static_cast<std::int64_t>(value.size()));
    bytes_ += value;
  }
  std::string take() { return {bytes_.data(), bytes_.size()}; }  // no more than it needs

 private:
  std::string bytes_;
};

class In {
 public:
  explicit In(std::string_view bytes) : bytes_(bytes) {}
  void raw(std::size_t& value) {
    std::memcpy(&value, bytes_.data(), sizeof value);
    bytes_.remove_prefix(sizeof value);
  }
  std::int64_t number() {
    std::uint64_t value = 0;
    for (unsigned shift = 0;; shift += 7U) {
      const auto byte = static_cast<unsigned char>(bytes_.front());
      bytes_.remove_prefix(1);
      value |= static_cast<std::uint64_t>(byte & 127U) << shift;
      if (byte < 128) break;
    }
    return static_cast<std::int64_t>(value >> 1U) ^ -static_cast<std::int64_t>(value & 1U);
  }
  std::string text() {
    const auto size = static_cast<std::size_t>(number());
    std::string value(bytes_.substr(0, size));
    bytes_.remove_prefix(size);
    return value;
  }

 private:
  std::string_view bytes_;
};

template <class Value>
concept Small = std::is_enum_v<Value> || std::same_as<Value, int> || std::same_as<Value, bool> ||
    std::same_as<Value, std::int64_t>;

template <class Archive, class Struct>
void members(Archive& archive, Struct& value);

void one(Out& out, const std::size_t& value) {
  out.raw(value);
}
void one(In& in, std::size_t& value) {
  in.raw(value);
}
void one(Out& out, const std::string& value) {
  out.text(value);
}
void one(In& in, std::string& value) {
  value = in.text();
}
template <Small Value>
void one(Out& out, const Value& value) {
  out.number(static_cast<std::int64_t>(value));
}
template <Small Value>
void one(In& in, Value& value) {
  value = static_cast<Value>(in.number());
}
template <class Struct>
requires std::is_aggregate_v<Struct>
void one(Out& out, const Struct& value) {
  members(out, value);
}
template <class Struct>
requires std::is_aggregate_v<Struct>
void one(In& in, Struct& value) {
  members(in, value);
}

template <class Value>
void one(Out& out, const std::optional<Value>& value) {
  out.number(value ? 1 : 0);
  if (value) one(out, *value);
}
template <class Value>
void one(In& in, std::optional<Value>& value) {
  if (in.number() != 0) one(in, value.emplace());
}

template <class Value>
void one(Out& out, const std::set<Value>& values) {
  out.number(static_cast<std::int64_t>(values.size()));
  for (const Value& value : values) one(out, value);
}
template <class Value>
void one(In& in, std::set<Value>& values) {
  for (auto left = in.number(); left > 0; --left) {
    Value value{};
    one(in, value);
    values.insert(values.end(), std::move(value));
  }
}

template <class Key, class Value>
void one(Out& out, const std::map<Key, Value>& values) {
  out.number(static_cast<std::int64_t>(values.size()));
  for (const auto& [key, value] : values) {
    one(out, key);
    one(out, value);
  }
}
template <class Key, class Value>
void one(In& in, std::map<Key, Value>& values) {
  for (auto left = in.number(); left > 0; --left) {
    Key key{};
    one(in, key);
    one(in, values.emplace_hint(values.end(), std::move(key), Value{})->second);
  }
}

template <class Archive, class... Values>
void all(Archive& archive, Values&... values) {
  (one(archive, values), ...);
}

/// Every member by name: one that is added does not compile until it is here.
template <class Archive, class Struct>
void members(Archive& archive, Struct& value) {
  using Kind = std::remove_const_t<Struct>;
  if constexpr (std::same_as<Kind, PlainChild>) {
    auto& [applied, edited, leaving, owner] = value;
    all(archive, applied, edited, leaving, owner);
  } else if constexpr (std::same_as<Kind, GatewayDoor>) {
    auto& [told_open, is_open] = value;
    all(archive, told_open, is_open);
  } else if constexpr (std::same_as<Kind, WorkloadChild>) {
    auto& [plain, replicas, status_replicas, observed, revision, version, placement, problem] =
        value;
    all(archive, plain, replicas, status_replicas, observed, revision, version, placement, problem);
  } else if constexpr (std::same_as<Kind, PodChild>) {
    auto& [component, job, revision, alive, ready, deleting, unpullable, restarts, exit_code,
           problem, result] = value;
    all(archive, component, job, revision, alive, ready, deleting, unpullable, restarts, exit_code,
        problem, result);
  } else if constexpr (std::same_as<Kind, JobChild>) {
    auto& [kind, created, suspended, started, complete, failed, failure, backup_id, outcome,
           exit_code, result, log, progress] = value;
    all(archive, kind, created, suspended, started, complete, failed, failure, backup_id, outcome,
        exit_code, result, log, progress);
  } else if constexpr (std::same_as<Kind, ClaimChild>) {
    auto& [size] = value;
    all(archive, size);
  } else if constexpr (std::same_as<Kind, BackupSeen>) {
    auto& [id, source_version, system_identifier, cursor_key, cutoff_time, cutoff_lsn, sha256,
           size_bytes, tables, files, proven, key_fingerprints, location] = value;
    all(archive, id, source_version, system_identifier, cursor_key, cutoff_time, cutoff_lsn, sha256,
        size_bytes, tables, files, proven, key_fingerprints, location);
  } else if constexpr (std::same_as<Kind, BackupChild>) {
    auto& [seen, record, removing] = value;
    all(archive, seen, record, removing);
  } else {
    static_assert(std::same_as<Kind, Children>);
    auto& [plain, workloads, pods, jobs, claims, backups, task_names, scripts, disruption, door,
           addresses, versions] = value;
    static_cast<void>(versions);  // put in by whoever hands it out
    all(archive, plain, workloads, pods, jobs, claims, backups, task_names, scripts, disruption,
        door, addresses);
  }
}

}  // namespace

std::string pack(const Children& children) {
  Out out;
  members(out, children);
  return out.take();
}

Children unpack(std::string_view packed) {
  In in(packed);
  Children children;
  members(in, children);
  return children;
}

}  // namespace stackspec::kubernetes
