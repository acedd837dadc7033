// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <tuple>

#include "plan/plan.hpp"

namespace stackspec {

std::vector<std::string> backups_to_delete(const std::vector<BackupSeen>& backups,
                                           const BackupPolicy& policy,
                                           const std::vector<std::string>& protected_ids,
                                           WallTime now) {
  std::vector<const BackupSeen*> newest_first;
  for (const BackupSeen& backup : backups) newest_first.push_back(&backup);
  std::stable_sort(newest_first.begin(), newest_first.end(), [](const auto* a, const auto* b) {
    return std::tie(a->cutoff_time, a->id) > std::tie(b->cutoff_time, b->id);
  });

  std::vector<std::string> doomed;
  int proven_kept = 0;
  for (const BackupSeen* backup : newest_first) {
    // What cannot be dated is not judged: keeping too much loses nothing.
    const auto cutoff = parse_rfc3339(backup->cutoff_time);
    const bool old = cutoff && now - *cutoff > std::chrono::days(policy.keep_days);
    const bool is_protected =
        std::find(protected_ids.begin(), protected_ids.end(), backup->id) != protected_ids.end();
    // Only proven backups count towards keepLast, and the newest of them always stays.
    const bool wanted = backup->proven && proven_kept < std::max(1, policy.keep_last);
    if (backup->proven) ++proven_kept;
    if (old && !is_protected && !wanted) doomed.push_back(backup->id);
  }
  std::reverse(doomed.begin(), doomed.end());
  return doomed;
}

}  // namespace stackspec
