// SPDX-License-Identifier: Apache-2.0
#include "integration/tasks/task_world.hpp"

#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <sstream>

#include "fakes/eventually.hpp"

namespace stackspec {
namespace {

namespace fs = std::filesystem;

// The part of a platform that notes the exit code.
constexpr const char* kWrapper =
    "trap : TERM\n(test -z \"$FILE_BLOCKS\" || ulimit -f \"$FILE_BLOCKS\"; exec \"$@\")\n"
    "echo $? >\"$EXIT_FILE\"\n";

void give(const std::string& path) {
  const PlainUser user = plain_user();
  if (::chown(path.c_str(), user.uid, user.gid) != 0) throw std::runtime_error("chown " + path);
}

constexpr const char* kCore = R"(
create extension "uuid-ossp"; create extension unaccent; create extension citext;
create function public.unaccent_immutable(input text) returns text language sql immutable
  as $$ select public.unaccent('public.unaccent'::regdictionary, input) $$;
create schema core;
create type core."workspace_activationStatus_enum" as enum ('ACTIVE', 'SUSPENDED', 'PENDING_CREATION');
create table core.workspace (id uuid primary key default public.uuid_generate_v4(), name public.citext,
  version varchar, "activationStatus" core."workspace_activationStatus_enum" not null default 'ACTIVE');
create table core."_typeorm_migrations" (id serial primary key, timestamp bigint not null, name varchar not null);
insert into core."_typeorm_migrations" (timestamp, name) select 1700000000000 + i, 'Migration' || i from generate_series(1, 77) i;
create table core."featureFlag" (id uuid primary key default public.uuid_generate_v4(), key text not null,
  "workspaceId" uuid not null references core.workspace on delete cascade, value boolean not null,
  "createdAt" timestamptz not null default now(), "updatedAt" timestamptz not null default now(), unique (key, "workspaceId"));
create table core."fieldMetadata" (id uuid primary key default public.uuid_generate_v4(), "universalIdentifier" uuid);
insert into core."fieldMetadata" (id) select public.uuid_generate_v4() from generate_series(1, 50);
create view core."activeWorkspace" as select id from core.workspace where "activationStatus" = 'ACTIVE';
)";

std::string workspace_sql(int number) {
  const std::string id = "00000000-0000-0000-0000-" + std::to_string(100000000000 + number);
  const std::string schema =
      number == 1 ? "\"workspace_Odd Näme\"" : "workspace_" + std::to_string(number);
  return "insert into core.workspace (id, name, version) values ('" + id + "', 'W" +
         std::to_string(number) + "', '1.15.0'); create schema " + schema + "; create table " +
         schema +
         ".company (id uuid primary key default public.uuid_generate_v4(), name text not null, "
         "\"searchVector\" tsvector "
         "generated always as (to_tsvector('simple', public.unaccent_immutable(name))) stored);"
         "create index on " +
         schema +
         ".company using gin (\"searchVector\");"
         "create table " +
         schema +
         ".person (id uuid primary key default public.uuid_generate_v4(), email public.citext, "
         "\"companyId\" "
         "uuid references " +
         schema +
         ".company, position serial);"
         "create table " +
         schema +
         ".\"timelineActivity\" (id int primary key, note text);"
         "insert into " +
         schema + ".company (id, name) values ('" + id +
         "', 'Société Générale');"
         "insert into " +
         schema + ".person (email, \"companyId\") select 'p' || i || '@example.org', '" + id +
         "' from generate_series(1, 20) i;";
}

}  // namespace

std::string read_text(const std::string& path) {
  std::ifstream file(path);
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

TaskWorld::TaskWorld(const std::string& shell, const std::vector<std::string>& settings)
    : pg(settings) {
  give(folder_.path());
  for (const char* name : {"bin", "backups", "files", "scratch", "app"}) {
    fs::create_directory(path(name));
    give(path(name));
  }
  env = pg.environment();
  env.merge(std::map<std::string, std::string>{
      {"STACKSPEC_LOCK", "1398030667"},
      {"STACKSPEC_STACK", "crm"},
      {"STACKSPEC_FROM", "v1.15.4"},
      {"STACKSPEC_TO", "v1.16.6"},
      {"STACKSPEC_BACKUPS", path("backups")},
      {"STACKSPEC_BACKUP_ID", "b1"},
      {"STACKSPEC_FILES", path("files")},
      {"STACKSPEC_RESTORE_ID", "0badcafe_0"},
      {"STACKSPEC_CURSOR", "77"},
      {"STACKSPEC_CURSOR_SQL",
       "select case when to_regclass('core.\"_typeorm_migrations\"') is null then 'none' else "
       "(xpath('/row/n/text()', query_to_xml('select count(*) as n from "
       "core.\"_typeorm_migrations\"', false, true, '')))[1]::text end;"},
      {"STACKSPEC_FAILURE_REGEX", "Unable to run the upgrade command|Upgrade failed:"},
      {"STACKSPEC_KEY_FINGERPRINTS", R"({"APP_SECRET":"sha256:ab \"x\""})"},
      {"STACKSPEC_ENTRYPOINT", path("entrypoint.sh")},
      {"DISABLE_DB_MIGRATIONS", "true"},
      {"DISABLE_CRON_JOBS_REGISTRATION", "true"},
      {"APP_VERSION", "1.16.6"},
      {"PGAPPNAME", "task"},
      {"CALLS", path("app/calls")},
      {"LC_ALL", "C.UTF-8"}});
  write("entrypoint.sh", "#!/bin/sh\nexec \"$@\"\n", 0755);
  use_shell(shell);
}

