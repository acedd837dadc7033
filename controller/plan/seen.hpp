// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "api/stack.hpp"
#include "twenty/component.hpp"
#include "twenty/ledger.hpp"

// What the controller sees of one stack in one pass. Values only; made by observe (control/), read
// by the planner. A fact that could not be read is absent, never guessed.

namespace stackspec {

/// What a platform can do; a difference the planner may ask for, instead of asking which platform.
struct Capabilities {
  bool maintenance_page = true;  ///< The fence shows users a 503 page of ours.
  /// Runs on a database and a Redis that somebody else runs.
  bool external_services = false;
  std::string image_location;  ///< For error texts: "release folder /…", "image".
};

struct ComponentSeen {
  bool exists = false;  ///< Something of it is running or configured.
  int wanted = 0;       ///< Replicas the platform was last told.
  int running = 0;      ///< Started and not gone, ready or not.
  int ready = 0;
  int restarts = 0;
  std::string version;
  std::string revision;  ///< ComponentSpec::revision it runs with.
  std::string message;   ///< Why it is not ready, from the platform: "exit code 1: …".
  friend bool operator==(const ComponentSeen&, const ComponentSeen&) = default;
};

enum class Outcome { Running, Ok, Failed, Interrupted };

struct TaskSeen {
  std::string name;
  Outcome outcome = Outcome::Running;
  int exit_code = -1;
  std::map<std::string, std::string> result;  ///< The result object, values as text; may be empty.
  std::string progress;                       ///< Newest progress line's message.
  std::string log_tail;                       ///< At most 2 KB, secrets masked.
  friend bool operator==(const TaskSeen&, const TaskSeen&) = default;
};

/// A backup as its manifest on storage tells; only complete, published ones are seen.
struct BackupSeen {
  std::string id;
  std::string source_version;
  std::string system_identifier;
  std::string cursor_key;   ///< twenty/ledger.hpp, at the moment of the snapshot.
  std::string cutoff_time;  ///< RFC 3339
  std::string cutoff_lsn;
  std::string sha256;
  std::int64_t size_bytes = 0;
  int tables = 0;
  int files = 0;
  bool proven = false;  ///< A proof record of level L4 for this very sha256.
  std::map<std::string, std::string> key_fingerprints;
  std::string location;
  friend bool operator==(const BackupSeen&, const BackupSeen&) = default;
};

struct Session {
  int pid = 0;
  std::string user, application, address, query_start;
  bool ours = false;  ///< Of server, worker or a task of this stack.
  friend bool operator==(const Session&, const Session&) = default;
};

/// Of a database that somebody else runs: what decides whether a stack may live in it.
struct ExternalDatabaseSeen {
  bool looked = false;  ///< `may_create`, `direct` and `foreign_dependents` were read in this pass.
  std::string owner;    ///< `<namespace>/<name>` of the stack that took it; empty: nobody yet.
  bool occupied = false;    ///< A schema `core` that holds tables and is not Twenty's.
  bool may_create = false;  ///< Schemas, trusted extensions, functions in public.
  bool direct = false;      ///< A session's advisory lock keeps other sessions out.
  std::vector<std::string> foreign_dependents;  ///< What of others depends on Twenty's schemas.
};

struct DatabaseSeen {
  bool reachable = false;
  std::string error;  ///< Why not, for people.
  int server_major = 0;
  std::string server_version;
  /// Of the PostgreSQL cluster; of an external database `<cluster>/<name of the database>`.
  std::string system_identifier;
  std::string name, user;                         ///< Of the database; who we are in it.
  std::vector<std::string> extensions;            ///< Installed.
  std::vector<std::string> available_extensions;  ///< Could be created here.
  std::int64_t size_bytes = 0;
  std::string lsn;
  bool old_schemas = false;  ///< Schemas set aside by a restore are present.
  std::vector<Session> sessions;
  Ledger ledger;
  std::int64_t rows_since_cutoff =
      -1;                  ///< Rows written since the hop's backup; only read in Settle.
  std::string last_write;  ///< Newest of them, RFC 3339.
  ExternalDatabaseSeen external;
};

struct RedisSeen {
  bool reachable = false;
  std::string error;  ///< Why not, for people.
  std::string eviction_policy;
  std::int64_t keys = 0;
  std::int64_t queued_jobs = 0;  ///< waiting + active + delayed
  bool worker_attached = false;
};

/// An HTTP look through a listener of the gateway, or straight at a component.
struct HttpSeen {
  int status = 0;  ///< 0: no answer.
  std::string error;
  friend bool operator==(const HttpSeen&, const HttpSeen&) = default;
};

struct ProbesSeen {
  HttpSeen private_health;   ///< /healthz through 4002
  HttpSeen private_query;    ///< a real query through 4002: 200 only when the answer has data
  std::string query_error;   ///< error text of the query's answer
  HttpSeen public_front;     ///< / through 4000: 503 while fenced, never 502
  HttpSeen fundraising;      ///< /fundraising/health through 4002
  int fundraising_runs = 0;  ///< Active gift-batch, donor-match and create-donors runs.
  std::map<std::string, HttpSeen> smoke;  ///< By name of the check.
};

struct HostSeen {
  std::int64_t disk_free_bytes = -1;  ///< Where backups go; -1: unknown.
  std::int64_t memory_available_bytes = -1;
  bool storage_is_real = true;  ///< Local files lie on a volume that outlives the process.
};

/// A person's wish lying beside the stack.
struct BackupRequest {
  std::string name, reason;
};
struct RestoreRequest {
  std::string name, backup, accept_loss_since;
};

struct Seen {
  Capabilities platform;
  Endpoints endpoints;
  std::map<Component, ComponentSeen> components;
  bool gateway_open = false;  ///< What the gateway itself is set to.
  std::vector<TaskSeen> tasks;
  std::vector<BackupSeen> backups;  ///< Oldest first.
  DatabaseSeen database;
  RedisSeen redis;
  ProbesSeen probes;
  HostSeen host;
  std::map<std::string, std::string> key_fingerprints;  ///< Of the stack's Secret now.
  std::vector<std::string> missing_secrets;             ///< Named by the spec and not there.
  /// Why the URL of an external database or Redis cannot be used: its Secret, its key, its text.
  std::vector<Blocked> unusable_urls;
  std::vector<std::string> missing_releases;  ///< Tags of the path without image/folder.
  std::vector<BackupRequest> backup_requests;
  std::vector<RestoreRequest> restore_requests;

  const ComponentSeen& component(Component which) const;
  const TaskSeen* task(const std::string& name) const;    ///< nullptr: was never started.
  const BackupSeen* backup(const std::string& id) const;  ///< nullptr: not there.
};

}  // namespace stackspec
