// SPDX-License-Identifier: Apache-2.0
#include "cli/stack_files.hpp"

#include <algorithm>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <set>
#include <system_error>

#include "api/codec.hpp"
#include "base/file.hpp"
#include "base/hash.hpp"
#include "base/log.hpp"
#include "cli/documents.hpp"
#include "cli/requests.hpp"

namespace stackspec {

namespace {

namespace fs = std::filesystem;
using std::chrono::milliseconds;

constexpr milliseconds kSettles{120};  ///< A file that did not change for so long is whole.
constexpr int kTries = 5;              ///< Against the controller's own writes.

bool is_source(const std::string& name) {
  const std::string ending = fs::path(name).extension().string();
  return !name.starts_with(".") && (ending == ".yaml" || ending == ".yml" || ending == ".json");
}

/// What a file says, laid over what is stored: annotations and labels of others stay.
Object laid_over(const FileObject& wanted, Object stored) {
  stored.key = wanted.object.key;
  stored.content = wanted.object.content;
  for (const auto& [name, value] : wanted.object.labels) stored.labels[name] = value;
  for (const auto& [name, value] : wanted.object.annotations) stored.annotations[name] = value;
  return stored;
}

bool is_dying(const Object& object) {
  return !object.deletion_timestamp.empty();
}

/// Stores one object of a file. Errors: those of the store, Invalid for a forbidden change.
Result<bool> store(ObjectApi& objects, const FileObject& wanted) {
  for (int tried = 1;; ++tried) {
    auto stored = objects.get(wanted.object.key);
    if (!stored && stored.error().kind != ErrorKind::NotFound) return std::move(stored).error();
    const std::int64_t before = stored ? stored->resource_version : 0;
    if (stored && is_dying(*stored)) {
      return Error{ErrorKind::Unavailable, wanted.object.key.name + " is being deleted"};
    }
    const Object next = laid_over(wanted, stored ? *stored : Object{});
    auto written = stored ? objects.update(next) : objects.create(next);
    if (written) return written->resource_version != before;
    if (written.error().kind != ErrorKind::Conflict || tried == kTries) {
      return std::move(written).error();
    }
  }
}

/// The rules about changes, against what is stored now. Error: Invalid, as a person reads it.
Result<void> check_changes(ObjectApi& objects, const std::string& path,
                           const std::vector<FileObject>& wanted) {
  std::string wrong;
  for (const FileObject& one : wanted) {
    auto stored = objects.get(one.object.key);
    if (!stored && stored.error().kind != ErrorKind::NotFound) return std::move(stored).error();
    if (!stored) continue;
    for (const std::string& problem : problems_of_change(path, one, *stored)) {
      wrong += (wrong.empty() ? "" : "\n") + problem;
    }
  }
  if (!wrong.empty()) return Error{ErrorKind::Invalid, wrong};
  return {};
}

/// Waits, whatever happens meanwhile: two looks too close to each other see the same half a file.
void let_settle(SourceWatch& watch, const Clock& clock, const std::stop_token& stop) {
  const SteadyTime end = clock.steady_now() + kSettles;
  for (auto now = clock.steady_now(); now < end && !stop.stop_requested();
       now = clock.steady_now()) {
    watch.wait(std::chrono::ceil<milliseconds>(end - now), stop);
  }
}

void mask_values(const FileObject& file_object) {
  if (file_object.object.key.kind != "Secret") return;
  for (const std::string& value : secret_values(file_object.object)) log::mask(value);
}

}  // namespace

std::string file_event_name(const std::string& path) {
  return "file." + short_hash(path);
}

StackFiles::StackFiles(ObjectApi& objects, const Clock& clock, StackFilesOptions options)
    : objects_(objects), clock_(clock), options_(std::move(options)) {}

Result<std::vector<std::string>> StackFiles::files() const {
  std::vector<std::string> found;
  for (const std::string& path : options_.paths) {
    std::error_code failure;
    if (!fs::is_directory(path, failure)) {
      found.push_back(path);
      continue;
    }
    for (const auto& entry : fs::directory_iterator(path, failure)) {
      const std::string name = entry.path().filename().string();
      if (is_source(name)) found.push_back(entry.path().string());
    }
    if (failure) {
      return Error{ErrorKind::NotFound, path + ": " + failure.message()};
    }
  }
  std::sort(found.begin(), found.end());
  found.erase(std::unique(found.begin(), found.end()), found.end());
  return found;
}

void StackFiles::refuse(const std::string& path, const std::string& why) {
  const std::string text = log::masked(why);
  if (refused_[path] == text) return;
  refused_[path] = text;
  log::error("file refused, what it said before stays in force",
             {{"path", path}, {"detail", text}});
  Object event;
  event.key = {"Event", "default", file_event_name(path)};
  event.content["reason"] = "InvalidSpec";
  event.content["type"] = "Warning";
  event.content["note"] = text.substr(0, 1000);
  event.content["eventTime"] = to_rfc3339(clock_.wall_now());
  event.content["regarding"] = {{"kind", "StackSpec"}, {"namespace", "default"}, {"name", ""}};
  for (const ObjectKey& key : taken_[path].objects) {
    if (key.kind == "StackSpec") event.content["regarding"]["name"] = key.name;
  }
  const auto stored = store(objects_, {.object = std::move(event), .document = {}});
  if (!stored) log::warn("event not stored", {{"detail", stored.error().message}});
}

void StackFiles::accept(const std::string& path) {
  refused_.erase(path);
  const auto removed = objects_.remove({"Event", "default", file_event_name(path)}, "", 0);
  if (removed) log::info("file is good again", {{"path", path}});
}

void StackFiles::take(const std::string& path, const FileMark& mark) {
  Taken& taken = taken_[path];
  taken.mark = mark;
  const auto text = read_file(path);
  if (!text) return refuse(path, path + ": " + text.error().message);
  auto wanted = read_documents(path, *text, mark.mode);
  if (!wanted) return refuse(path, wanted.error().message);
  for (const FileObject& one : *wanted) {
    mask_values(one);
    for (const auto& [other, theirs] : taken_) {
      const bool same = std::find(theirs.objects.begin(), theirs.objects.end(), one.object.key) !=
                        theirs.objects.end();
      if (same && other != path) {
        return refuse(path, path + ": " + one.object.key.kind + " " + one.object.key.name +
                                " is in " + other + " already; keep it in one of them");
      }
    }
  }
  auto checked = check_changes(objects_, path, *wanted);
  if (!checked) return refuse(path, checked.error().message);
  taken.objects.clear();
  for (const FileObject& one : *wanted) {
    const auto stored = store(objects_, one);
    if (!stored) {
      taken.mark = {};  // Not the file's fault: the next look tries again.
      return refuse(path, path + ": " + stored.error().message);
    }
    taken.objects.push_back(one.object.key);
    if (*stored) {
      log::info("object applied",
                {{"path", path}, {"kind", one.object.key.kind}, {"name", one.object.key.name}});
    }
  }
  accept(path);
}

void StackFiles::forget_gone(const std::vector<std::string>& present) {
  for (auto at = taken_.begin(); at != taken_.end();) {
    if (std::binary_search(present.begin(), present.end(), at->first) && mark_of(at->first)) {
      ++at;
      continue;
    }
    log::warn("file is gone; its objects stay, nothing is deleted", {{"path", at->first}});
    refused_.erase(at->first);
    at = taken_.erase(at);
  }
}

Result<void> StackFiles::apply() {
  const auto present = TRY(files());
  for (const std::string& path : present) {
    const auto mark = mark_of(path);
    if (!mark) {
      return Error{ErrorKind::NotFound, path +
                                            ": there is no such file; give --stack a file "
                                            "or a folder"};
    }
    if (!taken_.contains(path) || taken_[path].mark != *mark) take(path, *mark);
  }
  if (!options_.requests_folder.empty()) apply_requests(objects_, options_.requests_folder);
  return {};
}

/// Takes what has stopped changing; true while something still changes.
bool StackFiles::apply_settled(std::map<std::string, FileMark>& unsettled) {
  const auto present = files();
  if (!present) {
    log::warn("folder cannot be read", {{"detail", present.error().message}});
    return false;
  }
  forget_gone(*present);
  bool accepted = false;
  for (const std::string& path : *present) {
    const auto mark = mark_of(path);
    if (!mark || (taken_.contains(path) && taken_[path].mark == *mark)) {
      unsettled.erase(path);
    } else if (unsettled.contains(path) && unsettled[path] == *mark) {
      unsettled.erase(path);
      take(path, *mark);
      accepted = accepted || !refused_.contains(path);
    } else {
      unsettled[path] = *mark;
    }
  }
  if (accepted) {  // What another file stood in the way of may be good now.
    for (const auto& [path, why] : refused_) taken_[path].mark = {};
  }
  if (!options_.requests_folder.empty()) apply_requests(objects_, options_.requests_folder);
  return !unsettled.empty() || (accepted && !refused_.empty());
}

void StackFiles::run(std::stop_token stop) {
  std::set<std::string> folders;
  for (const std::string& path : options_.paths) {
    std::error_code failure;
    const fs::path parent = fs::absolute(path, failure).parent_path();
    folders.insert(fs::is_directory(path, failure) ? path : parent.string());
  }
  if (!options_.requests_folder.empty()) folders.insert(options_.requests_folder);
  SourceWatch watch({folders.begin(), folders.end()});
  std::map<std::string, FileMark> unsettled;
  bool changing = apply_settled(unsettled);
  while (!stop.stop_requested()) {
    if (changing) {
      let_settle(watch, clock_, stop);
    } else {
      watch.wait(options_.look_every, stop);
    }
    if (!stop.stop_requested()) changing = apply_settled(unsettled);
  }
}

}  // namespace stackspec
