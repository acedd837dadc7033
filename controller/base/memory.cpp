// SPDX-License-Identifier: Apache-2.0
#include "base/memory.hpp"

#include <malloc.h>
#include <sys/mman.h>
#include <unistd.h>

#include <charconv>
#include <fstream>
#include <string>
#include <string_view>
#include <vector>

namespace stackspec {
namespace {

struct Mapping {
  std::uintptr_t begin = 0, end = 0;
  bool of_file = false;  ///< And not writable.
};

/// `7f00-7f10 r-xp 0002 08:01 99   /usr/lib/libc.so.6`; nothing for any other line.
bool read_mapping(std::string_view line, Mapping& mapping) {
  const char* const last = line.data() + line.size();
  const auto begin = std::from_chars(line.data(), last, mapping.begin, 16);
  if (begin.ec != std::errc() || begin.ptr == last || *begin.ptr != '-') return false;
  const auto end = std::from_chars(begin.ptr + 1, last, mapping.end, 16);
  if (end.ec != std::errc() || end.ptr == last || *end.ptr != ' ') return false;
  const std::string_view rest(end.ptr + 1, static_cast<std::size_t>(last - end.ptr - 1));
  mapping.of_file = rest.size() > 4 && rest[0] == 'r' && rest[1] == '-' && rest[3] == 'p' &&
                    rest.find(" /") != std::string_view::npos;
  return true;
}

/// Of the pages that only the file can say: what was written to (relocations) must stay.
std::vector<Mapping> clean_files() {
  std::vector<Mapping> found;
  std::ifstream smaps("/proc/self/smaps");
  bool is_file = false;
  for (std::string line; std::getline(smaps, line);) {
    Mapping mapping;
    if (read_mapping(line, mapping)) {
      is_file = mapping.of_file;
      if (is_file) found.push_back(mapping);
      continue;
    }
    const bool own = line.starts_with("Anonymous:") || line.starts_with("Swap:");
    const bool none = line.find(" 0 kB") != std::string::npos;
    if (is_file && own && !none) {
      found.pop_back();
      is_file = false;
    }
  }
  return found;
}

/// Where a page of a file is missed, the system maps all 16 around it that it has at hand, which
/// makes three pages resident of which two are never read. It stays within a mapping: every second
/// part gets a flag of no other consequence (it is not in core dumps, where files never are), so
/// that these do not merge.
void limit_read_around(const Mapping& mapping) {
  constexpr std::uintptr_t kPart = 16U << 10U;
  for (auto part = mapping.begin; part + kPart < mapping.end; part += 2 * kPart) {
    ::madvise(reinterpret_cast<void*>(part), kPart, MADV_DONTDUMP);
  }
}

/// Bytes of files that are in memory; 0 when that cannot be told.
std::size_t resident_files() {
  std::ifstream statm("/proc/self/statm");
  std::size_t size = 0, resident = 0, files = 0;
  if (!(statm >> size >> resident >> files)) return 0;
  return files * static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));
}

}  // namespace

void prefer_little_memory() {
  ::mallopt(M_ARENA_MAX, 2);
  ::mallopt(M_MMAP_THRESHOLD, 128 << 10);
  ::mallopt(M_TRIM_THRESHOLD, 256 << 10);
}

void give_memory_back(std::size_t few) {
  ::malloc_trim(0);
  if (resident_files() < few) return;
  for (const Mapping& mapping : clean_files()) {
    limit_read_around(mapping);
    ::madvise(reinterpret_cast<void*>(mapping.begin), mapping.end - mapping.begin, MADV_DONTNEED);
  }
}

}  // namespace stackspec
