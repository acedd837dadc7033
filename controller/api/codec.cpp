// SPDX-License-Identifier: Apache-2.0
#include "api/codec.hpp"

#include "api/fields.hpp"

namespace stackspec {

template <class V>
void describe(V& v, Of<SecretKeyRef>) {
  v.always("name", &SecretKeyRef::name);
  v.always("key", &SecretKeyRef::key);
}

template <class V>
void describe(V& v, Of<EnvFrom>) {
  v("secretRef.name", &EnvFrom::secret);
  v("configMapRef.name", &EnvFrom::config_map);
}

template <class V>
void describe(V& v, Of<Resources>) {
  v.quantity("requests", &Resources::requests);
  v.quantity("limits", &Resources::limits);
}

template <class V>
void describe(V& v, Of<ServerSpec>) {
  v("replicas", &ServerSpec::replicas);
  v("resources", &ServerSpec::resources);
}

template <class V>
void describe(V& v, Of<WorkerSpec>) {
  v("replicas", &WorkerSpec::replicas);
  v("resources", &WorkerSpec::resources);
  v("terminationGraceSeconds", &WorkerSpec::termination_grace_seconds);
}

template <class V>
void describe(V& v, Of<ManagedDatabase>) {
  v.quantity("size", &ManagedDatabase::size);
  v("storageClassName", &ManagedDatabase::storage_class_name);
  v("existingClaim", &ManagedDatabase::existing_claim);
  v("version", &ManagedDatabase::version);
}

template <class V>
void describe(V& v, Of<ExternalDatabase>) {
  v.always("urlSecretRef", &ExternalDatabase::url);
  v("maintenanceUrlSecretRef", &ExternalDatabase::maintenance_url);
  v("shared", &ExternalDatabase::shared);
}

template <class V>
void describe(V& v, Of<DatabaseSpec>) {
  v("managed", &DatabaseSpec::managed);
  v("external", &DatabaseSpec::external);
}

template <class V>
void describe(V& v, Of<RedisSpec>) {
  v.quantity("managed.size", &RedisSpec::size);
  v("external.urlSecretRef", &RedisSpec::external_url);
}

template <class V>
void describe(V& v, Of<S3Storage>) {
  v("bucket", &S3Storage::bucket);
  v("region", &S3Storage::region);
  v("endpoint", &S3Storage::endpoint);
  v("credentialsSecretRef.name", &S3Storage::credentials_secret);
}

template <class V>
void describe(V& v, Of<StorageSpec>) {
  v.quantity("local.size", &StorageSpec::local_size);
  v("local.existingClaim", &StorageSpec::existing_claim);
  v("local.accessMode", &StorageSpec::access_mode);
  v("s3", &StorageSpec::s3);
}

template <class V>
void describe(V& v, Of<FundraisingSpec>) {
  v("version", &FundraisingSpec::version);
  v("image", &FundraisingSpec::image);
  v("env", &FundraisingSpec::env);
  v("envFrom", &FundraisingSpec::env_from);
}

template <class V>
void describe(V& v, Of<GatewaySpec>) {
  v("host", &GatewaySpec::host);
  v("className", &GatewaySpec::class_name);
  v("annotations", &GatewaySpec::annotations);
  v("tlsSecretRef.name", &GatewaySpec::tls_secret);
  v("port", &GatewaySpec::port);
}

template <class V>
void describe(V& v, Of<SmokeCheck>) {
  v("name", &SmokeCheck::name);
  v.always("http.path", &SmokeCheck::path);
  v("http.expectStatus", &SmokeCheck::expect_status);
  v("timeoutSeconds", &SmokeCheck::timeout_seconds);
}

template <class V>
void describe(V& v, Of<Toleration>) {
  v("key", &Toleration::key);
  v("operator", &Toleration::op);
  v("value", &Toleration::value);
  v("effect", &Toleration::effect);
}

template <class V>
void describe(V& v, Of<Scheduling>) {
  v("nodeSelector", &Scheduling::node_selector);
  v("tolerations", &Scheduling::tolerations);
  v.names("imagePullSecrets", &Scheduling::image_pull_secrets);
}

template <class V>
void describe(V& v, Of<Images>) {
  v("postgres", &Images::postgres);
  v("redis", &Images::redis);
  v("gateway", &Images::gateway);
}

template <class V>
void describe(V& v, Of<BackupPolicy>) {
  v("keepLast", &BackupPolicy::keep_last);
  v("keepDays", &BackupPolicy::keep_days);
  v("destination.path", &BackupPolicy::path);
  v.quantity("destination.pvc.size", &BackupPolicy::pvc_size);
}

constexpr EnumName<OnFailure> kOnFailureNames[] = {{OnFailure::RollBack, "RollBack"},
                                                   {OnFailure::Stall, "Stall"}};
constexpr const auto& enum_names(Of<OnFailure>) {
  return kOnFailureNames;
}

template <class V>
void describe(V& v, Of<UpgradePolicy>) {
  v("onFailure", &UpgradePolicy::on_failure);
  v("approvedPlan", &UpgradePolicy::approved_plan);
  v("fenceTimeoutSeconds", &UpgradePolicy::fence_timeout_seconds);
  v("healthTimeoutSeconds", &UpgradePolicy::health_timeout_seconds);
  v("soakSeconds", &UpgradePolicy::soak_seconds);
}

template <class V>
void describe(V& v, Of<CatalogRef>) {
  v("name", &CatalogRef::name);
  v("key", &CatalogRef::key);
}

template <class V>
void describe(V& v, Of<StackSpec>) {
  v("tag", &StackSpec::tag);
  v("image", &StackSpec::image);
  v("serverUrl", &StackSpec::server_url);
  v("env", &StackSpec::env);
  v("envFrom", &StackSpec::env_from);
  v("server", &StackSpec::server);
  v("worker", &StackSpec::worker);
  v("database", &StackSpec::database);
  v("redis", &StackSpec::redis);
  v("storage", &StackSpec::storage);
  v("secretsRef.name", &StackSpec::secrets_ref);
  v("admin.credentialsSecretRef.name", &StackSpec::admin_credentials_secret);
  v("flags", &StackSpec::flags);
  v("fundraising", &StackSpec::fundraising);
  v("gateway", &StackSpec::gateway);
  v("smoke", &StackSpec::smoke);
  v("images", &StackSpec::images);
  v("scheduling", &StackSpec::scheduling);
  v("backup", &StackSpec::backup);
  v("upgrade", &StackSpec::upgrade);
  v("catalogRef", &StackSpec::catalog);
  v("suspend", &StackSpec::suspend);
}

template <class V>
void describe(V& v, Of<StackBackupSpec>) {
  v("stackRef.name", &StackBackupSpec::stack);
  v("reason", &StackBackupSpec::reason);
}

template <class V>
void describe(V& v, Of<StackRestoreSpec>) {
  v("stackRef.name", &StackRestoreSpec::stack);
  v("from.backupRef.name", &StackRestoreSpec::backup);
  v("from.location", &StackRestoreSpec::location);
  v("into", &StackRestoreSpec::into);
  v("acceptLossSince", &StackRestoreSpec::accept_loss_since);
}

Result<StackSpec> stack_spec_from_json(const nlohmann::json& spec) {
  return fields::from_json<StackSpec>(spec, "spec");
}

Result<StackBackupSpec> backup_spec_from_json(const nlohmann::json& spec) {
  return fields::from_json<StackBackupSpec>(spec, "spec");
}

Result<StackRestoreSpec> restore_spec_from_json(const nlohmann::json& spec) {
  return fields::from_json<StackRestoreSpec>(spec, "spec");
}

nlohmann::json to_json(const StackSpec& spec) {
  nlohmann::json json = fields::write(spec);
  // The value has no `type`: it is what `s3` says.
  if (json.contains("storage")) json["storage"]["type"] = spec.storage.s3 ? "s3" : "local";
  return json;
}

nlohmann::json to_json(const StackBackupSpec& spec) {
  return fields::write(spec);
}

nlohmann::json to_json(const StackRestoreSpec& spec) {
  return fields::write(spec);
}

}  // namespace stackspec