void TaskWorld::use_shell(const std::string& shell) {
  shell_ = shell;
  std::string tools;
  if (shell == "busybox") {
    tools = path("applets") + ":";
    fs::create_directory(path("applets"));
    give(path("applets"));
    run_program({"busybox", "--install", "-s", path("applets")}, {{"PATH", "/usr/bin:/bin"}}, "/");
  }
  env["PATH"] = path("bin") + ":" + pg.programs() + ":" + tools + "/usr/local/bin:/usr/bin:/bin";
}

void TaskWorld::write(const std::string& name, const std::string& text, int mode) const {
  fs::create_directories(fs::path(path(name)).parent_path());
  std::ofstream(path(name), std::ios::binary | std::ios::trunc) << text;
  ::chmod(path(name).c_str(), static_cast<mode_t>(mode));
  give(path(name));
}

void TaskWorld::give_all(const std::string& name) const {
  give(path(name));
  for (const auto& entry : fs::recursive_directory_iterator(path(name))) give(entry.path());
}

void TaskWorld::yarn(const std::string& body) const {
  write("bin/yarn", "#!/bin/sh\necho \"$*\" >>\"$CALLS\"\n" + body + "\n", 0755);
}

std::string TaskWorld::calls() const {
  return read_text(path("app/calls"));
}

ProcessId TaskWorld::start(TaskKind kind, const std::string& name) {
  name_ = name.empty() ? std::string(to_string(kind)) + "-1" : name;
  const std::string scratch = path("scratch/" + name_);
  fs::create_directories(scratch);
  give(scratch);
  write("script.sh", task_script(kind));
  for (const char* left : {"exit", "result", "log"}) fs::remove(path(left));
  ProcessSpec spec;
  spec.argv = {"/bin/sh", "-c", kWrapper, "sh"};
  if (shell_ == "busybox") spec.argv.push_back("/bin/busybox");
  spec.argv.insert(spec.argv.end(), {shell_ == "busybox" ? "sh" : "/bin/dash", path("script.sh")});
  auto complete = env;
  complete["STACKSPEC_TASK"] = name_;
  complete["STACKSPEC_SCRATCH"] = scratch;
  complete["STACKSPEC_RESULT"] = path("result");
  complete["EXIT_FILE"] = path("exit");
  complete["FILE_BLOCKS"] = file_limit_ == 0 ? "" : std::to_string(file_limit_ / 512);
  for (const auto& [key, value] : complete) spec.env.push_back(key + "=" + value);
  spec.directory = path("app");
  spec.log_file = path("log");
  spec.record_file = path("record-" + name_);
  spec.uid = plain_user().uid;
  spec.gid = plain_user().gid;
  if (::geteuid() != 0) spec.uid = {}, spec.gid = {};
  auto started = start_process(spec);
  // What a killed task of this name had started takes a moment to go.
  eventually([&] {
    if (started || started.error().kind != ErrorKind::Conflict) return true;
    started = start_process(spec);
    return false;
  });
  if (!started) throw std::runtime_error(started.error().message);
  return *started;
}

TaskEnd TaskWorld::wait(const ProcessId& process) {
  const bool ended = eventually([&] { return !is_alive(process); }, std::chrono::seconds(120));
  TaskEnd end;
  if (!ended) kill(process);
  const std::string code = read_text(path("exit"));
  if (ended && !code.empty()) end.code = std::stoi(code);
  end.log = read_text(path("log"));
  end.raw_result = read_text(path("result"));
  end.result = parse_task_result(end.raw_result);
  return end;
}

TaskEnd TaskWorld::run(TaskKind kind, const std::string& name) {
  return wait(start(kind, name));
}

void TaskWorld::kill(const ProcessId& process) {
  signal_group(process, SIGKILL);
  eventually([&] { return !is_alive(process); });
}

void TaskWorld::make_data(int workspaces) {
  sql(kCore);
  for (int i = 1; i <= workspaces; ++i) sql(workspace_sql(i));
  write("files/one", "first file");
  write("files/deep folder/tw\\o ü", std::string(100000, 'x'));
  write("files/three", "first file");
  give(path("files/deep folder"));
}

std::string TaskWorld::contents() {
  std::string text = sql(
      "select table_schema, table_name, (xpath('/row/c/text()', query_to_xml(format('select "
      "md5(string_agg(t::text, chr(10) order by t::text)) as c from %I.%I t', table_schema, "
      "table_name), false, true, '')))[1]::text from information_schema.tables where table_schema "
      "= 'core' or table_schema like 'workspace%' order by 1, 2");
  std::map<std::string, std::string> files;
  for (const auto& entry : fs::recursive_directory_iterator(path("files"))) {
    if (entry.is_regular_file()) files[entry.path()] = read_text(entry.path());
  }
  for (const auto& [name, content] : files) {
    text += "\n" + name + " " + std::to_string(std::hash<std::string>()(content));
  }
  return text;
}

}  // namespace stackspec
