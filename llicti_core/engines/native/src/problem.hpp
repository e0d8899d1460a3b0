// What is wrong with a file.
#pragma once

#include <stdexcept>

namespace llicti {

// Thrown where no encoder can have written the data; FormatError in Python.
struct FormatProblem : std::runtime_error {
    using std::runtime_error::runtime_error;
};

}  // namespace llicti
