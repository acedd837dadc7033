// SPDX-License-Identifier: Apache-2.0
#include "cli/commands.hpp"

#include <CLI/CLI.hpp>
#include <filesystem>
#include <iostream>
#include <map>
#include <string>
#include <thread>
#include <vector>

#include "base/clock.hpp"
#include "base/file.hpp"
#include "base/log.hpp"
#include "catalog/catalog.hpp"
#include "cli/cluster.hpp"
#include "cli/lint.hpp"
#include "cli/requests.hpp"
#include "cli/standalone.hpp"
#include "cli/status.hpp"

namespace stackspec {

namespace {

ExitCode fail(const Error& error, ExitCode code) {
  std::cerr << "stackspec: " << error.message << "\n";
  return code;
}

// ---- catalog ----

struct CatalogOptions {
  std::string from, to, file;
  bool why = false;
};

Result<Catalog> load_catalog_file(const std::string& file) {
  if (file.empty()) return Catalog::builtin();
  const std::string text = TRY(read_file(file));
  auto catalog = Catalog::parse(text);
  if (!catalog) return std::move(catalog).error().in(file);
  return catalog;
}

ExitCode run_catalog_path(const CatalogOptions& options) {
  const auto from = parse_version(options.from);
  if (!from) return fail(from.error(), kExitUsage);
  const auto to = parse_version(options.to);
  if (!to) return fail(to.error(), kExitUsage);
  const auto catalog = load_catalog_file(options.file);
  if (!catalog) return fail(catalog.error(), kExitUsage);
  const auto placed = catalog->place(*to);
  if (!placed) return fail(placed.error(), kExitNo);
  const auto path = catalog->path(catalog->resolve(*from), *to);
  if (!path) return fail(path.error(), kExitNo);
  for (const Hop& hop : *path) {
    std::cout << to_string(hop.to);
    if (options.why) std::cout << "\t" << hop.why;
    std::cout << "\n";
  }
  return kExitOk;
}

// ---- retry ----

struct RetryOptions {
  std::string name, data_folder;
};

ExitCode run_retry(const RetryOptions& options) {
  std::error_code failure;
  if (!std::filesystem::exists(objects_path(options.data_folder), failure)) {
    return fail({ErrorKind::Invalid, options.data_folder +
                                         ": no controller has used this data folder; give its "
                                         "--data"},
                kExitUsage);
  }
  auto objects = make_sqlite_objects(objects_path(options.data_folder));
  if (!objects) return fail(objects.error(), kExitWorld);
  const StackKey stack{.ns = "default", .name = options.name};
  const auto known = (*objects)->get({"StackSpec", stack.ns, stack.name});
  if (!known) {
    return fail(
        {ErrorKind::NotFound, "there is no stack " + options.name + " in " + options.data_folder},
        kExitNo);
  }
  const std::string token = std::to_string(std::chrono::system_clock::now().time_since_epoch() /
                                           std::chrono::milliseconds(1));
  const auto path = request_retry(requests_path(options.data_folder), stack, token);
  if (!path) return fail(path.error(), kExitWorld);
  const SteadyTime end = system_clock().steady_now() + std::chrono::seconds(5);
  while (std::filesystem::exists(*path, failure)) {
    if (system_clock().steady_now() > end) {
      std::cerr << "stackspec: no controller took it yet; it will when it starts\n";
      return kExitOk;
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
  }
  std::cerr << "stackspec: " << options.name << " is tried again\n";
  return kExitOk;
}

// ---- the controllers ----

ExitCode exit_code_of(const Result<void>& ended) {
  if (ended) return kExitOk;
  const ErrorKind kind = ended.error().kind;
  const bool input = kind == ErrorKind::Invalid || kind == ErrorKind::NotFound;
  return fail(ended.error(), input ? kExitUsage : kExitWorld);
}

// ---- the command line ----

void add_log_level(CLI::App& command, log::Level& level) {
  static const std::map<std::string, log::Level> kLevels = {{"debug", log::Level::Debug},
                                                            {"info", log::Level::Info},
                                                            {"warn", log::Level::Warn},
                                                            {"error", log::Level::Error}};
  command.add_option("--log-level", level, "debug, info, warn, error.")
      ->transform(CLI::CheckedTransformer(kLevels));
}

void add_controller(CLI::App& app, ClusterOptions& options, log::Level& level) {
  CLI::App* command = app.add_subcommand("controller", "Run the controller of a cluster.");
  command->add_option("--kubeconfig", options.kubeconfig,
                      "Where the API server is; otherwise $KUBECONFIG or the pod's own files.");
  command->add_option("--namespace", options.ns, "Where its Lease lies; otherwise its own.");
  command->add_option("--watch-namespaces", options.watch_namespaces, "Only these; otherwise all.")
      ->delimiter(',');
  command->add_option("--catalog", options.catalog_file, "Release catalog instead of our own.");
  command->add_option("--http", options.http_address, "Where /metrics and /healthz answer.")
      ->capture_default_str();
  command->add_option("--workers", options.workers, "Stacks worked on at once.")
      ->check(CLI::Range(1, 64))
      ->capture_default_str();
  command
      ->add_option("--leader-elect", options.leader_elect,
                   "false only where no second controller can ever run.")
      ->capture_default_str();
  add_log_level(*command, level);
}

void add_standalone(CLI::App& app, StandaloneOptions& options, log::Level& level) {
  CLI::App* command = app.add_subcommand("standalone", "Run the controller of this host.");
  command->add_option("--platform", options.platform, "Where stacks run: local.")
      ->capture_default_str();
  command->add_option("--data", options.data_folder, "Folder of everything the stacks own.")
      ->required();
  command->add_option("--releases", options.release_folder, "Folder of release folders.")
      ->required();
  command
      ->add_option("--stack", options.stack_files,
                   "File or folder of objects, watched and applied on change (repeatable).")
      ->required();
  command->add_option("--catalog", options.catalog_file, "Release catalog instead of our own.");
  command->add_option("--http", options.http_address, "Where /metrics and /healthz answer.")
      ->capture_default_str();
  command->add_option("--run-as", options.run_as,
                      "User of the stack's processes (as root: nobody).");
  command->add_option("--workers", options.workers, "Stacks worked on at once.")
      ->check(CLI::Range(1, 64))
      ->capture_default_str();
  command->add_flag("--stop-on-exit", options.stop_on_exit,
                    "Stop the stacks too; without it they go on running.");
  add_log_level(*command, level);
}

void add_status(CLI::App& app, StatusOptions& options) {
  CLI::App* command = app.add_subcommand("status", "Show what a stack is doing, and why.");
  command->add_option("name", options.name, "The stack; all when absent.");
  command->add_option("--data", options.data_folder, "Data folder of the controller.")->required();
  command->add_option("-o,--output", options.output, "json")->check(CLI::IsMember({"json"}));
  auto* watch = command->add_flag("-w,--watch", options.watch, "Show every change.");
  command->add_option("--until", options.until, "rest: end when nothing is in flight.")
      ->check(CLI::IsMember({"rest"}))
      ->needs(watch);
  command->add_option("--timeout", options.timeout_seconds, "Seconds; exit 1 after them.")
      ->needs(watch);
}

}  // namespace

int run_program(int argc, const char* const* argv) {
  CLI::App app{"StackSpec keeps Twenty stacks as their files say.", "stackspec"};
  app.set_version_flag("--version", "stackspec " STACKSPEC_VERSION);
  app.require_subcommand(1);
  StandaloneOptions standalone;
  ClusterOptions cluster;
  StatusOptions status;
  CatalogOptions catalog;
  RetryOptions retry;
  std::vector<std::string> lint_files;
  log::Level level = log::Level::Info;

  add_standalone(app, standalone, level);
  add_controller(app, cluster, level);
  add_status(app, status);
  CLI::App* lint = app.add_subcommand("lint", "Check files before they are applied.");
  lint->add_option("file", lint_files, "YAML or JSON files.")->required();
  CLI::App* catalog_command = app.add_subcommand("catalog", "Ask the release catalog.");
  catalog_command->require_subcommand(1);
  CLI::App* path = catalog_command->add_subcommand("path", "The hops between two releases.");
  path->add_option("from", catalog.from, "Release that runs.")->required();
  path->add_option("to", catalog.to, "Release wanted.")->required();
  path->add_flag("--why", catalog.why, "Say why each hop is there.");
  path->add_option("--catalog", catalog.file, "Release catalog instead of our own.");
  CLI::App* retry_command = app.add_subcommand("retry", "Try again what a stack stalled on.");
  retry_command->add_option("name", retry.name, "The stack.")->required();
  retry_command->add_option("--data", retry.data_folder, "Data folder of the controller.")
      ->required();
  app.add_subcommand("version", "Print the version of this program.");

  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? kExitOk : kExitUsage;
  }
  log::set_level(level);
  if (app.got_subcommand("standalone")) return exit_code_of(run_standalone(standalone));
  if (app.got_subcommand("controller")) return exit_code_of(run_cluster(cluster));
  if (app.got_subcommand("status")) return run_status(status);
  if (app.got_subcommand("lint")) return run_lint(lint_files);
  if (app.got_subcommand("catalog")) return run_catalog_path(catalog);
  if (app.got_subcommand("retry")) return run_retry(retry);
  std::cout << "stackspec " << STACKSPEC_VERSION << "\n";
  return kExitOk;
}

}  // namespace stackspec
