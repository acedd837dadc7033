// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <compare>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "base/clock.hpp"
#include "base/version.hpp"

// The values of `stackspec.dev/v1alpha1`, one struct per object of the schema, field names as in
// YAML but snake_case. Absent means: the default of the member initialiser here. docs: crds/*.yaml.

namespace stackspec {

inline constexpr const char* kGroup = "stackspec.dev";
inline constexpr const char* kApiVersion = "stackspec.dev/v1alpha1";
/// On everything that is made for a stack, and on its pods: the stack's name.
inline constexpr const char* kStackLabel = "stackspec.dev/stack";
/// On a StackBackup that tells of a backup in storage; one without is a person's request.
inline constexpr const char* kRecordLabel = "stackspec.dev/record";

struct StackKey {
  std::string ns = "default";
  std::string name;
  friend auto operator<=>(const StackKey&, const StackKey&) = default;
};

using EnvMap = std::map<std::string, std::string>;

struct SecretKeyRef {
  std::string name;
  std::string key;
  friend bool operator==(const SecretKeyRef&, const SecretKeyRef&) = default;
};

struct EnvFrom {
  std::string secret;      ///< secretRef.name; exactly one of the two is set.
  std::string config_map;  ///< configMapRef.name
  friend bool operator==(const EnvFrom&, const EnvFrom&) = default;
};

struct Resources {
  std::map<std::string, std::string> requests;
  std::map<std::string, std::string> limits;
  friend bool operator==(const Resources&, const Resources&) = default;
};

struct ServerSpec {
  int replicas = 1;
  Resources resources;
  friend bool operator==(const ServerSpec&, const ServerSpec&) = default;
};

struct WorkerSpec {
  int replicas = 1;
  Resources resources;
  int termination_grace_seconds = 600;
  friend bool operator==(const WorkerSpec&, const WorkerSpec&) = default;
};

struct ManagedDatabase {
  std::string size;  ///< Quantity, as the user wrote it; empty: not given.
  std::string storage_class_name;
  std::string existing_claim;
  std::string version;  ///< PostgreSQL major; empty: 16 in a cluster, the system's on one host.
  friend bool operator==(const ManagedDatabase&, const ManagedDatabase&) = default;
};

struct ExternalDatabase {
  SecretKeyRef url;
  std::optional<SecretKeyRef> maintenance_url;
  bool shared = false;
  friend bool operator==(const ExternalDatabase&, const ExternalDatabase&) = default;
};

struct DatabaseSpec {
  ManagedDatabase managed;
  std::optional<ExternalDatabase> external;  ///< Set: `managed` is not used.
  friend bool operator==(const DatabaseSpec&, const DatabaseSpec&) = default;
};

struct RedisSpec {
  std::string size;
  std::optional<SecretKeyRef> external_url;
  friend bool operator==(const RedisSpec&, const RedisSpec&) = default;
};

struct S3Storage {
  std::string bucket;
  std::string region;
  std::string endpoint;            ///< Empty: AWS.
  std::string credentials_secret;  ///< Keys accessKeyId, secretAccessKey.
  friend bool operator==(const S3Storage&, const S3Storage&) = default;
};

struct StorageSpec {
  std::string local_size;
  std::string existing_claim;
  std::string access_mode;
  std::optional<S3Storage> s3;  ///< Set: type is s3.
  friend bool operator==(const StorageSpec&, const StorageSpec&) = default;
};

struct FundraisingSpec {
  std::string version;  ///< Empty: the stack has no fundraising service.
  std::string image;
  EnvMap env;
  std::vector<EnvFrom> env_from;
  friend bool operator==(const FundraisingSpec&, const FundraisingSpec&) = default;
};

struct GatewaySpec {
  std::string host;
  std::string class_name;
  std::map<std::string, std::string> annotations;
  std::string tls_secret;
  int port = 0;  ///< 0: 4000 in a cluster, chosen and remembered on one host.
  friend bool operator==(const GatewaySpec&, const GatewaySpec&) = default;
};

/// An HTTP check against the gateway. Checks by image are refused by validate() ("not supported
/// yet"), so they have no fields here.
struct SmokeCheck {
  std::string name;
  std::string path = "/";
  int expect_status = 200;
  int timeout_seconds = 10;
  friend bool operator==(const SmokeCheck&, const SmokeCheck&) = default;
};

struct Toleration {
  std::string key, op, value, effect;
  friend bool operator==(const Toleration&, const Toleration&) = default;
};

struct Scheduling {
  std::map<std::string, std::string> node_selector;
  std::vector<Toleration> tolerations;
  std::vector<std::string> image_pull_secrets;
  friend bool operator==(const Scheduling&, const Scheduling&) = default;
};

struct Images {
  std::string postgres, redis, gateway;
  friend bool operator==(const Images&, const Images&) = default;
};

struct BackupPolicy {
  int keep_last = 7;
  int keep_days = 30;
  std::string path = {};      ///< destination.path; empty: <data folder>/stacks/<name>/backups.
  std::string pvc_size = {};  ///< destination.pvc.size
  friend bool operator==(const BackupPolicy&, const BackupPolicy&) = default;
};

enum class OnFailure { RollBack, Stall };

struct UpgradePolicy {
  OnFailure on_failure = OnFailure::RollBack;
  std::string approved_plan;
  int fence_timeout_seconds = 900;
  int health_timeout_seconds = 1800;
  int soak_seconds = 60;
  friend bool operator==(const UpgradePolicy&, const UpgradePolicy&) = default;
};

struct CatalogRef {
  std::string name, key;
  friend bool operator==(const CatalogRef&, const CatalogRef&) = default;
};

/// `spec` of a StackSpec: what the user wants. Only ever written by the user.
struct StackSpec {
  std::string tag;    ///< As written; exactly one of tag and image is set.
  std::string image;  ///< With its tag and digest.
  std::string server_url;
  EnvMap env;
  std::vector<EnvFrom> env_from;
  ServerSpec server;
  WorkerSpec worker;
  DatabaseSpec database;
  RedisSpec redis;
  StorageSpec storage;
  std::string secrets_ref;  ///< Empty: `<name>-secrets`, generated.
  std::string admin_credentials_secret;
  std::map<std::string, bool> flags;
  FundraisingSpec fundraising;
  GatewaySpec gateway;
  std::vector<SmokeCheck> smoke;
  Images images;
  Scheduling scheduling;
  BackupPolicy backup;
  UpgradePolicy upgrade;
  std::optional<CatalogRef> catalog;
  bool suspend = false;

