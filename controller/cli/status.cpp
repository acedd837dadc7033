// SPDX-License-Identifier: Apache-2.0
#include "cli/status.hpp"

#include <sys/ioctl.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <iostream>
#include <nlohmann/json.hpp>
#include <thread>
#include <vector>

#include "api/codec.hpp"
#include "base/clock.hpp"
#include "cli/live.hpp"
#include "cli/standalone.hpp"
#include "objects/object_api.hpp"

namespace stackspec {

namespace {

using std::chrono::milliseconds;

constexpr milliseconds kLookEvery{300};

std::string environment(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? "" : value;
}

/// By what the terminal says of itself; output into a file has no colour.
LiveStyle style_of_terminal() {
  LiveStyle style;
  winsize size = {};
  if (::ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0) style.width = size.ws_col;
  style.colour = ::isatty(STDOUT_FILENO) != 0 && environment("NO_COLOR").empty() &&
                 environment("TERM") != "dumb";
  std::string locale = environment("LC_ALL");
  if (locale.empty()) locale = environment("LC_CTYPE");
  if (locale.empty()) locale = environment("LANG");
  style.unicode = locale.find("UTF-8") != std::string::npos ||
                  locale.find("utf8") != std::string::npos ||
                  locale.find("utf-8") != std::string::npos;
  return style;
}

nlohmann::json kubectl_form(const Object& object) {
  nlohmann::json json = object.content;
  json["apiVersion"] = kApiVersion;
  json["kind"] = object.key.kind;
  json["metadata"] = {{"name", object.key.name},
                      {"namespace", object.key.ns},
                      {"uid", object.uid},
                      {"generation", object.generation},
                      {"resourceVersion", std::to_string(object.resource_version)},
                      {"creationTimestamp", object.creation_timestamp},
                      {"annotations", object.annotations},
                      {"labels", object.labels}};
  json["status"] = object.status;
  return json;
}

Result<Stack> stack_of(const Object& object) {
  Stack stack;
  stack.key = {object.key.ns, object.key.name};
  stack.uid = object.uid;
  stack.generation = object.generation;
  stack.resource_version = object.resource_version;
  stack.annotations = object.annotations;
  stack.deleting = !object.deletion_timestamp.empty();
  stack.spec = TRY(stack_spec_from_json(object.content.value("spec", nlohmann::json::object())));
  if (object.status.empty()) return stack;
  stack.status = TRY(stack_status_from_json(object.status));
  return stack;
}

/// What files of the user were refused, and why.
std::vector<std::string> refused_files(ObjectApi& objects, const StatusOptions& options) {
  std::vector<std::string> notes;
  const auto events = objects.list("Event", options.ns);
  if (!events) return notes;
  for (const Object& event : events->items) {
    if (!event.key.name.starts_with("file.")) continue;
    const std::string note = event.content.value("note", "");
    notes.push_back(note + "\n(refused; what the file said before stays in force)");
  }
  return notes;
}

class View {
 public:
  View(ObjectApi& objects, const StatusOptions& options)
      : objects_(objects),
        options_(options),
        style_(style_of_terminal()),
        redraws_(options.watch && options.output.empty() && ::isatty(STDOUT_FILENO) != 0) {}

  ExitCode show_once();
  ExitCode follow();

 private:
  Result<std::vector<Object>> read();
  Result<std::vector<Stack>> stacks();
  std::string page(const std::vector<Stack>& stacks);
  void show(const std::vector<Stack>& stacks);
  static ExitCode fail(const Error& error);

