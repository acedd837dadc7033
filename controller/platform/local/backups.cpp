// SPDX-License-Identifier: Apache-2.0
#include "platform/local/backups.hpp"

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>
#include <tuple>

#include "platform/local/folders.hpp"

namespace stackspec::local {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

constexpr const char* kDeletedPrefix = ".deleted-";
constexpr const char* kUnfinishedPrefix = ".tmp-";  // and the name of the backup's task

std::string text_at(const json& object, const char* name) {
  const auto found = object.find(name);
  if (found == object.end() || found->is_null()) return {};
  return found->is_string() ? found->get<std::string>() : found->dump();
}

std::int64_t number_at(const json& object, const char* name) {
  const auto found = object.find(name);
  return found != object.end() && found->is_number_integer() ? found->get<std::int64_t>() : 0;
}

bool is_proven(const std::string& folder, const std::string& sha256) {
  const auto proof = read_json(folder + "/proof.json");
  return proof && proof->is_object() && text_at(*proof, "level") == "L4" && !sha256.empty() &&
         text_at(*proof, "sha256") == sha256;
}

std::optional<BackupSeen> read_backup(const fs::path& folder, const std::string& stack) {
  const auto manifest = read_json(folder.string() + "/manifest.json");
  if (!manifest || !manifest->is_object()) return {};
  BackupSeen seen;
  seen.id = folder.filename().string();
  if (text_at(*manifest, "id") != seen.id || text_at(*manifest, "stack") != stack) return {};
  seen.source_version = text_at(*manifest, "sourceVersion");
  seen.system_identifier = text_at(*manifest, "systemIdentifier");
  seen.cursor_key = text_at(*manifest, "cursorKey");
  seen.cutoff_time = text_at(*manifest, "cutoffTime");
  seen.cutoff_lsn = text_at(*manifest, "cutoffLsn");
  seen.sha256 = text_at(*manifest, "sha256");
  seen.size_bytes = number_at(*manifest, "sizeBytes");
  seen.tables = static_cast<int>(number_at(*manifest, "tables"));
  seen.files = static_cast<int>(number_at(*manifest, "files"));
  const auto fingerprints = manifest->find("keyFingerprints");
  if (fingerprints != manifest->end() && fingerprints->is_object()) {
    for (const auto& [key, value] : fingerprints->items()) {
      if (value.is_string()) seen.key_fingerprints[key] = value.get<std::string>();
    }
  }
  seen.proven = is_proven(folder.string(), seen.sha256);
  seen.location = folder.string();
  return seen;
}

/// Hashes listed in `<backup>/files.tsv`; absent when a backup has no readable list.
bool add_listed_files(const fs::path& backup, std::set<std::string>& listed) {
  std::ifstream list(backup / "files.tsv");
  if (!list) return false;
  for (std::string line; std::getline(list, line);) listed.insert(line.substr(0, line.find('\t')));
  return !list.bad();
}

/// Content files that nothing lists. One backup in doubt keeps everything.
void sweep_content(const fs::path& folder) {
  std::set<std::string> listed;
  std::error_code failed;
  for (const auto& entry : fs::directory_iterator(folder, failed)) {
    const std::string name = entry.path().filename().string();
    if (!entry.is_directory() || name == "files" || name.rfind(kDeletedPrefix, 0) == 0) continue;
    if (!add_listed_files(entry.path(), listed)) return;
  }
  if (failed) return;
  std::vector<fs::path> unlisted;
  for (const auto& entry : fs::directory_iterator(folder / "files", failed)) {
    if (listed.count(entry.path().filename().string()) == 0) unlisted.push_back(entry.path());
  }
  for (const auto& path : unlisted) fs::remove(path, failed);
}

}  // namespace

std::vector<BackupSeen> list_backups(const std::string& folder, const std::string& stack) {
  std::vector<BackupSeen> backups;
  std::error_code failed;
  for (const auto& entry : fs::directory_iterator(folder, failed)) {
    if (entry.path().filename().string()[0] == '.') continue;
    if (auto backup = read_backup(entry.path(), stack)) backups.push_back(std::move(*backup));
  }
  std::sort(backups.begin(), backups.end(), [](const BackupSeen& a, const BackupSeen& b) {
    return std::tie(a.cutoff_time, a.id) < std::tie(b.cutoff_time, b.id);
  });
  return backups;
}

Result<void> delete_backup(const std::string& folder, const std::string& id, bool keep_content) {
  if (id.empty() || id[0] == '.' || id == "files" || id.find('/') != std::string::npos) {
    return Error{ErrorKind::Invalid, "backup id " + id + " is no folder name of a backup"};
  }
  const fs::path from = fs::path(folder) / id;
  const fs::path gone = fs::path(folder) / (kDeletedPrefix + id);
  std::error_code failed;
  if (path_exists(from.string())) {
    fs::remove_all(gone, failed);
    fs::rename(from, gone, failed);
    if (failed)
      return Error{ErrorKind::Unavailable, "remove backup " + id + ": " + failed.message()};
  }
  fs::remove_all(gone, failed);
  if (failed) return Error{ErrorKind::Unavailable, "remove backup " + id + ": " + failed.message()};
  if (!keep_content) sweep_content(folder);
  return {};
}

void tidy_backups(const std::string& folder, const std::vector<std::string>& ended_tasks) {
  std::vector<fs::path> useless;
  std::error_code failed;
  for (const auto& entry : fs::directory_iterator(folder, failed)) {
    const std::string name = entry.path().filename().string();
    const bool unfinished =
        name.rfind(kUnfinishedPrefix, 0) == 0 &&
        std::find(ended_tasks.begin(), ended_tasks.end(),
                  name.substr(std::strlen(kUnfinishedPrefix))) != ended_tasks.end();
    if (unfinished || name.rfind(kDeletedPrefix, 0) == 0) useless.push_back(entry.path());
  }
  for (const auto& path : useless) fs::remove_all(path, failed);
}

}  // namespace stackspec::local
