// SPDX-License-Identifier: Apache-2.0
#include "control/stack_objects.hpp"

#include <openssl/rand.h>

#include <algorithm>
#include <cctype>
#include <set>

#include "api/codec.hpp"
#include "base/hash.hpp"
#include "base/log.hpp"

namespace stackspec {

namespace {

constexpr const char* kStackLabel = "stackspec.dev/stack";
/// On a StackBackup by which a platform remembers a backup: nobody asked for it.
constexpr const char* kRecordLabel = "stackspec.dev/record";
/// From here on Twenty wants a dedicated ENCRYPTION_KEY; an older stack must keep APP_SECRET in its
/// place until the key is rotated, or its stored tokens become unreadable.
constexpr Version kOwnEncryptionKey{2, 5, 0};

using Values = std::map<std::string, std::string>;

std::string decoded_base64(const std::string& text) {
  static constexpr std::string_view kAlphabet =
      "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string out;
  unsigned buffer = 0;
  int bits = 0;
  for (const char c : text) {
    const auto digit = kAlphabet.find(c);
    if (digit == std::string_view::npos) continue;
    buffer = buffer << 6U | static_cast<unsigned>(digit);
    bits += 6;
    if (bits < 8) continue;
    bits -= 8;
    out += static_cast<char>(buffer >> static_cast<unsigned>(bits) & 0xFFU);
  }
  return out;
}

Values values_of(const Object& object) {
  Values values;
  const auto take = [&](const char* field, bool encoded) {
    const auto found = object.content.find(field);
    if (found == object.content.end() || !found->is_object()) return;
    for (const auto& [key, value] : found->items()) {
      if (!value.is_string()) continue;
      const auto text = value.get<std::string>();
      values[key] = encoded ? decoded_base64(text) : text;
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
  auto twin = objects.get({"Secret", stack.key.ns, name + "-keep"});
  if (!twin && twin.error().kind != ErrorKind::NotFound) return twin;
  if (!twin) {
    twin = objects.create(generated_secret(stack, name + "-keep", random));
    if (!twin) return twin;
  }
  generated = true;
  Object copy;
  copy.key = {"Secret", stack.key.ns, name};
  copy.labels = twin->labels;
  copy.content = twin->content;
  return objects.create(copy);
}

std::string requests_phase(const nlohmann::json& status) {
  return status.is_object() ? status.value("phase", "") : "";
}

Result<void> write_request_status(ObjectApi& objects, Object object, nlohmann::json status) {
  if (object.status == status) return {};
  object.status = std::move(status);
  TRY(objects.update_status(object));
  return {};
}

StackBackupStatus status_of(const BackupSeen& backup) {
  StackBackupStatus status;
  status.phase = backup.proven ? "Proven" : "Running";
  status.proof = backup.proven ? "L4" : "L2";
  status.source_version = backup.source_version;
  status.cutoff_time = backup.cutoff_time;
  status.cutoff_lsn = backup.cutoff_lsn;
  status.system_identifier = backup.system_identifier;
  status.location = backup.location;
  status.sha256 = backup.sha256;
  status.size_bytes = backup.size_bytes;
  status.files = backup.files;
  status.key_fingerprints = backup.key_fingerprints;
  return status;
}

/// Why a backup somebody asked for cannot come: its task gave a verdict, or was interrupted thrice.
std::string failure_of(const Stack& stack, const Seen& seen, const std::string& request) {
  const std::string prefix = stack.key.name + "-" + request_journey(stack, request) + "-";
  int interrupted = 0;
  for (const TaskSeen& task : seen.tasks) {
    if (!task.name.starts_with(prefix)) continue;
    if (task.outcome == Outcome::Failed) return "task " + task.name + ": " + task.log_tail;
    if (task.outcome == Outcome::Interrupted && ++interrupted >= 3) {
      return "task " + task.name + " was interrupted three times";
    }
  }
  return {};
}

Result<void> report_backups(ObjectApi& objects, const std::vector<BackupObject>& backups,
                            const Stack& stack, const Seen& seen) {
  std::set<std::string> known;
  for (const auto& [object, spec] : backups) {
    known.insert(object.key.name);
    if (const BackupSeen* backup = seen.backup(object.key.name)) {
      TRY(write_request_status(objects, object, to_json(status_of(*backup))));
      continue;
    }
    const std::string failure = failure_of(stack, seen, object.key.name);
    if (failure.empty()) continue;
    StackBackupStatus status;
    status.phase = "Failed";
    status.message = failure;
    TRY(write_request_status(objects, object, to_json(status)));
  }
  for (const BackupSeen& backup : seen.backups) {
    if (known.contains(backup.id)) continue;
    Object object;
    object.key = {"StackBackup", stack.key.ns, backup.id};
    object.labels[kStackLabel] = stack.key.name;
    object.content["spec"] =
        to_json(StackBackupSpec{.stack = stack.key.name, .reason = "before an upgrade"});
    object.status = to_json(status_of(backup));
    TRY(objects.create(object));
  }
  return {};
}

Result<void> report_restores(ObjectApi& objects, const std::vector<RestoreObject>& restores,
                             const Seen& seen, const StackStatus& status) {
  for (const auto& [object, spec] : restores) {
    const std::string phase = requests_phase(object.status);
    if (phase == "Done" || phase == "Failed") continue;
    StackRestoreStatus now{.phase = "Pending", .message = {}};
    const auto ended =
        std::find_if(status.history.begin(), status.history.end(), [&](const HistoryEntry& entry) {
          return entry.kind == "Restore" && entry.message == object.key.name;
        });
    if (status.upgrade && status.upgrade->requested_by == object.key.name) {
      now = {.phase = "Running", .message = status.upgrade->step};
    } else if (ended != status.history.end()) {
      now = {.phase = ended->result == "Restored" ? "Done" : "Failed", .message = ended->result};
    } else {
      now.message = why_not_restore(seen, {object.key.name, spec.backup, spec.accept_loss_since});
    }
    TRY(write_request_status(objects, object, to_json(now)));
  }
  return {};
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
  stack.spec = TRY(stack_spec_from_json(object.content.value("spec", nlohmann::json::object())));
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

Result<Requests> list_requests(ObjectApi& objects, const Stack& stack) {
  Requests requests;
  ObjectList backups = TRY(objects.list("StackBackup", stack.key.ns));
  for (Object& object : backups.items) {
    auto spec = backup_spec_from_json(object.content.value("spec", nlohmann::json::object()));
    if (!spec || spec->stack != stack.key.name) continue;
    requests.backups.push_back({std::move(object), std::move(spec).value()});
  }
  ObjectList restores = TRY(objects.list("StackRestore", stack.key.ns));
  for (Object& object : restores.items) {
    auto spec = restore_spec_from_json(object.content.value("spec", nlohmann::json::object()));
    if (!spec || spec->stack != stack.key.name) continue;
    requests.restores.push_back({std::move(object), std::move(spec).value()});
  }
  std::stable_sort(requests.restores.begin(), requests.restores.end(),
                   [](const RestoreObject& a, const RestoreObject& b) {
                     return a.object.creation_timestamp < b.object.creation_timestamp;
                   });
  return requests;
}

void add_requests(const Requests& requests, Seen& seen) {
  for (const auto& [object, spec] : requests.backups) {
    if (object.labels.contains(kRecordLabel)) continue;
    const std::string phase = requests_phase(object.status);
    if (phase == "Proven" || phase == "Failed") continue;
    seen.backup_requests.push_back({object.key.name, spec.reason});
  }
  for (const auto& [object, spec] : requests.restores) {
    const std::string phase = requests_phase(object.status);
    if (phase == "Done" || phase == "Failed") continue;
    // A location names a folder; what it holds is seen under the folder's last part.
    const std::string backup =
        spec.backup.empty() ? spec.location.substr(spec.location.rfind('/') + 1) : spec.backup;
    seen.restore_requests.push_back({object.key.name, backup, spec.accept_loss_since});
  }
}

Result<void> report_requests(ObjectApi& objects, const Requests& requests, const Stack& stack,
                             const Seen& seen, const StackStatus& status) {
  TRY(report_backups(objects, requests.backups, stack, seen));
  return report_restores(objects, requests.restores, seen, status);
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
