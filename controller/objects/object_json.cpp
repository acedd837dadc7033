// SPDX-License-Identifier: Apache-2.0
#include "objects/object_json.hpp"

#include <algorithm>

namespace stackspec {
namespace {

Error no_such_place(const ObjectKey& key, const std::string& path) {
  return {ErrorKind::Invalid,
          "patch " + key.kind + " " + key.ns + "/" + key.name + ": nothing holds " + path};
}

}  // namespace

Result<ObjectList> list_by_each(ObjectApi& objects, const std::string& kind,
                                const std::string& ns) {
  ObjectList all;
  all.resource_version = TRY(objects.each(
      kind, ns, [&] { all.items.clear(); },
      [&](Object&& object) { all.items.push_back(std::move(object)); }));
  std::sort(all.items.begin(), all.items.end(),
            [](const Object& one, const Object& other) { return one.key < other.key; });
  return all;
}

Result<Object> ObjectApi::patch(const ObjectPatch& patch) {
  Object object = TRY(get(patch.key));
  object.resource_version = patch.resource_version;
  for (const auto& [name, value] : patch.labels) object.labels[name] = value;
  for (const auto& [name, value] : patch.annotations) object.annotations[name] = value;
  if (!patch.owners.empty()) object.owners = patch.owners;
  for (const auto& [path, value] : patch.content) {
    try {
      const nlohmann::json::json_pointer place(path);
      nlohmann::json& holder = object.content.at(place.parent_pointer());
      if (!holder.is_object()) return no_such_place(patch.key, path);
      holder[place.back()] = value;
    } catch (const nlohmann::json::exception&) {
      return no_such_place(patch.key, path);
    }
  }
  return update(object);
}

nlohmann::json to_json(const std::vector<Owner>& owners) {
  auto list = nlohmann::json::array();
  for (const Owner& owner : owners) {
    auto json = nlohmann::json::object();
    json["apiVersion"] = owner.api_version;
    json["kind"] = owner.kind;
    json["name"] = owner.name;
    json["uid"] = owner.uid;
    json["controller"] = owner.controller;
    json["blockOwnerDeletion"] = owner.block_deletion;
    list.push_back(std::move(json));
  }
  return list;
}

std::vector<Owner> owners_from_json(const nlohmann::json& json) {
  std::vector<Owner> owners;
  for (const auto& one : json) {
    Owner owner;
    one.at("apiVersion").get_to(owner.api_version);
    one.at("kind").get_to(owner.kind);
    one.at("name").get_to(owner.name);
    one.at("uid").get_to(owner.uid);
    owner.controller = one.value("controller", false);
    owner.block_deletion = one.value("blockOwnerDeletion", false);
    owners.push_back(std::move(owner));
  }
  return owners;
}

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
  if (!object.owners.empty()) json["ownerReferences"] = to_json(object.owners);
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
    // Absent in what was stored before there were owners.
    const auto owners = json.find("ownerReferences");
    if (owners != json.end()) object.owners = owners_from_json(*owners);
    object.content = json.at("content");
    object.status = json.at("status");
    return object;
  } catch (const nlohmann::json::exception& failure) {
    return Error{ErrorKind::Internal, std::string("stored object: ") + failure.what()};
  }
}

}  // namespace stackspec