  ObjectApi& objects_;
  const StatusOptions& options_;
  LiveStyle style_;
  bool redraws_ = false;
  std::string shown_;
  std::map<StackKey, Stack> before_;
};

ExitCode View::fail(const Error& error) {
  std::cerr << "stackspec: " << error.message << "\n";
  return error.kind == ErrorKind::NotFound ? kExitNo : kExitWorld;
}

Result<std::vector<Object>> View::read() {
  if (options_.name.empty()) return TRY(objects_.list("StackSpec", options_.ns)).items;
  auto object = objects_.get({"StackSpec", options_.ns, options_.name});
  if (!object && object.error().kind == ErrorKind::NotFound) {
    return Error{ErrorKind::NotFound,
                 "there is no stack " + options_.name + " in " + options_.data_folder};
  }
  if (!object) return std::move(object).error();
  return std::vector<Object>{*object};
}

Result<std::vector<Stack>> View::stacks() {
  std::vector<Stack> result;
  for (const Object& object : TRY(read())) {
    auto stack = stack_of(object);
    if (!stack) return std::move(stack).error().in(object.key.name);
    result.push_back(*stack);
  }
  return result;
}

std::string View::page(const std::vector<Stack>& stacks) {
  std::string text;
  for (const Stack& stack : stacks) text += "\n" + render(stack, system_clock().wall_now(), style_);
  for (const std::string& note : refused_files(objects_, options_)) text += "\n" + note + "\n";
  return text;
}

ExitCode View::show_once() {
  if (options_.output == "json") {
    const auto objects = read();
    if (!objects) return fail(objects.error());
    nlohmann::json json = nlohmann::json::array();
    for (const Object& object : *objects) json.push_back(kubectl_form(object));
    const bool one = !options_.name.empty();
    std::cout
        << (one ? json.front() : json).dump(2, ' ', false, nlohmann::json::error_handler_t::replace)
        << "\n";
    return kExitOk;
  }
  const auto found = stacks();
  if (!found) return fail(found.error());
  if (found->empty()) std::cerr << "stackspec: no stack in " << options_.data_folder << "\n";
  std::cout << page(*found);
  return kExitOk;
}

void View::show(const std::vector<Stack>& stacks) {
  if (!redraws_) {
    for (const Stack& stack : stacks) {
      Stack& before = before_[stack.key];
      for (const std::string& line : changes(before, stack, system_clock().wall_now())) {
        std::cout << line << std::endl;
      }
      before = stack;
    }
    return;
  }
  std::string text = page(stacks);
  if (text == shown_) return;
  // Home, then line by line over the old page: no flicker, no scrolling.
  std::string out = shown_.empty() ? "\033[2J\033[H" : "\033[H";
  for (const char c : text) out += c == '\n' ? std::string("\033[K\n") : std::string(1, c);
  std::cout << out << "\033[J" << std::flush;
  shown_ = std::move(text);
}

ExitCode View::follow() {
  const SteadyTime end =
      system_clock().steady_now() + std::chrono::seconds(options_.timeout_seconds);
  for (;; std::this_thread::sleep_for(kLookEvery)) {
    const auto found = stacks();
    if (!found) return fail(found.error());
    show(*found);
    if (options_.until == "rest") {
      bool rests = true, good = true;
      for (const Stack& stack : *found) {
        rests = rests && at_rest(stack);
        good = good && stalled_reason(stack).empty();
      }
      if (rests && !found->empty()) return good ? kExitOk : kExitNo;
    }
    if (options_.timeout_seconds > 0 && system_clock().steady_now() > end) {
      std::cerr << "stackspec: still in flight after " << options_.timeout_seconds << " s\n";
      return kExitNo;
    }
  }
}

}  // namespace

ExitCode run_status(const StatusOptions& options) {
  const std::string path = objects_path(options.data_folder);
  std::error_code failure;
  if (!std::filesystem::exists(path, failure)) {
    std::cerr << "stackspec: " << options.data_folder
              << ": no controller has used this data folder; give its --data\n";
    return kExitUsage;
  }
  auto objects = make_sqlite_objects(path);
  if (!objects) {
    std::cerr << "stackspec: " << objects.error().message << "\n";
    return kExitWorld;
  }
  View view(**objects, options);
  return options.watch ? view.follow() : view.show_once();
}

}  // namespace stackspec
