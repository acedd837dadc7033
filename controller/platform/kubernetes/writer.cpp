// SPDX-License-Identifier: Apache-2.0
#include "platform/kubernetes/writer.hpp"

#include <algorithm>

#include "base/log.hpp"
#include "platform/kubernetes/covers.hpp"
#include "platform/kubernetes/names.hpp"

namespace stackspec::kubernetes {
namespace {

using nlohmann::json;

/// A storage class may be made to grow its claims.
constexpr std::chrono::minutes kAskAgain{1};

std::string described(const ObjectKey& key) {
  return key.kind + " " + key.ns + "/" + key.name;
}

const PlainChild* plain_child(const Children& children, const ObjectKey& key) {
  if (key.kind == "Deployment" || key.kind == "StatefulSet") {
    for (const auto& [component, child] : children.workloads) {
      if (key.name.ends_with("-" + std::string(to_string(component)))) return &child.plain;
    }
    return nullptr;
  }
  const auto found = children.plain.find(key_hash(key));
  return found == children.plain.end() ? nullptr : &found->second;
}

/// Whose an object is, before it is written over. What goes by itself is waited for; what needs a
/// person is none of the conflicts that a new look settles.
Result<void> must_be_ours(const Stack& stack, const Object& live) {
  const std::string object = described(live.key);
  if (!live.deletion_timestamp.empty()) {
    return Error{ErrorKind::Unavailable,
                 object + " is being deleted; it is made anew when it is gone"};
  }
  for (const Owner& owner : live.owners) {
    if (owner.uid == stack.uid) return {};
    if (!owner.controller) continue;
    const bool earlier = owner.kind == "StackSpec" && owner.name == stack.key.name;
    return Error{
        earlier ? ErrorKind::Unavailable : ErrorKind::Invalid,
        object + " belongs to " + owner.kind + " " + owner.name +
            (earlier ? " of before; it is made anew when it is gone" : "; rename one of the two")};
  }
  const auto label = live.labels.find(kStackLabel);
  if (label != live.labels.end() && label->second == stack.key.name) return {};
  return Error{ErrorKind::Invalid,
               object + " was not made for this stack; rename it, or the stack"};
}

/// Everything of ours as wanted; what others added to its metadata stays.
ObjectPatch written_over(const Object& wanted, std::int64_t version) {
  ObjectPatch patch{.key = wanted.key, .resource_version = version};
  patch.labels = wanted.labels;
  patch.annotations = wanted.annotations;
  for (const auto& [name, value] : wanted.content.items()) patch.content["/" + name] = value;
  return patch;
}

ObjectPatch written_over(const Object& wanted, const Object& live) {
  ObjectPatch patch = written_over(wanted, live.resource_version);
  for (const Owner& owner : wanted.owners) {
    const auto same = [&owner](const Owner& one) { return one.uid == owner.uid; };
    if (std::any_of(live.owners.begin(), live.owners.end(), same)) continue;
    if (patch.owners.empty()) patch.owners = live.owners;
    patch.owners.push_back(owner);
  }
  return patch;
}

/// `live` has all of it.
template <class Map>
bool contains(const Map& live, const Map& wanted) {
  return std::all_of(wanted.begin(), wanted.end(), [&](const auto& one) {
    const auto found = live.find(one.first);
    return found != live.end() && found->second == one.second;
  });
}

/// 0: it is not known.
std::int64_t version_of(const Children& children, const ObjectKey& key) {
  const auto found = children.versions.find(key_hash(key));
  return found == children.versions.end() ? 0 : found->second;
}

/// A child that is there, and as it was applied.
bool says(const PlainChild* child, const std::string& applied) {
  return child != nullptr && !child->edited && child->applied == applied_hash(applied);
}

/// What was decided on is no more, or was not all: the object itself tells.
bool asks_for_a_look(const Error& error) {
  return error.kind == ErrorKind::Conflict || error.kind == ErrorKind::NotFound ||
         error.kind == ErrorKind::Invalid;
}

std::string requested_size(const Object& claim) {
  static const json::json_pointer kSize("/spec/resources/requests/storage");
  return claim.content.value(kSize, "");
}

bool is_smaller(const std::string& size, const std::string& wanted) {
  const auto have = quantity(size);
  const auto want = quantity(wanted);
  return have && want && *have < *want;
}

}  // namespace

bool is_right(const Children& children, const Object& wanted) {
  return says(plain_child(children, wanted.key), applied_text(wanted));
}

bool is_big_enough(const Children& children, const Object& wanted) {
  const auto found = children.claims.find(wanted.key.name);
  return found != children.claims.end() && !is_smaller(found->second.size, requested_size(wanted));
}

Result<void> Writer::ensure(const Stack& stack, const Children& children, Object wanted) {
  const PlainChild* known = plain_child(children, wanted.key);
  std::string applied = applied_text(wanted);
  if (says(known, applied)) return {};
  wanted.annotations[kAppliedAnnotation] = std::move(applied);
  if (known != nullptr && known->owner == owner_hash(stack.uid) && !known->leaving) {
    const auto written = patch(written_over(wanted, version_of(children, wanted.key)));
    if (written || !asks_for_a_look(written.error())) return written;
  }
  const auto live = TRY(find_or_create(wanted, known != nullptr));
  if (!live) return {};
  TRY(must_be_ours(stack, *live));
  const ObjectPatch change = written_over(wanted, *live);
  const bool right = covers(live->content, wanted.content) && change.owners.empty() &&
                     contains(live->labels, wanted.labels) &&
                     contains(live->annotations, wanted.annotations);
  if (!right) return patch(change);
  cache_.remember(*live);
  return {};
}

Result<void> Writer::ensure_claim(const Children& children, const Object& wanted) {
  if (is_big_enough(children, wanted)) return {};
  const std::string size = requested_size(wanted);
  const auto live = TRY(find_or_create(wanted, children.claims.contains(wanted.key.name)));
  if (!live) return {};
  const auto label = live->labels.find(kStackLabel);
  if (label != live->labels.end() && label->second != wanted.labels.at(kStackLabel)) {
    return Error{ErrorKind::Invalid, described(wanted.key) + " belongs to stack " + label->second +
                                         "; rename it, or name another in existingClaim"};
  }
  // One that a person made under our name is taken up: unlabelled it would never be heard of.
  Object next = *live;
  next.labels.insert(wanted.labels.begin(), wanted.labels.end());
  const bool grows = is_smaller(requested_size(*live), size) && !refused(wanted.key, size);
  if (grows) next.content["spec"]["resources"]["requests"]["storage"] = size;
  if (!grows && next.labels == live->labels) {
    cache_.remember(*live);
    return {};
  }
  auto written = objects_.update(next);
  if (written) {
    cache_.remember(*written);
    return {};
  }
  const ErrorKind kind = written.error().kind;
  if (!grows || (kind != ErrorKind::Invalid && kind != ErrorKind::Forbidden)) {
    return std::move(written).error().in(described(wanted.key));
  }
  log::warn(
      "claim cannot grow",
      {{"claim", described(wanted.key)}, {"size", size}, {"detail", written.error().message}});
  const std::lock_guard lock(mutex_);
  refused_[described(wanted.key) + " " + size] = clock_.steady_now();
  return {};
}

bool Writer::refused(const ObjectKey& claim, const std::string& size) const {
  const std::lock_guard lock(mutex_);
  const auto found = refused_.find(described(claim) + " " + size);
  return found != refused_.end() && clock_.steady_now() - found->second < kAskAgain;
}

std::string Writer::cannot_grow(const Children& children, const Object& wanted) const {
  const auto claim = children.claims.find(wanted.key.name);
  const std::string size = requested_size(wanted);
  if (claim == children.claims.end() || !is_smaller(claim->second.size, size)) return {};
  if (!refused(wanted.key, size)) return {};
  return "claim " + wanted.key.name + " cannot grow from " + claim->second.size + " to " + size +
         ": its storage class does not allow it";
}

Result<void> Writer::create_once(const Children& children, const Object& wanted) {
  if (plain_child(children, wanted.key) != nullptr) return {};
  const auto live = TRY(find_or_create(wanted, false));
  if (live) cache_.remember(*live);
  return {};
}

Result<void> Writer::set(const Children& children, ObjectPatch parts) {
  if (parts.resource_version == 0) parts.resource_version = version_of(children, parts.key);
  if (parts.resource_version > 0) {
    const auto written = patch(parts);
    if (written || written.error().kind != ErrorKind::Conflict) return written;
  }
  parts.resource_version = TRY(objects_.get(parts.key)).resource_version;
  return patch(parts);
}

Result<void> Writer::modify(const ObjectKey& key, const std::function<void(Object&)>& change) {
  const Object live = TRY(objects_.get(key));
  Object next = live;
  change(next);
  const bool same = next.content == live.content && next.annotations == live.annotations &&
                    next.labels == live.labels;
  if (same) {
    cache_.remember(live);
    return {};
  }
  auto written = objects_.update(next);
  if (!written) return std::move(written).error().in(described(key));
  cache_.remember(*written);
  return {};
}

Result<std::optional<Object>> Writer::find_or_create(const Object& wanted, bool is_known) {
  // What is not known is hardly ever there: to create it says so in one request.
  if (!is_known) {
    const auto created = create(wanted);
    if (created) return std::optional<Object>();
    if (created.error().kind != ErrorKind::Conflict) return created.error();
  }
  auto live = objects_.get(wanted.key);
  if (live) return std::optional<Object>(std::move(live).value());
  if (live.error().kind != ErrorKind::NotFound) return std::move(live).error();
  TRY(create(wanted));
  return std::optional<Object>();
}

Result<void> Writer::patch(const ObjectPatch& parts) {
  auto written = objects_.patch(parts);
  if (!written) return std::move(written).error().in(described(parts.key));
  cache_.remember(*written);
  return {};
}

Result<Object> Writer::create(const Object& object) {
  auto created = objects_.create(object);
  if (!created) return std::move(created).error().in(described(object.key));
  cache_.remember(*created);
  return created;
}

Result<void> Writer::remove(const Children& children, const ObjectKey& key) {
  std::int64_t version = version_of(children, key);
  auto removed = version > 0 ? objects_.remove(key, "", version)
                             : Result<void>(Error{ErrorKind::Conflict, "it is not known"});
  if (!removed && removed.error().kind == ErrorKind::Conflict) {
    const auto live = objects_.get(key);
    if (!live && live.error().kind == ErrorKind::NotFound) return {};
    version = TRY(live).resource_version;
    removed = objects_.remove(key, live->uid, version);
  }
  if (!removed && removed.error().kind != ErrorKind::NotFound) return removed;
  cache_.forget(key, version);
  return {};
}

}  // namespace stackspec::kubernetes
