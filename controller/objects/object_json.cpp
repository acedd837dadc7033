// SPDX-License-Identifier: Apache-2.0
#include "objects/object_json.hpp"

namespace stackspec {

nlohmann::json to_json(const Object& object) {
  auto json = nlohmann::json::object();
  json["kind"] = object.key.kind;
  json["namespace"] = object.key.ns;
  json["name"] = object.key.name;
  json["uid"] = object.uid;
  json["resourceVersion"] = object.resource_version;
  json["generation"] = object.generation;
  json["creationTimestamp"] = object.creation_timestamp;
  json["deletionTimestamp"] = object.deletion_timestamp;
  json["finalizers"] = object.finalizers;
  json["labels"] = object.labels;
  json["annotations"] = object.annotations;
  json["content"] = object.content;
  json["status"] = object.status;
  return json;
}

Result<Object> object_from_json(const nlohmann::json& json) {
  try {
    Object object;
    json.at("kind").get_to(object.key.kind);
    json.at("namespace").get_to(object.key.ns);
    json.at("name").get_to(object.key.name);
    json.at("uid").get_to(object.uid);
    json.at("resourceVersion").get_to(object.resource_version);
    json.at("generation").get_to(object.generation);
    json.at("creationTimestamp").get_to(object.creation_timestamp);
    json.at("deletionTimestamp").get_to(object.deletion_timestamp);
    json.at("finalizers").get_to(object.finalizers);
    json.at("labels").get_to(object.labels);
    json.at("annotations").get_to(object.annotations);
    object.content = json.at("content");
    object.status = json.at("status");
    return object;
  } catch (const nlohmann::json::exception& failure) {
    return Error{ErrorKind::Internal, std::string("stored object: ") + failure.what()};
  }
}

}  // namespace stackspec