  /// The release asked for, from tag or image; validate() has made sure that it parses.
  Version target() const;
  friend bool operator==(const StackSpec&, const StackSpec&) = default;
};

// ---- status: written only by the controller, in one place (control/reconciler) ----

enum class Phase {
  Pending,
  Installing,
  Ready,
  Upgrading,
  AwaitingApproval,
  RollingBack,
  Degraded,
  Suspended,
};

/// A named wait: the one word that status, events, metrics, CLI and page use for it.
struct Blocked {
  std::string gate;  ///< PascalCase: `ForeignSessions`.
  std::string seen;  ///< Quantised, so that a growing number is not a change.
  std::string wanted;
  std::string next;  ///< What a person can do; empty when only time helps.
  friend bool operator==(const Blocked&, const Blocked&) = default;
};

struct Condition {
  std::string type;
  std::string status;  ///< True, False, Unknown
  std::string reason;
  std::string message;
  std::int64_t observed_generation = 0;
  std::string last_transition_time;
  friend bool operator==(const Condition&, const Condition&) = default;
};

struct StepRecord {
  std::string name;   ///< A Step name: Plan, Preflight, … (plan/plan.hpp).
  std::string hop;    ///< The hop's tag; empty for steps of the whole path.
  std::string state;  ///< Running, Done, Failed
  std::string started_at;
  std::string finished_at;
  std::string message;
  friend bool operator==(const StepRecord&, const StepRecord&) = default;
};

/// One journey in flight: an install, an upgrade, or a restore a person asked for. It is the whole
/// memory of the ladder: the frozen plan and where on it the stack stands.
struct UpgradeStatus {
  std::string id;    ///< 8 hexadecimal digits; part of every task name.
  std::string kind;  ///< Install, Upgrade, Restore
  std::string from;  ///< Empty for an install.
  std::string to;
  std::vector<std::string> path;  ///< Tags of the hops, frozen.
  int hop = 0;                    ///< Index into path of the hop being made.
  std::string hop_to;             ///< path[hop]
  bool point_of_no_return = false;
  std::string step;
  int step_index = 0;
  int step_total = 0;
  std::vector<StepRecord> steps;
  std::string
      plan_hash;       ///< `sha256:…` over from, path and the inputs; stable while hops complete.
  std::string backup;  ///< Id of the proven backup of the current hop's start.
  int attempt = 1;     ///< Of the current step's task.
  std::string started_at;
  std::string step_started_at;
  std::string fenced_at;  ///< Empty while users are served.
  std::string opened_at;
  int server_replicas = 1;  ///< Recorded before the fence.
  int worker_replicas = 1;
  std::string reason;        ///< Why Unfence or RollBack was entered; a short PascalCase word.
  std::string message;       ///< The same for people.
  std::string requested_by;  ///< Name of the StackRestore, for kind Restore.
  friend bool operator==(const UpgradeStatus&, const UpgradeStatus&) = default;
};

/// Set by a bad verdict and by any restore: the same target is not tried again by itself.
struct Latch {
  std::string target;
  std::string reason;  ///< RolledBack, InstallFailed, RestoreNeedsDecision, …
  std::string message;
  std::string backup;
  friend bool operator==(const Latch&, const Latch&) = default;
};

struct HistoryEntry {
  std::string id, kind, from, to, result, finished_at, message;
  friend bool operator==(const HistoryEntry&, const HistoryEntry&) = default;
};

struct ComponentStatus {
  std::string name, version, state, message;
  int ready = 0, wanted = 0;
  friend bool operator==(const ComponentStatus&, const ComponentStatus&) = default;
};

struct LastBackup {
  std::string name, finished_at, source_version, proof;
  std::int64_t size_bytes = 0;
  friend bool operator==(const LastBackup&, const LastBackup&) = default;
};

struct StackStatus {
  std::int64_t observed_generation = -1;
  Phase phase = Phase::Pending;
  std::string message;
  std::string version;  ///< Written only when proven.
  std::string target_version;
  std::string fundraising_version;
  std::string url;
  std::optional<UpgradeStatus> upgrade;
  std::optional<Latch> latch;
  std::vector<ComponentStatus> components;
  int workspaces_up_to_date = 0, workspaces_behind = 0, workspaces_failed = 0;
  std::vector<std::string> migrations;  ///< Newest 5 names of the ledger.
  std::optional<LastBackup> last_backup;
  std::vector<Blocked> blocked_by;
  std::vector<HistoryEntry> history;  ///< Newest first, at most 5.
  std::vector<Condition> conditions;
  std::string system_identifier;  ///< Of the PostgreSQL cluster, once seen.
  int failures = 0;               ///< Unfenced journeys in a row; drives the back-off.
  std::string retry_at;           ///< RFC 3339; the next journey does not start before.
  int flags_attempt =
      0;  ///< Minute (since 1970) of the newest repair of flags; part of task names.
  std::string flags_applied;  ///< Revision of the flags that server and worker run with.
  /// Actions decided so far. Every action changes it, so that a pass which decided on an old status
  /// fails at its write and never gets to act.
  std::int64_t action_count = 0;
  std::string last_handled_retry;
  std::string last_handled_reconcile_at;
  friend bool operator==(const StackStatus&, const StackStatus&) = default;
};

/// A StackSpec object as the controller works on it.
struct Stack {
  StackKey key;
  std::string uid;
  std::int64_t generation = 1;
  std::int64_t resource_version = 0;
  std::map<std::string, std::string> annotations;
  bool deleting = false;
  StackSpec spec;
  StackStatus status;
};

// ---- StackBackup, StackRestore ----

struct StackBackupSpec {
  std::string stack;
  std::string reason;
  friend bool operator==(const StackBackupSpec&, const StackBackupSpec&) = default;
};

struct StackBackupStatus {
  std::int64_t observed_generation = -1;
  std::vector<Condition> conditions;  ///< Ready, Reconciling, Stalled: told from the phase.
  std::string phase;                  ///< Pending, Running, Proven, Failed
  std::string proof;                  ///< L0 … L4
  std::string source_version;
  std::map<std::string, std::string> images;
  std::string cutoff_time, cutoff_lsn;
  std::string system_identifier;
  std::string location;
  std::string sha256;
  std::int64_t size_bytes = 0;
  int files = 0;
  std::map<std::string, std::string> key_fingerprints;
  std::string message;
  friend bool operator==(const StackBackupStatus&, const StackBackupStatus&) = default;
};

struct StackRestoreSpec {
  std::string stack;
  std::string backup;          ///< from.backupRef.name; exactly one of the two.
  std::string location;        ///< from.location
  std::string into = "Stack";  ///< Stack; Scratch is refused as not supported yet.
  std::string accept_loss_since;
  friend bool operator==(const StackRestoreSpec&, const StackRestoreSpec&) = default;
};

struct StackRestoreStatus {
  std::int64_t observed_generation = -1;
  std::vector<Condition> conditions;  ///< As of a StackBackup.
  std::string phase;                  ///< Pending, Running, Done, Failed
  std::string message;
  friend bool operator==(const StackRestoreStatus&, const StackRestoreStatus&) = default;
};

std::string_view to_string(Phase phase);

}  // namespace stackspec
