// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <vector>

#include "api/stack.hpp"

// What a person sees of a stack. Everything comes from the object alone, so that the view is the
// same beside the controller and a year later, and can be tested without either.

namespace stackspec {

struct LiveStyle {
  int width = 100;      ///< Columns; longer lines are cut, never wrapped by the terminal.
  bool colour = false;  ///< ANSI colours.
  bool unicode = true;  ///< False: ASCII only.
};

/// One screen: where the stack stands, the rungs done, running and to come, each wait with what is
/// seen and wanted, what users see now, what happens if it fails, and what a person can do next.
/// Lines end with a newline; times of day are UTC.
std::string render(const Stack& stack, WallTime now, const LiveStyle& style);

/// For output that is not a terminal: a line for each thing that differs between two looks at a
/// stack, oldest first, without newline. `before` without a name: the first look, which tells of
/// what is in flight and not of what is over.
std::vector<std::string> changes(const Stack& before, const Stack& after, WallTime now);

/// `9 s`, `4:08`, `2 h 05`: no longer than it must be.
std::string duration_text(std::chrono::seconds duration);

/// True when nothing is in flight for the newest spec: Ready, or waiting for a person.
bool at_rest(const Stack& stack);
/// A person must decide; the reason, or empty.
std::string stalled_reason(const Stack& stack);

}  // namespace stackspec
