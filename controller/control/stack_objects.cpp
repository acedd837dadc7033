// SPDX-License-Identifier: Apache-2.0
#include "control/stack_objects.hpp"

#include <openssl/rand.h>

#include <algorithm>
#include <cctype>
#include <set>

#include "api/codec.hpp"
#include "base/base64.hpp"
#include "base/hash.hpp"
#include "base/log.hpp"

namespace stackspec {

namespace {

/// From here on Twenty wants a dedicated ENCRYPTION_KEY; an older stack must keep APP_SECRET in its
/// place until the key is rotated, or its stored tokens become unreadable.
constexpr Version kOwnEncryptionKey{2, 5, 0};

using Values = std::map<std::string, std::string>;

Values values_of(const Object& object) {
  Values values;
  const auto take = [&](const char* field, bool encoded) {
    const auto found = object.content.find(field);
    if (found == object.content.end() || !found->is_object()) return;
    for (const auto& [key, value] : found->items()) {
      if (!value.is_string()) continue;
      const auto text = value.get<std::string>();
      // What an API server stores is base64; what is not is as good as missing.
      auto bytes = encoded ? base64_decoded(text) : Result<std::string>(text);
      if (bytes) values[key] = std::move(bytes).value();
    }
  };
  take("data", object.key.kind == "Secret");
  take("stringData", false);
  return values;
}

/// A password that a person chose becomes part of PG_DATABASE_URL as it is. Empty: it may.
std::string unusable_password(const Stack& stack, const Values& own) {
  const auto password = own.find("PG_DATABASE_PASSWORD");
  if (stack.spec.database.external || password == own.end()) return {};
  const bool plain = std::all_of(password->second.begin(), password->second.end(), [](char c) {
    return std::isalnum(static_cast<unsigned char>(c)) != 0 ||
           std::string_view("-._~").find(c) != std::string_view::npos;
  });
  if (plain) return {};
  return "Secret " + secrets_name(stack.key, stack.spec) +
         ": PG_DATABASE_PASSWORD may hold only letters, digits and - . _ ~";
}

/// Names of the Secrets a spec refers to, its own left out.
std::set<std::string> named_secrets(const StackSpec& spec) {
  std::set<std::string> names;
  const auto add = [&](const std::string& name) {
    if (!name.empty()) names.insert(name);
  };
  const auto add_from = [&](const std::vector<EnvFrom>& list) {
    for (const EnvFrom& from : list) add(from.secret);
  };
  add_from(spec.env_from);
  add_from(spec.fundraising.env_from);
  if (spec.storage.s3) add(spec.storage.s3->credentials_secret);
  add(spec.admin_credentials_secret);
  if (spec.database.external) {
    add(spec.database.external->url.name);
    if (spec.database.external->maintenance_url) {
      add(spec.database.external->maintenance_url->name);
    }
  }
  if (spec.redis.external_url) add(spec.redis.external_url->name);
  return names;
}

std::set<std::string> named_config_maps(const StackSpec& spec) {
  std::set<std::string> names;
  for (const auto* list : {&spec.env_from, &spec.fundraising.env_from}) {
    for (const EnvFrom& from : *list) {
      if (!from.config_map.empty()) names.insert(from.config_map);
    }
  }
  return names;
}

Object generated_secret(const Stack& stack, const std::string& name, const RandomHex& random) {
  Object secret;
  secret.key = {"Secret", stack.key.ns, name};
  secret.labels[kStackLabel] = stack.key.name;
  nlohmann::json data = nlohmann::json::object();
  for (const GeneratedKey& key : generated_keys()) {
    data[std::string(key.key)] = random(key.bytes);
  }
  if (stack.spec.target() < kOwnEncryptionKey) data["ENCRYPTION_KEY"] = data["APP_SECRET"];
  secret.content["stringData"] = std::move(data);
  return secret;
}

/// The stack's own Secret: there, or back from its twin, or made now. The twin is written first, so
/// that no key is ever used that exists only once.
Result<Object> own_secret(ObjectApi& objects, const Stack& stack, const RandomHex& random,
                          bool& generated) {
  const std::string name = secrets_name(stack.key, stack.spec);
  auto secret = objects.get({"Secret", stack.key.ns, name});
  const bool ours = stack.spec.secrets_ref.empty();
  if (secret || secret.error().kind != ErrorKind::NotFound || !ours) return secret;
  // It is hardly ever there: to create it says so in one request, where asking first takes two.
  auto twin = objects.create(generated_secret(stack, name + "-keep", random));
  if (!twin && twin.error().kind == ErrorKind::Conflict) {
    twin = objects.get({"Secret", stack.key.ns, name + "-keep"});
  }
  if (!twin) return twin;
  generated = true;
  Object copy;
  copy.key = {"Secret", stack.key.ns, name};
  copy.labels = twin->labels;
  copy.content = twin->content;
  return objects.create(copy);
}

}  // namespace

RandomHex system_random() {
  return [](int bytes) {
    std::string raw(static_cast<std::size_t>(bytes), '\0');
    // Without randomness there is no secret worth having: an empty one is refused by its users.
    if (RAND_bytes(reinterpret_cast<unsigned char*>(raw.data()), bytes) != 1) return std::string();
    constexpr char kDigits[] = "0123456789abcdef";
    std::string text;
    for (const char c : raw) {
      text += kDigits[static_cast<unsigned char>(c) >> 4U];
      text += kDigits[static_cast<unsigned char>(c) & 15U];
    }
    return text;
  };
}

Result<Stack> load_stack(ObjectApi& objects, const StackKey& key) {
  const Object object = TRY(objects.get({"StackSpec", key.ns, key.name}));
  Stack stack;
  stack.key = key;
  stack.uid = object.uid;
  stack.generation = object.generation;
  stack.resource_version = object.resource_version;
  stack.annotations = object.annotations;
  stack.deleting = !object.deletion_timestamp.empty();
  const auto spec = object.content.find("spec");
  const nlohmann::json none = nlohmann::json::object();
  stack.spec = TRY(stack_spec_from_json(spec != object.content.end() ? *spec : none));
  stack.status = TRY(stack_status_from_json(object.status));
  return stack;
}

Result<Written> save_status(ObjectApi& objects, const Stack& stack, const StackStatus& status) {
  if (status == stack.status) return Written::No;
  Object object;
  object.key = {"StackSpec", stack.key.ns, stack.key.name};
  object.uid = stack.uid;
  object.resource_version = stack.resource_version;
  object.status = to_json(status);
  TRY(objects.update_status(object));
  return Written::Yes;
}

Result<Secrets> load_secrets(ObjectApi& objects, const Stack& stack, const RandomHex& random) {
  Secrets secrets;
  const auto take = [&](const std::string& kind, const std::string& name) -> Result<void> {
    auto object = objects.get({kind, stack.key.ns, name});
    if (!object && object.error().kind == ErrorKind::NotFound) {
      secrets.missing.push_back(kind + " " + name);
      return {};
    }
    if (!object) return std::move(object).error();
    secrets.values[name] = values_of(*object);
    return {};
  };
  auto own = own_secret(objects, stack, random, secrets.generated);
  if (own) {
    const Values& values = secrets.values[own->key.name] = values_of(*own);
    const std::string unusable = unusable_password(stack, values);
    if (!unusable.empty()) secrets.missing.push_back(unusable);
  } else if (own.error().kind == ErrorKind::NotFound) {
    secrets.missing.push_back("Secret " + stack.spec.secrets_ref);
  } else {
    return std::move(own).error();
  }
  for (const std::string& name : named_secrets(stack.spec)) TRY(take("Secret", name));
  for (const auto& [name, values] : secrets.values) {
    for (const auto& [key, value] : values) log::mask(value);
  }
  for (const std::string& name : named_config_maps(stack.spec)) TRY(take("ConfigMap", name));
  return secrets;
}

std::map<std::string, std::string> fingerprints(const Stack& stack, const SecretValues& values) {
  std::map<std::string, std::string> result;
  const auto own = values.find(secrets_name(stack.key, stack.spec));
  if (own == values.end()) return result;
  for (const auto& [key, value] : own->second) {
    // Salted with the name, so that equal keys of two stacks do not show as equal.
    result[key] = sha256_hex(stack.uid + key + value).substr(0, 16);
  }
  return result;
}

void record_events(ObjectApi& objects, const Stack& stack, const std::vector<Event>& events,
                   WallTime now) {
  for (const Event& event : events) {
    Object object;
    object.key = {"Event", stack.key.ns,
                  stack.key.name + "." +
                      short_hash(stack.uid + event.reason + event.message + to_rfc3339(now))};
    object.labels[kStackLabel] = stack.key.name;
    object.content["reason"] = event.reason;
    object.content["type"] = event.type == Event::Type::Warning ? "Warning" : "Normal";
    object.content["note"] = log::masked(event.message).substr(0, 1000);
    object.content["eventTime"] = to_rfc3339(now);
    object.content["regarding"] = {{"apiVersion", kApiVersion},
                                   {"kind", "StackSpec"},
                                   {"namespace", stack.key.ns},
                                   {"name", stack.key.name},
                                   {"uid", stack.uid}};
    const auto created = objects.create(object);
    if (!created && created.error().kind != ErrorKind::Conflict) {
      // An event is told once and never worth stopping for.
      log::warn("event not stored",
                {{"stack", stack.key.name}, {"detail", created.error().message}});
    }
  }
}

Result<Catalog> load_catalog(ObjectApi& objects, const Stack& stack) {
  const CatalogRef& ref = *stack.spec.catalog;
  const std::string where = "spec.catalogRef: ConfigMap " + ref.name;
  auto object = objects.get({"ConfigMap", stack.key.ns, ref.name});
  if (!object) return std::move(object).error().in(where);
  const Values values = values_of(*object);
  const auto text = values.find(ref.key);
  if (text == values.end()) {
    return Error{ErrorKind::NotFound, where + " has no key " + ref.key + "; add it"};
  }
  auto catalog = Catalog::parse(text->second);
  if (!catalog) return std::move(catalog).error().in(where);
  return catalog;
}

}  // namespace stackspec
