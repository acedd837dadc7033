// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <string_view>

// Makes a function of a text a program: with STACKSPEC_FUZZ a libFuzzer target, without one that
// replays the files and folders it is given.

namespace stackspec::testing {

inline bool replay_file(void (*try_text)(std::string_view), const std::filesystem::path& path) {
  std::fprintf(stderr, "%s\n", path.c_str());
  std::ifstream file(path, std::ios::binary);
  if (!file) return false;
  try_text(std::string{std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()});
  return true;
}

inline int replay(void (*try_text)(std::string_view), int count, char** arguments) {
  int replayed = 0;
  for (int number = 1; number < count; ++number) {
    if (!std::filesystem::is_directory(arguments[number])) {
      if (!replay_file(try_text, arguments[number])) return 1;
      ++replayed;
      continue;
    }
    for (const auto& entry : std::filesystem::directory_iterator(arguments[number])) {
      if (!replay_file(try_text, entry.path())) return 1;
      ++replayed;
    }
  }
  std::fprintf(stderr, "%d files\n", replayed);
  return replayed > 0 ? 0 : 1;
}

}  // namespace stackspec::testing

#ifdef STACKSPEC_FUZZ
#define STACKSPEC_FUZZ_TARGET(try_text)                                               \
  extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) { \
    try_text({reinterpret_cast<const char*>(data), size});                            \
    return 0;                                                                         \
  }
#else
#define STACKSPEC_FUZZ_TARGET(try_text)                            \
  int main(int count, char** arguments) {                          \
    return stackspec::testing::replay(try_text, count, arguments); \
  }
#endif
