// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>

#include "api/stack.hpp"
#include "objects/object_api.hpp"
#include "plan/seen.hpp"

// What is kept in memory of the objects of a stack: small values, never whole objects. Pure.

namespace stackspec::kubernetes {

// Annotations of Jobs: the Job is what remembers how its task went, because pods and logs go.
inline constexpr const char* kOutcomeAnnotation = "stackspec.dev/outcome";
inline constexpr const char* kExitCodeAnnotation = "stackspec.dev/exit-code";
inline constexpr const char* kResultAnnotation = "stackspec.dev/result";
inline constexpr const char* kLogAnnotation = "stackspec.dev/log";
inline constexpr const char* kProgressAnnotation = "stackspec.dev/progress";
/// Set when its suspension was taken away: a suspended Job that has it was stopped.
inline constexpr const char* kStartedAnnotation = "stackspec.dev/started";
// Annotations of StackBackups.
inline constexpr const char* kBackupAnnotation = "stackspec.dev/backup";  ///< BackupSeen as JSON.
inline constexpr const char* kRemovingAnnotation = "stackspec.dev/removing";

/// An object that is only compared with what it should be.
struct PlainChild {
  std::size_t applied = 0;  ///< applied_hash() of what was written last; 0: not by us.
  bool edited = false;      ///< It no longer says that.
  bool leaving = false;     ///< Being deleted.
  int owner = 0;            ///< owner_hash() of whose it is; 0: nobody's.
  friend bool operator==(const PlainChild&, const PlainChild&) = default;
};

/// What the gateway's Service leads to.
struct GatewayDoor {
  bool told_open = false;
  bool is_open = false;
  friend bool operator==(const GatewayDoor&, const GatewayDoor&) = default;
};

struct WorkloadChild {
  PlainChild plain;
  int replicas = 0;         ///< As told.
  int status_replicas = 0;  ///< As its controller reports.
  bool observed = false;    ///< Its controller has seen what it was told.
  std::string revision, version, placement;
  std::string problem;  ///< Why it has no pods.
  friend bool operator==(const WorkloadChild&, const WorkloadChild&) = default;
};

struct PodChild {
  std::string component;
  std::string job;
  std::string revision;
  bool alive = false;  ///< Not in a final phase.
  bool ready = false, deleting = false;
  bool unpullable = false;  ///< Its image cannot be had.
  int restarts = 0;
  std::optional<int> exit_code;
  std::string problem;  ///< `CrashLoopBackOff: exit code 1`
  std::string result;   ///< Termination message of a task.
  friend bool operator==(const PodChild&, const PodChild&) = default;
};

struct JobChild {
  std::string kind;
  std::string created;
  bool suspended = false, started = false;
  bool complete = false, failed = false;
  std::string failure;  ///< Message of the condition Failed.
  std::string backup_id;
  std::string outcome;  ///< Empty until told by finish.
  int exit_code = -1;
  std::string result, log, progress;
  bool ended() const { return complete || failed; }
  friend bool operator==(const JobChild&, const JobChild&) = default;
};

struct ClaimChild {
  std::string size;
  friend bool operator==(const ClaimChild&, const ClaimChild&) = default;
};

struct BackupChild {
  BackupSeen seen;
  bool record = false;  ///< Made by us; else a person's request that was fulfilled.
  bool removing = false;
  friend bool operator==(const BackupChild&, const BackupChild&) = default;
};

/// Everything of one stack that is cached.
struct Children {
  std::map<std::size_t, PlainChild> plain;  ///< By key_hash(): there are many, and none is listed.
  std::map<Component, WorkloadChild> workloads;
  std::map<std::string, PodChild> pods;
  std::map<std::string, JobChild> jobs;
  std::map<std::string, ClaimChild> claims;
  std::map<std::string, BackupChild> backups;
  std::map<std::string, std::string> task_names;  ///< The registry; value `ended`: pruned.
  std::set<std::string> scripts;                  ///< ConfigMaps of tasks.
  bool disruption = false;                        ///< The PodDisruptionBudget of tasks is there.
  std::optional<GatewayDoor> door;
  std::map<Component, std::string> addresses;  ///< Of the Services of server and fundraising.
  /// resourceVersions by key_hash(): what a write to one of these is conditional on.
  std::map<std::size_t, std::int64_t> versions;
  friend bool operator==(const Children&, const Children&) = default;
};

std::size_t key_hash(const ObjectKey& key);

/// The text of kAppliedAnnotation for what is about to be written, and its hash.
std::string applied_text(const Object& wanted);
std::size_t applied_hash(std::string_view text);

/// Of the uid of the object that controls another. Never 0.
int owner_hash(const std::string& uid);

/// The stack a child belongs to; a name of "" when it is none of ours.
StackKey stack_of(const Object& object);

/// Puts `object` into `children` in the place of what it was, or takes the one of that key_hash()
/// out. True when that changed anything.
bool put_child(Children& children, const Object& object);
bool remove_child(Children& children, const StackKey& stack, const std::string& kind,
                  std::size_t hash);

std::string backup_json(const BackupSeen& backup);

}  // namespace stackspec::kubernetes
