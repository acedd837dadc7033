// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

#include "base/result.hpp"
#include "kube/kinds.hpp"
#include "objects/object_api.hpp"

namespace stackspec {

/// The object as an API server wants it, without status. `reporter` is who reports an Event.
/// Error: Invalid.
Result<std::string> wire_text(const KindInfo& kind, const Object& object,
                              const std::string& reporter);

/// The same with its status, for the subresource.
Result<std::string> wire_text_with_status(const KindInfo& kind, const Object& object);

/// A JSON Patch that is refused with a Conflict where the object is another than it was. `live` is
/// what is known of it: an object without labels, or annotations, has no place to add one to.
std::string patch_text(const ObjectPatch& patch, const Object* live = nullptr);

/// JSON of an API server without managedFields, which nobody here reads. Error: Unavailable.
Result<nlohmann::json> parse_answer(std::string_view text);

/// What a page of a list says about itself.
struct ListHead {
  std::int64_t version = 0;
  std::string next;  ///< Token of the next page; empty: this was the last.
};

/// Error: Unavailable.
Result<ListHead> parse_list_head(std::string_view text);

/// Hands out the items of a page, each parsed like an answer, without ever holding two. Errors:
/// Unavailable, and what `take` says, which ends it.
Result<ListHead> each_item(std::string_view text,
                           const std::function<Result<void>(nlohmann::json&&)>& take);

/// One line of a watch.
struct WireEvent {
  std::string type;  ///< ADDED, BOOKMARK, ERROR, …
  nlohmann::json object = nlohmann::json::object();
};

/// Error: Unavailable.
Result<WireEvent> parse_event(std::string_view line);

/// The text in a field of an object; empty when there is none.
std::string text_at(const nlohmann::json& object, const char* name);

/// Error: Unavailable, when it is no object.
Result<Object> object_of(const KindInfo& kind, nlohmann::json&& json);

/// resourceVersion as a number. Error: Unavailable, when it is none.
Result<std::int64_t> version_of(const nlohmann::json& metadata);

/// What an API server said in place of an answer.
struct Refusal {
  int status = 0;
  std::string reason;   ///< AlreadyExists, Expired, …; may be empty.
  std::string message;  ///< For people.
  bool names_an_object = false;
  bool version_too_large = false;  ///< It has not seen yet what we asked from.
};

/// Of a body that is a Status, or of whatever a proxy put in its place.
Refusal refusal_of(int status, std::string_view body);
Refusal refusal_of(const nlohmann::json& status);

/// `doing` is what was tried: "create StackSpec sales/crm".
Error error_of(const Refusal& refusal, const KindInfo& kind, const std::string& doing);

}  // namespace stackspec
