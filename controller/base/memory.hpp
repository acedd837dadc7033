// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>

namespace stackspec {

/// Before anything else allocates: few arenas, and big buffers go back to the system as soon as
/// they are freed, so that a peak does not become the rest of the process's life.
void prefer_little_memory();

/// Gives back what is free in the heap, and the pages of programs and libraries, which are read
/// again from the page cache where they are needed: most of them were for starting. Takes ten
/// milliseconds, or one when less than `few` bytes of files are in memory; for moments at which
/// nothing is to be done. Any thread.
void give_memory_back(std::size_t few = 0);

}  // namespace stackspec
