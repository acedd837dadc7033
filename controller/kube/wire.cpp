// SPDX-License-Identifier: Apache-2.0
#include "kube/wire.hpp"

#include <charconv>

#include "kube/answer.hpp"
#include "objects/object_json.hpp"

namespace stackspec {
namespace {

using nlohmann::json;

json metadata_of(const Object& object) {
  auto metadata = json::object();
  if (!object.key.name.empty()) metadata["name"] = object.key.name;
  if (!object.key.ns.empty()) metadata["namespace"] = object.key.ns;
  if (object.resource_version != 0) {
    metadata["resourceVersion"] = std::to_string(object.resource_version);
    // Who writes to what was read means that very object, not a later one of its name.
    if (!object.uid.empty()) metadata["uid"] = object.uid;
  }
  if (!object.labels.empty()) metadata["labels"] = object.labels;
  if (!object.annotations.empty()) metadata["annotations"] = object.annotations;
  if (!object.finalizers.empty()) metadata["finalizers"] = object.finalizers;
  if (!object.owners.empty()) metadata["ownerReferences"] = to_json(object.owners);
  return metadata;
}

json wire_of(const KindInfo& kind, const Object& object) {
  json wire = object.content.is_object() ? object.content : json::object();
  wire["apiVersion"] = kind.api_version();
  wire["kind"] = kind.kind;
  wire["metadata"] = metadata_of(object);
  return wire;
}

Result<std::string> text_of(const json& wire) {
  try {
    return wire.dump();
  } catch (const json::exception& failure) {
    return Error{ErrorKind::Invalid, failure.what()};
  }
}

/// What events.k8s.io/v1 demands next to what every event of ours says.
void complete_event(json& event, const std::string& reporter) {
  event["reportingController"] = "stackspec.dev/controller";
  event["reportingInstance"] = reporter;
  if (!event.contains("action")) event["action"] = event.value("reason", std::string("Reconcile"));
  std::string time = event.value("eventTime", std::string());
  // A time of an event has microseconds.
  if (!time.empty() && time.find('.') == std::string::npos && time.back() == 'Z') {
    time.insert(time.size() - 1, ".000000");
    event["eventTime"] = time;
  }
}

template <class Value>
void read(const json& metadata, const char* name, Value& value) {
  const auto found = metadata.find(name);
  if (found != metadata.end() && !found->is_null()) found->get_to(value);
}

Result<void> read_metadata(const json& metadata, Object& object) {
  object.key.name = text_at(metadata, "name");
  object.key.ns = text_at(metadata, "namespace");
  object.uid = text_at(metadata, "uid");
  object.creation_timestamp = text_at(metadata, "creationTimestamp");
  object.deletion_timestamp = text_at(metadata, "deletionTimestamp");
  object.resource_version = TRY(version_of(metadata));
  const auto generation = metadata.find("generation");
  if (generation != metadata.end() && !generation->is_null()) {
    // Refuses a fraction, of which get_to() would take what an integer cannot hold.
    object.generation = generation->get_ref<const json::number_integer_t&>();
  }
  read(metadata, "finalizers", object.finalizers);
  read(metadata, "labels", object.labels);
  read(metadata, "annotations", object.annotations);
  const auto owners = metadata.find("ownerReferences");
  if (owners != metadata.end() && !owners->is_null()) object.owners = owners_from_json(*owners);
  return {};
}

Result<ListHead> head_of(const json& page) {
  const auto metadata = page.find("metadata");
  if (metadata == page.end() || !metadata->is_object()) {
    return Error{ErrorKind::Unavailable, "the answer is no list"};
  }
  return ListHead{TRY(version_of(*metadata)), text_at(*metadata, "continue")};
}

ErrorKind kind_of(int status) {
  switch (status) {
    case 401:
    case 403: return ErrorKind::Forbidden;
    case 404: return ErrorKind::NotFound;
    case 409: return ErrorKind::Conflict;
    case 410: return ErrorKind::Expired;
    case 408:
    case 429: return ErrorKind::Unavailable;
    default: return status >= 400 && status < 500 ? ErrorKind::Invalid : ErrorKind::Unavailable;
  }
}

}  // namespace

Result<std::string> wire_text(const KindInfo& kind, const Object& object,
                              const std::string& reporter) {
  json wire = wire_of(kind, object);
  if (kind.kind == "Event") complete_event(wire, reporter);
  return text_of(wire);
}

Result<std::string> wire_text_with_status(const KindInfo& kind, const Object& object) {
  json wire = wire_of(kind, object);
  wire["status"] = object.status;
  return text_of(wire);
}

std::string patch_text(const ObjectPatch& patch, const Object* live) {
  const auto text_of_any = [](const json& value) {
    return value.dump(-1, ' ', false, json::error_handler_t::replace);
  };
  std::string operations;
  const auto add = [&](const json::json_pointer& path, const json& value) {
    operations += (operations.empty() ? "[" : ",") + std::string(R"({"op":"add","path":)") +
                  text_of_any(path.to_string()) + R"(,"value":)" + text_of_any(value) + "}";
  };
  const json::json_pointer metadata("/metadata");
  // What stands there is compared with what is stored, as in an update; a `test` would be Invalid.
  add(metadata / "resourceVersion", std::to_string(patch.resource_version));
  if (live != nullptr && live->labels.empty()) add(metadata / "labels", json::object());
  if (live != nullptr && live->annotations.empty()) add(metadata / "annotations", json::object());
  for (const auto& [name, value] : patch.labels) add(metadata / "labels" / name, value);
  for (const auto& [name, value] : patch.annotations) add(metadata / "annotations" / name, value);
  if (!patch.owners.empty()) add(metadata / "ownerReferences", to_json(patch.owners));
  for (const auto& [path, value] : patch.content) add(json::json_pointer(path), value);
  return operations + "]";
}

std::string text_at(const json& object, const char* name) {
  const auto found = object.find(name);
  return found != object.end() && found->is_string() ? found->get<std::string>() : std::string();
}

Result<json> parse_answer(std::string_view text) {
  return read_answer(text);
}

Result<ListHead> parse_list_head(std::string_view text) {
  return head_of(TRY(read_answer(text, {.kept = false})));
}

Result<ListHead> each_item(std::string_view text, const std::function<Result<void>(json&&)>& take) {
  return head_of(TRY(read_answer(text, {.take = take})));
}

Result<WireEvent> parse_event(std::string_view line) {
  auto event = parse_answer(line);
  if (!event) return Error{ErrorKind::Unavailable, "a line is not JSON"};
  const auto object = event->find("object");
  if (object == event->end() || !object->is_object()) {
    return Error{ErrorKind::Unavailable, "an event without an object"};
  }
  return WireEvent{text_at(*event, "type"), std::move(*object)};
}

Result<std::int64_t> version_of(const json& metadata) {
  const std::string text = text_at(metadata, "resourceVersion");
  std::int64_t version = 0;
  const char* const end = text.data() + text.size();
  const auto read_to = std::from_chars(text.data(), end, version);
  // A review is answered and not stored: it has none.
  if (!text.empty() && (read_to.ec != std::errc() || read_to.ptr != end || version < 0)) {
    return Error{ErrorKind::Unavailable, "resourceVersion " + text + " is not a number"};
  }
  return version;
}

Result<Object> object_of(const KindInfo& kind, json&& answer) {
  try {
    Object object;
    object.key.kind = kind.kind;
    const auto metadata = answer.find("metadata");
    if (metadata == answer.end() || !metadata->is_object()) {
      return Error{ErrorKind::Unavailable, "the API server answered an object without metadata"};
    }
    TRY(read_metadata(*metadata, object));
    const auto status = answer.find("status");
    if (status != answer.end() && status->is_object()) object.status = std::move(*status);
    for (const char* known : {"apiVersion", "kind", "metadata", "status"}) answer.erase(known);
    object.content = std::move(answer);
    return object;
  } catch (const json::exception& failure) {
    return Error{ErrorKind::Unavailable,
                 std::string("the API server answered an unreadable object: ") + failure.what()};
  }
}

Refusal refusal_of(const json& status) {
  Refusal refusal;
  const auto code = status.find("code");
  if (code != status.end() && code->is_number_integer()) refusal.status = code->get<int>();
  refusal.reason = text_at(status, "reason");
  refusal.message = text_at(status, "message");
  const auto details = status.find("details");
  if (details == status.end() || !details->is_object()) return refusal;
  refusal.names_an_object = !text_at(*details, "name").empty();
  const auto causes = details->find("causes");
  if (causes == details->end() || !causes->is_array()) return refusal;
  for (const auto& cause : *causes) {
    refusal.version_too_large =
        refusal.version_too_large ||
        (cause.is_object() && text_at(cause, "reason") == "ResourceVersionTooLarge");
  }
  return refusal;
}

Refusal refusal_of(int status, std::string_view body) {
  Refusal refusal;
  const auto answer = json::parse(body, nullptr, false);
  if (answer.is_object()) refusal = refusal_of(answer);
  refusal.status = status;
  if (refusal.message.empty()) refusal.message = body.substr(0, 200);
  while (!refusal.message.empty() && refusal.message.back() == '\n') refusal.message.pop_back();
  return refusal;
}

Error error_of(const Refusal& refusal, const KindInfo& kind, const std::string& doing) {
  // Not Found by the path, not by the name: to take it for a deleted object would be wrong.
  if (refusal.status == 404 && !refusal.names_an_object) {
    return {ErrorKind::Unavailable, doing + ": the API server does not serve " + kind.resource() +
                                        "/" + std::string(kind.version) +
                                        "; are the CRDs installed"};
  }
  std::string message = doing + ": ";
  if (refusal.status == 401) message += "the credentials are not accepted: ";
  if (refusal.status == 403) message += "not allowed on " + kind.resource() + ": ";
  message += refusal.message.empty() ? "status " + std::to_string(refusal.status) : refusal.message;
  return {kind_of(refusal.status), std::move(message)};
}

}  // namespace stackspec
