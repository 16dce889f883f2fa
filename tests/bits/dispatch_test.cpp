#include <algorithm>
#include <cstdlib>
#include <eigennorm/eigennorm.hpp>
#include <string>
#include <utility>

#include "catch.hpp"

// Which instruction set runs. This program, too, runs on each of them (CMakeLists.txt sets EIGENNORM_ISA).

using namespace eigennorm;

TEST_CASE("the best instruction set is what the processor has") {
#if defined(EIGENNORM_X86_REGIONS)
  __builtin_cpu_init();
  const bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
  const bool avx512 = avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl") &&
                      __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq");
  const InstructionSet best = avx512 ? InstructionSet::avx512 : avx2 ? InstructionSet::avx2 : InstructionSet::baseline;
  CHECK(kernels::detected_instruction_set() == best);
#else
  CHECK(kernels::detected_instruction_set() == InstructionSet::baseline);
#endif
}

TEST_CASE("the environment chooses the instruction set that a program starts with") {
  const InstructionSet best = kernels::detected_instruction_set();
  const char* asked = std::getenv("EIGENNORM_ISA");
  const std::string name = asked == nullptr ? "" : asked;
  if (name == "baseline") {
    CHECK(instruction_set() == InstructionSet::baseline);
  } else if (name == "avx2") {
    CHECK(instruction_set() == std::min(best, InstructionSet::avx2));
  } else {
    CHECK(instruction_set() == best);
  }
}

TEST_CASE("the environment may name any instruction set, and what the processor lacks is not used") {
  const InstructionSet best = kernels::detected_instruction_set();
  const char* asked = std::getenv("EIGENNORM_ISA");
  const std::string before = asked == nullptr ? "" : asked;
  const std::pair<const char*, InstructionSet> names[] = {{"reference", InstructionSet::reference},
                                                          {"baseline", InstructionSet::baseline},
                                                          {"avx2", InstructionSet::avx2},
                                                          {"avx512", InstructionSet::avx512}};
  for (const auto& [name, set] : names) {
    setenv("EIGENNORM_ISA", name, 1);
    CHECK(kernels::initial_instruction_set() == std::min(best, set));
  }
  unsetenv("EIGENNORM_ISA");
  CHECK(kernels::initial_instruction_set() == best);
  if (asked != nullptr) setenv("EIGENNORM_ISA", before.c_str(), 1);
}

TEST_CASE("the instruction set can be lowered, not raised") {
  const InstructionSet best = kernels::detected_instruction_set(), first = instruction_set();
  limit_instruction_set(InstructionSet::baseline);
  CHECK(instruction_set() == InstructionSet::baseline);
  limit_instruction_set(InstructionSet::reference);
  CHECK(instruction_set() == InstructionSet::reference);
  limit_instruction_set(InstructionSet::avx512);
  CHECK(instruction_set() == best);
  limit_instruction_set(first);
}
