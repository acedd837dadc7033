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

/// The live object with everything of ours as wanted; what others added to its metadata stays.
Object merged(const Object& live, const Object& wanted) {
  Object next = live;
  next.content = wanted.content;
  for (const auto& [name, value] : wanted.labels) next.labels[name] = value;
  for (const auto& [name, value] : wanted.annotations) next.annotations[name] = value;
  for (const Owner& owner : wanted.owners) {
    const auto same = [&owner](const Owner& one) { return one.uid == owner.uid; };
    if (std::none_of(next.owners.begin(), next.owners.end(), same)) next.owners.push_back(owner);
  }
  return next;
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
  const PlainChild* child = plain_child(children, wanted.key);
  return child != nullptr && !child->edited && child->applied == applied_hash(applied_text(wanted));
}

bool is_big_enough(const Children& children, const Object& wanted) {
  const auto found = children.claims.find(wanted.key.name);
  return found != children.claims.end() && !is_smaller(found->second.size, requested_size(wanted));
}

Result<void> Writer::ensure(const Stack& stack, const Children& children, Object wanted) {
  if (is_right(children, wanted)) return {};
  const bool is_known = plain_child(children, wanted.key) != nullptr;
  wanted.annotations[kAppliedAnnotation] = applied_text(wanted);
  const auto found = TRY(find_or_create(wanted, is_known));
  if (!found) return {};
  const Object* const live = &*found;
  TRY(must_be_ours(stack, *live));
  const Object next = merged(*live, wanted);
  const bool right = covers(live->content, wanted.content) && next.labels == live->labels &&
                     next.annotations == live->annotations && next.owners == live->owners;
  if (right) {
    cache_.remember(*live);
    return {};
  }
  auto written = objects_.update(next);
  if (!written) return std::move(written).error().in(described(wanted.key));
  cache_.remember(*written);
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
  const auto created = create(wanted);
  if (created) return {};
  if (created.error().kind != ErrorKind::Conflict) return created.error();
  cache_.remember(TRY(objects_.get(wanted.key)));
  return {};
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

Result<Object> Writer::create(const Object& object) {
  auto created = objects_.create(object);
  if (!created) return std::move(created).error().in(described(object.key));
  cache_.remember(*created);
  return created;
}

Result<void> Writer::remove(const ObjectKey& key) {
  auto live = objects_.get(key);
  if (!live) {
    if (live.error().kind == ErrorKind::NotFound) return {};
    return std::move(live).error();
  }
  const auto removed = objects_.remove(key, live->uid, live->resource_version);
  if (!removed && removed.error().kind != ErrorKind::NotFound) return removed.error();
  cache_.forget(*live);
  return {};
}

}  // namespace stackspec::kubernetes
