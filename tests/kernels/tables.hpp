#pragma once

#include <string>
#include <utility>
#include <vector>

#include <eigennorm/instruction_set.hpp>

#include "kernels/block_kernels.hpp"

// The tables of kernels that are compared.

namespace test {

/// The tables that this processor can run.
template <typename Storage, typename Scalar>
std::vector<std::pair<std::string, eigennorm::kernels::BlockKernels<Storage, Scalar>>> tables() {
  std::vector<std::pair<std::string, eigennorm::kernels::BlockKernels<Storage, Scalar>>> all;
  const eigennorm::InstructionSet before = eigennorm::instruction_set();
  for (const auto& [set, name] :
       {std::pair{eigennorm::InstructionSet::baseline, "baseline"}, std::pair{eigennorm::InstructionSet::avx2, "avx2"},
        std::pair{eigennorm::InstructionSet::avx512, "avx512"}}) {
    eigennorm::limit_instruction_set(set);
    if (eigennorm::instruction_set() == set)
      all.emplace_back(name, eigennorm::kernels::block_kernels<Storage, Scalar>());
  }
  eigennorm::limit_instruction_set(before);
  return all;
}

/// What every table is compared with.
template <typename Storage, typename Scalar>
eigennorm::kernels::BlockKernels<Storage, Scalar> reference_table() {
  return eigennorm::kernels::BlockKernels<Storage, Scalar>::template of<
      eigennorm::kernels::reference::Functions<Storage, Scalar>>();
}

}  // namespace test
